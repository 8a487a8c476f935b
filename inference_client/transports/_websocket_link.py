"""One WebSocket that carries many requests at once, from the attempt to make it until it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.protocol import State

from .._tls import context
from .._wire.protobuf import decode_message
from .._wire.status import http_failure, wait_of
from ..errors import (
    InferenceError,
    ModelNotFoundError,
    ProtocolError,
    RequestTooLargeError,
    ServerError,
    closed,
    unreachable,
)
from ._http_shared import ERROR
from ._pending import Pending, is_silent

if TYPE_CHECKING:
    from ._pending import Answer
    from .base import TransportOptions

CLOSE_TIMEOUT = 1.0  # seconds for the server to agree to a close
PING_TIMEOUT = 60.0  # seconds: a server that computes for less must not look dead
SMALL = 32_768  # bytes that are put into the socket's buffer without more ado
TOO_BIG = 1009  # close code of a server that takes no message of this size (RFC 6455, 7.4.1)

logger = logging.getLogger('inference_client.websocket')
wire_logger = logging.getLogger('inference_client.websocket.wire')  # what websockets logs of our connections


def _hide_secrets(record: logging.LogRecord) -> bool:
    """At level DEBUG websockets logs every header as ('name', 'value')."""
    if isinstance(record.args, tuple) and 'authorization' in str(record.args[:1]).lower():
        record.args = (record.args[0], '(hidden)')
    return True


class Link:
    """One connection, which lives on an event loop and is asked by any thread. It must not refer to its transport.

    Args:
        url: of the server.
        options: of the transport.
        connect_timeout: seconds for the connection to be made.
        loop: where it lives; `run` must be started there.

    Attributes:
        usable: whether it takes new requests.
        pending: those that wait for their answers.
    """

    def __init__(
        self, url: str, options: TransportOptions, connect_timeout: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.usable = True
        self.pending = Pending()
        self._seconds = connect_timeout
        self._heard = 0.0  # when the last answer came
        self._unsent: set[str] = set()
        self._made: ClientConnection | None = None
        self._open: ClientConnection | None = None  # the same, once the server agreed
        self._loop = loop
        self._life = loop.create_task(self._live(url, _arguments(url, options)))

    @property
    def alive(self) -> bool:
        """Whether it still has somebody to tell, or something to close."""
        raise NotImplementedError

    def ask(self, request_id: str, data: bytes) -> Answer:
        """Send a message as soon as the connection is there and free; the future holds the answer to it.

        Cancel the future to give up. If the request could not even be sent by then, or nothing came for long, the
        connection may be stuck: it gets no further requests, which would pile up, and goes with the last of its
        waiters.
        """
        answer = self.pending.add(request_id, len(data))
        if not answer.done():
            self._unsent.add(request_id)
            answer.add_done_callback(partial(self._forget, request_id, time.monotonic()))
            with contextlib.suppress(RuntimeError):  # the loop was closed, after all who wait were told
                self._loop.call_soon_threadsafe(self._post, request_id, data)
        return answer

    def stop(self) -> None:
        """Begin to close. Takes no lock, as the garbage collector may call it wherever it runs."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._life.cancel)

    async def run(self) -> None:
        """Live until the connection is closed and all who waited know."""
        failure: Callable[[], InferenceError] = partial(unreachable, 'closed by the server')
        try:
            await self._life
        except asyncio.CancelledError:
            failure = closed
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for those who wait
            failure = partial(_translated, error, self._seconds)
        self.usable = False
        self.pending.fail(failure)
        self._unsent.clear()
        await self._shut()

    async def _live(self, url: str, arguments: dict[str, Any]) -> None:
        self._turn = asyncio.Lock()
        async with self._turn:  # nobody sends before
            connecting = _Connect(url, **{**arguments, 'create_connection': self._make})
            self._open = connection = await asyncio.wait_for(_entered(connecting), self._seconds)
        with contextlib.suppress(ConnectionClosedOK):
            while True:
                data = await connection.recv()
                self._heard = time.monotonic()
                if not self.pending.hand_out(decode_message(data if isinstance(data, bytes) else data.encode())):
                    logger.debug('dropped an answer that nobody waits for')

    def _make(self, *arguments: Any, **options: Any) -> ClientConnection:
        self._made = ClientConnection(*arguments, **options)
        return self._made

    async def _shut(self) -> None:
        connection = self._made
        if connection is not None and hasattr(connection, 'transport'):  # else it never came to be
            if connection.protocol.state is State.OPEN:
                with contextlib.suppress(asyncio.TimeoutError, ConnectionClosed):
                    await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT)  # its own does not bound sending
            with contextlib.suppress(AttributeError):  # of a transport of asyncio that has just closed
                connection.transport.abort()
            with contextlib.suppress(asyncio.CancelledError):  # websockets 13, whose close was cut short above
                await connection.wait_closed()

    def _forget(self, request_id: str, asked: float, answer: Answer) -> None:
        sent = request_id not in self._unsent
        self._unsent.discard(request_id)
        if answer.cancelled():
            self.usable = self.usable and sent and not is_silent(asked, self._heard)
            if not self.usable and not self.pending:
                self.stop()

    def _post(self, request_id: str, data: bytes) -> None:
        turn = getattr(self, '_turn', None)
        free = self._open if len(data) <= SMALL and turn is not None and not turn.locked() else None
        if free is not None and not free.transport.get_write_buffer_size():
            broadcast([free], data)  # at once: a task would cost a small request a third of its time
            self._unsent.discard(request_id)
        else:
            asyncio.run_coroutine_threadsafe(self._send(request_id, data), self._loop)

    async def _send(self, request_id: str, data: bytes) -> None:
        async with self._turn:  # one after the other, so that a request may be forgotten while it waits
            if request_id in self.pending and self._open is not None:
                with contextlib.suppress(ConnectionClosed):  # those who wait hear of it from the reader
                    await self._open.send(data)
        self._unsent.discard(request_id)


class Links:
    """The connections of one transport: the last one is in use, those before it still owe answers."""

    def __init__(self) -> None:
        self._links: list[Any] = []
        self._lock = threading.Lock()  # never held while anything is waited for
        wire_logger.addFilter(_hide_secrets)  # a second time changes nothing

    def current(self, make: Callable[[], Any]) -> Any:
        """The connection in use, or a new one that is still being made."""
        with self._lock:
            self._links[:] = [link for link in self._links if link.alive]
            if not self._links or not self._links[-1].usable:
                self._links.append(make())
            return self._links[-1]

    def __getitem__(self, index: int) -> Any:
        return self._links[index]

    def __len__(self) -> int:
        return len(self._links)

    def stop(self) -> list[Any]:
        """Begin to close all, and give them; takes no lock."""
        links, self._links[:] = self._links[:], []
        for link in links:
            link.stop()
        return links


class _Connect(connect):
    """Follows no redirects: the token is for the server that was named."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def _entered(connecting: Any) -> ClientConnection:
    made: ClientConnection = await connecting
    return made


def _arguments(url: str, options: TransportOptions) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        'subprotocols': ['bytes'],
        'additional_headers': {'Authorization': options.token} if options.token else {},
        'open_timeout': None,  # `wait_for` includes the look-up of the name
        'ping_timeout': PING_TIMEOUT,
        'compression': None,
        'max_size': None,
        'max_queue': 1024,  # messages; they are taken as they come
        'logger': wire_logger,
    }
    if url[:4].lower() == 'wss:':
        arguments['ssl'] = context(options)
    if not options.trust_env and 'proxy' in inspect.signature(connect).parameters:
        arguments['proxy'] = None  # websockets before 15 knows no proxies
    return arguments


def _translated(error: Exception, connect_timeout: float) -> InferenceError:
    """The error for a connection that came to its end by another."""
    status = error.response.status_code if isinstance(error, InvalidStatus) else None
    made: InferenceError = unreachable(str(error) or type(error).__name__)
    if isinstance(error, asyncio.TimeoutError):
        made = unreachable(f'no connection within {connect_timeout:g} s')
    elif isinstance(error, ConnectionClosedError) and error.rcvd is not None and error.rcvd.code == TOO_BIG:
        made = RequestTooLargeError('a message is larger than the server takes (1009); send smaller documents')
    elif isinstance(error, InvalidStatus) and status == 404 and ERROR in error.response.headers:
        made = ModelNotFoundError('the server does not know the model (404)')
    elif status is not None and (status in (401, 408, 425, 429) or status >= 500):
        assert isinstance(error, InvalidStatus)
        made = http_failure(status, '', wait_of(error.response.headers))
        if isinstance(made, ServerError):
            made.busy = True  # it saw no document that may be at fault
    elif status is not None:  # 403 too: Jina's HTTP port answers it where no WebSocket is served
        made = ProtocolError(f'the server took no WebSocket ({status}): check the address, and the token if needed')
    elif isinstance(error, ProtocolError):
        made = ProtocolError(str(error))
    made.__cause__ = error
    return made
