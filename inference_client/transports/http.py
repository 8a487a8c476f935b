"""HTTP: JSON, or messages where the server takes them, over kept-alive connections, a request at a time on each."""

from __future__ import annotations

import os
import threading
from typing import Mapping

import requests

from .._http import Deadline, Session, reason_of
from .._messages import Request, Response
from .._policies import Timeouts
from .._spec import Capabilities
from .._tls import client_files, trusted
from ..errors import InferenceError, no_answer, unreachable
from ._http_shared import (
    NOT_TAKEN,
    POST,
    PROTOBUF,
    READY_PATHS,
    STATUS,
    Packed,
    Site,
    capabilities,
    failure,
    is_ready,
    knows_path,
    packed,
    unpacked,
)
from .base import AsyncTransport, Transport, TransportOptions


class HttpTransport(Transport):
    """`http://host:port` and `https://host:port`, of a Jina Flow or a Deployment.

    A Flow takes every endpoint at `/post`, a Deployment each at a path of its own; which one it is shows at the
    first answer. A session of requests is not promised to be thread-safe, so each request takes a free one, the
    last used first, or makes one.
    """

    def __init__(self, url: str, options: TransportOptions, site: Site | None = None) -> None:
        super().__init__(url, options)
        self._site = site or Site(url, options)
        # Given with each request, for the environment overrides a session's own.
        self._trusted = trusted(options.ca_file) or True
        self._certificate = client_files(options)
        self._free: list[Session] = []
        self._closed = 0  # how often: a session of an earlier time is not kept
        self._process = os.getpid()
        self._lock = threading.Lock()

    @classmethod
    def asynchronous(cls, url: str, options: TransportOptions) -> AsyncTransport:
        """The same on `aiohttp`."""
        from .http_aio import AsyncHttpTransport

        return AsyncHttpTransport(url, options)

    def send(self, request: Request, timeouts: Timeouts) -> Response:
        """Send one request; see `Transport`. What the timeout cannot bound is told at `Deadline`."""
        with Deadline(timeouts.read) as deadline:
            sent, answer = self._sent(request, deadline, timeouts.connect)
        if answer.status_code != 200:
            raise self._failure(answer, request.endpoint, len(sent.data))
        return unpacked(answer.content, answer.headers, request, sent)

    def is_ready(self, timeouts: Timeouts) -> bool:
        for path in READY_PATHS:
            with Deadline(timeouts.read) as deadline:
                answer = self._request('GET', path, None, deadline, timeouts.connect)
            if answer.status_code == 200:
                return is_ready(answer.content)
            if knows_path(answer.status_code, answer.headers):
                raise self._failure(answer, path)
        return False

    def capabilities(self, timeouts: Timeouts) -> Capabilities:
        with Deadline(timeouts.read) as deadline:
            answer = self._request('GET', STATUS, None, deadline, timeouts.connect)
        return capabilities(answer.status_code, answer.headers, answer.content, self.options.token)

    def close(self) -> None:
        with self._lock:
            sessions, self._free = self._free, []
            self._closed += 1
        for session in sessions:
            session.close()

    def _failure(self, answer: requests.Response, path: str, size: int = 0) -> InferenceError:
        return failure(answer.status_code, answer.headers, answer.text, path, size, self.options.token)

    def _sent(self, request: Request, deadline: Deadline, connect: float) -> tuple[Packed, requests.Response]:
        """The request as it was sent, and the answer."""
        if self._site.path is None:
            return self._find_path(request, deadline, connect)
        sent, answer = self._posted(request, self._site.protobuf, deadline, connect)
        if sent.kind == PROTOBUF and answer.status_code in NOT_TAKEN:
            sent, answer = self._posted(request, False, deadline, connect)
            self._site.refused(answer.status_code)
        return sent, answer

    def _posted(
        self, request: Request, as_protobuf: bool, deadline: Deadline, connect: float
    ) -> tuple[Packed, requests.Response]:
        sent = packed(request, as_protobuf)
        return sent, self._request(
            'POST', self._site.path or request.endpoint, sent.data, deadline, connect, sent.headers
        )

    def _find_path(self, request: Request, deadline: Deadline, connect: float) -> tuple[Packed, requests.Response]:
        sent = packed(request, False)
        for path in (POST, request.endpoint):
            answer = self._request('POST', path, sent.data, deadline, connect, sent.headers)
            self._site.learn(path, answer.status_code, answer.headers)
            if knows_path(answer.status_code, answer.headers):
                break
        return sent, answer

    def _request(
        self,
        method: str,
        path: str,
        data: bytes | None,
        deadline: Deadline,
        connect: float,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        session, closed = self._take()
        answer = None
        try:
            answer = session.request(
                method,
                self._site.base + path,
                data=data,
                headers={**self._site.headers, **(headers or {})},
                timeout=(min(connect, deadline.left()), deadline.left()),
                verify=self._trusted,
                cert=self._certificate,
                allow_redirects=False,
            )
        except (OSError, ValueError) as error:  # ValueError: urllib3's, for a host that cannot be one
            if isinstance(error, requests.ConnectTimeout) and not deadline.over:
                raise unreachable(f'no connection within {connect:g} s') from error
            if deadline.passed(error):
                raise no_answer(deadline.seconds) from error
            raise unreachable(reason_of(error, self.options.token)) from error
        finally:
            deadline.watch(None)
            self._give_back(session, closed, answer is not None and not deadline.over)
        if deadline.over:  # what came may be a part only
            raise no_answer(deadline.seconds)
        if answer.raw.tell() < int(answer.headers.get('Content-Length', 0)):  # urllib3 1 does not mind
            raise unreachable('the answer was cut off')
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
