"""Documents made and copied, faster than docarray does it."""

from __future__ import annotations

import os
from typing import Any

from docarray import Document
from docarray.document.data import DocumentData

from .errors import InputError

# An empty one counts as none, or two documents would share it.
CONTAINERS = frozenset({'tags', '_metadata', 'location', 'scores', 'evaluations', 'chunks', 'matches'})
NOT_COPIED = frozenset({'_reference_doc', 'content'})  # the document itself, and another name of its content
CONVERTED = ('uri', 'mime_type', 'chunks', 'matches')  # as they are set: types are guessed, lists become arrays
DEEPEST = (
    20  # of documents within documents, and of tags: a message of protobuf has at most 100 levels, and they add up
)
ANSWERS = {'embedding': None, 'scores': None, 'evaluations': None}


class Loaded(bytes):
    """Content that was read from the URI which the caller gave: an answer has the URI alone, as the input had."""

    __slots__ = ()


_ids: list[str] = []  # of this process alone
if hasattr(os, 'register_at_fork'):  # Windows has no fork
    os.register_at_fork(after_in_child=_ids.clear)


def new_id() -> str:
    """32 random hexadecimal digits, as docarray gives: the system is asked for many at once, for that takes long."""
    try:
        return _ids.pop()
    except IndexError:
        digits = os.urandom(16 * 256).hex()
        _ids.extend(digits[start : start + 32] for start in range(32, len(digits), 32))
        return digits[:32]


def new_document(**fields: Any) -> Document:
    """As `Document(**fields)`, whose constructor takes three times as long."""
    if 'id' not in fields:
        fields['id'] = new_id()
    document = Document.__new__(Document)
    object.__setattr__(document, '_data', DocumentData(document, **fields))  # its own way looks for a data class
    for name in CONVERTED:
        if name in fields:
            setattr(document, name, fields[name])
    return document


def copy_with(document: Document, **changes: Any) -> Document:
    """A copy that shares content; a field that is changed to None is left out."""
    held = vars(document._data)  # the properties are slow, and create empty containers as they are read
    fields = {
        name: value
        for name, value in held.items()
        if value is not None and name not in NOT_COPIED and (name not in CONTAINERS or value)
    }
    for name, value in changes.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value
    return new_document(**fields)


def copy_tree(document: Document, **changes: Any) -> Document:
    """A copy that shares content but no container; earlier embeddings and scores are left out.

    Raises:
        InputError: it is nested too deeply, or within itself, or its tags are no dict.
    """
    return _copy_tree(document, changes, 0)


def _copy_tree(document: Document, changes: dict[str, Any], depth: int) -> Document:
    data = document._data
    if depth > DEEPEST:
        raise InputError(f'document {data.id} is the {depth}th within another, or holds itself: expected {DEEPEST}')
    owned: dict[str, Any] = dict(ANSWERS)
    for name in ('chunks', 'matches'):
        inner = getattr(data, name)
        if inner:
            owned[name] = [_copy_tree(one, {}, depth + 1) for one in inner]
    if data.tags and not isinstance(data.tags, dict):
        raise InputError(f'document {data.id} has a {type(data.tags).__name__} as tags: expected a dict')
    for name in ('tags', '_metadata', 'location'):
        if getattr(data, name):
            owned[name] = _owned(getattr(data, name), f'{name} of document {data.id}', 0)
    return copy_with(document, **{**owned, **changes})


def _owned(value: Any, name: str, depth: int) -> Any:
    """A copy of nested dicts and lists."""
    if depth > DEEPEST:
        raise InputError(f'the {name} are nested more than {DEEPEST} deep: expected plainer data')
    if isinstance(value, dict):
        return {key: _owned(inner, name, depth + 1) for key, inner in value.items()}
    return [_owned(inner, name, depth + 1) for inner in value] if isinstance(value, list) else value
