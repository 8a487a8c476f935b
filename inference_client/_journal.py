"""A file that keeps the answers of a long job, so that one that was killed goes on where it stopped.

It is an SQLite database: each batch of answers is one transaction, so whatever kills the process, an answer is in it
whole or not at all. An answer is kept under the SHA-256 of model, task, parameters and the document's content.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from typing import Any, Iterator, Mapping, Sequence

from docarray import Document

from ._documents import copy_tree
from ._packing import as_json, fingerprint, pack, unpack
from .errors import InputError

APPLICATION_ID = 0x49434A31  # 'ICJ1', in the header of the file
BUSY_TIMEOUT = 60.0  # seconds to wait for another process that writes to the same file


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
        self._scope = as_json([model, task, parameters]).encode()
        # Documents under way, by the identity of the object, as they were: an engine may work on them in place.
        self._asked: dict[int, tuple[bytes, Document]] = {}
        with self._explained('used', 'give the path of a journal or a new file'):
            self._database = self._opened()

    def recall(self, document: Document) -> Document | None:
        """The answer to a document, if an earlier call has it.

        Raises:
            InputError: the document, which is its `item`, holds what cannot be kept; or the file cannot be read.
        """
        key = hashlib.sha256(self._scope + fingerprint(document)).digest()
        with self._explained('read', 'see to its disk, or give another path'):
            row = self._database.execute('SELECT answer, exact FROM answers WHERE key = ?', (key,)).fetchone()
        if row is None:
            self._asked[id(document)] = key, copy_tree(document)
            return None
        return unpack(document, *row)

    def record(self, answered: Sequence[tuple[Document, Document | None]]) -> None:
        """Keep the answers to documents that were asked for with `recall`; None is for one that got none.

        Raises:
            InputError: an answer holds what cannot be kept, or the file cannot be written.
        """
        rows = []
        for sent, answer in answered:
            key, original = self._asked.pop(id(sent))
            if answer is not None:
                rows.append((key, *pack(original, answer)))
        with self._explained('written', 'see to its disk; what was answered until then is in it'), self._transaction():
            self._database.executemany('INSERT OR REPLACE INTO answers VALUES (?, ?, ?)', rows)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _opened(self) -> sqlite3.Connection:
        # Absolute, for some names mean something else to SQLite than a file. Transactions are begun by hand.
        path = os.path.abspath(os.fsdecode(self._path))  # noqa: PTH100 - of a str
        self._database = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            self._database.execute('PRAGMA page_size = 8192')  # of a new file; 3 embeddings of 512 floats go into one
            with self._transaction():  # several processes may make the file at the same time
                self._make()
            self._database.execute('PRAGMA journal_mode = WAL')  # a commit writes no more than its rows
            self._database.execute('PRAGMA synchronous = NORMAL')
        except BaseException:
            self._database.close()
            raise
        return self._database

    def _make(self) -> None:
        (found,) = self._database.execute('PRAGMA application_id').fetchone()
        (tables,) = self._database.execute('SELECT count(*) FROM sqlite_master').fetchone()
        if found == APPLICATION_ID and tables:
            return
        if tables:
            raise InputError(f'{self._path!r} is a database of something else: give another path as journal')
        self._database.execute(f'PRAGMA application_id = {APPLICATION_ID}')
        self._database.execute('CREATE TABLE answers (key BLOB PRIMARY KEY, answer BLOB NOT NULL, exact TEXT NOT NULL)')

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute('BEGIN IMMEDIATE')
        try:
            yield
            self._database.execute('COMMIT')
        except BaseException:
            if self._database.in_transaction:  # SQLite ends it by itself where the disk is full
                self._database.execute('ROLLBACK')
            raise

    @contextlib.contextmanager
    def _explained(self, verb: str, advice: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise InputError(f'the journal {self._path!r} cannot be {verb} ({error}): {advice}') from error
