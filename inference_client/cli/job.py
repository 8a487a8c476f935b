"""What a task's command does once it knows what to work on: asks a model, and writes the answers."""

from __future__ import annotations

import inspect
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, Iterator, Mapping, NamedTuple

from .._options import NAMES as OPTIONS
from .._plugins import plugins
from .options import find_model, parse_parameters, refuse_parameters
from .output import Row, tell_written, write_array, write_lines

if TYPE_CHECKING:
    from .._run import Run
    from ..model import Model
    from ..parquet import Table

SETTINGS = ('batch_size', 'prefetch', 'timeout', 'strict', 'on_item_error', 'journal', 'show_progress')


class Job(NamedTuple):
    """A task on many inputs; what can be found wrong with it before anything is sent was found."""

    model: Model
    task: str
    inputs: Any
    arguments: dict[str, Any]
    wait: float | None
    output: str | None
    as_json: bool

    def write(self, row: Row) -> int:
        """Do it, and write to where the name of the output says, in the form that its ending says.

        Args:
            row: makes JSON lines of an answer.

        Returns:
            The exit code.
        """
        if self.output and self.output.endswith('.parquet'):
            return self._write_parquet(self.output)
        run = self._begun()
        answers = self._closing(self.model._streamed(self.task, run))
        if self.output and self.output.endswith('.npy') and self.task == 'encode':
            return write_array(answers, self.output)
        beside = _Beside(self.inputs, run) if hasattr(self.inputs, 'beside') else None
        return write_lines(answers, row, self.output, self.as_json, beside)

    def _begun(self) -> Run:
        from .._files import Contents

        with self.model._explained(self.task):
            return self.model._begin(self.task, self.arguments, Contents(self.inputs))

    def _closing(self, answers: Iterator[Any]) -> Iterator[Any]:
        with self.model:
            self._await()
            yield from answers

    def _write_parquet(self, output: str) -> int:
        from ..parquet import write

        with self.model:
            self._await()
            return tell_written(write(self.model, self.task, self.inputs, output, **self.arguments), output)

    def _await(self) -> None:
        if self.wait is not None:
            self.model.wait_until_ready(self.wait)


class _Beside:
    """The columns that belong beside each answer in its turn; where there are gaps, after a failure, those of the gaps
    are left out."""

    def __init__(self, table: Table, run: Run) -> None:
        self._table = table
        self._run = run
        self._given = self._row = 0

    def __call__(self) -> Mapping[str, Any]:
        exchange = self._run.exchange
        late = self._given - exchange.taken
        place = self._given if late < 0 else exchange.rest[late]
        if place > self._row:
            self._table.beside(place - self._row)
        self._given, self._row = self._given + 1, place + 1
        return {name: column[0].as_py() for name, column in self._table.beside(1).items()}


def begun(task: str, inputs: Any, options: dict[str, Any], output: str | None, as_json: bool, **arguments: Any) -> Job:
    """A job.

    Args:
        task: its name.
        inputs: as for `model.stream`, or a `Table`.
        options: those of `MODEL`.
        output: where to write to; None is standard output.
        as_json: whether a terminal gets JSON, too.
        arguments: inputs of the task that are the same for all.
    """
    from .._policies import RetryPolicy

    wait = options.pop('wait')
    settings = {name: options.pop(name) for name in SETTINGS}
    if settings['show_progress'] is None:
        settings['show_progress'] = 'auto' if output or _is_file(sys.stdout) else False
    settings['retry'] = RetryPolicy(attempts=options.pop('retries') + 1)
    parameters = parse_parameters(options.pop('parameters'))
    refuse_parameters(parameters, _argument_names(task))
    model = find_model(**options)
    return Job(model, task, inputs, {**arguments, **settings, **parameters}, wait, output, as_json)


def _is_file(stream: Any) -> bool:
    """Whether it leads to a file. What goes to a terminal, or to a program that may write to one, mixes with a bar."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # it has been replaced by one without a file
        return False


def _argument_names(task: str) -> set[str]:
    """Keywords that cannot be parameters, since the call has arguments of these names."""
    arguments = inspect.signature(plugins().get('task', task).prepare).parameters.values()
    return {*OPTIONS, *(one.name for one in arguments if one.kind is not one.VAR_KEYWORD)}
