"""The file as it grows: parts beside it, which become one file in the end.

    out.parquet.parts/00000.parquet, 00001.parquet, ...   ──finish()──▶   out.parquet

A file gets its name once it is whole, so whatever kills the process leaves whole parts. Each tells the job that it
belongs to and, by a hash, which inputs it answers, so one is never taken for that of another job.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from .._fetch import shorten
from .._files import explained, file_system
from ..errors import InputError
from ._columns import fitted, unified

if TYPE_CHECKING:
    from ._inputs import Table, Values

logger = logging.getLogger('inference_client.parquet')

ROWS = 4096  # in a row group, and at most in a part
JOB, INPUTS = b'inference_client.job', b'inference_client.inputs'  # keys in the metadata of a part


@dataclass(frozen=True)
class Written:
    """What a job came to.

    Attributes:
        rows: in the file.
        failed: those of them with an error.
        resumed: those that an earlier run had answered.
    """

    rows: int
    failed: int
    resumed: int


class Parts:
    """The parts of one output.

    Args:
        output: path or URL of the file.
        job: a hash of what is done with the inputs.
    """

    def __init__(self, output: str, job: str) -> None:
        self._output = output
        self._job = job.encode()
        self._system, self._path = file_system(output)
        self._folder = f'{self._path}.parts'
        self._schemas: list[pa.Schema] = []
        self._resumed = 0

    @property
    def folder(self) -> str:
        """Where the parts are, for people."""
        return shorten(f'{self._output}.parts')

    def resume(self, inputs: Values | Table) -> int:
        """Skip the inputs that the parts of an earlier run answer; gives their number.

        Raises:
            InputError: the parts are of another job or other inputs, or cannot be read.
        """
        with explained(self._output, 'opened'):
            if self._system.isdir(self._path):
                raise InputError(f'{shorten(self._output)} is a directory: expected the name of a file')
        while True:
            path = self._name(len(self._schemas))
            with explained(path, 'read'):
                if not self._system.exists(path):
                    return self._resumed
                with self._opened(path) as part:
                    schema, rows = part.schema_arrow, part.metadata.num_rows
            told = schema.metadata or {}
            if told.get(JOB) != self._job:
                raise InputError(
                    f'{self.folder} is of a job with another model, task or parameters: '
                    'run that again, or delete it to begin anew'
                )
            if told.get(INPUTS) != inputs.skip(rows).encode():
                raise InputError(
                    f'{self.folder} was begun with other inputs: give the same again, or delete it to begin anew'
                )
            self._schemas.append(schema)
            self._resumed += rows

    def add(self, table: pa.Table, inputs: str) -> None:
        """Write the next part.

        Args:
            table: its rows.
            inputs: a hash of the inputs that they answer.
        """
        path = self._name(len(self._schemas))
        table = table.replace_schema_metadata({JOB: self._job, INPUTS: inputs})
        with explained(path, 'written'):
            if self._system.exists(path):
                raise InputError(
                    f'{path} was there before: another process writes the same output; '
                    f'let it end, or delete {self.folder} to begin anew'
                )
            with self._writer(path, table.schema) as writer:
                writer.write_table(table)
        self._schemas.append(_as_read(table.schema))

    def tell(self) -> None:
        """Say where the rows are that an error did not take away."""
        if self._schemas:
            logger.warning('what was answered is in %s: the same job goes on from there', self.folder)

    def finish(self) -> Written:
        """Put the parts together as one file, and remove them."""
        rows = failed = 0
        if not self._schemas:
            return Written(0, 0, 0)
        schema = unified(self._schemas)
        with explained(self._output, 'written'):
            with self._writer(self._path, schema) as writer:
                for table in self._regrouped(schema):
                    writer.write_table(table, ROWS)
                    rows += table.num_rows
                    if 'error' in table.column_names:
                        failed += table.num_rows - table['error'].null_count
            self._remove()
        return Written(rows, failed, self._resumed)

    def _remove(self) -> None:
        """Take the parts away, the last one first, so that a job that is killed meanwhile finds the first ones."""
        for number in reversed(range(len(self._schemas))):
            with contextlib.suppress(FileNotFoundError):
                self._system.rm_file(self._name(number))
        with contextlib.suppress(FileNotFoundError):  # a store has no directories without files
            self._system.rm(self._folder, recursive=True)

    def _regrouped(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """All rows, in tables of `ROWS`, so that the file does not depend on where the parts end."""
        waiting: list[pa.Table] = []
        for number, known in enumerate(self._schemas):
            path = self._name(number)
            with self._opened(path) as part:
                if not part.schema_arrow.equals(known, check_metadata=True):
                    raise InputError(
                        f'{path} was changed: another process writes the same output; '
                        f'let it end, delete {self.folder} and begin anew'
                    )
                waiting.append(fitted(part.read(), schema))
            if sum(table.num_rows for table in waiting) >= ROWS:
                table = pa.concat_tables(waiting)
                yield table.slice(0, ROWS).combine_chunks()  # for pages end where chunks do
                waiting = [table.slice(ROWS)]
        if any(table.num_rows for table in waiting):
            yield pa.concat_tables(waiting).combine_chunks()

    def _name(self, number: int) -> str:
        return f'{self._folder}/{number:05}.parquet'

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[pq.ParquetFile]:
        with self._system.open(path, 'rb') as file, pq.ParquetFile(file) as part:
            yield part

    @contextlib.contextmanager
    def _writer(self, path: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """Writes a file that gets its name once it is whole; until then it has one that no other process takes."""
        unfinished = f'{self._folder}/unfinished-{uuid.uuid4().hex}'
        other = [field.name for field in schema if field.name != 'embedding']  # whose numbers hardly come twice
        self._system.makedirs(self._folder, exist_ok=True)
        opened = self._system.open(unfinished, 'wb')
        with opened as file, pq.ParquetWriter(file, schema, use_dictionary=other or False) as writer:
            yield writer
        self._system.mv(unfinished, path)


def _as_read(schema: pa.Schema) -> pa.Schema:
    """A schema as Parquet gives it back: it has names of its own for what is within lists."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    return pq.read_schema(pa.BufferReader(sink.getvalue()))
