"""Blocking and asynchronous clients behind one face, so that one test runs on both.

`LoopedClient` is used like `Client`, and runs an `AsyncClient` in a loop, which must have nothing left at the end.
"""

from __future__ import annotations

import asyncio
import inspect
import threading

from inference_client import AsyncClient, Client


class Loop:
    """An event loop in a thread of its own.

    Attributes:
        problems: what the loop was told that nobody handled.
    """

    def __init__(self):
        self.problems = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._note)
        self._thread = threading.Thread(target=self._loop.run_forever, name='test-loop')
        self._thread.start()

    def run(self, function, *arguments, **named):
        """What a function, or the coroutine that it gives, comes to in the loop."""

        async def call():
            result = function(*arguments, **named)
            return await result if inspect.isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def _note(self, _, context):
        ours = 'PollerCompletionQueue' not in context['message'] or not isinstance(
            context.get('exception'), BlockingIOError
        )
        if ours:  # gRPC wakes all its loops for an event of one (grpc/grpc#25364), which costs nothing
            self.problems.append(context)

    def close(self):
        left = self.run(lambda: asyncio.all_tasks() - {asyncio.current_task()})
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        assert not left
        assert not self.problems, self.problems


class LoopedModel:
    def __init__(self, model, loop):
        self._model, self._loop = model, loop

    def __repr__(self):
        return repr(self._model)

    def __getattr__(self, name):
        value = getattr(self._model, name)
        if name.startswith('_') or not callable(value):
            return value
        return lambda *arguments, **named: self._loop.run(value, *arguments, **named)

    def stream(self, *arguments, **named):
        answers = self._loop.run(self._model.stream, *arguments, **named)
        try:
            while True:
                yield self._loop.run(answers.__anext__)
        except StopAsyncIteration:
            return
        finally:
            self._loop.run(answers.aclose)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class LoopedClient:
    def __init__(self, *arguments, **named):
        self._client = AsyncClient(*arguments, **named)
        self._loop = Loop()

    def __repr__(self):
        return repr(self._client)

    def get_model(self, *arguments, **named):
        return LoopedModel(self._loop.run(self._client.get_model, *arguments, **named), self._loop)

    def list_models(self):
        return self._loop.run(self._client.list_models)

    def close(self):
        self._loop.run(self._client.close)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.close()
        finally:
            self._loop.close()


DOORS = {'blocking': Client, 'async': LoopedClient}
