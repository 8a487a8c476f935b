"""Requests, responses and their documents as JSON: the wire of HTTP."""

from __future__ import annotations

import base64
from functools import partial
from typing import Any, Mapping

import numpy as np
import orjson
from docarray import Document
from docarray.score import NamedScore
from google.protobuf.timestamp_pb2 import Timestamp

from .._messages import Request, Response, Route
from ..errors import InferenceError, InputError, ProtocolError
from .fields import PLAIN, SCORE
from .status import failure

# A wrong type here would reach the caller, who reads e.g. `.text` as a `str`.
READ = {'id': str, 'text': str, 'tags': dict, 'location': list, **PLAIN}
WRITTEN = tuple(READ)[1:]


def encode_request(request: Request) -> bytes:
    """Serialize a request.

    Raises:
        InputError: a document or a parameter holds what JSON cannot.
    """
    try:
        body = {
            'exec_endpoint': request.endpoint,
            'parameters': request.parameters,
            'data': [fields_of(document) for document in request.documents],
        }
        return dumps(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f'a document or parameter cannot be sent: {error}') from error


def decode_response(data: bytes, request_id: str) -> Response:
    """Read a response to the request of this id.

    Raises:
        ServerError: its header says that the request failed; InputError or UnsupportedTaskError if the
            model says that it was for one of these.
        ProtocolError: it is not an answer of a Jina server.
    """
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ProtocolError('the answer is not JSON: is this the address of a Jina server?') from error
    if not isinstance(body, dict):
        raise ProtocolError(f'the answer is a JSON {type(body).__name__}: expected an object with "data"')
    try:
        _check_status(_get(_get(body, 'header', dict) or {}, 'status', dict) or {})
        if not isinstance(body.get('data'), list):
            raise ProtocolError('the answer has no list "data": is this the address of a Jina server?')
        documents = [document_of(fields) for fields in body['data']]
        return Response(request_id, documents, partial(_routes, body.get('routes')))
    except InferenceError:
        raise
    except (AttributeError, TypeError, ValueError, KeyError, RecursionError, ArithmeticError) as error:
        raise ProtocolError(f'the answer cannot be read: {error}') from error


def _routes(routes: Any) -> list[Route]:
    """The way of a request; empty where it is not told, or cannot be read, for no task needs it."""
    try:
        return [
            Route(str(one['executor']), _nanoseconds(one['startTime']), _nanoseconds(one['endTime'])) for one in routes
        ]
    except (TypeError, KeyError, ValueError):
        return []


def _nanoseconds(time: str) -> int:
    timestamp = Timestamp()
    timestamp.FromJsonString(time)
    return int(timestamp.ToNanoseconds())


def _check_status(status: dict[str, Any]) -> None:
    if status.get('code') in (1, 'ERROR'):
        exception = _get(status, 'exception', dict) or {}
        arguments = [str(argument) for argument in _get(exception, 'args', list) or ()]
        raise failure(_get(status, 'description', str) or '', _get(exception, 'name', str) or '', arguments)


def dumps(value: Any) -> bytes:
    """JSON of a value that may hold arrays."""
    return orjson.dumps(value, default=_default, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def fields_of(document: Document) -> dict[str, Any]:
    """A document as a JSON object, with its arrays as they are."""
    data = document._data  # the properties create empty containers as they are read
    fields: dict[str, Any] = {'id': data.id}
    for name in WRITTEN:
        value = getattr(data, name)
        if value:
            fields[name] = value
    if data.blob:
        fields['blob'] = base64.b64encode(data.blob).decode('ascii')
    for name in ('tensor', 'embedding'):
        value = getattr(data, name)
        if value is not None:
            array = np.asarray(value, order='C')
            fields[name] = array.astype(array.dtype.newbyteorder('='), copy=False)  # orjson takes no other
    for name in ('scores', 'evaluations'):
        if getattr(data, name):
            fields[name] = {key: _from_score(score) for key, score in getattr(data, name).items()}
    for name in ('chunks', 'matches'):
        if getattr(data, name):
            fields[name] = [fields_of(inner) for inner in getattr(data, name)]
    return fields


def _from_score(score: NamedScore) -> dict[str, Any]:
    return {name: getattr(score, name) for name in SCORE if getattr(score, name)}


def document_of(fields: Any) -> Document:
    """The document of a JSON object.

    Raises:
        ProtocolError: it is none.
    """
    document = Document(**_content(_checked(fields, dict, 'document')))
    for name in ('scores', 'evaluations'):
        for key, score in (_get(fields, name, dict) or {}).items():
            getattr(document, name)[key] = NamedScore(_present(_checked(score, dict, name), SCORE))
    for name in ('chunks', 'matches'):
        inner = _get(fields, name, list)
        if inner:
            setattr(document, name, [document_of(one) for one in inner])
    return document


def _content(fields: dict[str, Any]) -> dict[str, Any]:
    known = _present(fields, READ)
    known['location'] = [_checked(number, float, 'location') for number in known.pop('location', ())] or None
    blob = _get(fields, 'blob', str)
    if blob:
        try:
            known['blob'] = base64.b64decode(blob, validate=True)
        except ValueError as error:  # binascii.Error is one, and so is what comes of other than ASCII
            raise ProtocolError('a blob is not base64') from error
    if fields.get('tensor') is not None:
        known['tensor'] = _array(_get(fields, 'tensor', list))
    if fields.get('embedding') is not None:
        with np.errstate(over='raise'):
            known['embedding'] = _array(_get(fields, 'embedding', list)).astype(np.float32)
    return {name: value for name, value in known.items() if value is not None}


def _present(fields: dict[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
    """Those of the fields that hold something, each of its type."""
    values = {name: _get(fields, name, kind) for name, kind in types.items() if name in fields}
    return {name: value for name, value in values.items() if value}


def _get(fields: dict[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    return None if value is None else _checked(value, kind, name)


def _checked(value: Any, kind: type, name: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:  # a bool is an int to isinstance
        raise ProtocolError(f'a {type(value).__name__} came as {name!r}: expected a {kind.__name__}')
    return value


def _array(values: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(values)
    if array.dtype.kind not in 'biuf':
        raise ProtocolError('an array holds something other than numbers')
    return array


def _default(value: Any) -> Any:
    """What orjson does not write by itself: arrays of other element types, and numpy's own scalars."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f'{type(value).__name__} is not a JSON value')
