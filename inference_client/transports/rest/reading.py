"""Answers read and checked: what a server sends is believed only as far as it makes sense."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Sequence, TypeVar

import numpy as np

from ...errors import ProtocolError

T = TypeVar('T')

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .http import HttpCall

    Row = NDArray[np.float32]  # an embedding


def entries(answer: Any, name: str | None, count: int) -> Sequence[Any]:
    """The list with one entry for each input.

    Args:
        answer: what the server sent.
        name: the key of the list; None where the answer is the list itself.
        count: of inputs.

    Raises:
        ProtocolError: there is no such list, or it is of another length.
    """
    found = answer if name is None else answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise ProtocolError(f'the answer has no list {name or "at all"}: is this the right kind of server?')
    if len(found) != count:
        raise ProtocolError(f'{count} inputs were sent and {len(found)} results came back: expected one each')
    return found


def by_index(found: Sequence[Any]) -> list[Any]:
    """Entries that each tell their `index`, put in the order of the inputs.

    Raises:
        ProtocolError: the indices are not 0, 1, 2 ..., each once.
    """
    placed: dict[int, Any] = {}
    for entry in found:
        index = entry.get('index') if isinstance(entry, dict) else None
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(found) or index in placed:
            raise ProtocolError(f'a result has the index {index!r}: expected each from 0 to {len(found) - 1} once')
        placed[index] = entry
    return [placed[index] for index in range(len(found))]


def vectors(values: Sequence[Any]) -> list[Row]:
    """Embeddings, float32 of shape (d,), all of one size.

    Raises:
        ProtocolError: one is no list of finite numbers, or they differ in size.
    """
    rows = [_vector(value) for value in values]
    if len({row.size for row in rows}) > 1:
        raise ProtocolError(f'embeddings of {" and ".join(sorted({str(row.size) for row in rows}))} numbers came back')
    return rows


def embeddings(call: HttpCall, answer: Any) -> list[Row]:
    """What `/embeddings` gives for each input of a call, in their order."""
    return vectors([entry.get('embedding') for entry in by_index(entries(answer, 'data', call.inputs))])


def relevances(call: HttpCall, answer: Any) -> list[float]:
    """What `/rerank` says of each candidate of a call, in their order."""
    return [number(entry, 'relevance_score', 'score') for entry in by_index(entries(answer, 'results', call.inputs))]


def number(entry: Any, *names: str) -> float:
    """The finite number that an entry has under the first of these names that it has.

    Raises:
        ProtocolError: it has none.
    """
    found = next((entry[name] for name in names if name in entry), None) if isinstance(entry, dict) else None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        raise ProtocolError(f'a result has the {names[0]} {found!r}: expected a finite number')
    return float(found)


def told(answer: Any, kind: type[T], *names: str) -> T | None:
    """What is found in an answer under one name in the other; None where that is not of this kind."""
    for name in names:
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer if isinstance(answer, kind) and (kind is bool or not isinstance(answer, bool)) else None


def _vector(value: Any) -> Row:
    try:
        with np.errstate(over='ignore'):
            row = np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f'an embedding is no list of numbers: {error}') from error
    if row.ndim != 1 or not row.size or not np.isfinite(row).all():
        raise ProtocolError(f'an embedding has shape {row.shape}, or is not finite: expected numbers in one list')
    return row
