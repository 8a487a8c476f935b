"""Documents as a journal keeps them: what tells one from another, and answers without what the caller brings again."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any, Iterator

from docarray import Document
from docarray.proto.docarray_pb2 import DocumentProto

from ._echo import NESTED, restored
from ._wire.documents import read_document, write_document
from .errors import InputError

# What a message would keep with fewer digits, or not as the same kind of number.
EXACT = ('tags', '_metadata', 'weight', 'location', 'offset')
SCORES = ('scores', 'evaluations')


def fingerprint(document: Document) -> bytes:
    """A hash of all of a document that may matter to a model.

    Raises:
        InputError: it holds something other than plain data; it is the error's `item`.
    """
    with _plain(document):
        message = DocumentProto()
        write_document(message, document)
        _strip(message)
        held = message.SerializeToString(deterministic=True)
        exact = _exact_of(document).encode()
    return hashlib.sha256(held).digest() + hashlib.sha256(exact).digest()


def pack(sent: Document, answer: Document) -> tuple[bytes, str]:
    """An answer as a message and JSON, without content that was sent; ids are places in the input.

    Raises:
        InputError: it holds something other than plain data.
    """
    with _plain(answer):
        message = DocumentProto()
        write_document(message, answer)
        _take_out(message, sent)
        return message.SerializeToString(), _exact_of(answer)


def unpack(sent: Document, answer: bytes, exact: str) -> Document:
    """The answer that was packed, to a document with the same fingerprint as the one that was sent then."""
    message = DocumentProto.FromString(answer)
    _put_back(message, sent)
    document = read_document(message)
    for one, held in zip(_tree(document), json.loads(exact)):
        for name, value in held.items():
            if name in EXACT:
                setattr(one._data, name, value)
            else:
                for key, number in value.items():
                    getattr(one, name)[key]._data.value = number
    return restored(sent, document)


def as_json(value: Any) -> str:
    """Plain data as JSON, always the same; whole numbers stay whole."""
    return json.dumps(value, sort_keys=True, separators=(',', ':'), default=_number)


@contextlib.contextmanager
def _plain(document: Document) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        refused = InputError(
            f'document {document.id} cannot be kept in a journal ({error}): its tags must be strings, numbers, '
            'booleans, None, and lists and dicts of these'
        )
        refused.item = document
        raise refused from error


def _exact_of(document: Document) -> str:
    return as_json(list(map(_exact, _tree(document))))


def _strip(message: Any) -> None:
    """Leave out what differs from run to run: ids, and the names of files whose content is there."""
    message.id = message.parent_id = ''
    if message.WhichOneof('content'):
        message.uri = ''
    for name in NESTED:
        for inner in getattr(message, name):
            _strip(inner)


def _tree(document: Document) -> Iterator[Document]:
    """A document and all within it, always in the same order."""
    yield document
    for name in NESTED:
        for inner in getattr(document._data, name) or ():
            yield from _tree(inner)


def _exact(document: Document) -> dict[str, Any]:
    data = document._data
    held = {name: getattr(data, name) for name in EXACT if getattr(data, name)}
    for name in SCORES:
        scores = getattr(data, name) or {}
        if scores:
            held[name] = {key: score._data.value for key, score in scores.items()}
    return held


def _number(value: Any) -> Any:
    """A number of numpy's as one of Python's."""
    if getattr(value, 'shape', None) == ():
        return value.item()
    raise TypeError(f'a {type(value).__name__} is no plain data')


def _take_out(message: Any, sent: Document) -> None:
    original = DocumentProto()
    write_document(original, sent)
    for name in ('tags', '_metadata'):
        message.ClearField(name)  # they are kept apart
    content = message.WhichOneof('content')
    same_kind = content is not None and content == original.WhichOneof('content')
    if same_kind and getattr(message, content) == getattr(original, content):
        message.ClearField(content)
    for field in ('id', 'uri'):
        if getattr(message, field) == getattr(original, field):
            message.ClearField(field)
    message.parent_id = '' if message.parent_id == original.parent_id else f'#{message.parent_id}'
    for name in NESTED:
        places = {one.id: (place, one) for place, one in enumerate(getattr(sent._data, name) or ())}
        for inner in getattr(message, name):
            if inner.id in places:
                place, one = places[inner.id]
                _take_out(inner, one)
                inner.id = f'#{place}'
            elif inner.id[:1] == '#':
                inner.id = f'#{inner.id}'


def _put_back(message: Any, sent: Document) -> None:
    message.id = message.id or sent.id
    message.parent_id = message.parent_id[1:] if message.parent_id else sent._data.parent_id or ''
    for name in NESTED:
        originals = list(getattr(sent._data, name) or ())
        for inner in getattr(message, name):
            mark, rest = inner.id[:1], inner.id[1:]
            if mark == '#' and rest[:1] != '#':
                inner.id = ''
                _put_back(inner, originals[int(rest)])
            elif mark == '#':
                inner.id = rest
