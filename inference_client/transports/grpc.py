"""gRPC: one channel; a stream for all requests to a gateway, a unary call for each to anything else.

A stream spares the server what it takes to begin a call, which is a quarter of a short request's time. But only a
gateway works on several requests of a stream at once, so calls are unary until the server has said that it is one.
"""

from __future__ import annotations

import os
import threading
import weakref
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import Any

import grpc

from .._messages import Request, Response
from .._policies import Timeouts
from .._wire.protobuf import decode_message, encode_request, read_response
from ..errors import CLOSED, ConnectionFailedError, InferenceError, no_answer, unreachable
from ._grpc_settings import (
    DRY_RUN,
    HEALTH,
    SERVING,
    UNARY,
    Address,
    channel_arguments,
    is_ready,
    metadata_of,
    translated,
)
from ._grpc_stream import Stream
from .base import AsyncTransport, Transport, TransportOptions

__all__ = ['Address', 'GrpcTransport']

PROBE_TIMEOUT = 10.0  # seconds for a gateway to say that it is one


class GrpcTransport(Transport):
    """`grpc://host:port`, and `grpcs://host:port` over TLS.

    A subclass may find another `address` in its URLs, such as that of a Unix domain socket.
    """

    def __init__(self, url: str, options: TransportOptions) -> None:
        super().__init__(url, options)
        self._address = self.address(url)
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._parents: list[_Connection] = []  # gRPC cannot go on with these in a forked process, nor close them

    @classmethod
    def address(cls, url: str) -> Address:
        """Where the server of a URL is.

        Raises:
            ConfigurationError: the URL does not say.
        """
        return Address.of(url)

    @classmethod
    def asynchronous(cls, url: str, options: TransportOptions) -> AsyncTransport:
        """The same on `grpc.aio`."""
        from .grpc_aio import AsyncGrpcTransport

        return AsyncGrpcTransport(url, options, cls.address(url))

    def send(self, request: Request, timeouts: Timeouts) -> Response:
        answer = self.submit(request, timeouts)
        try:
            return self.read(answer.result(timeouts.read))
        except FutureTimeoutError as error:
            raise no_answer(timeouts.read) from error
        finally:
            answer.cancel()

    def submit(self, request: Request, timeouts: Timeouts) -> Future[Any]:
        return self._connected(min(timeouts.connect, timeouts.read)).submit(
            request.id, encode_request(request), timeouts.read
        )

    def read(self, answer: Any) -> Response:
        return read_response(answer)

    def is_ready(self, timeouts: Timeouts) -> bool:
        return self._connected(min(timeouts.connect, timeouts.read)).is_ready(timeouts.read)

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self, seconds: float) -> _Connection:
        with self._lock:
            if self._connection is not None and self._connection.process != os.getpid():  # forked
                self._parents.append(self._connection)
                self._connection = None
            if self._connection is None:
                self._connection = _Connection(self._address, self.options)
                weakref.finalize(self, self._connection.cancel)
            connection = self._connection
        connection.wait(seconds)
        return connection


class _Connection:
    """A channel, and its stream once the server is known to be a gateway."""

    def __init__(self, address: Address, options: TransportOptions) -> None:
        opener = grpc.secure_channel if address.secure else grpc.insecure_channel
        self.process = os.getpid()
        self._channel = opener(*channel_arguments(address, options))
        self._metadata = metadata_of(options)
        self._unary = self._channel.unary_unary(UNARY)  # bytes in and out
        self._settled = threading.Event()  # once it is connected, or failed to
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._probe: Any = None
        self._is_gateway: bool | None = None  # None: not known yet

    def wait(self, seconds: float) -> None:
        """Wait for the first connection to be made or refused.

        Raises:
            ConnectionFailedError: it takes longer.
        """
        if self._settled.is_set():
            return
        self._channel.subscribe(self._watch, try_to_connect=True)
        try:
            if not self._settled.wait(seconds):
                raise unreachable(f'no connection within {seconds:g} s')
        finally:
            self._channel.unsubscribe(self._watch)

    def submit(self, request_id: str, data: bytes, seconds: float) -> Future[Any]:
        try:
            stream = self._gateway_stream()
            if stream is not None:
                return stream.submit(request_id, data)
            return self._submit_alone(data, seconds)
        except ValueError as error:  # gRPC's, where the channel was closed meanwhile
            raise unreachable(error) from error

    def is_ready(self, seconds: float) -> bool:
        try:
            return is_ready(self._channel.unary_unary(DRY_RUN)(b'', timeout=seconds, metadata=self._metadata))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise translated(error, seconds) from error
        try:
            answer: bytes = self._channel.unary_unary(HEALTH)(b'', timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise translated(error, seconds) from error
        return answer == SERVING

    def cancel(self) -> None:
        """Close it without waiting, as the garbage collector must."""
        if self.process == os.getpid():
            if self._stream is not None:
                self._stream.cancel()
            self._channel.close()

    def close(self) -> None:
        with self._lock:
            if self._stream is not None:
                self._stream.close()
            self._channel.close()

    def _watch(self, state: grpc.ChannelConnectivity) -> None:
        if state not in (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING):
            self._settled.set()

    def _gateway_stream(self) -> Stream | None:
        """The stream, opened anew where it has ended; None where, as far as is known, there is no gateway."""
        if self._is_gateway is None:
            self._ask_whether_gateway()
        if not self._is_gateway:
            return None
        stream = self._stream
        if stream is not None and not stream.ended:
            return stream
        with self._lock:
            if self._stream is None or self._stream.ended:
                self._stream = Stream(self._channel, self._metadata, partial(translated, timeout=0.0))
            return self._stream

    def _ask_whether_gateway(self) -> None:
        with self._lock:
            if self._probe is None:
                call = self._channel.unary_unary(DRY_RUN)
                self._probe = call.future(b'', timeout=PROBE_TIMEOUT, metadata=self._metadata)
                self._probe.add_done_callback(self._learn)

    def _learn(self, probe: Any) -> None:
        code = probe.code()
        if code is grpc.StatusCode.OK:
            self._is_gateway = True
        elif code is grpc.StatusCode.UNIMPLEMENTED:
            self._is_gateway = False
        else:
            self._probe = None  # to ask again

    def _submit_alone(self, data: bytes, seconds: float) -> Future[Any]:
        answer: Future[Any] = Future()
        call = self._unary.future(data, timeout=seconds, metadata=self._metadata)
        call.add_done_callback(partial(_hand_out, answer, seconds))
        answer.add_done_callback(lambda one: call.cancel() if one.cancelled() else None)
        return answer


def _hand_out(answer: Future[Any], seconds: float, call: Any) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        answer.set_result(decode_message(call.result()))
    except grpc.RpcError as error:
        answer.set_exception(translated(error, seconds))
    except grpc.FutureCancelledError:
        answer.set_exception(ConnectionFailedError(CLOSED))
    except InferenceError as error:
        answer.set_exception(error)
