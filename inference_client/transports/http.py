"""HTTP: JSON over kept-alive connections, one request at a time on each."""

from __future__ import annotations

import dataclasses
import os
import threading
from http.client import HTTPException

import requests

from .._config import trusted
from .._http import Deadline, Session
from .._messages import Request, Response
from .._wire.json import decode_response, encode_request
from .._wire.pixels import pack, unpack
from .._wire.status import http_failure
from ..errors import InferenceError, ProtocolError, UnsupportedTaskError
from .base import Transport, TransportOptions, no_answer, split_url, unreachable

HEADERS = {'Content-Type': 'application/json', 'Accept': 'application/json'}


class HttpTransport(Transport):
    """`http://host:port` and `https://host:port`, of a Jina Flow or a Deployment.

    A Flow takes every endpoint at `/post`, a Deployment each at a path of its own; which one it is shows at
    the first request, which others wait for. A session of requests is not promised to be thread-safe, so each
    request takes a free one, the last used first, or makes one.
    """

    def __init__(self, url: str, options: TransportOptions) -> None:
        super().__init__(url, options)
        split_url(url)
        # Given with each request, for the environment overrides a session's own.
        self._trusted = trusted(options.ca_file) or True
        self._base = url.rstrip('/')
        if self._base.endswith('/post'):
            self._base = self._base[: -len('/post')]
        self._headers = {**HEADERS, 'Authorization': options.token} if options.token else HEADERS
        self._free: list[Session] = []
        self._closed = 0  # how often: a session of an earlier time is not kept
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._path: str | None = None  # '/post' of a Flow, '' of a Deployment, None before it is known
        self._finding = threading.Lock()

    def send(self, request: Request, timeout: float) -> Response:
        """Send one request; see `Transport`. What the timeout cannot bound is told at `Deadline`."""
        with Deadline(timeout) as deadline:
            packed = pack(request.documents)
            data = encode_request(dataclasses.replace(request, documents=packed))
            answer = self._answer(request.endpoint, data, deadline)
        if answer.status_code != 200:
            raise _failure(answer, request)
        response = decode_response(answer.content, request.id)
        unpack(response.documents, packed)
        return response

    def close(self) -> None:
        with self._lock:
            sessions, self._free = self._free, []
            self._closed += 1
        for session in sessions:
            session.close()

    def _answer(self, endpoint: str, data: bytes, deadline: Deadline) -> requests.Response:
        if self._path is None:
            if not self._finding.acquire(timeout=deadline.left()):
                raise no_answer(deadline.seconds)
            try:
                if self._path is None:
                    return self._find_path(endpoint, data, deadline)
            finally:
                self._finding.release()
        return self._post(self._path or endpoint, data, deadline)

    def _find_path(self, endpoint: str, data: bytes, deadline: Deadline) -> requests.Response:
        answer = self._post('/post', data, deadline)
        if answer.status_code == 200:
            self._path = '/post'
        elif answer.status_code in (404, 405):
            answer = self._post(endpoint, data, deadline)
            if answer.status_code == 200:
                self._path = ''
        return answer

    def _post(self, path: str, data: bytes, deadline: Deadline) -> requests.Response:
        session, closed = self._take()
        answer = None
        try:
            answer = session.post(
                self._base + path,
                data,
                headers=self._headers,
                timeout=deadline.left(),
                verify=self._trusted,
                allow_redirects=False,
            )
        except (OSError, ValueError) as error:  # ValueError: urllib3's, for a host that cannot be one
            if deadline.passed(error):
                raise no_answer(deadline.seconds) from error
            raise unreachable(_reason(error)) from error
        finally:
            deadline.watch(None)
            self._give_back(session, closed, answer is not None and not deadline.over)
        if deadline.over:  # what came may be a part only
            raise no_answer(deadline.seconds)
        return answer

    def _take(self) -> tuple[Session, int]:
        with self._lock:
            if self._process != os.getpid():  # forked: these connections are the parent's
                self._process, self._free = os.getpid(), []
            return self._free.pop() if self._free else Session(self.options.trust_env), self._closed

    def _give_back(self, session: Session, closed: int, works: bool) -> None:
        with self._lock:
            if works and closed == self._closed:
                self._free.append(session)
                return
        session.close()


def _failure(answer: requests.Response, request: Request) -> InferenceError:
    if answer.status_code in (404, 405):
        return UnsupportedTaskError(
            f'the server has neither /post nor {request.endpoint}: it does not offer this task, '
            'or this is not the address of a Jina server'
        )
    if 300 <= answer.status_code < 400:
        location = answer.headers.get('Location', 'nowhere')
        return ProtocolError(f'the server redirects to {location}: give that address instead')
    return http_failure(answer.status_code, answer.text[:500])


def _reason(error: BaseException) -> str:
    """The innermost cause, which requests wraps several times; a bad status line may bring any bytes along."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (OSError, ValueError, HTTPException)):
            error = cause
        cause = cause.__cause__ or cause.__context__
    text = str(error)[:200] or type(error).__name__
    return ''.join(one if one.isprintable() else ' ' for one in text)
