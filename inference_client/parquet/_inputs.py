"""What a job answers: inputs one after the other, which can be skipped, and told from others by a hash."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from copy import copy
from dataclasses import dataclass
from itertools import islice
from operator import length_hint
from typing import Any, Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq
from docarray import Document

from .._fetch import looks_like_image
from .._files import explained, file_system, files
from .._inputs import Image, Text
from .._packing import fingerprint
from ..errors import InputError
from ._columns import ORDER

BATCH = 256  # rows that are decoded at the same time
ROW = 'row'  # the column with the number of a row in the input


class Values:
    """Any inputs, such as go into a stream.

    Args:
        values: pulled lazily. Names, texts and documents are told from others by what they are; images in other
            forms by their places only.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        self._given = values
        self._values = iter(values)
        self._keys: deque[bytes] = deque()

    def __length_hint__(self) -> int:
        return length_hint(self._given)

    def __iter__(self) -> Iterator[Any]:
        for value in self._values:
            self._keys.append(_key(value))
            yield value

    def skip(self, count: int) -> str:
        """Leave the next inputs out; gives a hash of them."""
        return _hash(map(_key, islice(self._values, count)))

    def take(self, count: int) -> tuple[str, dict[str, pa.Array]]:
        """A hash of the next inputs that were pulled, and the columns that belong beside their answers."""
        return _hash(self._keys.popleft() for _ in range(count)), {}


class Table:
    """Rows of Parquet files as inputs, read as they are needed.

    Args:
        path: of a file, or a pattern for several, which are sorted by name; of this machine, or the URL of a store.
        text: name of the column with texts.
        image: in its place, name of the column with images: bytes, names or URLs, or a struct of `bytes` and `path`.
        question: for `vqa`, name of the column with questions.
        candidates: for `rank`, name of the column with lists of texts, or the candidates for all rows.
        keep: names of columns that the output has, too.
        allow_private: whether images may be fetched from private addresses.

    Raises:
        InputError: there is no such file or column, or it is no Parquet.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        text: str | None = None,
        image: str | None = None,
        question: str | None = None,
        candidates: str | list[Any] | None = None,
        keep: Iterable[str] = (),
        allow_private: bool = False,
    ) -> None:
        if (text is None) == (image is None):
            raise InputError('expected one column: text= or image=')
        self._item = text if image is None else image
        self._is_image = image is not None
        self._question = question
        self._candidates = candidates
        self._keep = list(dict.fromkeys(keep))
        self._allow_private = allow_private
        self._kept: deque[pa.Table] = deque()
        self._types: dict[str, tuple[pa.DataType, str]] = {}  # of kept columns, and the file that has them
        self._start = self._taken = 0
        self._check_kept()
        self._files = [self._known(name) for name in files(os.fspath(path))]

    def __len__(self) -> int:
        return sum(file.rows for file in self._files)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches():
            if self._keep:
                self._kept.append(pa.table({name: batch.column(name) for name in self._keep}))
            for place in range(batch.num_rows):
                yield self._value(batch, place)

    def again(self) -> Table:
        """The same rows, from the first."""
        other = copy(self)
        other._kept = deque()
        other._start = other._taken = 0
        return other

    def skip(self, count: int) -> str:
        """Leave the next rows out, without reading them; gives a hash of where they are."""
        where = self._where(count)
        self._start += count
        self._taken += count
        return where

    def take(self, count: int) -> tuple[str, dict[str, pa.Array]]:
        """A hash of the next rows that were pulled, and the columns that belong beside their answers."""
        return self._where(count), self.beside(count)

    def beside(self, count: int) -> dict[str, pa.Array]:
        """The columns that belong beside the answers to the next rows that were pulled."""
        columns: dict[str, Any] = {ROW: pa.array(range(self._taken, self._taken + count), pa.int64())}
        self._taken += count
        if self._keep:
            columns.update(zip(self._keep, self._take_kept(count).columns))
        return columns

    def _where(self, count: int) -> str:
        lines, passed = [], 0
        for file in self._files:
            start, stop = max(self._taken - passed, 0), min(self._taken + count - passed, file.rows)
            if start < stop:
                lines.append(repr((file, start, stop)).encode())
            passed += file.rows
        columns = repr((self._item, self._is_image, self._question, self._keep))
        return _hash([columns.encode(), _key(self._candidates), *lines])

    def _take_kept(self, count: int) -> pa.Table:
        table = pa.concat_tables(self._kept)
        self._kept = deque([table.slice(count)])
        return table.slice(0, count)

    def _batches(self) -> Iterator[Any]:
        """Row group by row group, so that no more than one is in memory."""
        lists = self._candidates if isinstance(self._candidates, str) else None
        columns = list(dict.fromkeys(name for name in (self._item, self._question, lists, *self._keep) if name))
        skipped = self._start
        for file in self._files:
            if skipped >= file.rows:
                skipped -= file.rows
                continue
            system, path = file_system(file.name)
            with explained(file.name, 'read'), system.open(path, 'rb') as opened, pq.ParquetFile(opened) as parquet:
                for group in range(parquet.num_row_groups):
                    rows = parquet.metadata.row_group(group).num_rows
                    if skipped >= rows:
                        skipped -= rows
                        continue
                    for batch in parquet.iter_batches(BATCH, row_groups=[group], columns=columns):
                        left_out = min(skipped, batch.num_rows)
                        skipped -= left_out
                        yield batch.slice(left_out)

    def _value(self, batch: Any, place: int) -> Any:
        value = batch.column(self._item)[place].as_py()
        item: Any = image_of(value, self._allow_private) if self._is_image else Text(value)
        if self._question is not None:
            return item, batch.column(self._question)[place].as_py()
        if self._candidates is None:
            return item
        if isinstance(self._candidates, str):
            return item, [Text(one) for one in batch.column(self._candidates)[place].as_py() or ()]
        return item, self._candidates

    def _known(self, name: str) -> _File:
        system, path = file_system(name)
        with explained(name, 'read as Parquet'), system.open(path, 'rb') as opened, pq.ParquetFile(opened) as parquet:
            schema, rows, size = parquet.schema_arrow, parquet.metadata.num_rows, system.size(path)
        lists = self._candidates if isinstance(self._candidates, str) else None
        for column in (self._item, self._question, lists, *self._keep):
            if column is not None and column not in schema.names:
                raise InputError(f'{name} has no column {column!r}: it has {", ".join(schema.names)}')
        for column in self._keep:
            known, other = self._types.setdefault(column, (schema.field(column).type, name))
            if schema.field(column).type != known:
                raise InputError(
                    f'the column {column!r} cannot be kept: it is {known} in {other} and '
                    f'{schema.field(column).type} in {name}; write it as one type, or do not keep it'
                )
        return _File(name, size, rows)

    def _check_kept(self) -> None:
        for name in self._keep:
            if name in (ROW, *ORDER):
                raise InputError(f'the column {name!r} cannot be kept: the output has one of that name')


@dataclass(frozen=True)
class _File:
    name: str
    size: int
    rows: int


def image_of(value: Any, allow_private: bool) -> Image:
    """An image of a column: in any form, or a dict of `bytes` and `path`."""
    if isinstance(value, dict):
        content, name = value.get('bytes'), value.get('path')
        value = name if content is None else Document(uri=name, blob=content)
    return Image(value, allow_private)


def _key(value: Any) -> bytes:
    """What tells an input from others, as far as that is known without reading it; how an image is taken is none."""
    if isinstance(value, (tuple, list)):
        return b'[' + b' '.join(map(_key, value)) + b']'
    if isinstance(value, str) and looks_like_image(value):
        value = Image(value)
    if isinstance(value, Image):
        return b'Image ' + repr(value.value).encode() if isinstance(value.value, str) else _key(value.value)
    if isinstance(value, Document):
        return _key_of_document(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return hashlib.sha256(value).digest()
    if isinstance(value, (str, os.PathLike, Text)):
        return repr(value).encode()
    return type(value).__name__.encode()


def _key_of_document(document: Document) -> bytes:
    try:
        return fingerprint(document)
    except InputError:  # it is told when it is sent
        return type(document).__name__.encode()


def _hash(keys: Iterable[bytes]) -> str:
    hashed = hashlib.sha256()
    for key in keys:
        hashed.update(len(key).to_bytes(8, 'big') + key)
    return hashed.hexdigest()
