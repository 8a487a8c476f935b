"""How many documents a request has, known before they are made: two bytes may be one, and each costs hundreds."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any, Iterator, Mapping

from google.protobuf.message import DecodeError

from .._wire.jina_pb2 import HeaderProto
from .refusals import TooLargeError

INNER = ('chunks', 'matches')
FIELDS = 100  # of a document, at most: an honest one has each of its two dozen once, but for scores
HEADER, ROUTES, DATA = 1, 3, 4  # numbers of the fields of a `DataRequestProto`
LENGTH_DELIMITED = 2
SIZES = {1: 8, 5: 4}  # bytes that follow, by the kind of a field

# What has documents in it, and in which fields. Routes count as documents: no client sends any.
DOCUMENT: dict[int, Any] = {}
DOCUMENT.update({14: DOCUMENT, 15: DOCUMENT})
ROUTE: dict[int, Any] = {}
REQUEST: dict[int, Any] = {ROUTES: ROUTE, DATA: {1: {1: DOCUMENT}}}


def count_objects(documents: Any, most: int) -> int:
    """Documents in JSON, with those in them; not more than `most` + 1. What is no document counts as one."""
    count, left = 0, [documents]
    while left and count <= most:
        for one in left.pop():
            count += 1
            if count > most:
                break
            if isinstance(one, Mapping):
                left.extend(inner for inner in map(one.get, INNER) if isinstance(inner, list))
    return count


def count_documents(data: bytes, most: int) -> int:
    """Documents in the bytes of a `DataRequestProto`, with those in them; not more than `most` + 1.

    Where the bytes are no message, it counts those before that place. More fields than so many documents have are
    too many documents, too.
    """
    count, fields, left = 0, 0, [(0, len(data), REQUEST)]
    while left and count <= most and fields <= FIELDS * (most + 1):
        at, end, kind = left.pop()
        for number, start, after in _fields(data, at, end):
            fields += 1
            inner = kind.get(number)
            if inner is not None:
                count += inner is DOCUMENT or inner is ROUTE
                left += [(after, end, kind), (start, after, inner)]
                break
            if fields > FIELDS * (most + 1):
                break
    return count if fields <= FIELDS * (most + 1) else most + 1


def check_count(count: int, most: int) -> None:
    """Refuse a request of too many documents, in the words by which clients know that halves may do.

    Raises:
        TooLargeError: there are too many.
    """
    if count > most:
        raise TooLargeError(f'the request has more than {most} documents: larger than max ({most})')


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
