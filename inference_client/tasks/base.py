"""The interface of tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Iterable, Mapping, Sequence, TypeVar

from ..errors import InputError, UnsupportedTaskError

if TYPE_CHECKING:
    from docarray import Document

R_co = TypeVar('R_co', covariant=True)


@dataclass(frozen=True)
class Call:
    """What a task makes of its arguments.

    Attributes:
        documents: pulled lazily, a batch at a time; each is the task's own copy. Best an iterator that goes on
            after an `InputError`, as `map` does and a generator does not: a bad item then costs no other.
        parameters: sent with every request; strings, numbers, booleans, None, and lists and dicts of these.
        in_memory: whether pulling the documents reads no file or URL and decodes nothing, so that it may be
            done in an event loop.
    """

    documents: Iterable[Document]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    in_memory: bool = False


class Task(ABC, Generic[R_co]):
    """Arguments to documents, answers to results; no I/O beyond loading the images that it is given.

    A subclass has a `name`, writes `prepare`, and `accept` to refuse an answer without a result. One that gives
    something else than a `DocumentArray` writes `collect`, and says so: `class SizeTask(Task[List[int]])`.
    """

    name: ClassVar[str]
    """Name of the task, and of its endpoint: the task `upscale` is sent to `/upscale`."""

    requires: ClassVar[frozenset[str]] = frozenset()
    """What a model's name must contain where the model does not say what it can do, such as `blip2`."""

    fallback: ClassVar[str | None] = None
    """The task that runs, with a warning, on a model that cannot do this one."""

    @property
    def endpoint(self) -> str:
        """Where the requests go."""
        return f'/{self.name}'

    @abstractmethod
    def prepare(self, **arguments: Any) -> Call:
        """Check the arguments and turn them into documents.

        Keywords that the task does not know are parameters for the model.

        Raises:
            InputError: the arguments do not go together, or one of them is of no use.
        """

    def prepare_stream(self, inputs: Iterable[Any], /, **arguments: Any) -> Call:
        """As `prepare`, for the inputs of `model.stream`: what is of no use is found as it is pulled.

        Args:
            inputs: each becomes one document.
            arguments: as for `prepare`.
        """
        from .._inputs import any_document, noting

        return self.prepare(docs=map(noting(any_document), inputs), **arguments)

    def accept(self, document: Document) -> Document:
        """Check one answered document, and give what the caller gets for it.

        Raises:
            UnsupportedTaskError: the answer lacks what the task is for. Jina servers send documents back as
                they came when no model handles the endpoint.
        """
        return document

    def collect(self, documents: Sequence[Document]) -> R_co:
        """Make what the caller gets of all answered documents; without more ado, a `DocumentArray`."""
        from docarray import DocumentArray

        return DocumentArray(documents)  # type: ignore[no-any-return]


def parameters_of_stream(arguments: Mapping[str, Any], *inputs: str) -> Mapping[str, Any]:
    """The keywords of a stream, which are parameters.

    Raises:
        InputError: one of them is a call's input.
    """
    for name in inputs:
        if name in arguments:
            raise InputError(f'{name}= goes with a call: a stream takes its inputs in one iterable')
    return arguments


def one_of(**alternatives: Any) -> str:
    """The name of the one argument that is not None.

    Raises:
        InputError: none is given, or more than one.
    """
    given = [name for name, value in alternatives.items() if value is not None]
    if len(given) != 1:
        names = ', '.join(f'{name}=' for name in alternatives)
        got = ' and '.join(f'{name}=' for name in given) or 'none of them'
        raise InputError(f'expected exactly one of {names}: got {got}')
    return given[0]


def without_response(document: Document) -> Document:
    """The document without the answer of an earlier call, which an echo would bring back as a new one."""
    if document._data.tags:
        document._data.tags.pop('response', None)
    return document


def accept_response(document: Document) -> Document:
    """The document if it has a text in `tags['response']`."""
    if not isinstance(document.tags.get('response'), str):
        raise not_answered("text in tags['response']")
    return document


def not_answered(missing: str) -> UnsupportedTaskError:
    """The error for a document that came back without what the task is for."""
    return UnsupportedTaskError(
        f'the answer has no {missing}: the server has no model for this task; ask it for one that it offers'
    )
