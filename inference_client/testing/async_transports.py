"""What transports must keep to in event loops, as a class of tests to subclass."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import CancelledError
from typing import Any, Iterator

import pytest

from .._messages import Request
from .._policies import RetryPolicy, Timeouts
from .._spec import ModelSpec
from ..aio import AsyncModel
from ..transports.base import AsyncTransport, TransportOptions
from ._transport_kit import TOKEN, Connect, task_at, texts_of
from .transports import TransportConformance


class AsyncTransportConformance(TransportConformance):
    """The same through the asynchronous door, `transport_class.asynchronous`, on one event loop; and some more."""

    @pytest.fixture
    def connect(self) -> Iterator[Connect]:
        with _Loop() as loop:
            made: list[_FromThreads] = []

            def make(url: str) -> _FromThreads:
                made.append(_FromThreads(loop, self._class(url).asynchronous(url, TransportOptions(token=TOKEN))))
                return made[-1]

            yield make
            for one in made:
                one.close()

    def test_a_request_may_be_cancelled(self, transport: Any) -> None:
        """It raises nothing but `CancelledError`, and the transport goes on."""
        slow = self._slow()

        async def cancelled() -> None:
            task = asyncio.ensure_future(transport.own.send(self._request('a', **slow), Timeouts().within(30)))
            await asyncio.sleep(0.1)
            task.cancel()
            await task

        self._send(transport, self._request('connected'))
        with pytest.raises((CancelledError, asyncio.CancelledError)):
            transport.loop.run(cancelled())
        assert self._send(transport, self._request('b')).documents[0].text == 'b'

    def test_another_loop_may_use_it(self, url: str) -> None:
        """`asyncio.run` twice with one object, closed by the first loop or left to it."""
        transport = self._class(url).asynchronous(url, TransportOptions())

        async def ask(text: str, close: bool) -> str:
            answer = await transport.send(self._request(text), Timeouts().within(30))
            if close:
                await transport.close()
            found: str = answer.documents[0].text
            return found

        assert [asyncio.run(ask(text, close=text != 'b')) for text in ('a', 'b', 'c')] == ['a', 'b', 'c']

    def _ask_model(self, transport: Any, texts: list[str], **options: Any) -> Any:
        model = AsyncModel(ModelSpec.of_url(transport.url), transport.own, retry=RetryPolicy(attempts=1))
        return transport.loop.run(model.run(task_at(self.endpoint), docs=texts_of(*texts), **options))


class _Loop:
    """An event loop in a thread of its own."""

    def __enter__(self) -> _Loop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._loop.shutdown_asyncgens())
        if sys.version_info >= (3, 9):
            self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)


class _FromThreads:
    """An asynchronous transport, asked by threads as one that blocks."""

    def __init__(self, loop: _Loop, own: AsyncTransport) -> None:
        self.loop, self.own = loop, own
        self.url, self.options = own.url, own.options

    def __repr__(self) -> str:
        return repr(self.own)

    def send(self, request: Request, timeouts: Timeouts) -> Any:
        return self.loop.run(self.own.send(request, timeouts))

    def is_ready(self, timeouts: Timeouts) -> Any:
        return self.loop.run(self.own.is_ready(timeouts))

    def capabilities(self, timeouts: Timeouts) -> Any:
        return self.loop.run(self.own.capabilities(timeouts))

    def close(self) -> None:
        self.loop.run(self.own.close())
