"""What a caller is told while a call runs: its callbacks, and a progress bar or lines."""

from __future__ import annotations

import inspect
import sys
import time
from functools import partial
from operator import length_hint
from typing import TYPE_CHECKING, Any, Callable

from docarray import DocumentArray

from .errors import InputError

if TYPE_CHECKING:
    from ._exchange import Finished
    from ._options import Options

PERIOD = 5.0  # seconds between lines where there is no terminal
LATE = 2.0  # seconds until a bar comes by itself


class Observer:
    """Tells of each batch that came to its end; a context manager, which ends the bar.

    Args:
        options: with the callbacks, and whether to show progress.
        label: what is done.
        total: items in all, if that is known.
        awaits: whether somebody awaits what callbacks give.
    """

    def __init__(self, options: Options, label: str, total: int | None, awaits: bool) -> None:
        self._options = options
        self._awaits = awaits
        self._make = partial(_progress, label, total)
        self._show: _Bar | _Lines | _Late | None = None

    def __call__(self, finished: Finished) -> Any:
        """Tell of one batch. Gives an awaitable if a callback was a coroutine function."""
        options = self._options
        came_back = finished.error is None or options.on_item_error == 'return'
        if self._show is not None and came_back:
            self._show.advance(len(finished.documents))
        if not (options.on_done or options.on_error or options.on_always):
            return None
        results = []
        if finished.error is None and options.on_done is not None:
            results.append(options.on_done(DocumentArray(finished.documents)))
        if finished.error is not None and options.on_error is not None:
            results.append(options.on_error(finished.error))
        if options.on_always is not None:
            results.append(options.on_always(DocumentArray(finished.documents)))
        waiting = [result for result in results if inspect.isawaitable(result)]
        if waiting and not self._awaits:
            for one in waiting:
                getattr(one, 'close', bool)()
            raise InputError('a callback gave a coroutine: expected a plain function, or use AsyncModel')
        return _all(waiting) if waiting else None

    def __enter__(self) -> Observer:
        if self._options.show_progress == 'auto':
            self._show = _Late(self._make) if sys.stderr.isatty() else None
        elif self._options.show_progress:
            self._show = self._make(time.monotonic())
        return self

    def __exit__(self, *_: object) -> None:
        if self._show is not None:
            self._show.stop()


def total_of(arguments: dict[str, Any]) -> int | None:
    """How many items the arguments of a task hold, if they say."""
    for name in ('text', 'image', 'docs', 'inputs'):
        value = arguments.get(name)
        if isinstance(value, (list, tuple, DocumentArray)):
            return len(value)
        if value is not None and hasattr(value, '__length_hint__'):
            return length_hint(value) or None
    return None


async def _all(waiting: list[Any]) -> None:
    for one in waiting:
        await one


def _progress(label: str, total: int | None, start: float) -> _Bar | _Lines:
    from rich.console import Console

    console = Console(stderr=True)
    live = console.is_terminal or console.is_jupyter
    rate = _Rate(start)
    return _Bar(console, label, total, rate) if live else _Lines(console.print, label, total, rate)


class _Bar:
    def __init__(self, console: Any, label: str, total: int | None, rate: _Rate) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._rate = rate
        columns = ('{task.description}', BarColumn(), MofNCompleteColumn(), TextColumn('{task.fields[rate]}'))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console)
        self._task = self._bar.add_task(label, total=total, rate='')
        self._bar.start()

    def advance(self, count: int) -> None:
        self._bar.update(self._task, advance=count, rate=f'{self._rate.after(count):.0f}/s')

    def stop(self) -> None:
        self._bar.stop()


class _Lines:
    """A line every few seconds and one at the end, for logs."""

    def __init__(self, say: Callable[..., Any], label: str, total: int | None, rate: _Rate) -> None:
        self._say = say
        self._label = label
        self._total = total
        self._rate = rate
        self._next = time.monotonic() + PERIOD

    def advance(self, count: int) -> None:
        rate = self._rate.after(count)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PERIOD
            left = '' if self._total is None or not rate else f', {(self._total - self._rate.count) / rate:.0f} s left'
            self._line(f'{self._done()}, {rate:.0f}/s{left}')

    def stop(self) -> None:
        self._line(f'{self._done()} in {self._rate.seconds:.1f} s, {self._rate.after(0):.0f}/s')

    def _done(self) -> str:
        return f'{self._rate.count}' if self._total is None else f'{self._rate.count} of {self._total}'

    def _line(self, text: str) -> None:
        self._say(f'{self._label}: {text}', markup=False, highlight=False)


class _Late:
    """A bar that comes once the work takes long."""

    def __init__(self, make: Callable[[float], _Bar | _Lines]) -> None:
        self._make = make
        self._start = time.monotonic()
        self._count = 0
        self._show: _Bar | _Lines | None = None

    def advance(self, count: int) -> None:
        self._count += count
        if self._show is not None:
            self._show.advance(count)
        elif time.monotonic() >= self._start + LATE:
            self._show = self._make(self._start)
            self._show.advance(self._count)

    def stop(self) -> None:
        if self._show is not None:
            self._show.stop()


class _Rate:
    """Items a second since the beginning."""

    def __init__(self, start: float) -> None:
        self.count = 0
        self._start = start

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def after(self, count: int) -> float:
        self.count += count
        return self.count / max(self.seconds, 1e-9)
