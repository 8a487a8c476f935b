"""A model, and the tasks it is asked to do."""

from __future__ import annotations

import functools
import sys
import warnings
from typing import TYPE_CHECKING, Any, Iterable, Sequence, Union

from docarray import Document, DocumentArray

from ._checks import check_options, check_parameters
from ._drivers import drive
from ._exchange import Exchange
from ._plugins import plugins
from .errors import InferenceError, InputError, TaskFallbackWarning, TransportError, UnsupportedTaskError

if TYPE_CHECKING:
    from ._messages import Request, Response
    from ._spec import ModelSpec
    from .tasks.base import Call, Task
    from .transports.base import Transport

BATCH_SIZE = 32
PREFETCH = 4
TIMEOUT = 120.0  # seconds

Docs = Union[Document, Iterable[Document]]


class Model:
    """One model, reached by one transport. `Client.get_model` makes it; threads may share it.

    Every task takes its inputs by keyword, and besides:

    - `batch_size`: documents in a request (32).
    - `prefetch`: requests under way at once (4).
    - `timeout`: seconds for each request (120); a model in this process is not interrupted.
    - `strict`: raise `UnsupportedTaskError` where a fallback would run (False).

    All other keywords travel to the model as parameters. Every task returns a `DocumentArray` in input
    order, and raises an `InferenceError` whose `completed` holds what was answered until then.

    Attributes:
        spec: the model's name, endpoints and tasks.
        url: the endpoint in use.
    """

    def __init__(self, spec: ModelSpec, transport: Transport) -> None:
        self.spec = spec
        self.url = transport.url
        self._transport = transport

    def __repr__(self) -> str:
        return f'Model({self.spec.name!r}, url={self.url!r})'

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __dir__(self) -> list[str]:
        tasks = (one.name for one in plugins().listed('task') if one.name.isidentifier())
        return sorted({*super().__dir__(), *tasks})

    def __getattr__(self, name: str) -> Any:
        """A plugin's task as a method."""
        if name.startswith('_') or not plugins().has('task', name):
            raise AttributeError(f'{type(self).__name__} has no attribute or task {name!r}')
        return functools.partial(self.run, name)

    def close(self) -> None:
        """Close the connection. The next call opens it anew."""
        self._transport.close()

    def encode(
        self,
        *,
        text: str | Iterable[str] | None = None,
        image: Any = None,
        docs: Docs | None = None,
        **options: Any,
    ) -> DocumentArray:
        """Embed texts or images; give one of the three.

        Args:
            text: a text, or an iterable of texts.
            image: a path, http(s) URL, data URI, bytes, binary file, PIL image, or uint8 array or tensor (HWC or
                CHW), or an iterable of these.
            docs: documents with text, uri, blob or tensor, mixed as you like.
            options: see the class.

        Returns:
            A document for each input, its embedding in `.embedding`: float32 of shape (d,).
        """
        return self.run('encode', text=text, image=image, docs=docs, **options)

    def rank(
        self, *, reference: Any = None, candidates: Any = None, docs: Docs | None = None, **options: Any
    ) -> DocumentArray:
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
        """
        return self.run('rank', reference=reference, candidates=candidates, docs=docs, **options)

    def caption(self, *, image: Any = None, docs: Docs | None = None, **options: Any) -> DocumentArray:
        """Describe images. Models other than BLIP-2 encode them instead, with a `TaskFallbackWarning`.

        Args:
            image: as in `encode`.
            docs: documents with uri, blob or tensor.
            options: see the class.

        Returns:
            A document for each image, its caption in `tags['response']`.
        """
        return self.run('caption', image=image, docs=docs, **options)

    def vqa(
        self,
        *,
        image: Any = None,
        question: str | Sequence[str] | None = None,
        docs: Docs | None = None,
        **options: Any,
    ) -> DocumentArray:
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
        return self.run('vqa', image=image, question=question, docs=docs, **options)

    def run(
        self,
        task: str,
        /,
        *,
        batch_size: int = BATCH_SIZE,
        prefetch: int = PREFETCH,
        timeout: float = TIMEOUT,
        strict: bool = False,
        **arguments: Any,
    ) -> DocumentArray:
        """Run a task by name, a plugin's as well as the four.

        Raises:
            InputError: the arguments do not go together, or one of them is of no use.
            UnsupportedTaskError: the model cannot do the task.
            TransportError: one of its subclasses: the server cannot be reached or reported a failure.
        """
        done: list[Document] = []
        try:
            check_options(batch_size, prefetch, timeout)
            asked: Task = plugins().get('task', task)()
            given = asked.prepare(**arguments)
            check_parameters(given.parameters)
            chosen = self._supported(asked, strict)
            exchange = self._exchange(chosen, given, batch_size, prefetch)
            for document in drive(exchange, functools.partial(self._send, timeout=timeout), prefetch):
                done.append(document)
        except InferenceError as error:
            error.url = error.url or self.url
            error.task = error.task or task
            error.completed = DocumentArray(done)
            error.redact(self._transport.options.token)
            raise
        return DocumentArray(done)

    def _send(self, request: Request, timeout: float) -> Response:
        try:
            return self._transport.send(request, timeout)
        except InferenceError:
            raise
        except Exception as error:  # a transport may be somebody's code
            raise TransportError(f'the transport raised {type(error).__name__}: {error}') from error

    def _exchange(self, task: Task, call: Call, batch_size: int, prefetch: int) -> Exchange:
        exchange = Exchange(call.documents, task.endpoint, call.parameters, batch_size, prefetch, task.accept)
        if exchange.exhausted:
            raise InputError(f'nothing to {task.name}: the input is empty; give at least one item')
        return exchange

    def _supported(self, task: Task, strict: bool) -> Task:
        """The task itself if the model can do it, else its fallback."""
        if self.spec.supports(task):
            return task
        fallback: Task | None = plugins().get('task', task.fallback)() if task.fallback else None
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


def _caller_level() -> int:
    """`stacklevel` of the caller's own line, for a warning in the function that asks for it."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals['__name__'].startswith(__package__):
        level, frame = level + 1, frame.f_back
    return level
