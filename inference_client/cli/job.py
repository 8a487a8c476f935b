"""What a task's command does once it knows what to work on: asks a model, and writes the answers."""

from __future__ import annotations

import inspect
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, Iterator, NamedTuple

import click

from .._options import NAMES as OPTIONS
from .._plugins import plugins
from .options import find_model, parse_parameters
from .output import Row, tell_written, write_array, write_lines

if TYPE_CHECKING:
    from ..model import Model

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
        if self.output and self.output.endswith('.npy') and self.task == 'encode':
            return write_array(self._answers(), self.output)
        return write_lines(self._answers(), row, self.output, self.as_json, getattr(self.inputs, 'beside', None))

    def _answers(self) -> Iterator[Any]:
        from .._files import Contents

        return self._closing(self.model.stream(self.task, Contents(self.inputs), **self.arguments))

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
    taken = sorted(_argument_names(task) & parameters.keys())
    if taken:
        raise click.BadParameter(
            f'{taken[0]!r} is no parameter of the model: use the option or argument of that name, see --help',
            param_hint="'--parameter'",
        )
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
