"""Requests in JSON become messages, and answers become JSON: field by field, as a Jina gateway writes them."""

from __future__ import annotations

from typing import Any

import orjson

from .._wire.documents import read_document, read_struct, write_document
from .._wire.jina_pb2 import DataRequestProto
from .._wire.json import document_of, dumps, fields_of
from ..errors import InferenceError
from .counting import check_count, check_values, count_objects
from .refusals import UnreadableError


def request_of(body: bytes, most: int) -> bytes:
    """The message of a request in JSON.

    Args:
        body: the JSON.
        most: documents that it may have, with those in them.

    Raises:
        UnreadableError: it is none.
        TooLargeError: it has more documents, or more values than so many have.
    """
    check_values(body)
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadableError(f'the body is not JSON: {error}') from error
    if not isinstance(fields, dict):
        raise UnreadableError('the body is no JSON object: expected {"data": [...], "exec_endpoint": "/encode"}')
    data = fields.get('data') or []
    if isinstance(data, dict):
        data = data.get('docs') or []
    check_count(count_objects(data if isinstance(data, list) else [], most, fields.get('parameters')), most)
    try:
        return _message(fields, data).SerializeToString()
    except (InferenceError, ValueError) as error:
        raise UnreadableError(f'the request cannot be read: {error}') from error
    except (TypeError, AttributeError, ArithmeticError, RecursionError) as error:  # whose words are about Python
        raise UnreadableError(
            'the request cannot be read: a value is not of the kind that /openapi.json says'
        ) from error


def _message(fields: dict[str, Any], data: Any) -> DataRequestProto:
    message = DataRequestProto()
    header, parameters = fields.get('header') or {}, fields.get('parameters') or {}
    for name, value, kind, what in (
        ('header', header, dict, 'an object'),
        ('parameters', parameters, dict, 'an object'),
        ('data', data, list, 'a list of documents'),
    ):
        if not isinstance(value, kind):
            raise ValueError(f'"{name}" is not {what}')
    message.header.request_id = str(header.get('request_id') or header.get('requestId') or '')
    message.header.exec_endpoint = str(fields.get('exec_endpoint') or fields.get('execEndpoint') or '/')
    if parameters:
        message.parameters.update(parameters)
    message.data.docs.SetInParent()
    for place, one in enumerate(data):
        if not isinstance(one, (str, dict)):
            raise ValueError(f'"data" has at {place} what is neither a text nor an object')
        document = document_of({'text': one} if isinstance(one, str) else one)
        write_document(message.data.docs.docs.add(), document)
    return message


def answer_of(data: bytes) -> bytes:
    """An answer in JSON, with the names of a Jina gateway."""
    message = DataRequestProto.FromString(data)
    return dumps(
        {
            'header': _header(message.header),
            'parameters': read_struct(message.parameters),
            'routes': [_route(route) for route in message.routes],
            'data': [fields_of(read_document(document)) for document in message.data.docs.docs],
        }
    )


def _route(route: Any) -> dict[str, Any]:
    return {
        'executor': route.executor,
        'startTime': route.start_time.ToJsonString(),
        'endTime': route.end_time.ToJsonString(),
    }


def _header(header: Any) -> dict[str, Any]:
    written: dict[str, Any] = {'requestId': header.request_id, 'execEndpoint': header.exec_endpoint}
    if header.HasField('status'):
        written['status'] = status_of(header.status)
    return written


def status_of(status: Any) -> dict[str, Any]:
    """A `StatusProto` in JSON."""
    written: dict[str, Any] = {'code': status.code, 'description': status.description}
    if status.HasField('exception'):
        written['exception'] = {'name': status.exception.name, 'args': list(status.exception.args)}
    return written
