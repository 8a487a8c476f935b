"""WebSocket: one connection shared by all threads; answers are told apart by their request's id."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import ExitStack
from typing import ContextManager

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from .._config import trusted
from .._messages import Request, Response
from .._wire.jina_pb2 import DataRequestProto
from .._wire.protobuf import decode_message, encode_request, read_response
from .._wire.status import http_failure
from ..errors import InferenceError, ProtocolError
from .base import Transport, TransportOptions, no_answer, split_url, unreachable

logger = logging.getLogger('inference_client.websocket')
CLOSE_TIMEOUT = 1.0  # seconds


class WebSocketTransport(Transport):
    """`ws://host:port` and `wss://host:port`."""

    def __init__(self, url: str, options: TransportOptions) -> None:
        super().__init__(url, options)
        self._secure = split_url(url).scheme == 'wss'
        self._lock = threading.Lock()
        self._link: _Link | None = None

    def send(self, request: Request, timeout: float) -> Response:
        deadline = time.monotonic() + timeout
        data = encode_request(request)
        link = self._connected(timeout)
        answer = link.ask(request.id, data)
        try:
            message = answer.result(max(0.0, deadline - time.monotonic()))
        except FutureTimeout as error:
            link.forget(request.id)
            raise no_answer(timeout) from error
        return read_response(message)

    def close(self) -> None:
        with self._lock:
            link, self._link = self._link, None
        if link is not None:
            link.close()

    def _connected(self, timeout: float) -> _Link:
        with self._lock:
            if self._link is None or self._link.closed:
                self._link = self._open(timeout)
            return self._link

    def _open(self, timeout: float) -> _Link:
        headers = {'Authorization': self.options.token} if self.options.token else {}
        context = ssl.create_default_context(cafile=trusted(self.options.ca_file)) if self._secure else None
        try:
            return _Link(
                connect(
                    self.url,
                    ssl=context,
                    subprotocols=[Subprotocol('bytes')],
                    additional_headers=headers,
                    open_timeout=timeout,
                    close_timeout=CLOSE_TIMEOUT,
                    compression=None,
                    max_size=None,
                )
            )
        except InvalidStatus as error:
            status = error.response.status_code
            if status in (401, 503):
                raise http_failure(status, '') from error
            raise ProtocolError(  # 403 too: Jina's HTTP port answers it where no WebSocket is served
                f'the server took no WebSocket ({status}): check the address, and the token if it wants one'
            ) from error
        except TimeoutError as error:
            raise no_answer(timeout) from error
        except (WebSocketException, OSError, EOFError) as error:
            raise unreachable(error) from error


class _Link:
    """One open connection, and the thread that hands each answer to who waits for it."""

    def __init__(self, connecting: ContextManager[ClientConnection]) -> None:
        self._stack = ExitStack()
        self._connection = self._stack.enter_context(connecting)
        self._waiting: dict[str, Future[DataRequestProto]] = {}
        self._lock = threading.Lock()
        self.closed = False
        self._reader = threading.Thread(target=self._read, name='inference-client-websocket', daemon=True)
        self._reader.start()

    def ask(self, request_id: str, data: bytes) -> Future[DataRequestProto]:
        """Send a message; the future holds the answer to it."""
        answer: Future[DataRequestProto] = Future()
        with self._lock:
            if self.closed:
                raise unreachable('it was closed')
            self._waiting[request_id] = answer
        try:
            self._connection.send(data)
        except (ConnectionClosed, OSError) as error:
            self.forget(request_id)
            raise unreachable(error) from error
        return answer

    def forget(self, request_id: str) -> None:
        """Drop the answer to a request, should it still come."""
        with self._lock:
            self._waiting.pop(request_id, None)

    def close(self) -> None:
        """Close the connection and wait for the thread."""
        self._stack.close()
        self._reader.join()

    def _read(self) -> None:
        reason: object = 'closed by the server'
        try:
            for data in self._connection:
                self._hand_out(decode_message(data if isinstance(data, bytes) else data.encode()))
        except (InferenceError, ConnectionClosed, OSError) as error:
            reason = error
        finally:
            with self._lock:
                self.closed = True
                waiting, self._waiting = self._waiting, {}
            for answer in waiting.values():  # an error each: every caller adds what it knows to its own
                garbage = isinstance(reason, ProtocolError)
                answer.set_exception(ProtocolError(str(reason)) if garbage else unreachable(reason))
            self._stack.close()

    def _hand_out(self, message: DataRequestProto) -> None:
        with self._lock:
            answer = self._waiting.pop(message.header.request_id, None)
        if answer is None:
            logger.debug('dropped an answer that nobody waits for')
        else:
            answer.set_result(message)
