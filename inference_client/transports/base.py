"""The interface of transports, and what the built-in ones share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from .._messages import Request, Response
from ..errors import ConfigurationError, ConnectionFailedError, RequestTimeoutError


@dataclass(frozen=True)
class TransportOptions:
    """What a client tells each of its transports.

    Attributes:
        token: sent as `authorization` with each request, or once with the handshake of a WebSocket.
        ca_file: certificates (PEM) that a secure server is checked against, in place of the system's.
        trust_env: whether proxies and passwords of the environment (`HTTP_PROXY`, `.netrc`) are used.
    """

    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    trust_env: bool = True


class Transport(ABC):
    """Moves requests to one model. `send` is all that must be written.

    A transport opens its connection at the first `send` and keeps it. It is shared by threads.

    Attributes:
        url: where the model is.
        options: token, certificates, and whether to trust the environment.
    """

    def __init__(self, url: str, options: TransportOptions) -> None:
        self.url = url
        self.options = options

    @abstractmethod
    def send(self, request: Request, timeout: float) -> Response:
        """Send one request and wait for its answer.

        Args:
            request: its documents may be changed.
            timeout: seconds for all of it, connecting included.

        Raises:
            TransportError: one of its subclasses; errors of other libraries are turned into these.
            AuthenticationError: the server refused the token.
            InputError: the documents cannot be sent this way, or the model refused them.
        """

    def close(self) -> None:  # noqa: B027 - a transport without a connection has nothing to close
        """Close the connection; a later `send` opens it anew. Requests under way fail, but over HTTP they finish."""


def split_url(url: str) -> SplitResult:
    """Split the URL of a server, which must name a host and may name a port.

    Raises:
        ConfigurationError: it does not.
    """
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if valid and '@' in parts.netloc:
        raise ConfigurationError('the URL holds a user name or password: leave it out, and give Client(token=...)')
    if not valid:
        raise ConfigurationError(f'{url!r} is not the URL of a server: expected scheme://host:port')
    return parts


def no_answer(timeout: float) -> RequestTimeoutError:
    """The error for a request that took too long."""
    return RequestTimeoutError(
        f'no answer within {timeout:g} s: the server is slow or stuck; give it longer with timeout='
    )


def unreachable(reason: object) -> ConnectionFailedError:
    """The error for a connection that could not be made, or that broke."""
    advice = 'check the address, and that the server is up'
    if 'certificate' in str(reason).lower():
        advice = 'if you trust it, give its certificates as Client(ca_file=...)'
    return ConnectionFailedError(f'the server cannot be reached or dropped the connection ({reason}); {advice}')
