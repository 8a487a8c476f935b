"""Documents as `DocumentProto`, field by field: several times faster than docarray's own way.

The result equals `Document.to_protobuf` and `Document.from_protobuf`. Both read and write the same fields;
content is a oneof, in which text goes before tensor before blob.
"""

from __future__ import annotations

from typing import Any, Callable

from docarray import Document
from docarray.score import NamedScore

from .._documents import new_document
from .arrays import read_array, write_array
from .fields import PLAIN, SCORE

STRUCTS = ('tags', '_metadata')
SCORES = ('scores', 'evaluations')
WRITTEN = frozenset({'id', 'text', 'tensor', 'blob', 'content', '_reference_doc'})  # first, or never
READ = frozenset({'id', 'text', 'blob', *PLAIN})


def write_document(message: Any, document: Document) -> None:
    """Fill a `DocumentProto`."""
    data = document._data  # the properties create empty containers as they are read
    message.id = data.id
    if data.text:
        message.text = data.text
    elif data.tensor is not None:
        write_array(message.tensor, data.tensor)
    elif data.blob:
        message.blob = data.blob
    for name, value in vars(data).items():
        if value is None or name in WRITTEN:
            continue
        if name == 'embedding':
            write_array(message.embedding, value)
        elif name in PLAIN:
            if value:
                setattr(message, name, value)
        elif value:
            _write_container(message, name, value)


def _write_container(message: Any, name: str, value: Any) -> None:
    field = getattr(message, name)
    if name == 'location':
        field.extend(value)
    elif name in STRUCTS:
        field.update(value)
    elif name in SCORES:
        for key, score in value.items():
            _write_score(field[key], score)
    else:
        for inner in value:
            write_document(field.add(), inner)


def read_document(message: Any) -> Document:
    """Build a document from a `DocumentProto`."""
    fields: dict[str, Any] = {}
    scores: list[tuple[str, Any]] = []
    for field, value in message.ListFields():  # those that are set, which are few
        name = field.name
        if name in READ:
            fields[name] = value
        elif name in READERS:
            fields[name] = READERS[name](value)
        elif name in SCORES:
            scores.append((name, value))
    document = new_document(**fields)
    for name, values in scores:
        held = getattr(document, name)
        for key, score in values.items():
            held[key] = _read_score(score)
    return document


def _read_documents(messages: Any) -> list[Document]:
    return [read_document(message) for message in messages]


def read_struct(message: Any) -> dict[str, Any]:
    """A `google.protobuf.Struct` as a dict; all its numbers are floats."""
    return {key: _value(value) for key, value in message.fields.items()}


def _value(message: Any) -> Any:
    kind = message.WhichOneof('kind')
    if kind == 'struct_value':
        return read_struct(message.struct_value)
    if kind == 'list_value':
        return [_value(value) for value in message.list_value.values]
    if kind is None or kind == 'null_value':
        return None
    return getattr(message, kind)


def _write_score(message: Any, score: NamedScore) -> None:
    message.SetInParent()
    for name in SCORE:
        value = getattr(score._data, name)
        if value is not None:
            setattr(message, name, value)


def _read_score(message: Any) -> NamedScore:
    return NamedScore({field.name: value for field, value in message.ListFields()})


READERS: dict[str, Callable[[Any], Any]] = {
    'tensor': read_array,
    'embedding': read_array,
    'chunks': _read_documents,
    'matches': _read_documents,
    'tags': read_struct,
    '_metadata': read_struct,
    'location': list,
}
