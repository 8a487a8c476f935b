"""Requests and responses as `DataRequestProto`: the wire of gRPC and WebSocket."""

from __future__ import annotations

from functools import partial
from typing import Iterable

from google.protobuf.message import DecodeError

from .._messages import Request, Response, Route
from ..errors import InferenceError, InputError, ProtocolError
from .documents import read_document, write_document
from .jina_pb2 import DataRequestProto, RouteProto, StatusProto
from .status import failure


def encode_request(request: Request) -> bytes:
    """Serialize a request.

    Raises:
        InputError: a document or a parameter holds what a message cannot.
    """
    message = DataRequestProto()
    message.header.request_id = request.id
    message.header.exec_endpoint = request.endpoint
    try:
        if request.parameters:
            message.parameters.update(request.parameters)
        if request.trace is not None:
            message.header.trace.update(request.headers)
        for document in request.documents:
            write_document(message.data.docs.docs.add(), document)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f'a document or parameter cannot be sent: {error}') from error
    return message.SerializeToString()


def decode_message(data: bytes) -> DataRequestProto:
    """Parse a response without reading it; its `header.request_id` says what it answers."""
    message = DataRequestProto()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ProtocolError('the answer is not a Jina message: is this the address of a Jina server?') from error
    return message


def read_response(message: DataRequestProto) -> Response:
    """Read a parsed response.

    Raises:
        ServerError: the status says that the request failed; InputError or UnsupportedTaskError if the
            model says that it was for one of these.
        ProtocolError: its documents cannot be read.
    """
    status = message.header.status
    if status.code == StatusProto.ERROR:
        raise failure(status.description, status.exception.name, list(status.exception.args))
    if message.data.WhichOneof('documents') == 'docs_bytes':
        raise ProtocolError('the answer holds pickled documents, which are never read: the server must send "docs"')
    try:
        documents = [read_document(document) for document in message.data.docs.docs]
    except InferenceError:
        raise
    except Exception as error:  # whatever a stranger's bytes lead numpy and scipy to
        raise ProtocolError(f'a document of the answer cannot be read: {error}') from error
    return Response(message.header.request_id, documents, partial(_routes, message.routes))


def _routes(messages: Iterable[RouteProto]) -> list[Route]:
    return [Route(one.executor, one.start_time.ToNanoseconds(), one.end_time.ToNanoseconds()) for one in messages]
