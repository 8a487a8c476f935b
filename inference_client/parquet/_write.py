"""One job: inputs through a model into a file."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Any, Iterable

from .._files import Contents
from .._inputs import several
from .._options import split
from .._packing import as_json
from ..errors import InputError
from ._columns import Row, row_of, table_of
from ._inputs import Table, Values
from ._parts import ROWS, Parts, Written

if TYPE_CHECKING:
    from docarray import Document

    from ..model import Model
    from ..tasks.base import Task

PERIOD = 10.0  # seconds of work that may be lost
INSTEAD = 'parquet.files(pattern) gives the names of files, Table(path) the rows of one'


def write(
    model: Model,
    task: str | type[Task[Any]],
    inputs: Table | Iterable[Any],
    output: str | os.PathLike[str],
    /,
    **arguments: Any,
) -> Written:
    """Run a task on any number of inputs and write the answers to a Parquet file, a row for each input in order.

    The rows come into `OUTPUT.parts/` every few seconds, and into the file once all are there. The same call, made
    again after it was killed or failed, goes on after them. Memory does not grow with the inputs.

    Args:
        model: answers.
        task: its name or class.
        inputs: a `Table`, or an iterable as for `model.stream`; images may also be in stores, such as `s3://`.
        output: path of the file, or its URL in a store.
        arguments: options and parameters as for `model.stream`, but for `ordered`.

    Raises:
        InferenceError: as of `model.stream`.
        InputError: the parts of an earlier run do not belong to this call; or a file cannot be read or written.
    """
    options, parameters = split(arguments)
    if not options.ordered:
        raise InputError('ordered=False does not go with Parquet: its rows are in the order of the inputs')
    with model._explained(task):
        source = inputs.again() if isinstance(inputs, Table) else Values(several(inputs, INSTEAD))
        run = model._begin(task, arguments, Contents(source))
    name = task if isinstance(task, str) else task.name
    parts = Parts(os.fspath(output), _job(model, name, parameters))
    skipped = parts.resume(source)
    run.total = None if run.total is None else run.total - skipped
    rows = _Rows(parts, source, name, options.on_item_error == 'return')
    try:
        for answer in model._streamed(task, run):
            if rows.count < run.exchange.taken:  # else there is a gap before it, and an error comes after it
                rows.add(answer)
        rows.flush()
    except BaseException:
        rows.flush()
        parts.tell()
        raise
    return parts.finish()


class _Rows:
    """Rows that wait for their part to be full, or for its time."""

    def __init__(self, parts: Parts, source: Table | Values, task: str, errors: bool) -> None:
        self.count = 0
        self._parts = parts
        self._source = source
        self._task = task
        self._errors = errors
        self._waiting: list[Row] = []
        self._due = time.monotonic() + PERIOD

    def add(self, answer: Document) -> None:
        self._waiting.append(row_of(answer, self._task))
        self.count += 1
        if len(self._waiting) >= ROWS or time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        rows, self._waiting = self._waiting, []
        if rows:
            inputs, beside = self._source.take(len(rows))
            self._parts.add(table_of(rows, beside, self._errors), inputs)
        self._due = time.monotonic() + PERIOD


def _job(model: Model, task: str, parameters: Any) -> str:
    return hashlib.sha256(as_json([model.spec.name, task, parameters]).encode()).hexdigest()
