"""One call while it runs: what it opens, and what it comes to."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, Iterable

from docarray import Document
from docarray.array.memory import DocumentArrayInMemory

from ._documents import Loaded
from ._exchange import Exchange
from ._progress import Observer
from .errors import InputError
from .results import Results

if TYPE_CHECKING:
    from ._journal import Journal
    from ._options import Options
    from ._plan import Plan
    from ._telemetry import CallTrace
    from .tasks.base import Call, Task


class Run:
    """One call, from where its inputs are checked; a context manager, which opens and closes what it needs.

    Attributes:
        task: what runs, which may be a fallback.
        call: its documents and parameters.
        exchange: once entered.
        observer: once entered.
        skips: whether bad items are skipped.
        total: items in all, if that is known.
        awaits: whether callbacks may be coroutine functions.
        trust_env: whether images are fetched through proxies of the environment.
        keeps: whether there is a result, which knows the files that the caller named; a stream has none.
        prepare_more: makes documents of further inputs of a stream.
        begin_trace: tells OpenTelemetry of the call, where that is set up.
    """

    exchange: Exchange
    observer: Observer
    total: int | None = None
    awaits = False
    trust_env = True
    keeps = True
    prepare_more: Callable[[Iterable[Any]], Iterable[Document]]
    begin_trace: Callable[[], CallTrace | None]
    _trace: CallTrace | None = None

    def __init__(self, task: Task[Any], call: Call, options: Options, model: str, plan: Plan) -> None:
        self.task = task
        self.call = call
        self.skips = plan.return_errors
        self._options = options
        self._model = model
        self._plan = plan
        self._stack = ExitStack()
        self._files: set[str] = set()

    def __enter__(self) -> Run:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._trace is not None:
            self._trace.close(error, self.exchange.fed)
        self._stack.close()

    def result(self, done: list[Document]) -> Any:
        """What the caller gets."""
        if not self.exchange.fed:
            raise InputError(f'nothing to {self.task.name}: the input is empty; give at least one item')
        collected = self.task.collect(done)
        if type(collected) is DocumentArrayInMemory:  # a task of a plugin may give what it likes
            return Results(collected, files=self._files)
        return collected

    def _open(self) -> None:
        journal = self._journal()
        self._trace = self.begin_trace()
        self.exchange = Exchange(
            replace(
                self._plan,
                endpoint=self.task.endpoint,
                parameters=self.call.parameters,
                accept=self.task.accept,
                recall=journal.recall if journal else None,
                record=journal.record if journal else None,
                note=self._note if self.keeps else None,
                trace=self._trace,
            )
        )
        self.observer = self._stack.enter_context(Observer(self._options, self.task.name, self.total, self.awaits))

    def _note(self, documents: Iterable[Document]) -> None:
        for document in documents:
            data = document._data  # the properties create empty containers as they are read
            if isinstance(data.blob, Loaded) and data.uri:
                self._files.add(data.uri)
            self._note(data.matches or ())

    def _journal(self) -> Journal | None:
        if self._options.journal is None:
            return None
        from ._journal import Journal

        journal = Journal(self._options.journal, self._model, self.task.name, self.call.parameters)
        self._stack.callback(journal.close)
        return journal
