"""The driver for event loops."""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, AsyncIterator

from ._drivers import Explain, Observe, answer_to, paused

if TYPE_CHECKING:
    from docarray import Document

    from ._exchange import Exchange
    from ._messages import Request
    from ._policies import Timeouts
    from ._source import AsyncSource
    from .transports.base import AsyncTransport


async def drive_async(
    exchange: Exchange, source: AsyncSource, transport: AsyncTransport, explain: Explain, observe: Observe
) -> AsyncIterator[list[Document]]:
    """As `drive`, in an event loop: each request is a task, but for one that is alone."""
    flights = _Tasks(exchange, source, transport, explain)
    try:
        while True:
            over = exchange.over  # before the caller has its turn, in which the last answers may come
            ready = exchange.take()
            if ready:
                with paused(exchange):
                    yield ready
            if not over:
                await flights.turn()
            for finished in exchange.take_finished():
                with paused(exchange):
                    observed = observe(finished)
                    if inspect.isawaitable(observed):
                        await observed
            if over:
                break
    finally:
        await flights.close()
    if exchange.failure is not None:
        yield exchange.take_rest()
        raise exchange.failure


class _Tasks:
    """The tasks of one exchange: requests under way, and the input that is being pulled."""

    def __init__(self, exchange: Exchange, source: AsyncSource, transport: AsyncTransport, explain: Explain) -> None:
        self._exchange = exchange
        self._source = source
        self._transport = transport
        self._explain = explain
        self._running: set[asyncio.Task[None]] = set()
        self._feeding: asyncio.Task[None] | None = None

    async def turn(self) -> None:
        """Pull what is wanted, send what may be sent, and wait for one of these to end."""
        exchange = self._exchange
        if exchange.wanted and self._feeding is None:
            if self._source.quick:
                await self._source.feed_async(exchange)
            else:
                self._feeding = asyncio.ensure_future(self._source.feed_async(exchange))
        few = self._source.ended and exchange.fed <= exchange.batch_size
        while True:
            now = time.monotonic()
            request = exchange.next_request(now)
            if request is None:
                break
            sending = self._send(request, exchange.timeouts(request, now))
            if few and not self._running and exchange.single and request.trace is None:
                await sending
            else:
                self._running.add(asyncio.ensure_future(sending))
        if not (exchange.wanted and self._source.quick):
            await self._wait()

    async def close(self) -> None:
        """Cancel what is still under way."""
        tasks = [*self._running, *([self._feeding] if self._feeding else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self) -> None:
        due = self._exchange.wait(time.monotonic())
        tasks = {*self._running, *([self._feeding] if self._feeding else [])}
        if tasks:
            done, _ = await asyncio.wait(tasks, timeout=due, return_when=asyncio.FIRST_COMPLETED)
            self._running -= done
            if self._feeding in done:
                self._feeding = None
            for task in done:
                task.result()  # raises what is no failure of a request
        elif due is not None:
            await asyncio.sleep(due)

    async def _send(self, request: Request, timeouts: Timeouts) -> None:
        try:
            with request.trace or nullcontext():
                response = answer_to(request, await self._transport.send(request, timeouts))
        except Exception as error:  # noqa: BLE001 - a transport may be somebody's code
            self._exchange.fail(request.id, self._explain(error), time.monotonic())
        else:
            self._exchange.receive(response, time.monotonic())
