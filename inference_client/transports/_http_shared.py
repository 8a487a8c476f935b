"""What the blocking and the asynchronous HTTP transport share."""

from __future__ import annotations

import dataclasses
from typing import Mapping
from urllib.parse import urlsplit, urlunsplit

import orjson
from docarray import DocumentArray

from .._messages import Request, Response
from .._wire.json import decode_response, encode_request
from .._wire.pixels import pack, unpack
from .._wire.status import http_failure
from ..errors import InferenceError, ProtocolError, UnsupportedTaskError
from .base import TransportOptions, split_url

HEADERS = {'Content-Type': 'application/json', 'Accept': 'application/json'}
POST = '/post'
NO_SUCH_PATH = (404, 405)
FAILED = (1, 'ERROR')  # as a number or name of Jina's `StatusProto`
READY_PATHS = ('/dry_run', '/')  # of a Flow, which asks its models; of a Deployment


class Site:
    """A server's address, and whether it is a Flow, which takes every endpoint at one path, or a Deployment.

    Attributes:
        base: the URL that paths are put behind.
        headers: sent with each request.
        path: `/post` of a Flow, '' of a Deployment, None before it is known.
    """

    def __init__(self, url: str, options: TransportOptions) -> None:
        split_url(url)
        self.base = url.rstrip('/')
        if self.base.endswith(POST):
            self.base = self.base[: -len(POST)]
        self.headers = {**HEADERS, 'Authorization': options.token} if options.token else HEADERS
        self.path: str | None = None

    def learn(self, path: str, status: int) -> None:
        """Note what a first request says of the server."""
        if status == 200:
            self.path = POST if path == POST else ''


def packed(request: Request) -> tuple[bytes, DocumentArray]:
    """The body of a request, and its documents as they are in it."""
    documents = pack(request.documents)
    return encode_request(dataclasses.replace(request, documents=documents)), documents


def unpacked(content: bytes, request: Request, sent: DocumentArray) -> Response:
    """The response in the body of an answer."""
    response = decode_response(content, request.id)
    unpack(response.documents, sent)
    return response


def failure(status: int, headers: Mapping[str, str], text: str, endpoint: str, size: int) -> InferenceError:
    """The error for an answer with a status other than 200."""
    if status in NO_SUCH_PATH:
        return UnsupportedTaskError(
            f'the server has neither {POST} nor {endpoint}: it does not offer this task, '
            'or this is not the address of a Jina server'
        )
    if 300 <= status < 400:
        location = headers.get('Location', 'nowhere')
        return ProtocolError(f'the server redirects to {location}: give that address instead')
    return http_failure(status, text[:500], headers.get('Retry-After'), size)


def is_ready(content: bytes) -> bool:
    """Whether an answer at one of `READY_PATHS` is a good one: a Flow says within it what became of its models."""
    try:
        report = orjson.loads(content)
    except ValueError:  # the page of something else that is up
        return True
    return not (isinstance(report, dict) and report.get('code') in FAILED)


def printable(text: str) -> str:
    """The start of a reason; a bad status line may bring any bytes along."""
    return ''.join(one if one.isprintable() else ' ' for one in text[:200])


def as_http(url: str) -> str:
    """The URL of the HTTP server on the port of a WebSocket's, which answers whether it is ready."""
    parts = urlsplit(url)
    return urlunsplit(('https' if parts.scheme == 'wss' else 'http', parts.netloc, '', '', ''))
