"""The same client and models for event loops."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, TypeVar, overload

from docarray import Document, DocumentArray

from ._again import again_async
from ._base_client import BaseClient
from ._calls import Tasks
from ._directory import find_model_async, list_models_async
from ._drivers import answer_to
from ._drivers_aio import drive_async
from ._login import login_in_browser
from ._policies import RETRY, TIMEOUTS, Backoff, timeouts_of
from ._source import AsyncIterableSource, AsyncSource
from .client import Client
from .errors import AuthenticationError, TransportError
from .model import Model

if TYPE_CHECKING:
    from ._config import Settings
    from ._policies import RetryPolicy, Timeouts
    from ._profile import Profile
    from ._run import Run
    from ._spec import Capabilities, ModelSpec
    from .tasks.base import Task
    from .transports.base import AsyncTransport

A = TypeVar('A')
C = TypeVar('C')
R = TypeVar('R')


def _documented_as(other: type) -> Callable[[type[C]], type[C]]:
    """Give a class and its methods the docstrings of their blocking counterparts."""

    def decorate(own: type[C]) -> type[C]:
        for name, value in vars(own).items():
            if callable(value) and not value.__doc__ and not name.startswith('_'):
                value.__doc__ = getattr(other, name).__doc__
        return own

    return decorate


@_documented_as(Model)
class AsyncModel(Tasks[Awaitable[DocumentArray]]):
    """`Model` for event loops: the same tasks, options and errors, to be awaited.

    `await model.encode(text='hello')`, `async for document in model.stream('encode', texts)`. Requests go out on
    native asynchronous connections, and inputs that take reading or decoding are made ready in a thread. A model
    may be used by many tasks of a loop, and by several loops one after the other. Inputs of `stream` may be an
    asynchronous iterable, and callbacks may be coroutine functions.

    Attributes:
        spec: the model's name, endpoints and tasks.
        url: the endpoint in use.
    """

    _awaits = True

    def __init__(
        self,
        spec: ModelSpec,
        transport: AsyncTransport,
        timeouts: Timeouts = TIMEOUTS,
        retry: RetryPolicy = RETRY,
    ) -> None:
        super().__init__(spec, transport, timeouts, retry)
        self._transport = transport

    async def __aenter__(self) -> AsyncModel:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    @overload
    async def run(self, task: str, /, **arguments: Any) -> DocumentArray: ...

    @overload
    async def run(self, task: type[Task[R]], /, **arguments: Any) -> R: ...

    async def run(self, task: Any, /, **arguments: Any) -> Any:
        done: list[Document] = []
        with self._explained(task, done), self._begin(task, arguments) as run:
            answers = self._driven(run, AsyncSource(run.call.documents, run.skips, run.trust_env, run.call.in_memory))
            try:
                async for ready in answers:
                    done += ready
            finally:
                await answers.aclose()
            return run.result(done)

    def stream(
        self, task: str | type[Task[Any]], inputs: Iterable[Any] | AsyncIterable[Any], /, **arguments: Any
    ) -> AsyncIterator[Document]:
        with self._explained(task):
            if not isinstance(inputs, AsyncIterable):
                run = self._begin(task, arguments, inputs)
                source = AsyncSource(run.call.documents, run.skips, run.trust_env, run.call.in_memory)
            else:
                run = self._begin(task, arguments, ())
                run.total = None
                source = AsyncIterableSource(inputs, run.prepare_more, run.skips, run.trust_env)
            return self._streamed(task, run, source)

    async def is_ready(self, timeout: float | Timeouts | None = None) -> bool:
        try:
            return await self._asked(timeout)
        except TransportError:
            return False

    async def wait_until_ready(self, timeout: float = 60.0) -> None:
        with self._explained('wait'):
            waiting = Backoff(timeout)
            while True:
                try:
                    if await self._asked(waiting.left):
                        return
                    waiting.failed(None)
                except TransportError as error:
                    waiting.failed(error)
                await asyncio.sleep(waiting.pause)

    async def capabilities(self, timeout: float | Timeouts | None = None) -> Capabilities:
        async def ask(left: float) -> Capabilities:
            with self._explained('capabilities'):
                return await self._transport.capabilities(limits.within(left))

        with self._explained('capabilities'):
            limits = timeouts_of(timeout, self._timeouts)
            return self._completed(await again_async(ask, self._retry, limits.total))

    async def profile(
        self,
        task: str | type[Task[Any]] = 'encode',
        inputs: Iterable[Any] | None = None,
        /,
        *,
        rounds: int = 5,
        timeout: float | Timeouts | None = None,
        **arguments: Any,
    ) -> Profile:
        with self._explained(task):
            reading = partial(self._probe, task, inputs, rounds, arguments)
            probe = await asyncio.get_running_loop().run_in_executor(None, reading)
            for request in probe:
                probe.answered(answer_to(request, await self._transport.send(request, self._limits(timeout))))
            return probe.profile()

    async def _asked(self, timeout: float | Timeouts | None) -> bool:
        with self._explained('is_ready'):
            return await self._transport.is_ready(self._limits(timeout))

    def _driven(self, run: Run, source: AsyncSource) -> Any:
        return drive_async(run.exchange, source, self._transport, self._explain, run.observer)

    async def _streamed(self, task: str | type[Task[Any]], run: Run, source: AsyncSource) -> AsyncIterator[Document]:
        with self._explained(task), run:
            answers = self._driven(run, source)
            try:
                async for ready in answers:
                    for document in ready:
                        yield document
            finally:
                await answers.aclose()


@_documented_as(Client)
class AsyncClient(BaseClient[AsyncModel]):
    """`Client` for event loops: finds each `AsyncModel` by name or URL, and keeps it.

    Takes the arguments of `Client`.
    """

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        for model in self._take_models():
            await model.close()

    async def get_model(self, name: str | None = None, *, protocol: str | None = None) -> AsyncModel:
        spec = self._known_spec(name)
        if spec is None and name is not None:
            spec = self._remember(name, await self._asked(partial(find_model_async, name)))
        assert spec is not None
        return self._model(spec, protocol)

    async def list_models(self) -> list[ModelSpec]:
        return await self._asked(list_models_async) if self._settings.api_endpoint else self._local_specs()

    def _bind(self, spec: ModelSpec, url: str) -> AsyncModel:
        transport = self._transport(url).asynchronous(url, self._options(spec))
        return AsyncModel(spec, transport, self._timeouts, self._retry)

    async def _asked(self, ask: Callable[[Settings, float], Awaitable[A]]) -> A:
        def ask_again() -> Awaitable[A]:
            return again_async(partial(ask, self._settings), self._retry, self._timeouts.total)

        try:
            return await ask_again()
        except AuthenticationError:
            if self._settings.token:
                raise
            loop = asyncio.get_running_loop()
            settings = await loop.run_in_executor(None, login_in_browser, self._settings)
            if settings is None:
                raise
            self._settings = settings
            return await ask_again()
