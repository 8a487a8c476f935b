"""What a task call may be given besides its inputs and the parameters of the model."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Callable

from ._policies import RetryPolicy, Timeouts
from .errors import InputError

if TYPE_CHECKING:
    from docarray import DocumentArray

    from .errors import InferenceError


@dataclass(frozen=True)
class Options:
    """The options of a task call; `Model` tells what each means."""

    batch_size: int = 32
    prefetch: int = 4
    timeout: float | Timeouts | None = None
    retry: RetryPolicy | None = None
    strict: bool = False
    ordered: bool = True
    on_item_error: str = 'raise'
    journal: str | os.PathLike[str] | None = None
    show_progress: bool | str = False
    on_done: Callable[[DocumentArray], Any] | None = None
    on_error: Callable[[InferenceError], Any] | None = None
    on_always: Callable[[DocumentArray], Any] | None = None

    def __post_init__(self) -> None:
        for name in ('batch_size', 'prefetch'):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f'{name} is {value!r}: expected a whole number of at least 1')
        if self.on_item_error not in ('raise', 'return'):
            raise InputError(f"on_item_error is {self.on_item_error!r}: expected 'raise' or 'return'")
        if self.show_progress not in (True, False, 'auto'):
            raise InputError(f"show_progress is {self.show_progress!r}: expected True, False or 'auto'")
        if self.retry is not None and not isinstance(self.retry, RetryPolicy):
            raise InputError(f'retry is a {type(self.retry).__name__}: expected a RetryPolicy')
        if self.journal is not None and not isinstance(self.journal, (str, os.PathLike)):
            raise InputError(f'journal is a {type(self.journal).__name__}: expected the path of a file')
        for name in ('on_done', 'on_error', 'on_always'):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise InputError(f'{name} is a {type(value).__name__}: expected a function')

    def check_callbacks(self, awaits: bool) -> None:
        """Raise `InputError` if a callback is a coroutine function and nobody would await it."""
        for name in ('on_done', 'on_error', 'on_always'):
            value = getattr(self, name)
            if not awaits and (inspect.iscoroutinefunction(value) or _is_awaited(value)):
                raise InputError(f'{name} is a coroutine function: expected a plain one, or use AsyncModel')


def _is_awaited(value: Any) -> bool:
    return inspect.iscoroutinefunction(getattr(type(value), '__call__', None))  # noqa: B004 - of its class


NAMES = frozenset(one.name for one in fields(Options))


def split(arguments: dict[str, Any]) -> tuple[Options, dict[str, Any]]:
    """The options among the keywords of a call, and the other keywords.

    Raises:
        InputError: an option is of no use.
    """
    rest = {name: value for name, value in arguments.items() if name not in NAMES}
    return Options(**{name: arguments[name] for name in arguments.keys() - rest.keys()}), rest
