"""What strangers may do to a connection of HTTP: not much, and not for long."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from .refusals import Refusal, TooLargeError, UnavailableError

FIRST = 10.0  # seconds from the connection to the end of the first request's headers
HANDSHAKE = 0.8  # of that time, for TLS: there is nothing to cut off before, so it must be over when that time is
IDLE = 75.0  # seconds from one request to the end of the next one's headers
BODY = 60.0  # seconds for a body that comes at a crawl; one that fills the line is not at fault
MOST_COMING = 512 << 20  # bytes of bodies on their way in, of all connections; one may be larger
RETRY_AFTER = 2.0  # seconds after which there may be room for a body again
CRAWL = 10_000  # bytes a second: a body may take as much longer as it has more than that for each second

logger = logging.getLogger('inference_client.server.http')


class SlowError(Refusal):
    """The request did not come in time."""

    http = 408
    grpc = 'DEADLINE_EXCEEDED'
    error = 'RequestTimeoutError'


class EncodedError(Refusal):
    """The body is compressed: a small one could fill the memory."""

    http = 415


class FirstRequests:
    """Makes the protocols of connections, and cuts off those that send no request.

    aiohttp limits the time between requests, but not that to the first one.

    Args:
        make: aiohttp's own factory.
        seconds: for the first request.
    """

    def __init__(self, make: Callable[[], Any], seconds: float = FIRST) -> None:
        self._make = make
        self._seconds = seconds
        self._waiting: dict[int, asyncio.TimerHandle] = {}

    def __call__(self) -> Any:
        """A protocol, whose time begins."""
        made = self._make()
        self._waiting[id(made)] = asyncio.get_running_loop().call_later(self._seconds, self._cut, made)
        return made

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None) -> asyncio.AbstractServer:
        """Take connections at an address."""
        handshake = None if tls is None else HANDSHAKE * self._seconds
        loop = asyncio.get_running_loop()
        return await loop.create_server(self, host, port, reuse_address=True, ssl=tls, ssl_handshake_timeout=handshake)

    def came(self, request: web.Request) -> None:
        """Note that a request has come on a connection."""
        timer = self._waiting.pop(id(request.protocol), None)
        if timer is not None:
            timer.cancel()

    def _cut(self, made: Any) -> None:
        self._waiting.pop(id(made), None)
        if made.transport is not None:
            made.transport.abort()


class Bodies:
    """Reads the bodies of requests, of which those on their way in take no more than `MOST_COMING` together.

    Args:
        most: bytes of one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._coming = 0

    async def read(self, request: web.Request) -> bytes:
        """The body of a request.

        Raises:
            Refusal: it is compressed or too large, does not come in time, or there is no room for it now.
        """
        if request.headers.get('Content-Encoding', 'identity').strip().lower() != 'identity':
            raise EncodedError('the body is compressed: send it as it is')
        length = request.content_length or 0
        self._check_size(length)
        try:
            return await asyncio.wait_for(self._read(request), BODY + length / CRAWL)
        except asyncio.TimeoutError as error:
            raise SlowError('the body did not come in time: send it at once') from error

    async def _read(self, request: web.Request) -> bytes:
        body = bytearray()
        try:
            async for piece in request.content.iter_any():
                self._check_size(len(body) + len(piece))
                if self._coming > len(body) and self._coming + len(piece) > MOST_COMING:
                    raise UnavailableError('the service has too much to read: try again later', RETRY_AFTER)
                body += piece
                self._coming += len(piece)
            return bytes(body)
        finally:
            self._coming -= len(body)

    def _check_size(self, size: int) -> None:
        if size > self._most:
            raise TooLargeError(f'the body is larger than max ({self._most} bytes)')


class BriefLog(logging.Filter):
    """Of bytes that are no HTTP aiohttp would log all, with a trace: they may hold a token, and fill a disk."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, without what a stranger sent."""
        kind = (record.exc_info or (None,))[0]
        if kind is not None and issubclass(kind, HttpProcessingError):
            record.msg, record.args, record.exc_info = 'a client sent what is no HTTP (%s)', (kind.__name__,), None
            record.levelno, record.levelname = logging.INFO, 'INFO'
        return True


logger.addFilter(BriefLog())
