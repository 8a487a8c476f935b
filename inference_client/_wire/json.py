"""Requests and responses as JSON: the wire of HTTP."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
import orjson
from docarray import Document, DocumentArray
from docarray.score import NamedScore

from .._messages import Request, Response
from ..errors import InferenceError, InputError, ProtocolError
from .status import failure

PLAIN = (
    'parent_id', 'granularity', 'adjacency', 'mime_type', 'text', 'weight', 'uri', 'tags', 'offset',
    'location', 'modality',
)  # fmt: skip
SCORE = ('value', 'op_name', 'description', 'ref_id')


def encode_request(request: Request) -> bytes:
    """Serialize a request.

    Raises:
        InputError: a document or a parameter holds what JSON cannot.
    """
    body = {
        'exec_endpoint': request.endpoint,
        'parameters': request.parameters,
        'data': [_from_document(document) for document in request.documents],
    }
    try:
        return orjson.dumps(body, default=_default, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
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
        _check_status((body.get('header') or {}).get('status') or {})
        if not isinstance(body.get('data'), list):
            raise ProtocolError('the answer has no list "data": is this the address of a Jina server?')
        return Response(request_id, DocumentArray([_to_document(fields) for fields in body['data']]))
    except InferenceError:
        raise
    except (AttributeError, TypeError, ValueError, KeyError, RecursionError, ArithmeticError) as error:
        raise ProtocolError(f'the answer cannot be read: {error}') from error


def _check_status(status: dict[str, Any]) -> None:
    if status.get('code') in (1, 'ERROR'):
        exception = status.get('exception') or {}
        arguments = [str(argument) for argument in exception.get('args') or ()]
        raise failure(status.get('description') or '', exception.get('name') or '', arguments)


def _from_document(document: Document) -> dict[str, Any]:
    data = document._data  # the properties create empty containers as they are read
    fields: dict[str, Any] = {'id': data.id}
    for name in PLAIN:
        value = getattr(data, name)
        if value:
            fields[name] = value
    if data.blob:
        fields['blob'] = base64.b64encode(data.blob).decode('ascii')
    for name in ('tensor', 'embedding'):
        value = getattr(data, name)
        if value is not None:
            array = np.ascontiguousarray(value)
            fields[name] = array.astype(array.dtype.newbyteorder('='), copy=False)  # orjson takes no other
    for name in ('scores', 'evaluations'):
        if getattr(data, name):
            fields[name] = {key: _from_score(score) for key, score in getattr(data, name).items()}
    for name in ('chunks', 'matches'):
        if getattr(data, name):
            fields[name] = [_from_document(inner) for inner in getattr(data, name)]
    return fields


def _from_score(score: NamedScore) -> dict[str, Any]:
    return {name: getattr(score, name) for name in SCORE if getattr(score, name)}


def _to_document(fields: dict[str, Any]) -> Document:
    known: dict[str, Any] = {name: fields[name] for name in ('id', *PLAIN) if fields.get(name)}
    if fields.get('blob'):
        try:
            known['blob'] = base64.b64decode(fields['blob'], validate=True)
        except binascii.Error as error:
            raise ProtocolError('a blob of the answer is not base64') from error
    if fields.get('tensor') is not None:
        known['tensor'] = _array(fields['tensor'])
    if fields.get('embedding') is not None:
        with np.errstate(over='raise'):
            known['embedding'] = _array(fields['embedding']).astype(np.float32)
    document = Document(**known)
    for name in ('scores', 'evaluations'):
        for key, score in (fields.get(name) or {}).items():
            present = {part: score[part] for part in SCORE if score.get(part)}
            getattr(document, name)[key] = NamedScore(present)
    for name in ('chunks', 'matches'):
        inner: list[dict[str, Any]] = fields.get(name) or []
        if inner:
            setattr(document, name, [_to_document(one) for one in inner])
    return document


def _array(values: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(values)
    if array.dtype.kind not in 'biuf':
        raise ProtocolError('an array of the answer holds something other than numbers')
    return array


def _default(value: Any) -> Any:
    """What orjson does not write by itself: arrays of other element types, and numpy's own scalars."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f'{type(value).__name__} is not a JSON value')
