"""gRPC: one channel, and a unary call for each request; many may be under way at once."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Callable

import grpc

from .._config import trusted
from .._messages import Request, Response
from .._wire.protobuf import decode_message, encode_request, read_response
from .._wire.status import token_refused
from ..errors import InferenceError, ProtocolError, ServerError
from .base import Transport, TransportOptions, no_answer, split_url, unreachable

METHOD = '/jina.JinaSingleDataRequestRPC/process_single_data'  # served by gateways and Deployments alike
CHANNEL_OPTIONS = [
    ('grpc.max_send_message_length', -1),
    ('grpc.max_receive_message_length', -1),
    ('grpc.max_reconnect_backoff_ms', 5000),  # a server that was restarted is found within seconds
]


class GrpcTransport(Transport):
    """`grpc://host:port`, and `grpcs://host:port` over TLS."""

    def __init__(self, url: str, options: TransportOptions) -> None:
        super().__init__(url, options)
        parts = split_url(url)
        self._secure = parts.scheme == 'grpcs'
        host = f'[{parts.hostname}]' if ':' in (parts.hostname or '') else parts.hostname
        self._target = f'{host}:{parts.port or (443 if self._secure else 80)}'
        self._metadata = (('authorization', options.token),) if options.token else ()
        self._process = os.getpid()
        self._parents: grpc.Channel | None = None
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._call: Callable[..., bytes] | None = None

    def send(self, request: Request, timeout: float) -> Response:
        data = encode_request(request)
        try:
            answer = self._connected()(data, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _translated(error, timeout) from error
        except ValueError as error:  # the channel was closed meanwhile
            raise unreachable(error) from error
        response = read_response(decode_message(answer))
        return Response(request.id, response.documents)

    def close(self) -> None:
        with self._lock:
            if self._channel is not None:
                self._channel.close()
            self._channel = self._call = None

    def _connected(self) -> Callable[..., bytes]:
        with self._lock:
            if self._process != os.getpid():  # forked: gRPC cannot go on with the parent's, nor close it
                self._process, self._parents, self._call = os.getpid(), self._channel, None
            if self._call is None:
                self._channel = self._open()
                self._call = self._channel.unary_unary(METHOD)  # bytes in and out
            return self._call

    def _open(self) -> grpc.Channel:
        options = [*CHANNEL_OPTIONS, ('grpc.enable_http_proxy', int(self.options.trust_env))]
        if not self._secure:
            return grpc.insecure_channel(self._target, options)
        certificates = trusted(self.options.ca_file)
        roots = Path(certificates).read_bytes() if certificates else None
        return grpc.secure_channel(self._target, grpc.ssl_channel_credentials(roots), options)


def _translated(error: Any, timeout: float) -> InferenceError:
    code, details = error.code(), error.details() or 'no reason given'
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return no_answer(timeout)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):  # the latter: closed meanwhile
        return unreachable(details)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return ProtocolError(f'the server has no Jina gRPC service ({details}); check the address')
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return token_refused(details)
    return ServerError(f'gRPC status {code.name}: {details}')
