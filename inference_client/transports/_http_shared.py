"""What the blocking and the asynchronous HTTP transport share."""

from __future__ import annotations

import dataclasses
from typing import Mapping, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import orjson
from docarray import DocumentArray

from .._http import printable
from .._messages import Request, Response
from .._spec import Capabilities
from .._tls import check_secrecy
from .._wire import json, protobuf
from .._wire.pixels import pack, unpack
from .._wire.status import http_failure, wait_of
from ..errors import InferenceError, ModelNotFoundError, ProtocolError, ServerError, UnsupportedTaskError
from .base import TransportOptions, check_query, split_url

JSON = 'application/json'
PROTOBUF = 'application/x-protobuf'  # the messages of gRPC: a server spends a twentieth of the time on them
HEADERS = {'Content-Type': JSON, 'Accept': JSON}
TAKES = 'Accept-Post'  # the header of an answer that says what else may be posted there
NOT_TAKEN = (406, 415, 422)  # stock Jina: 422
POST = '/post'
NO_SUCH_PATH = (404, 405)
FAILED = (1, 'ERROR')  # as a number or name of Jina's `StatusProto`
ERROR = 'Inference-Error'  # a header of our own server, which knows the path and refuses for a reason of its own
STATUS = '/status'
READY_PATHS = ('/dry_run', '/')  # of a Flow, which asks its models; of a Deployment


class Site:
    """A server's address, and whether it is a Flow, which takes every endpoint at one path, or a Deployment.

    Attributes:
        base: the URL that paths are put behind.
        headers: sent with each request.
        path: `/post` of a Flow, '' of a Deployment, None before it is known.
        protobuf: whether it takes `PROTOBUF`, as far as is known: the answer to a first request in JSON says so.
    """

    def __init__(self, url: str, options: TransportOptions) -> None:
        check_query(split_url(url), 'http://host:port or http://host:port/models/NAME')
        self.base = url.rstrip('/')
        if self.base.endswith(POST):
            self.base = self.base[: -len(POST)]
        check_secrecy(self.base, options)
        self.headers = {**HEADERS, 'Authorization': options.token} if options.token else HEADERS
        self.path: str | None = None
        self.protobuf = False
        self._refused = False

    def learn(self, path: str, status: int, headers: Mapping[str, str]) -> None:
        """Note what an answer says of the server."""
        if status == 200:
            self.path = POST if path == POST else ''
        if path == POST and not self._refused:
            self.protobuf = PROTOBUF in headers.get(TAKES, '').lower()

    def refused(self, status: int) -> None:
        """Note that it took no `PROTOBUF` after all, given the status of the same request in JSON."""
        if status not in NOT_TAKEN:  # else it was the request
            self._refused, self.protobuf = True, False


class Packed(NamedTuple):
    """A request as it travels.

    Attributes:
        data: the body.
        kind: its media type, which the answer should have, too.
        documents: those of the request, as they are in the body.
        trace: the request's headers.
    """

    data: bytes
    kind: str
    documents: DocumentArray
    trace: Mapping[str, str]

    @property
    def headers(self) -> dict[str, str]:
        """That go with the body."""
        return {**self.trace, 'Content-Type': self.kind, 'Accept': self.kind}


def packed(request: Request, as_protobuf: bool) -> Packed:
    """A request, ready to be sent."""
    if as_protobuf:
        return Packed(protobuf.encode_request(request), PROTOBUF, request.documents, request.headers)
    documents = pack(request.documents)
    data = json.encode_request(dataclasses.replace(request, documents=documents))
    return Packed(data, JSON, documents, request.headers)


def unpacked(content: bytes, headers: Mapping[str, str], request: Request, sent: Packed) -> Response:
    """The response in the body of an answer."""
    if headers.get('Content-Type', '').lower().startswith(PROTOBUF):
        return dataclasses.replace(protobuf.read_response(protobuf.decode_message(content)), id=request.id)
    response = json.decode_response(content, request.id)
    unpack(response.documents, sent.documents)
    return response


def knows_path(status: int, headers: Mapping[str, str]) -> bool:
    """Whether the server has something at the path, even if it refuses the request."""
    return status not in NO_SUCH_PATH or ERROR in headers


def failure(
    status: int, headers: Mapping[str, str], text: str, endpoint: str, size: int, token: str | None
) -> InferenceError:
    """The error for an answer with a status other than 200, in which a token may be quoted."""
    text = printable(text, token, 500)
    if status == 404 and ERROR in headers:
        return ModelNotFoundError(f'the server does not know the model (404): {text}')
    if status in NO_SUCH_PATH:
        return UnsupportedTaskError(
            f'the server has neither {POST} nor {endpoint}: it does not offer this task, '
            'or this is not the address of a Jina server'
        )
    if 300 <= status < 400:
        location = printable(headers.get('Location', 'nowhere'), token)
        return ProtocolError(f'the server redirects to {location}: give that address instead')
    if status == 503 and headers.get(ERROR) == ServerError.__name__:  # the model could not be started, and will not be
        return ServerError(f'the model is not up (503): {text}')
    return http_failure(status, text, wait_of(headers), size)


def is_ready(content: bytes) -> bool:
    """Whether an answer at one of `READY_PATHS` is a good one: a Flow says within it what became of its models."""
    try:
        report = orjson.loads(content)
    except ValueError:  # the page of something else that is up
        return True
    return not (isinstance(report, dict) and report.get('code') in FAILED)


def capabilities(status: int, headers: Mapping[str, str], content: bytes, token: str | None) -> Capabilities:
    """What an answer at `STATUS` tells of the model: our own server names its tasks, others nothing.

    Raises:
        InferenceError: the server refuses to say.
    """
    if status in (401, 403) or (status != 200 and ERROR in headers):
        raise failure(status, headers, content.decode(errors='replace'), STATUS, 0, token)
    try:
        report = orjson.loads(content) if status == 200 else None
    except ValueError:  # the page of something else
        report = None
    tasks = report.get('tasks') if isinstance(report, dict) else None
    return Capabilities(frozenset(map(str, tasks)) if isinstance(tasks, list) else None)


def as_http(url: str) -> str:
    """The URL of the HTTP server on the port of a WebSocket's, which answers whether it is ready."""
    parts = urlsplit(url)
    return urlunsplit(('https' if parts.scheme == 'wss' else 'http', parts.netloc, parts.path, '', ''))
