"""Checks of the parameters that travel to the model."""

from __future__ import annotations

import math
import reprlib
from typing import Any, Iterable

from .errors import InputError

DEEPEST = 32  # protobuf reads messages up to a depth of 100, and a value takes up to three


def check_parameters(parameters: Any, where: str = '', depth: int = 0) -> None:
    """Raise `InputError` unless they are plain data, for they travel as `google.protobuf.Struct` or JSON."""
    items: Iterable[tuple[Any, Any]]
    if isinstance(parameters, dict):
        items = parameters.items()
    elif isinstance(parameters, list):
        items = ((str(index), value) for index, value in enumerate(parameters))
    elif isinstance(parameters, float) and not math.isfinite(parameters):
        raise InputError(f'parameter {where} is {parameters}: expected a finite number')
    elif parameters is None or isinstance(parameters, (str, int, float)):
        return
    else:
        raise InputError(
            f'parameter {where} is {reprlib.repr(parameters)}: '
            'expected a str, number, bool, None, or a list or dict of these'
        )
    if depth > DEEPEST:
        raise InputError(f'parameter {where[:40]}... is nested more than {DEEPEST} deep: expected plainer data')
    for key, value in items:
        if not isinstance(key, str):
            raise InputError(f'parameter {where} has the key {key!r}: expected a str')
        check_parameters(value, f'{where}.{key}' if where else key, depth + 1)
