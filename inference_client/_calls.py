"""What blocking and asynchronous models share: the tasks as methods, and how a call is set up."""

from __future__ import annotations

import functools
import sys
import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, Iterable, Iterator, Sequence, TypeVar, Union

from docarray import Document, DocumentArray

from ._checks import check_parameters
from ._fetch import trusting_environment
from ._inputs import several
from ._options import Options, split
from ._plan import Plan
from ._plugins import plugins
from ._policies import timeouts_of
from ._profile import Probe
from ._progress import total_of
from ._run import Run
from ._telemetry import begin
from .errors import InferenceError, InputError, TaskFallbackWarning, TransportError, UnsupportedTaskError, not_picklable

if TYPE_CHECKING:
    from ._policies import RetryPolicy, Timeouts
    from ._spec import Capabilities, ModelSpec
    from .tasks.base import Task
    from .transports.base import AsyncTransport, Transport

Docs = Union[Document, Iterable[Document]]
A = TypeVar('A')


class Tasks(Generic[A]):
    """The tasks as methods. A subclass runs them; `A` is what they return."""

    _awaits = False  # whether callbacks may be coroutine functions

    def __init__(
        self, spec: ModelSpec, transport: Transport | AsyncTransport, timeouts: Timeouts, retry: RetryPolicy
    ) -> None:
        self.spec = spec
        self.url = transport.url
        self._options = transport.options
        self._timeouts = timeouts
        self._retry = retry

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.spec.name!r}, url={self.url!r})'

    def __reduce__(self) -> Any:
        raise not_picklable(self)

    def __dir__(self) -> list[str]:
        tasks = (one.name for one in plugins().listed('task') if one.name.isidentifier())
        return sorted({*super().__dir__(), *tasks})

    def __getattr__(self, name: str) -> Any:
        """A plugin's task as a method."""
        if name.startswith('_') or not plugins().has('task', name):
            raise AttributeError(f'{type(self).__name__} has no attribute or task {name!r}')
        return functools.partial(self.run, name)

    def run(self, task: Any, /, **arguments: Any) -> Any:
        """Run a task: see the subclasses."""
        raise NotImplementedError

    def encode(
        self,
        *,
        text: str | Iterable[str] | None = None,
        image: Any = None,
        docs: Docs | None = None,
        **options: Any,
    ) -> A:
        """Embed texts or images; give one of the three.

        Args:
            text: a text, or an iterable of texts.
            image: a path, http(s) URL, data URI, bytes, binary file, PIL image, or uint8 array or tensor (HWC or
                CHW), or an iterable of these.
            docs: documents with text, uri, blob or tensor, mixed as you like.
            options: see the class.

        Returns:
            A document for each input, its embedding in `.embedding`, float32 of shape (d,).
        """
        return self._call('encode', text=text, image=image, docs=docs, **options)

    def rank(self, *, reference: Any = None, candidates: Any = None, docs: Docs | None = None, **options: Any) -> A:
        """Order candidates by how well they go with a reference, texts and images alike.

        Args:
            reference: a text or an image. A string is an image if it has an image's file name ending or is a
                data URI of one, else text; `Text(...)` and `Image(...)` say which.
            candidates: a list of the same.
            docs: in place of the two: documents with their candidates in `.matches`.
            options: see the class.

        Returns:
            A document for each reference, its `.matches` best first, with `scores['clip_score']` (softmax
            over the candidates, of 100 times the cosine) and `scores['clip_score_cosine']` (from -1 to 1).
            A reranker gives `scores['relevance_score']` in place of the cosine, and the softmax of that.
        """
        return self._call('rank', reference=reference, candidates=candidates, docs=docs, **options)

    def caption(self, *, image: Any = None, docs: Docs | None = None, **options: Any) -> A:
        """Describe images. Models other than BLIP-2 encode them instead, with a `TaskFallbackWarning`.

        Args:
            image: as in `encode`.
            docs: documents with uri, blob or tensor.
            options: see the class.

        Returns:
            A document for each image, its caption in `tags['response']`.
        """
        return self._call('caption', image=image, docs=docs, **options)

    def vqa(
        self,
        *,
        image: Any = None,
        question: str | Sequence[str] | None = None,
        docs: Docs | None = None,
        **options: Any,
    ) -> A:
        """Answer questions about images. Models other than BLIP-2 encode the images instead, with a warning.

        Args:
            image: as in `encode`.
            question: 'Question: ... Answer:', which is put around a plain question; one for all images, or a
                list with one for each.
            docs: documents with uri, blob or tensor, and the question in `tags['prompt']`.
            options: see the class.

        Returns:
            A document for each image, its answer in `tags['response']`.
        """
        return self._call('vqa', image=image, question=question, docs=docs, **options)

    def _call(self, task: str, /, **arguments: Any) -> A:
        called: A = self.run(task, **arguments)
        return called

    def _begin(self, task: str | type[Task[Any]], arguments: dict[str, Any], inputs: Any = None) -> Run:
        """Set a call up; `inputs` are those of a stream. Nothing is sent or opened yet."""
        options, rest = split(arguments)
        options.check_callbacks(self._awaits)
        if inputs is None and not options.ordered:
            raise InputError('ordered=False goes with stream: a task gives its answers in input order')
        asked: Task[Any] = _task(task)
        with trusting_environment(self._options.trust_env):
            call = asked.prepare(**rest) if inputs is None else asked.prepare_stream(several(inputs), **rest)
        check_parameters(call.parameters)
        run = Run(self._supported(asked, options.strict), call, options, self.spec.name, self._plan(options))
        run.begin_trace = functools.partial(begin, run.task.name, self.spec, self.url)
        run.awaits = self._awaits
        run.keeps = inputs is None
        run.trust_env = self._options.trust_env
        run.total = total_of(rest if inputs is None else {'inputs': inputs})
        run.prepare_more = lambda more: asked.prepare_stream(more, **rest).documents
        return run

    def _probe(self, task: str | type[Task[Any]], inputs: Any, rounds: int, arguments: dict[str, Any]) -> Probe:
        """Set a profile up; reads the inputs."""
        asked = _task(task)
        if inputs is None and asked.name != 'encode':
            raise InputError(f'nothing to {asked.name}: give at least one item')
        with trusting_environment(self._options.trust_env):
            call = asked.prepare_stream(('hello world',) if inputs is None else several(inputs), **arguments)
            check_parameters(call.parameters)
            return Probe(self.url, self._supported(asked, True), call, rounds, self._options.token)

    def _plan(self, options: Options) -> Plan:
        return Plan(
            batch_size=options.batch_size,
            window=options.prefetch,
            ordered=options.ordered,
            return_errors=options.on_item_error == 'return',
            retry=options.retry or self._retry,
            timeouts=timeouts_of(options.timeout, self._timeouts),
        )

    def _limits(self, timeout: float | Timeouts | None) -> Timeouts:
        limits = timeouts_of(timeout, self._timeouts)
        return limits.within(limits.total)

    def _completed(self, found: Capabilities) -> Capabilities:
        """What the transport could tell; of tasks, what the model directory knows, for calls go by that."""
        return found if self.spec.tasks is None else replace(found, tasks=self.spec.tasks)

    def _supported(self, task: Task[Any], strict: bool) -> Task[Any]:
        """The task itself if the model can do it, else its fallback."""
        if self.spec.supports(task):
            return task
        fallback: Task[Any] | None = plugins().get('task', task.fallback)() if task.fallback else None
        if strict or fallback is None or not self.spec.supports(fallback):
            offered = f': it offers {", ".join(sorted(self.spec.tasks))}' if self.spec.tasks else ''
            raise UnsupportedTaskError(f'model {self.spec.name!r} cannot {task.name}{offered}')
        warnings.warn(
            f'model {self.spec.name!r} cannot {task.name}, so it runs {fallback.name} instead; '
            'strict=True makes this an error',
            TaskFallbackWarning,
            stacklevel=_caller_level(),
        )
        return fallback

    def _explain(self, error: Exception) -> InferenceError:
        """An error of this package, without the token, for whatever a transport raised."""
        if not isinstance(error, InferenceError):
            cause, error = error, TransportError(f'the transport raised {type(error).__name__}: {error}')
            error.__cause__ = cause
        error.redact(self._options.token)
        return error

    @contextmanager
    def _explained(self, task: str | type[Task[Any]], done: list[Document] | None = None) -> Iterator[None]:
        """Add to an error what is known here: the task, the URL, and what was done."""
        try:
            yield
        except InferenceError as error:
            error.url = error.url or self.url
            error.task = error.task or (task if isinstance(task, str) else getattr(task, 'name', repr(task)))
            if done is not None:
                error.completed = DocumentArray(done)
            error.redact(self._options.token)
            raise


def _task(task: str | type[Task[Any]]) -> Task[Any]:
    if isinstance(task, str):
        named: Task[Any] = plugins().get('task', task)()
        return named
    from .tasks.base import Task as Base

    if not (isinstance(task, type) and issubclass(task, Base)):
        raise InputError(f'the task is {task!r}: expected its name, or a subclass of Task')
    return task()


def _caller_level() -> int:
    """`stacklevel` of the caller's own line, for a warning in the function that asks for it."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and f'{frame.f_globals.get("__name__")}.'.startswith(f'{__package__}.'):
        level, frame = level + 1, frame.f_back
    return level
