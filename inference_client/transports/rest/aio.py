"""REST in an event loop."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from ..._messages import Request, Response
from ..._policies import Timeouts
from ..._spec import Capabilities
from ..._wire.status import wait_of
from ...errors import no_answer
from ..base import TransportOptions
from ..http_aio import AsyncHttpTransport, off_the_loop, weight
from .address import Address
from .dialect import Dialect
from .http import HttpAnswer, HttpCall, Steps
from .limits import Pace
from .transport import advance, carrying


class AsyncRestTransport(AsyncHttpTransport):
    """As `RestTransport`."""

    def __init__(self, url: str, options: TransportOptions, address: Address, dialect: Dialect) -> None:
        super().__init__(url, options, address)
        self._dialect = dialect
        self._pace = Pace()

    async def send(self, request: Request, timeouts: Timeouts) -> Response:
        steps = carrying(self._dialect.run(request), request.headers)
        return Response(request.id, await self._run(steps, timeouts, weight(request)))

    async def is_ready(self, timeouts: Timeouts) -> bool:
        ready: bool = await self._run(self._dialect.ready(), timeouts)
        return ready

    async def capabilities(self, timeouts: Timeouts) -> Capabilities:
        found: Capabilities = await self._run(self._dialect.capabilities(), timeouts)
        return found

    async def _run(self, steps: Steps[Any], timeouts: Timeouts, size: int = 0) -> Any:
        """Go through the steps; `size` is about how many bytes there are to encode for each call."""
        end = time.monotonic() + timeouts.read
        step = await off_the_loop(size, advance, steps, None)
        while isinstance(step, HttpCall):
            answer = await self._call(step, timeouts.within(end - time.monotonic()), timeouts.read)
            step = await off_the_loop(size + len(answer.content), advance, steps, answer)
        return step.value

    async def _call(self, call: HttpCall, timeouts: Timeouts, seconds: float) -> HttpAnswer:
        end = time.monotonic() + timeouts.read
        await asyncio.sleep(self._pace.pause(timeouts.read, call))
        await self._wait(end, seconds)
        status, after = 0, None
        try:
            left = timeouts.within(end - time.monotonic())
            got = await self._request(call.method, call.path, call.data or None, left, call.headers, seconds)
            status, after = got.status, wait_of(got.headers)
        finally:
            self._pace.leave(status, after)
        return HttpAnswer(status, got.headers, got.content, self.options.token)

    async def _wait(self, end: float, seconds: float) -> None:
        """Wait until a call may begin, at most to the end of the seconds that were given."""
        while True:
            left = max(end - time.monotonic(), 0.001)  # as `Deadline.left`
            await asyncio.sleep(self._pace.pause(left))
            await self._enter(end - time.monotonic(), seconds)
            if not self._pace.turned_back():
                return

    async def _enter(self, left: float, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        begun = asyncio.Event()
        wake = partial(loop.call_soon_threadsafe, begun.set)
        if self._pace.enter(wake):
            return
        try:
            await asyncio.wait_for(begun.wait(), left)
        except BaseException as error:
            self._pace.give_up(wake)
            if isinstance(error, asyncio.TimeoutError):
                raise no_answer(seconds) from error
            raise
