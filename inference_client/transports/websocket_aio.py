"""WebSocket in an event loop: one connection for all tasks of the loop."""

from __future__ import annotations

import asyncio

from .._messages import Request, Response
from .._policies import Timeouts
from .._spec import Capabilities
from .._wire.protobuf import encode_request, read_response
from ..errors import no_answer
from ._http_shared import as_http
from ._loops import PerLoop
from ._websocket_link import Link, Links
from .base import AsyncTransport, TransportOptions, split_url
from .http_aio import AsyncHttpTransport


class AsyncWebSocketTransport(AsyncTransport):
    """`ws://` and `wss://`, on the connection that threads share, but in the caller's loop."""

    def __init__(self, url: str, options: TransportOptions) -> None:
        super().__init__(url, options)
        split_url(url)
        self._links: PerLoop[Links] = PerLoop(Links, _close)
        self._http = AsyncHttpTransport(as_http(url), options)

    async def send(self, request: Request, timeouts: Timeouts) -> Response:
        data = encode_request(request)
        links = await self._links.get()
        link: Link = links.current(lambda: _TaskLink(self.url, self.options, timeouts.connect))
        answer = asyncio.wrap_future(link.ask(request.id, data))
        try:
            return read_response(await asyncio.wait_for(answer, timeouts.read))
        except asyncio.TimeoutError as error:
            raise no_answer(timeouts.read) from error

    async def is_ready(self, timeouts: Timeouts) -> bool:
        return await self._http.is_ready(timeouts)

    async def capabilities(self, timeouts: Timeouts) -> Capabilities:
        return await self._http.capabilities(timeouts)

    async def close(self) -> None:
        await self._links.close()
        await self._http.close()


class _TaskLink(Link):
    """A connection on the running loop."""

    def __init__(self, url: str, options: TransportOptions, connect_timeout: float) -> None:
        super().__init__(url, options, connect_timeout, asyncio.get_running_loop())
        self.task = asyncio.ensure_future(self.run())

    @property
    def alive(self) -> bool:
        return not self.task.done()


async def _close(links: Links) -> None:
    await asyncio.gather(*(link.task for link in links.stop()))
