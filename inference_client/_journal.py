"""A file that keeps the answers of a long job, so that one that was killed goes on where it stopped.

It is an SQLite database: each batch of answers is one transaction, so whatever kills the process, an answer is in it
whole or not at all. An answer is kept under the SHA-256 of model, task, parameters and the document's content.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from typing import Any, Dict, Mapping, Sequence, Tuple

import orjson
from docarray import Document
from docarray.proto.docarray_pb2 import DocumentProto

from ._echo import NESTED, restored
from ._wire.documents import read_document, write_document
from .errors import InputError

APPLICATION_ID = 0x49434A31  # 'ICJ1', in the header of the file
BUSY_TIMEOUT = 60.0  # seconds to wait for another process that writes to the same file

Places = Dict[str, Dict[str, Tuple[int, Document]]]
"""Where each chunk and match stands in a document, by id."""


class Journal:
    """The answers of one model to one task with certain parameters. One driver at a time uses it.

    Args:
        path: of the file; other models, tasks and parameters may have theirs in it too.
        model: name or URL.
        task: its name.
        parameters: sent with each request.

    Raises:
        InputError: the file cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str], model: str, task: str, parameters: Mapping[str, Any]) -> None:
        self._path = os.fspath(path)
        self._scope = orjson.dumps([model, task, parameters], option=orjson.OPT_SORT_KEYS)
        self._asked: dict[int, tuple[bytes, Places]] = {}  # of documents under way, by the identity of the object
        try:
            self._database = self._opened()
        except sqlite3.Error as error:
            raise InputError(f'the journal {self._path!r} cannot be used ({error}): give another path') from error

    def recall(self, document: Document) -> Document | None:
        """The answer to a document, if an earlier call has it."""
        key = self._key(document)
        row = self._database.execute('SELECT answer FROM answers WHERE key = ?', (key,)).fetchone()
        if row is None:
            self._asked[id(document)] = key, _places(document)  # now, for an engine may reorder them in place
            return None
        return _unpacked(document, DocumentProto.FromString(row[0]))

    def record(self, answered: Sequence[tuple[Document, Document]]) -> None:
        """Keep the answers to documents that were asked for with `recall`."""
        rows = []
        for sent, answer in answered:
            key, places = self._asked.pop(id(sent))
            rows.append((key, _packed(sent, answer, places)))
        try:
            with self._database:
                self._database.executemany('INSERT OR REPLACE INTO answers VALUES (?, ?)', rows)
        except sqlite3.Error as error:
            raise InputError(f'the journal {self._path!r} cannot be written ({error}): see to its disk') from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _opened(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, BUSY_TIMEOUT, check_same_thread=False)
        try:
            (found,) = database.execute('PRAGMA application_id').fetchone()
            (tables,) = database.execute('SELECT count(*) FROM sqlite_master').fetchone()
            if tables and found != APPLICATION_ID:
                raise InputError(f'{self._path!r} is a database of something else: give another path as journal')
            database.execute(f'PRAGMA application_id = {APPLICATION_ID}')
            database.execute('PRAGMA journal_mode = WAL')  # a commit writes no more than its rows
            database.execute('PRAGMA synchronous = NORMAL')
            with database:
                database.execute(
                    'CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer BLOB NOT NULL) WITHOUT ROWID'
                )
        except BaseException:
            database.close()
            raise
        return database

    def _key(self, document: Document) -> bytes:
        message = DocumentProto()
        write_document(message, document)
        _strip(message)
        return hashlib.sha256(self._scope + b'\0' + message.SerializeToString(deterministic=True)).digest()


def _strip(message: Any) -> None:
    """Leave out what differs from run to run: ids, and the names of files whose content is there."""
    message.id = message.parent_id = ''
    if message.WhichOneof('content'):
        message.uri = ''
    for name in NESTED:
        for inner in getattr(message, name):
            _strip(inner)


def _places(document: Document) -> Places:
    return {
        name: {one.id: (place, one) for place, one in enumerate(getattr(document._data, name) or ())} for name in NESTED
    }


def _packed(sent: Document, answer: Document, places: Places) -> bytes:
    """An answer without what the caller will bring again: content that was sent, and ids, as places in the input."""
    message = DocumentProto()
    write_document(message, answer)
    _take_out(message, sent, places)
    message.id = ''
    packed: bytes = message.SerializeToString()
    return packed


def _take_out(message: Any, sent: Document, places: Places) -> None:
    original = DocumentProto()
    write_document(original, sent)
    content = message.WhichOneof('content')
    same_kind = content is not None and content == original.WhichOneof('content')
    if same_kind and getattr(message, content) == getattr(original, content):
        message.ClearField(content)
    if message.uri == original.uri:
        message.uri = ''
    for name in NESTED:
        for inner in getattr(message, name):
            if inner.id in places[name]:
                place, one = places[name][inner.id]
                _take_out(inner, one, _places(one))
                inner.id = f'#{place}'


def _unpacked(sent: Document, message: Any) -> Document:
    _put_back_ids(message, sent)
    return restored(sent, read_document(message))


def _put_back_ids(message: Any, sent: Document) -> None:
    message.id = sent.id
    for name in NESTED:
        originals = list(getattr(sent._data, name) or ())
        for inner in getattr(message, name):
            if inner.id[:1] == '#' and inner.id[1:].isdecimal() and int(inner.id[1:]) < len(originals):
                _put_back_ids(inner, originals[int(inner.id[1:])])
