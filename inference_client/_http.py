"""HTTP requests that end in time and keep credentials to themselves."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from typing import Any, Callable, Sequence

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url, select_proxy
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util import parse_url

from ._addresses import public_addresses
from .errors import hidden

LONGEST = 1e6  # seconds; much longer ones overflow in sockets and locks

_here = threading.local()


class Deadline:
    """Ends what this thread does over a `Session` in the `with` block, once its seconds are over.

    The timeouts of requests are for each read or write, so one byte in time starts them anew. This shuts the
    socket down, which no peer can delay. Only the look-up of a name and the handshakes of TLS and proxies
    come before there is a socket to shut: of these, each step is bound by `left()`, not the sum.

    Attributes:
        seconds: how long it was at first.
        over: whether it has come. What was read then may be a part only.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.over = False
        self._end = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(self.left(), self._cut)
        self._timer.daemon = True

    def left(self) -> float:
        """Seconds that are left, as a timeout: always more than 0."""
        return min(max(self._end - time.monotonic(), 0.001), LONGEST)

    def passed(self, error: Exception) -> bool:
        """Whether an error means that it took too long."""
        return self.over or time.monotonic() >= self._end or timed_out(error)

    def watch(self, connected: socket.socket | None) -> None:
        """Shut this socket when the time comes; None once it may serve other requests."""
        with self._lock:
            self._socket = connected
            self._shut()

    def _cut(self) -> None:
        with self._lock:
            self.over = True
            self._shut()

    def _shut(self) -> None:
        if self.over and self._socket is not None:
            with suppress(OSError, ValueError):
                # Not that of an SSLSocket, which would go on in plain text; TLS within TLS has its socket inside.
                socket.socket.shutdown(getattr(self._socket, 'socket', self._socket), socket.SHUT_RDWR)

    def __enter__(self) -> Deadline:
        _here.deadline = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        _here.deadline = None
        self._timer.cancel()
        self.watch(None)


class Session(requests.Session):
    """A session whose requests end at the `Deadline` of their thread, and send no password of `.netrc`.

    Args:
        trust_env: whether proxies of the environment are used.
        allow_private: whether it connects to addresses that are not public, too. Behind a proxy, which looks names
            up itself, the names that this machine knows are checked, and the others are left to the proxy.
    """

    def __init__(self, trust_env: bool = True, allow_private: bool = True) -> None:
        super().__init__()
        self.trust_env = trust_env
        self.auth = _without_netrc
        for scheme in ('http://', 'https://'):
            self.mount(scheme, _Adapter() if allow_private else _PublicAdapter())

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Drop the credentials where a redirect leads elsewhere; requests would look into `.netrc` again."""
        stranger: bool = self.should_strip_auth(response.request.url, prepared_request.url)  # type: ignore[no-untyped-call]
        if stranger:
            prepared_request.headers.pop('Authorization', None)


def _without_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """As `auth`, keeps requests from `.netrc`: sends what the caller gave as a header or within the URL."""
    user, password = get_auth_from_url(request.url or '')
    if user and 'Authorization' not in request.headers:
        HTTPBasicAuth(user, password)(request)
    return request


def timed_out(error: Exception) -> bool:
    """Whether it took too long; while a body is read, requests raises a `ConnectionError` for that."""
    reason = error.args[0] if error.args else None
    return isinstance(error, requests.Timeout) or isinstance(reason, ReadTimeoutError)


def reason_of(error: BaseException, token: str | None) -> str:
    """Why a request failed: the innermost cause, which requests wraps several times, and aiohttp once.

    The context of what none of these raised may be an error of the caller's own, who asked while handling it.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (OSError, ValueError, HTTPException)):
            error = cause
        wraps = isinstance(cause, (requests.RequestException, HTTPError))
        cause = cause.__cause__ or (cause.__context__ if wraps else None)
    return printable(str(error) or type(error).__name__, token)


def printable(text: str, token: str | None, most: int = 200) -> str:
    """The start of a reason, without a token; a bad status line may bring any bytes along."""
    return ''.join(one if one.isprintable() else ' ' for one in hidden(text, token)[:most])


def _watched(kind: Any) -> Any:
    """A kind of connection that tells the deadline of its thread which socket to shut."""

    class Watched(kind):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            _watch(self.sock)

        def request(self, *arguments: Any, **named: Any) -> None:
            _watch(self.sock)
            super().request(*arguments, **named)

    return Watched


def _watch(connected: socket.socket | None) -> None:
    deadline: Deadline | None = getattr(_here, 'deadline', None)
    if deadline is not None:
        deadline.watch(connected)


def _public(kind: Any) -> Any:
    """A kind of connection that looks a name up once, and connects to what it found only if all of it is public."""

    class Public(kind):  # type: ignore[misc]
        _dns_host: str

        def _new_conn(self) -> Any:
            name, failure = self._dns_host, None
            try:
                for address in public_addresses(name, self.port):
                    self._dns_host = address
                    try:
                        return super()._new_conn()
                    except (HTTPError, OSError) as error:
                        failure = error
            finally:
                self._dns_host = name  # which certificates are checked against
            raise failure or OSError('the host has no address')

    return Public


def _make_pools_of(manager: Any, *wraps: Callable[[Any], Any]) -> None:
    """Have a pool manager make connections of a kind that is wrapped."""
    for scheme, pool in manager.pool_classes_by_scheme.items():
        connection = pool.ConnectionCls
        for wrap in wraps:
            connection = wrap(connection)
        wrapped = type(pool.__name__, (pool,), {'ConnectionCls': connection})
        manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, scheme: wrapped}


class _Adapter(HTTPAdapter):
    wraps: Sequence[Callable[[Any], Any]] = (_watched,)

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        super().init_poolmanager(*arguments, **named)  # type: ignore[no-untyped-call]
        _make_pools_of(self.poolmanager, *self.wraps)

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **named)  # type: ignore[no-untyped-call]
        if not known:
            _make_pools_of(manager, _watched)
        return manager


class _PublicAdapter(_Adapter):
    wraps = (_public, _watched)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> requests.Response:
        if select_proxy(request.url or '', named.get('proxies')):  # type: ignore[no-untyped-call]
            with suppress(OSError):  # a name that only the proxy knows
                public_addresses(parse_url(request.url or '').host or '', None)
        return super().send(request, *arguments, **named)
