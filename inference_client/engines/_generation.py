"""The parameters of a request that steer how a text is generated: what each may be."""

from __future__ import annotations

import math
from typing import Any, Mapping, NamedTuple

from ..errors import InputError

MAX_NEW_TOKENS = 30
"""Of a caption or an answer, unless the caller says otherwise; BLIP-2 was trained on short ones."""


class _Bound(NamedTuple):
    """From `low` to `high`, both included; `low` is not if `above`."""

    low: float
    high: float
    whole: bool
    above: bool = False


BOUNDS: Mapping[str, _Bound] = {
    'max_new_tokens': _Bound(1, 512, True),
    'min_new_tokens': _Bound(0, 512, True),
    'num_beams': _Bound(1, 16, True),
    'no_repeat_ngram_size': _Bound(0, 16, True),
    'top_k': _Bound(1, 1000, True),
    'temperature': _Bound(0, 10, False, above=True),
    'top_p': _Bound(0, 1, False, above=True),
    'repetition_penalty': _Bound(0, 10, False, above=True),
    'length_penalty': _Bound(-10, 10, False),
}
SAMPLING = ('temperature', 'top_k', 'top_p')
"""Those that mean something only with `do_sample`."""


def generation(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What `generate` is called with.

    Args:
        parameters: of a request. Over a wire all numbers were floats: those that are whole count as integers.

    Raises:
        InputError: one is unknown, of another type or out of bounds, or contradicts another.
    """
    chosen: dict[str, Any] = {'max_new_tokens': MAX_NEW_TOKENS}
    for name, value in parameters.items():
        if name == 'do_sample':
            chosen[name] = _truth(value)
        elif name in BOUNDS:
            chosen[name] = _number(name, value, BOUNDS[name])
        else:
            known = ', '.join(sorted([*BOUNDS, 'do_sample']))
            raise InputError(f'unknown parameter {name!r}: this model has {known}')
    _agree(chosen)
    return chosen


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f'do_sample is {value!r}: expected True or False')
    return value


def _number(name: str, value: Any, bound: _Bound) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    fits = is_number and bound.low <= value <= bound.high and not (bound.above and value == bound.low)
    if not fits or (bound.whole and value != int(value)):
        kind = 'an integer' if bound.whole else 'a number'
        start = f'above {bound.low:g} and' if bound.above else f'from {bound.low:g}'
        raise InputError(f'{name} is {value!r}: expected {kind} {start} up to {bound.high:g}')
    return int(value) if bound.whole else float(value)


def _agree(chosen: Mapping[str, Any]) -> None:
    least, most = chosen.get('min_new_tokens', 0), chosen['max_new_tokens']
    if least > most:
        raise InputError(f'min_new_tokens is {least}, which is more than max_new_tokens, {most}')
    idle = [name for name in SAMPLING if name in chosen]
    if idle and not chosen.get('do_sample'):
        raise InputError(f'{idle[0]} has an effect only on samples: send do_sample=True, too')
