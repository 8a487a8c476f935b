"""WebSocket: one connection shared by all threads; answers are told apart by their request's id.

    send() of any thread ──ask()──▶ event loop on the link's thread ──▶ server
                         ◀─Future──                                 ◀──

It sends and receives at the same time, and no caller waits beyond its own deadline, whatever the server does.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import ssl
import threading
import time
import weakref
from concurrent import futures
from functools import partial
from typing import Any, Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus
from websockets.protocol import State

from .._config import trusted
from .._messages import Request, Response
from .._wire.jina_pb2 import DataRequestProto
from .._wire.protobuf import decode_message, encode_request, read_response
from .._wire.status import http_failure
from ..errors import ConnectionFailedError, InferenceError, ProtocolError
from .base import Transport, TransportOptions, no_answer, split_url, unreachable

CLOSE_TIMEOUT = 1.0  # seconds for the server to agree to a close
PING_TIMEOUT = 60.0  # seconds: a server that computes for less must not look dead
SMALL = 32_768  # bytes that are put into the socket's buffer without more ado

logger = logging.getLogger('inference_client.websocket')
wire_logger = logging.getLogger('inference_client.websocket.wire')  # what websockets logs of our connections


def _hide_secrets(record: logging.LogRecord) -> bool:
    """At level DEBUG websockets logs every header as ('name', 'value')."""
    if isinstance(record.args, tuple) and 'authorization' in str(record.args[:1]).lower():
        record.args = (record.args[0], '(hidden)')
    return True


class WebSocketTransport(Transport):
    """`ws://host:port` and `wss://host:port`."""

    def __init__(self, url: str, options: TransportOptions) -> None:
        super().__init__(url, options)
        self._secure = split_url(url).scheme == 'wss'
        self._lock = threading.Lock()  # never held while anything is waited for
        self._links: list[_Link] = []  # the last one is in use; those before it still owe answers
        wire_logger.addFilter(_hide_secrets)  # a second time changes nothing
        weakref.finalize(self, _stop_all, self._links)

    def send(self, request: Request, timeout: float) -> Response:
        deadline = time.monotonic() + timeout
        data = encode_request(request)
        link = self._link()
        answer = link.ask(request.id, data)
        try:
            message = answer.result(max(0.0, deadline - time.monotonic()))
        except futures.TimeoutError as error:
            raise no_answer(timeout) from error
        finally:
            link.forget(request.id)
        return read_response(message)

    def close(self) -> None:
        with self._lock:
            links, self._links[:] = self._links[:], []
        _stop_all(links)
        for link in links:
            link.thread.join()

    def _link(self) -> _Link:
        """The connection in use, or a new one that is still being made."""
        with self._lock:
            self._links[:] = [link for link in self._links if link.thread.is_alive()]
            if not self._links or not self._links[-1].usable:
                self._links.append(_Link(self.url, self._arguments()))
            return self._links[-1]

    def _arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            'subprotocols': ['bytes'],
            'additional_headers': {'Authorization': self.options.token} if self.options.token else {},
            'open_timeout': None,  # each caller has its own deadline
            'ping_timeout': PING_TIMEOUT,
            'compression': None,
            'max_size': None,
            'max_queue': 1024,  # messages; they are taken as they come
            'logger': wire_logger,
        }
        if self._secure:
            arguments['ssl'] = ssl.create_default_context(cafile=trusted(self.options.ca_file))
        if not self.options.trust_env and 'proxy' in inspect.signature(connect).parameters:
            arguments['proxy'] = None  # websockets before 15 knows no proxies
        return arguments


class _Connect(connect):
    """Follows no redirects: the token is for the server that was named."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Link:
    """One connection, from the attempt to make it until it is closed, on a thread with an event loop of its own.

    It must not refer to its transport, whose disappearance closes it. `usable` says whether it takes new requests;
    `thread` ends when the connection is closed and all who waited know.
    """

    def __init__(self, url: str, arguments: dict[str, Any]) -> None:
        self.usable = True
        self._waiting: dict[str, futures.Future[DataRequestProto]] = {}
        self._unsent: set[str] = set()
        self._lock = threading.Lock()
        self._failure: Callable[[], InferenceError] | None = None
        self._made: ClientConnection | None = None
        self._open: ClientConnection | None = None  # the same, once the server agreed
        self._loop = asyncio.new_event_loop()
        self._life = self._loop.create_task(self._live(url, arguments))
        self.thread = threading.Thread(target=self._run, name='inference-client-websocket', daemon=True)
        self.thread.start()

    def ask(self, request_id: str, data: bytes) -> futures.Future[DataRequestProto]:
        """Send a message as soon as the connection is there and free; the future holds the answer to it."""
        answer: futures.Future[DataRequestProto] = futures.Future()
        with self._lock:
            if self._failure is not None:
                answer.set_exception(self._failure())
            else:
                self._waiting[request_id] = answer
                self._unsent.add(request_id)
                self._loop.call_soon_threadsafe(self._post, request_id, data)
        return answer

    def forget(self, request_id: str) -> None:
        """Drop the answer, should it still come; if the request could not even be sent, retire the connection.

        It may be stuck: it gets no further requests, which would pile up, and goes with the last of its waiters.
        """
        with self._lock:
            self._waiting.pop(request_id, None)
            self.usable = self.usable and request_id not in self._unsent
            self._unsent.discard(request_id)
            done_with = not self.usable and not self._waiting
        if done_with:
            self.stop()

    def stop(self) -> None:
        """Begin to close. Takes no lock, as the garbage collector may call it wherever it runs."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._life.cancel)

    def _run(self) -> None:
        failure: Callable[[], InferenceError] = partial(unreachable, 'closed by the server')
        try:
            self._loop.run_until_complete(self._life)
        except asyncio.CancelledError:
            failure = partial(ConnectionFailedError, 'this client closed the connection while a request was under way')
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for those who wait
            failure = partial(_translated, error)
        with self._lock:
            self.usable, self._failure = False, failure
            waiting, self._waiting = self._waiting, {}
            self._unsent.clear()
        for answer in waiting.values():  # an error each: every caller adds what it knows to its own
            answer.set_exception(failure())
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._shut())

    async def _live(self, url: str, arguments: dict[str, Any]) -> None:
        self._turn = asyncio.Lock()
        async with self._turn:  # nobody sends before
            self._open = connection = await _Connect(url, **{**arguments, 'create_connection': self._make})
        with contextlib.suppress(ConnectionClosedOK):
            while True:
                data = await connection.recv()
                self._hand_out(decode_message(data if isinstance(data, bytes) else data.encode()))

    def _make(self, *arguments: Any, **options: Any) -> ClientConnection:
        self._made = ClientConnection(*arguments, **options)
        return self._made

    async def _shut(self) -> None:
        connection = self._made
        if connection is not None and hasattr(connection, 'transport'):  # else it never came to be
            if connection.protocol.state is State.OPEN:
                with contextlib.suppress(asyncio.TimeoutError, ConnectionClosed):
                    await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT)  # its own does not bound sending
            connection.transport.abort()
            await connection.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # for what the loop still has to close

    def _post(self, request_id: str, data: bytes) -> None:
        free = self._open if len(data) <= SMALL and not self._turn.locked() else None
        if free is not None and not free.transport.get_write_buffer_size():
            broadcast([free], data)  # at once: a task would cost a small request a third of its time
            self._unsent.discard(request_id)
        else:
            asyncio.run_coroutine_threadsafe(self._send(request_id, data), self._loop)

    async def _send(self, request_id: str, data: bytes) -> None:
        async with self._turn:  # one after the other, so that a request may be forgotten while it waits
            if request_id in self._waiting and self._open is not None:
                with contextlib.suppress(ConnectionClosed):  # those who wait hear of it from the reader
                    await self._open.send(data)
        self._unsent.discard(request_id)

    def _hand_out(self, message: DataRequestProto) -> None:
        with self._lock:
            answer = self._waiting.pop(message.header.request_id, None)
            self._unsent.discard(message.header.request_id)
        if answer is None:
            logger.debug('dropped an answer that nobody waits for')
        else:
            answer.set_result(message)


def _stop_all(links: list[_Link]) -> None:
    for link in links:
        link.stop()


def _translated(error: Exception) -> InferenceError:
    """The error for a connection that came to its end by another."""
    status = error.response.status_code if isinstance(error, InvalidStatus) else None
    made: InferenceError = unreachable(str(error) or type(error).__name__)
    if status in (401, 503):
        made = http_failure(status, '')
    elif status is not None:  # 403 too: Jina's HTTP port answers it where no WebSocket is served
        made = ProtocolError(f'the server took no WebSocket ({status}): check the address, and the token if needed')
    elif isinstance(error, ProtocolError):
        made = ProtocolError(str(error))
    made.__cause__ = error
    return made
