"""A model, and the tasks it is asked to do."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generator, Iterable, Iterator, TypeVar, overload

from docarray import Document, DocumentArray

from ._again import again
from ._calls import Tasks
from ._drivers import answer_to, drive
from ._policies import RETRY, TIMEOUTS, Backoff, timeouts_of
from ._source import Source
from .errors import TransportError

if TYPE_CHECKING:
    from ._policies import RetryPolicy, Timeouts
    from ._profile import Profile
    from ._run import Run
    from ._spec import Capabilities, ModelSpec
    from .tasks.base import Task
    from .transports.base import Transport

R = TypeVar('R')


class Model(Tasks[DocumentArray]):
    """One model, reached by one transport. `Client.get_model` makes it; threads may share it.

    Every task takes its inputs by keyword, and besides:

    - `batch_size`: documents in a request (32).
    - `prefetch`: requests under way at once (4).
    - `timeout`: seconds for each request with all its attempts, or `Timeouts` (120); a model in this process is
      not interrupted.
    - `retry`: a `RetryPolicy` (3 attempts where what went wrong may pass).
    - `strict`: raise `UnsupportedTaskError` where a fallback would run (False).
    - `on_item_error`: 'raise', or 'return': an item that cannot be used or answered comes back as a document with
      the reason in `tags['error']`, and costs no other item its answer.
    - `journal`: path of a file that keeps the answers: the same call, killed and made again, sends only what is not
      answered there.
    - `ordered`: False, of a stream only, gives answers in the order in which they come (True).
    - `show_progress`: a bar on standard error, or a line every few seconds where that is no terminal; 'auto' is a bar
      on a terminal once it has taken two seconds (False).
    - `on_done`, `on_error`, `on_always`: functions that are called for each batch that was answered (with its
      documents), that failed for good (with the error), and for both (with its documents), in the calling thread.
      What they return is ignored, and what they raise ends the call.

    All other keywords travel to the model as parameters. Every task returns a `DocumentArray` in input
    order, and raises an `InferenceError` whose `completed` holds what was answered until then.

    Attributes:
        spec: the model's name, endpoints and tasks.
        url: the endpoint in use.
    """

    def __init__(
        self,
        spec: ModelSpec,
        transport: Transport,
        timeouts: Timeouts = TIMEOUTS,
        retry: RetryPolicy = RETRY,
    ) -> None:
        super().__init__(spec, transport, timeouts, retry)
        self._transport = transport

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. The next call opens it anew."""
        self._transport.close()

    @overload
    def run(self, task: str, /, **arguments: Any) -> DocumentArray: ...

    @overload
    def run(self, task: type[Task[R]], /, **arguments: Any) -> R: ...

    def run(self, task: Any, /, **arguments: Any) -> Any:
        """Run a task by name or class, a plugin's as well as the four.

        Args:
            task: its name, or the subclass of `Task`, whose result type checkers then know.
            arguments: the task's inputs, options as in the class, and parameters.

        Raises:
            InputError: the arguments do not go together, or one of them is of no use.
            UnsupportedTaskError: the model cannot do the task.
            TransportError: one of its subclasses: the server cannot be reached or reported a failure.
        """
        done: list[Document] = []
        with self._explained(task, done), self._begin(task, arguments) as run:
            with closing(self._driven(run)) as answers:
                for ready in answers:
                    done += ready
            return run.result(done)

    def stream(self, task: str | type[Task[Any]], inputs: Iterable[Any], /, **arguments: Any) -> Iterator[Document]:
        """Run a task on any number of inputs, and give the answers as they come.

        Inputs are pulled lazily, no further than what may be under way, so memory does not grow with them. What was
        given until an error is the caller's, so that error has no `completed`.

        Args:
            task: its name or class.
            inputs: texts, images or documents: what goes as one item into the task's call. For `rank` documents
                with matches or pairs (reference, candidates), for `vqa` documents with prompts, pairs (image,
                question), or images for a `question=`.
            arguments: options as in the class, and parameters.

        Raises:
            InferenceError: as `run`; what is wrong with the arguments at once, all else while iterating.
        """
        with self._explained(task):
            return self._streamed(task, self._begin(task, arguments, inputs))

    def is_ready(self, timeout: float | Timeouts | None = None) -> bool:
        """Whether the server is up and its model answers.

        Args:
            timeout: seconds to wait for the server to say so.

        Raises:
            AuthenticationError: the server refused the token.
        """
        try:
            return self._asked(timeout)
        except TransportError:
            return False

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until the model answers, asking ever more rarely.

        Args:
            timeout: seconds.

        Raises:
            RequestTimeoutError: it does not by then; its cause is what was wrong the last time.
            AuthenticationError: the server refused the token.
        """
        with self._explained('wait'):
            waiting = Backoff(timeout)
            while True:
                try:
                    if self._asked(waiting.left):
                        return
                    waiting.failed(None)
                except TransportError as error:
                    waiting.failed(error)
                time.sleep(waiting.pause)

    def capabilities(self, timeout: float | Timeouts | None = None) -> Capabilities:
        """What the model can do and take, as far as its server tells; what is None is not known.

        Args:
            timeout: seconds to wait for the server to say so.

        Raises:
            TransportError: the server cannot be asked.
            AuthenticationError: the server refused the token.
        """

        def ask(left: float) -> Capabilities:
            with self._explained('capabilities'):
                return self._transport.capabilities(limits.within(left))

        with self._explained('capabilities'):
            limits = timeouts_of(timeout, self._timeouts)
            return self._completed(again(ask, self._retry, limits.total))

    def profile(
        self,
        task: str | type[Task[Any]] = 'encode',
        inputs: Iterable[Any] | None = None,
        /,
        *,
        rounds: int = 5,
        timeout: float | Timeouts | None = None,
        **arguments: Any,
    ) -> Profile:
        """Where the time of a round trip goes: connecting, sending, in the server and its models, receiving.

        Args:
            task: its name or class.
            inputs: as for `stream`, all in one request; for 'encode' a short text, if nothing is given.
            rounds: round trips after the first, which connects.
            timeout: seconds for each.
            arguments: further ones of the task, and parameters. A request that fails is not sent again.

        Raises:
            InferenceError: as `run`.
        """
        with self._explained(task):
            probe = self._probe(task, inputs, rounds, arguments)
            for request in probe:
                probe.answered(answer_to(request, self._transport.send(request, self._limits(timeout))))
            return probe.profile()

    def _asked(self, timeout: float | Timeouts | None) -> bool:
        with self._explained('is_ready'):
            return self._transport.is_ready(self._limits(timeout))

    def _driven(self, run: Run) -> Generator[list[Document], None, None]:
        source = Source(run.call.documents, run.skips, run.trust_env)
        return drive(run.exchange, source, self._transport, self._explain, run.observer)

    def _streamed(self, task: str | type[Task[Any]], run: Run) -> Iterator[Document]:
        with self._explained(task), run, closing(self._driven(run)) as answers:
            for ready in answers:
                yield from ready
