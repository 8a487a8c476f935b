"""Answers as columns of Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from ..errors import InputError, ProtocolError

if TYPE_CHECKING:
    from docarray import Document

ORDER = ('input', 'question', 'embedding', 'response', 'matches', 'error')
Row = Mapping[str, Any]


def row_of(document: Document, task: str) -> Row:
    """What is kept of an answer, without its content.

    Raises:
        InputError: there is nothing of the kind that these columns can hold.
    """
    row: dict[str, Any] = {'input': _plain(document.uri or document.text or None)}
    if task == 'vqa':
        row['question'] = _plain(document.tags.get('prompt'))
    if 'error' in document.tags:
        return {**row, 'error': _plain(document.tags['error'])}
    found: dict[str, Any] = {}
    if document.embedding is not None:
        found['embedding'] = np.asarray(document.embedding, np.float32)
    if isinstance(document.tags.get('response'), str):
        found['response'] = _plain(document.tags['response'])
    ranked = [one for one in document.matches if one.scores]
    if ranked:
        found['matches'] = [_match(one) for one in ranked]
    if not found:
        raise InputError(f'the answers of {task!r} have no embedding, response or scores: Parquet takes only these')
    return {**row, **found}


def table_of(rows: Sequence[Row], beside: Mapping[str, Any], errors: bool) -> pa.Table:
    """A table of rows.

    Args:
        rows: as `row_of` gives them.
        beside: columns that go before theirs.
        errors: whether there is a column of errors, even if there are none.
    """
    columns = dict(beside)
    for name in ORDER:
        if any(name in row for row in rows) or (name == 'error' and errors):
            columns[name] = _column(name, [row.get(name) for row in rows])
    return pa.table(columns)


def unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """One schema for tables that are parts of one: a column, or a score, that one of them lacks is null there.

    Raises:
        InputError: a column has different types.
    """
    fields: dict[str, pa.Field] = {}
    for field in (field for schema in schemas for field in schema):
        fields[field.name] = _merged(fields.get(field.name, field), field)
    own = [fields.pop(name) for name in ORDER if name in fields]
    return pa.schema([*fields.values(), *own])


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns of a unified schema."""
    held = set(table.column_names)
    columns = [
        _with_scores(table[field.name], field.type) if field.name in held else missing(field.type, table.num_rows)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def missing(kind: pa.DataType, count: int) -> pa.Array:
    """A column without answers: nulls, or vectors of NaN, for older versions of Arrow write no null among such."""
    if pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32():
        return _vectors(np.full((count, kind.list_size), np.nan, np.float32)).cast(kind)
    return pa.nulls(count, kind)


def match_with(scores: Iterable[str]) -> pa.StructType:
    """The type of a match, by the names of its scores."""
    return pa.struct([('input', pa.string()), *((score, pa.float64()) for score in sorted(scores))])


def _column(name: str, values: list[Any]) -> pa.Array:
    if name == 'embedding':
        return _embeddings(values)
    if name == 'matches':
        scores = {key for matches in values for match in matches or () for key in match} - {'input'}
        return pa.array(values, pa.list_(match_with(scores)))
    return pa.array(values, pa.string())


def _merged(known: pa.Field, field: pa.Field) -> pa.Field:
    """One field for two; matches of the one may have scores that those of the other have not."""
    if known.type == field.type:
        return field
    if field.name != 'matches':
        raise InputError(
            f'the column {field.name!r} is {known.type} in one part and {field.type} in another: '
            'another model or another input answered; begin anew'
        )
    match = field.type.value_field
    scores = {score.name for kind in (known.type, field.type) for score in kind.value_type} - {'input'}
    return field.with_type(pa.list_(match.with_type(match_with(scores))))


def _with_scores(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A column as it is, or matches with the scores that they lack as nulls; older Arrow casts no structs."""
    return column if column.type == kind else pa.chunked_array([pa.array(column.to_pylist(), kind)])


def _embeddings(values: list[Any]) -> pa.Array:
    shapes = {value.shape for value in values if value is not None}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        told = ' and '.join(map(str, sorted(shapes)))
        raise ProtocolError(f'embeddings of shape {told}: expected one number of dimensions for all, as a column has')
    ((size,),) = shapes
    there = np.array([value is not None for value in values])
    numbers = np.full((len(values), size), np.nan, np.float32)
    numbers[there] = np.stack([value for value in values if value is not None])
    return _vectors(numbers)


def _vectors(numbers: np.ndarray[Any, Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), numbers.shape[1])


def _match(match: Document) -> dict[str, Any]:
    scores = {name: float(score.value) for name, score in match.scores.items()}
    return {'input': _plain(match.uri or match.text or None), **scores}


def _plain(text: str | None) -> str | None:
    """A string without lone surrogates, which UTF-8 cannot hold; a name of a file may have them."""
    return None if text is None else str(text).encode('utf-8', 'backslashreplace').decode()
