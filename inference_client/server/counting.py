"""How much a request has in it, known before it is made: two bytes may be a document or a value, and cost hundreds."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any, Iterator

from google.protobuf.message import DecodeError

from .._wire.jina_pb2 import DataRequestProto, HeaderProto
from .refusals import TooLargeError

INNER = ('chunks', 'matches')
ARRAYS = ('tensor', 'embedding')  # their numbers go into an array, which is small
FIELDS = 100  # for each document that there may be: an honest one has a dozen, and those of its tags and scores
MESSAGE = 3  # fields as which one counts that has others in it: it takes as long to walk through, and more to keep
MOST_VALUES = 4 << 20  # in JSON, of which small ones take some 30 bytes each
HOLDER = 4  # values as which a list or an object counts
HEADER = 1  # number of the field of a `DataRequestProto`
LENGTH_DELIMITED = 2
SIZES = {1: 8, 5: 4}  # bytes that follow, by the kind of a field
PACKED = 'many numbers in one field'


def _inner_fields(descriptor: Any, known: dict[str, Any]) -> Any:
    """What is in the fields of a message that have anything in them, by their numbers; that of messages likewise."""
    if descriptor.full_name not in known:
        fields = known[descriptor.full_name] = {}
        for field in descriptor.fields:
            if field.message_type is not None:
                fields[field.number] = _inner_fields(field.message_type, known)
            elif field.type not in (field.TYPE_STRING, field.TYPE_BYTES):
                fields[field.number] = PACKED
    return known[descriptor.full_name]


_KNOWN: dict[str, Any] = {}
REQUEST = _inner_fields(DataRequestProto.DESCRIPTOR, _KNOWN)
DOCUMENT, ROUTE = (_KNOWN[name] for name in ('docarray.DocumentProto', 'inference_client.wire.RouteProto'))


def count_objects(documents: Any, most: int, others: Any = None) -> int:
    """Documents in JSON, with those in them; not more than `most` + 1. What is no document counts as one.

    More values in their tags and elsewhere in the request than so many documents have are too many documents, too.

    Args:
        documents: a list of them.
        most: documents.
        others: any other value of the request.
    """
    count, values, left, rest = 0, 0, [documents], [others]
    while (left or rest) and count <= most and values <= FIELDS * (most + 1):
        if rest:
            held = rest.pop()
            inner = held.values() if isinstance(held, dict) else held if isinstance(held, list) else ()
            values += len(inner)
            rest += [one for one in inner if isinstance(one, (dict, list))]
            continue
        for one in left.pop():
            count += 1
            if count > most:
                break
            for name, value in one.items() if isinstance(one, dict) else ():
                if isinstance(value, (dict, list)) and name not in ARRAYS:
                    (left if name in INNER and isinstance(value, list) else rest).append(value)
    return count if values <= FIELDS * (most + 1) else most + 1


def count_documents(data: bytes, most: int) -> int:
    """Documents in the bytes of a `DataRequestProto`, with those in them; not more than `most` + 1.

    Where the bytes are no message, it counts those before that place. More fields than so many documents have, wherever
    they are, are too many documents, too.
    """
    count, fields, left = 0, 0, [(0, len(data), REQUEST)]
    while left and count <= most and fields <= FIELDS * (most + 1):
        at, end, kind = left.pop()
        for number, start, after in _fields(data, at, end):
            fields += 1
            inner = kind.get(number)
            if inner is PACKED:
                fields += after - start
            elif inner is not None:
                fields += MESSAGE - 1
                count += inner is DOCUMENT or inner is ROUTE  # of which no client sends any
                left += [(after, end, kind), (start, after, inner)]
                break
            if fields > FIELDS * (most + 1):
                break
    return count if fields <= FIELDS * (most + 1) else most + 1


def check_values(body: bytes) -> None:
    """Refuse JSON of too many values before it is read, by what stands between them.

    Raises:
        TooLargeError: there are too many.
    """
    if body.count(b',') + HOLDER * (body.count(b'[') + body.count(b'{')) > MOST_VALUES:
        raise TooLargeError(
            f'the JSON has more than {MOST_VALUES} values, a list or object as {HOLDER}: send messages, or less at once'
        )


def check_count(count: int, most: int) -> None:
    """Refuse a request of too many documents, in the words by which clients know that halves may do.

    Raises:
        TooLargeError: there are too many.
    """
    if count > most:
        raise TooLargeError(
            f'the request has more than {most} documents, or than {FIELDS} values for each: larger than max ({most})'
        )


def header_of(data: bytes) -> HeaderProto:
    """The header of a request, of which nothing else is read; an empty one if it cannot be found."""
    for number, start, after in itertools.islice(_fields(data, 0, len(data)), FIELDS):
        if number == HEADER:
            with contextlib.suppress(DecodeError):
                return HeaderProto.FromString(data[start:after])
    return HeaderProto()


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, beginning and end of the fields of a message, until its end or what is no field."""
    while at < end:
        tag, at = _varint(data, at, end)
        kind = tag & 7
        size = SIZES.get(kind, 0)  # a group begins or ends with nothing; what is in it counts as if it were outside
        if kind == LENGTH_DELIMITED:
            size, at = _varint(data, at, end)
        elif kind == 0:
            _, at = _varint(data, at, end)
        if at < 0 or at + size > end:
            return
        yield (tag & 0xFFFFFFFF) >> 3 if kind == LENGTH_DELIMITED else 0, at, at + size
        at += size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number, and where the next thing begins; -1 if there is none."""
    value = shift = 0
    while 0 <= at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    return 0, -1
