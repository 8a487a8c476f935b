"""What a task gives: a `DocumentArray` that shows itself in notebooks."""

from __future__ import annotations

from typing import Any, Iterable

from docarray.array.memory import DocumentArrayInMemory


class Results(DocumentArrayInMemory):  # type: ignore[misc]  # docarray has no types
    """A `DocumentArray` that a notebook shows as rankings, captions, answers and embeddings, with their images.

    It equals any `DocumentArray` with the same documents, a part of it is one too, and it is pickled as a plain
    one, which loads where this package is not installed. `summary()` prints what docarray would show.

    Showing it fetches nothing. Images that a document holds are shown, and of files those in `files`, as they are
    then; a server may put any name into an answer.

    Args:
        docs: documents, for instance of a stream.
        copy: whether to copy them.
        files: names of files that may be read to show images.

    Attributes:
        files: of a task's answer, the names that the caller gave.
    """

    _ipython_display_ = None  # docarray's, which prints a summary, would come first

    def __init__(self, docs: Any = None, copy: bool = False, *, files: Iterable[str] = ()) -> None:
        super().__init__(docs, copy=copy)
        self.files = frozenset(files) | getattr(docs, 'files', frozenset())

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Results(found, files=self.files) if type(found) is DocumentArrayInMemory else found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DocumentArrayInMemory) and bool(self._data == other._data)

    __hash__ = None  # type: ignore[assignment]  # as of all that changes

    def __reduce__(self) -> Any:
        return DocumentArrayInMemory, (list(self),)

    def _repr_html_(self) -> str:
        from ._html import html_of

        return html_of(self, self.files)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        from ._text import text_of

        printer.text(text_of(self))
