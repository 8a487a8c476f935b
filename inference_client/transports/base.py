"""The interface of transports, and what the built-in ones share."""

from __future__ import annotations

import asyncio
import contextvars
import os
from abc import ABC, abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Callable, TypeVar
from urllib.parse import SplitResult, urlsplit

from .._addresses import names_host
from .._messages import Request, Response
from .._policies import Timeouts
from .._spec import Capabilities
from .._threads import Threads
from .._tls import check_secrecy
from ..errors import ConfigurationError, bare

THREADS = 64  # requests under way at once, where an asynchronous caller uses a transport that blocks

T = TypeVar('T')


@dataclass(frozen=True)
class TransportOptions:
    """What a client tells each of its transports.

    Attributes:
        token: sent as `authorization` with each request, or once with the handshake of a WebSocket.
        ca_file: certificates (PEM) that a secure server is checked against, in place of the system's.
        trust_env: whether proxies and passwords of the environment (`HTTP_PROXY`, `.netrc`) are used.
        client_cert: certificate (PEM) that is shown to a secure server that asks for one.
        client_key: its private key (PEM), unless that is in the same file.
        allow_insecure_token: whether the token may travel over plain `grpc`, `http` and `ws` to other machines.
        token_given: whether the caller named the token, and not the environment. A transport whose servers have keys
            of their own takes one that was named before such a key, and the key before any other token.
    """

    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    trust_env: bool = True
    client_cert: str | None = None
    client_key: str | None = None
    allow_insecure_token: bool = False
    token_given: bool = True


class Transport(ABC):
    """Moves requests to one model. `send` is all that must be written.

    A transport opens its connection at the first `send` and keeps it. It is shared by threads.

    Attributes:
        url: where the model is.
        options: token, certificates, and whether to trust the environment.

    Raises:
        ConfigurationError: the token would travel in plain text to another machine.
    """

    def __init__(self, url: str, options: TransportOptions) -> None:
        check_secrecy(url, options)
        self.url = url
        self.options = options

    @classmethod
    def asynchronous(cls, url: str, options: TransportOptions) -> AsyncTransport:
        """The same for event loops. Without one of its own, this transport, each request in a thread."""
        return ThreadedTransport(cls(url, options))

    @abstractmethod
    def send(self, request: Request, timeouts: Timeouts) -> Response:
        """Send one request and wait for its answer.

        Args:
            request: its documents may be changed.
            timeouts: `read` is for all of it, connecting included, and `connect` for connecting.

        Raises:
            TransportError: one of its subclasses; errors of other libraries are turned into these. What is
                `transient` is sent again.
            AuthenticationError: the server refused the token.
            InputError: the documents cannot be sent this way, or the model refused them.
        """

    def submit(self, request: Request, timeouts: Timeouts) -> Future[Any] | None:
        """Send one request without waiting, for transports that need no thread for that.

        Args:
            request: as for `send`.
            timeouts: only `connect` matters: the caller cancels the future when `read` is over.

        Returns:
            A future that `read` makes the response of; None where only `send` will do.
        """
        return None

    def read(self, answer: Any) -> Response:
        """Make the response of what came of `submit`, in the caller's thread."""
        raise NotImplementedError('a transport with submit() has read(), too')

    def is_ready(self, timeouts: Timeouts) -> bool:
        """Whether the model would answer; True where that cannot be told without a request.

        Raises:
            TransportError: the server cannot be asked, so it is not ready.
            AuthenticationError: the server refused the token.
        """
        return True

    def capabilities(self, timeouts: Timeouts) -> Capabilities:
        """What the model can do and take, as far as the server tells; without more ado, nothing.

        Raises:
            TransportError: the server cannot be asked.
            AuthenticationError: the server refused the token.
        """
        return Capabilities()

    def close(self) -> None:  # noqa: B027 - a transport without a connection has nothing to close
        """Close the connection; a later `send` opens it anew. Requests under way fail, but over HTTP they finish."""


class AsyncTransport(ABC):
    """Moves requests to one model from an event loop; from another loop it opens its connection anew.

    Attributes:
        url: where the model is.
        options: as for `Transport`.
    """

    def __init__(self, url: str, options: TransportOptions) -> None:
        check_secrecy(url, options)
        self.url = url
        self.options = options

    @abstractmethod
    async def send(self, request: Request, timeouts: Timeouts) -> Response:
        """As `Transport.send`; many may wait at once, and each may be cancelled."""

    async def is_ready(self, timeouts: Timeouts) -> bool:
        """As `Transport.is_ready`."""
        return True

    async def capabilities(self, timeouts: Timeouts) -> Capabilities:
        """As `Transport.capabilities`."""
        return Capabilities()

    async def close(self) -> None:  # noqa: B027 - as above
        """As `Transport.close`, for the connection of the running loop."""


class ThreadedTransport(AsyncTransport):
    """A transport that blocks, for event loops: each request in a thread."""

    def __init__(self, blocking: Transport) -> None:
        super().__init__(blocking.url, blocking.options)
        self._blocking = blocking
        self._pool: Threads | None = None
        self._process = os.getpid()

    async def send(self, request: Request, timeouts: Timeouts) -> Response:
        return await self._run(self._blocking.send, request, timeouts)

    async def is_ready(self, timeouts: Timeouts) -> bool:
        return await self._run(self._blocking.is_ready, timeouts)

    async def capabilities(self, timeouts: Timeouts) -> Capabilities:
        return await self._run(self._blocking.capabilities, timeouts)

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._blocking.close)
        if pool is not None and self._process == os.getpid():
            await loop.run_in_executor(None, pool.close, True)

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._pool is None or self._process != os.getpid():  # forked: the threads are the parent's
            self._process = os.getpid()
            self._pool = Threads(THREADS)
        context = contextvars.copy_context()
        result: T = await asyncio.wrap_future(self._pool.submit(context.run, function, *arguments))
        return result


def split_url(url: str) -> SplitResult:
    """Split the URL of a server, which must name a host and may name a port.

    Raises:
        ConfigurationError: it does not.
    """
    if not names_host(url):
        raise ConfigurationError(f'{bare(url)!r} is not the URL of a server: expected scheme://host:port')
    parts = urlsplit(url)
    if '@' in parts.netloc:
        raise ConfigurationError('the URL holds a user name or password: leave it out, and give Client(token=...)')
    return parts


def check_query(parts: SplitResult, expected: str) -> None:
    """See that a URL has neither query nor fragment, where these would not be sent. The error does not quote them.

    Args:
        parts: of the URL.
        expected: the shapes that it may have, for the error.

    Raises:
        ConfigurationError: it has one.
    """
    if parts.query or parts.fragment:
        raise ConfigurationError(
            f'the URL has something after ? or #, which is not sent: expected {expected}, percent-encoded'
        )
