"""A gRPC connection: its channel, with a stream for all requests to a gateway, or a unary call for each.

A stream spares the server what it takes to begin a call, which is a quarter of a short request's time. But only a
gateway works on several requests of a stream at once, so calls are unary until the server has said that it is one.

A connection that failed is replaced rather than used again, for gRPC waits on its own before it connects anew, and
fails all requests until then: the attempts of a `RetryPolicy` would be spent on nothing. One that fell silent is
replaced, too: a router may have forgotten it, which gRPC would not notice for a quarter of an hour.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Any, Callable, Mapping

import grpc

from .._spec import Capabilities
from .._wire.protobuf import decode_message
from ..errors import ConnectionFailedError, InferenceError, closed, unreachable
from . import _grpc_settings as settings
from ._grpc_stream import Stream
from ._pending import fail, is_silent

PROBE_TIMEOUT = 10.0  # seconds for a gateway to say that it is one


class Connection:
    """A channel, and its stream once the server is known to be a gateway.

    Args:
        address: of the server.
        options: of the transport.
        seconds: for the connection to be made.

    Attributes:
        process: which opened it.
        usable: whether it takes new requests.
        ended: whether it is closed.
    """

    def __init__(self, address: settings.Address, options: Any, seconds: float) -> None:
        opener = grpc.secure_channel if address.secure else grpc.insecure_channel
        self.process = os.getpid()
        self.usable = True
        self.ended = False
        self._by_caller = False  # whether what is under way ends for good; a swept one may have been asked just then
        self._channel = opener(*settings.channel_arguments(address, options, seconds))
        self._metadata = settings.metadata_of(address, options)
        self._unary = self._channel.unary_unary(settings.UNARY)  # bytes in and out
        self._under_way: set[Future[Any]] = set()
        self._heard = 0.0  # when the last answer came
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._probe: Any = None
        self._is_gateway: bool | None = None  # None: not known yet
        self._made_by = time.monotonic() + seconds

    def submit(self, request_id: str, data: bytes, seconds: float, headers: Mapping[str, str]) -> Future[Any]:
        """Send a request; the future holds the parsed answer. What has headers goes alone, for a stream has one set."""
        try:
            stream = None if headers else self._gateway_stream()
            answer = stream.submit(request_id, data) if stream else self._submit_alone(data, seconds, headers)
        except ValueError as error:  # gRPC's, where the channel was closed meanwhile
            self.usable = False
            raise unreachable(error) from error
        self._under_way.add(answer)
        answer.add_done_callback(partial(self._landed, time.monotonic()))
        return answer

    def is_ready(self, seconds: float) -> bool:
        """Whether the model behind it answers."""
        try:
            return settings.is_ready(self._ask(settings.DRY_RUN, seconds))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise self._failure(error, seconds) from error
        try:
            return self._ask(settings.HEALTH, seconds) == settings.SERVING
        except grpc.RpcError as error:
            raise self._failure(error, seconds) from error

    def capabilities(self, seconds: float) -> Capabilities:
        """What the server tells of the model behind it."""
        try:
            return settings.capabilities(self._ask(settings.DISCOVERY, seconds))
        except grpc.RpcError as error:
            if settings.says_nothing(error):
                return Capabilities()
            raise self._failure(error, seconds) from error

    def sweep(self) -> bool:
        """Close it if it is of no more use; whether it is closed. Never from a callback of gRPC, which may hang."""
        if not self.usable and not self._under_way:
            self._end()
        return self.ended

    def cancel(self) -> None:
        """Close it without waiting, as the garbage collector must."""
        self._by_caller = True
        self._end()

    def _end(self) -> None:
        if self.process == os.getpid() and not self.ended:
            self.usable = False
            self.ended = True
            if self._stream is not None:
                self._stream.cancel()
            self._channel.close()

    def close(self) -> None:
        """Close it, and wait for its thread to end."""
        self.cancel()
        with self._lock:
            if self._stream is not None:
                self._stream.close()

    def _landed(self, asked: float, answer: Future[Any]) -> None:
        self._under_way.discard(answer)
        if answer.cancelled():
            made = self._heard or time.monotonic() > self._made_by
            self.usable = self.usable and not (made and is_silent(asked, self._heard))
        elif isinstance(answer.exception(), ConnectionFailedError):
            self.usable = False
        else:
            self._heard = time.monotonic()

    def _ask(self, method: str, seconds: float) -> bytes:
        answer: bytes = self._channel.unary_unary(method)(b'', timeout=seconds, metadata=self._metadata)
        return answer

    def _failure(self, error: Any, seconds: float) -> InferenceError:
        failure = self._translated(error, seconds)
        self.usable = self.usable and not failure.transient
        return failure

    def _translated(self, error: Any, seconds: float) -> InferenceError:
        meant = self._by_caller and error.code() is grpc.StatusCode.CANCELLED
        return closed() if meant else settings.translated(error, seconds)

    def _stream_failure(self, error: Any) -> InferenceError:
        failure = self._translated(error, 0.0)
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:  # something else took the gateway's place
            self._is_gateway = False
            failure.transient = True
        return failure

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
                self._stream = Stream(self._channel, self._metadata, self._stream_failure)
            return self._stream

    def _ask_whether_gateway(self) -> None:
        with self._lock:
            if self._probe is None:
                call = self._channel.unary_unary(settings.DRY_RUN)
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

    def _submit_alone(self, data: bytes, seconds: float, headers: Mapping[str, str]) -> Future[Any]:
        answer: Future[Any] = Future()
        call = self._unary.future(data, timeout=seconds, metadata=(*self._metadata, *headers.items()))
        call.add_done_callback(partial(_hand_out, answer, partial(self._translated, seconds=seconds)))
        answer.add_done_callback(lambda one: call.cancel() if one.cancelled() else None)
        return answer


def _hand_out(answer: Future[Any], translate: Callable[[Any], InferenceError], call: Any) -> None:
    try:
        message = decode_message(call.result())
    except grpc.RpcError as error:
        fail(answer, translate(error))
    except grpc.FutureCancelledError:
        fail(answer, closed())
    except InferenceError as error:
        fail(answer, error)
    else:
        with suppress(InvalidStateError):  # given up meanwhile
            answer.set_result(message)
