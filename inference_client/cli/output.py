"""Answers as they come: JSON lines, an array, or words and bars on a terminal."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Mapping

import click
import orjson

if TYPE_CHECKING:
    from ..parquet import Written

EMPTY = 'the input is empty: give at least one item'
Row = Callable[[Any], Iterable['dict[str, Any]']]


def write_lines(
    answers: Iterable[Any],
    row: Row,
    output: str | None,
    as_json: bool = False,
    beside: Callable[[], Mapping[str, Any]] | None = None,
) -> int:
    """Write the answers as they come, so that nothing is lost by what goes wrong later: JSON, or words on a terminal.

    Args:
        answers: documents; one with `tags['error']` becomes a line with "error".
        row: makes lines of any other.
        output: path of a file; else standard output.
        as_json: whether a terminal gets JSON, too.
        beside: gives the columns of the input that go before each answer's own, in turn.

    Returns:
        The exit code.
    """
    tally = _Tally()
    if output is not None:
        _look(output)
    with contextlib.ExitStack() as stack:
        write: Callable[[str], Any] | None = click.echo if output is None else None
        lines = _words if output is None and not as_json and sys.stdout.isatty() else partial(_json, row, beside)
        for answer in answers:
            made = list(lines(answer, tally.error_of(answer)))
            if write is None:
                write = stack.enter_context(_file(str(output)))
            for line in made:
                write(line)
    return tally.exit_code()


def write_array(answers: Iterable[Any], output: str) -> int:
    """Write the embeddings to a `.npy` file, also those before a failure; NaN where an item failed."""
    tally = _Tally()
    rows: list[Any] = []
    _look(output)
    try:
        for number, answer in enumerate(answers):
            error = tally.error_of(answer)
            rows.append(answer.embedding if error is None else None)
            if error is not None:
                name = shown(answer) or f'row {number}, counted from 0'
                click.echo(f'Error: {name}: {" ".join(error.split())}', err=True)
    finally:
        _save(rows, output)
    return tally.exit_code()


def tell_written(written: Written, output: str) -> int:
    """Say on standard error what a Parquet file has, and give the exit code."""
    if not written.rows:
        raise click.ClickException(EMPTY)
    before = f', {written.resumed} of them answered before' if written.resumed else ''
    click.echo(f'wrote {written.rows} rows to {output}{before}', err=True)
    return tell_failed(written.failed, written.rows)


def tell_failed(failed: int, count: int) -> int:
    """Say on standard error how many items failed, if any did, and give the exit code."""
    if failed:
        click.echo(f'Error: {failed} of {count} items failed', err=True)
    return int(failed > 0)


def shown(document: Any) -> str | None:
    """What a document was made of, for people."""
    return document.uri or document.text or None


def _json(row: Row, beside: Any, answer: Any, error: str | None) -> Iterator[str]:
    columns = {} if beside is None else orjson.loads(orjson.dumps(beside(), default=_as_text))  # NaN is null
    for one in row(answer) if error is None else ({'input': shown(answer), 'error': error},):
        for name in columns.keys() & one.keys():
            raise click.ClickException(f'the column {name!r} cannot be kept: the output has one of that name')
        line = json.dumps({**columns, **one}, ensure_ascii=False)
        yield line if _is_unicode(line) else json.dumps({**columns, **one})


def _as_text(value: Any) -> str:
    """What orjson has no form for, such as decimals; bytes in base64."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _is_unicode(line: str) -> bool:
    """Whether a line can be written; one with the name of a file that is not UTF-8 has lone surrogates."""
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def _words(answer: Any, _: str | None) -> Iterator[str]:
    from .._text import EIGHTHS, lines_of

    try:
        EIGHTHS.encode(sys.stdout.encoding)
        blocks = True
    except (UnicodeEncodeError, LookupError):
        blocks = False
    return lines_of(answer, shutil.get_terminal_size().columns - 1, blocks)


class _Tally:
    def __init__(self) -> None:
        self._all = self._failed = 0

    def error_of(self, answer: Any) -> str | None:
        error = answer.tags.get('error')
        self._all += 1
        self._failed += error is not None
        return None if error is None else str(error)

    def exit_code(self) -> int:
        if not self._all:
            raise click.ClickException(EMPTY)
        return tell_failed(self._failed, self._all)


def _save(rows: list[Any], output: str) -> None:
    import numpy as np

    shape = next((row.shape for row in rows if row is not None), None)
    if shape is None:
        return
    missing = np.full(shape, np.nan, np.float32)
    array = np.stack([missing if row is None else row for row in rows])
    with _writing(output):
        np.save(output, array)
    click.echo(f'wrote {array.dtype} of shape {array.shape} to {output}', err=True)


def _look(output: str) -> None:
    """Tell what can be seen to be wrong with a path before anything is asked; a file is made with the first answer."""
    path = Path(output)
    with _writing(output):
        if not path.parent.is_dir():
            raise click.FileError(output, f'there is no folder {str(path.parent)!r}; make it first')
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextlib.contextmanager
def _file(output: str) -> Iterator[Callable[[str], Any]]:
    with _writing(output):
        file = Path(output).open('w', encoding='utf-8', buffering=1)  # noqa: SIM115 - closed below; each line at once

    def write(line: str) -> None:
        with _writing(output):
            file.write(line + '\n')

    with file:
        yield write


@contextlib.contextmanager
def _writing(output: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.FileError(output, error.strerror or str(error)) from error
