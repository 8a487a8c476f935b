"""WebSocket: one connection shared by all threads; answers are told apart by their request's id.

    send() of any thread ──ask()──▶ event loop on the link's thread ──▶ server
                         ◀─Future──                                 ◀──

It sends and receives at the same time, and no caller waits beyond its own deadline, whatever the server does.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from concurrent import futures
from contextlib import closing
from typing import TYPE_CHECKING, Any

from .._messages import Request, Response
from .._policies import Timeouts
from .._spec import Capabilities
from .._wire.protobuf import encode_request, read_response
from ..errors import no_answer
from ._http_shared import as_http
from ._websocket_link import Link, Links
from .base import AsyncTransport, Transport, TransportOptions, split_url

if TYPE_CHECKING:
    from .http import HttpTransport


class WebSocketTransport(Transport):
    """`ws://host:port` and `wss://host:port`."""

    def __init__(self, url: str, options: TransportOptions) -> None:
        super().__init__(url, options)
        split_url(url)
        self._links = Links()
        weakref.finalize(self, self._links.stop)

    @classmethod
    def asynchronous(cls, url: str, options: TransportOptions) -> AsyncTransport:
        """The same, in the caller's event loop."""
        from .websocket_aio import AsyncWebSocketTransport

        return AsyncWebSocketTransport(url, options)

    def send(self, request: Request, timeouts: Timeouts) -> Response:
        deadline = time.monotonic() + timeouts.read
        answer = self.submit(request, timeouts)
        try:
            return self.read(answer.result(max(0.0, deadline - time.monotonic())))
        except futures.TimeoutError as error:
            raise no_answer(timeouts.read) from error
        finally:
            answer.cancel()

    def submit(self, request: Request, timeouts: Timeouts) -> futures.Future[Any]:
        data = encode_request(request)
        link = self._links.current(lambda: _ThreadedLink(self.url, self.options, timeouts.connect))
        return link.ask(request.id, data)  # type: ignore[no-any-return]

    def read(self, answer: Any) -> Response:
        return read_response(answer)

    def is_ready(self, timeouts: Timeouts) -> bool:
        with self._over_http() as http:
            return http.is_ready(timeouts)

    def capabilities(self, timeouts: Timeouts) -> Capabilities:
        with self._over_http() as http:
            return http.capabilities(timeouts)

    def close(self) -> None:
        for link in self._links.stop():
            link.thread.join()

    def _over_http(self) -> closing[HttpTransport]:
        """A transport to the HTTP server on the same port, for a question or two."""
        from .http import HttpTransport

        return closing(HttpTransport(as_http(self.url), self.options))


class _ThreadedLink(Link):
    """A connection on an event loop in a thread of its own, which ends with it."""

    def __init__(self, url: str, options: TransportOptions, connect_timeout: float) -> None:
        super().__init__(url, options, connect_timeout, asyncio.new_event_loop())
        self.thread = threading.Thread(target=self._run, name='inference-client-websocket', daemon=True)
        self.thread.start()

    @property
    def alive(self) -> bool:
        return self.thread.is_alive()  # False in a forked process, too

    def _run(self) -> None:
        with closing(self._loop):
            self._loop.run_until_complete(self.run())
            self._loop.run_until_complete(_sweep())


async def _sweep() -> None:
    """End what is left on the loop, for it is about to be closed."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # for what the loop still has to close
