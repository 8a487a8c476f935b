"""HTTP: JSON over kept-alive connections, one request at a time on each."""

from __future__ import annotations

import dataclasses
import threading

import requests

from .._config import trusted
from .._messages import Request, Response
from .._wire.json import decode_response, encode_request
from .._wire.pixels import pack, unpack
from .._wire.status import http_failure
from ..errors import InferenceError, ProtocolError, UnsupportedTaskError
from .base import Transport, TransportOptions, no_answer, split_url, unreachable

HEADERS = {'Content-Type': 'application/json', 'Accept': 'application/json'}


class _Token(requests.auth.AuthBase):
    """Sets the header, and keeps requests from putting a password of `.netrc` in its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers['Authorization'] = self._token
        return request


class HttpTransport(Transport):
    """`http://host:port` and `https://host:port`, of a Jina Flow or a Deployment.

    A Flow takes every endpoint at `/post`, a Deployment each at a path of its own; which one it is shows at
    the first request. A session of requests is not promised to be thread-safe, so each request takes a
    free one, the last used first, or makes one.
    """

    def __init__(self, url: str, options: TransportOptions) -> None:
        super().__init__(url, options)
        split_url(url)
        # Given with each request, for the environment overrides a session's own.
        self._trusted = trusted(options.ca_file) or True
        self._base = url.rstrip('/')
        if self._base.endswith('/post'):
            self._base = self._base[: -len('/post')]
        self._free: list[requests.Session] = []
        self._lock = threading.Lock()
        self._path: str | None = None  # '/post' of a Flow, '' of a Deployment, None before it is known

    def send(self, request: Request, timeout: float) -> Response:
        packed = pack(request.documents)
        data = encode_request(dataclasses.replace(request, documents=packed))
        answer = self._post('/post' if self._path is None else self._path or request.endpoint, data, timeout)
        if self._path is None and answer.status_code in (404, 405):
            answer = self._post(request.endpoint, data, timeout)
            if answer.status_code == 200:
                self._path = ''
        elif self._path is None and answer.status_code == 200:
            self._path = '/post'
        if answer.status_code != 200:
            raise _failure(answer, request)
        response = decode_response(answer.content, request.id)
        unpack(response.documents, packed)
        return response

    def close(self) -> None:
        with self._lock:
            sessions, self._free = self._free, []
        for session in sessions:
            session.close()

    def _post(self, path: str, data: bytes, timeout: float) -> requests.Response:
        session = self._take()
        try:
            answer = session.post(
                self._base + path,
                data,
                headers=HEADERS,
                timeout=timeout,
                verify=self._trusted,
                allow_redirects=False,
            )
        except requests.Timeout as error:
            session.close()
            raise no_answer(timeout) from error
        except (requests.RequestException, OSError) as error:
            session.close()
            raise unreachable(_reason(error)) from error
        with self._lock:
            self._free.append(session)
        return answer

    def _take(self) -> requests.Session:
        with self._lock:
            if self._free:
                return self._free.pop()
        session = requests.Session()
        if self.options.token:
            session.auth = _Token(self.options.token)
        return session


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
    """The innermost cause: requests wraps it several times."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return str(error) or type(error).__name__
