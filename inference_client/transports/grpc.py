"""gRPC: one connection at a time, shared by all threads; see `_grpc_connection`."""

from __future__ import annotations

import os
import threading
import weakref
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from .._messages import Request, Response
from .._policies import Timeouts
from .._spec import Capabilities
from .._wire.protobuf import encode_request, read_response
from ..errors import no_answer
from ._grpc_connection import Connection
from ._grpc_settings import Address
from .base import AsyncTransport, Transport, TransportOptions

__all__ = ['Address', 'GrpcTransport']


class GrpcTransport(Transport):
    """`grpc://host:port`, and `grpcs://host:port` over TLS.

    A subclass may find another `address` in its URLs, such as that of a Unix domain socket.
    """

    def __init__(self, url: str, options: TransportOptions) -> None:
        super().__init__(url, options)
        self._address = self.address(url)
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        # With those that still owe answers, and a parent's, which gRPC can neither use nor close in a forked process.
        self._all: list[Connection] = []
        weakref.finalize(self, _cancel_all, self._all)

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
        data = encode_request(request)
        return self._connected(timeouts.connect).submit(request.id, data, timeouts.read, request.headers)

    def read(self, answer: Any) -> Response:
        return read_response(answer)

    def is_ready(self, timeouts: Timeouts) -> bool:
        return self._connected(timeouts.connect).is_ready(timeouts.read)

    def capabilities(self, timeouts: Timeouts) -> Capabilities:
        return self._connected(timeouts.connect).capabilities(timeouts.read)

    def close(self) -> None:
        with self._lock:
            self._connection = None
            own = [one for one in self._all if one.process == os.getpid()]
        for connection in own:
            connection.close()

    def _connected(self, seconds: float) -> Connection:
        """The connection in use, or a new one, which has so many seconds to be made."""
        connection = self._connection
        if connection is not None and connection.usable and connection.process == os.getpid():
            return connection
        with self._lock:
            connection = self._connection
            if connection is None or not connection.usable or connection.process != os.getpid():
                self._all[:] = [one for one in self._all if one.process != os.getpid() or not one.sweep()]
                connection = self._connection = Connection(self._address, self.options, seconds)
                self._all.append(connection)
        return connection


def _cancel_all(connections: list[Connection]) -> None:
    for connection in connections:
        connection.cancel()
