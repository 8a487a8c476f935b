"""gRPC in an event loop: a unary call for each request."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from functools import partial
from types import MappingProxyType
from typing import Any, Mapping

import grpc
import grpc.aio

from .._messages import Request, Response
from .._policies import Timeouts
from .._spec import Capabilities
from .._wire.protobuf import decode_message, encode_request, read_response
from ..errors import ConnectionFailedError, closed, unreachable
from . import _grpc_settings as settings
from ._loops import PerLoop
from ._pending import is_silent
from .base import AsyncTransport, TransportOptions

EMPTY: Mapping[str, str] = MappingProxyType({})


class AsyncGrpcTransport(AsyncTransport):
    """`grpc://` and `grpcs://` on `grpc.aio`.

    Args:
        url: as for `GrpcTransport`.
        options: as for `GrpcTransport`.
        address: where its server is.
    """

    def __init__(self, url: str, options: TransportOptions, address: settings.Address) -> None:
        super().__init__(url, options)
        self._metadata = settings.metadata_of(address, options)
        self._lines: PerLoop[_Line] = PerLoop(partial(_open, address, options), _close)

    async def send(self, request: Request, timeouts: Timeouts) -> Response:
        answer = await self._ask(settings.UNARY, encode_request(request), timeouts, request.headers)
        return dataclasses.replace(read_response(decode_message(answer)), id=request.id)

    async def is_ready(self, timeouts: Timeouts) -> bool:
        try:
            return settings.is_ready(await self._call(settings.DRY_RUN, b'', timeouts))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise settings.translated(error, timeouts.read) from error
        return await self._ask(settings.HEALTH, b'', timeouts) == settings.SERVING

    async def capabilities(self, timeouts: Timeouts) -> Capabilities:
        try:
            return settings.capabilities(await self._call(settings.DISCOVERY, b'', timeouts))
        except grpc.aio.AioRpcError as error:
            if settings.says_nothing(error):
                return Capabilities()
            raise settings.translated(error, timeouts.read) from error

    async def close(self) -> None:
        await self._lines.close()

    async def _ask(self, method: str, data: bytes, timeouts: Timeouts, headers: Mapping[str, str] = EMPTY) -> bytes:
        try:
            return await self._call(method, data, timeouts, headers)
        except grpc.aio.AioRpcError as error:
            raise settings.translated(error, timeouts.read) from error
        except grpc.aio.UsageError as error:  # closed meanwhile
            raise unreachable(error) from error

    async def _call(self, method: str, data: bytes, timeouts: Timeouts, headers: Mapping[str, str] = EMPTY) -> bytes:
        line = await self._lines.get(timeouts.connect)
        asked = time.monotonic()
        line.under_way += 1
        try:
            metadata = (*self._metadata, *headers.items())
            call = line.channel.unary_unary(method)(data, timeout=timeouts.read, metadata=metadata)
            code = await _code(call)
            if code is grpc.StatusCode.CANCELLED and line.ended:
                raise closed()
            answer: bytes = await call
            line.heard = time.monotonic()
        except grpc.aio.AioRpcError as error:
            made = line.heard or time.monotonic() > line.made_by
            late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and made and is_silent(asked, line.heard)
            if late or isinstance(settings.translated(error, timeouts.read), ConnectionFailedError):
                self._replace(line)
            raise
        finally:
            line.under_way -= 1
            if line.keeper is not None and not line.under_way:
                await line.keeper.aclose()
        return answer

    def _replace(self, line: _Line) -> None:
        line.keeper = line.keeper or self._lines.release(line)


def _open(address: settings.Address, options: TransportOptions, seconds: float) -> _Line:
    opener = grpc.aio.secure_channel if address.secure else grpc.aio.insecure_channel
    target, *credentials, chosen = settings.channel_arguments(address, options, seconds)
    return _Line(opener(target, *credentials, options=chosen), seconds)


async def _code(call: Any) -> grpc.StatusCode:
    """Wait for the end of a call. Awaiting the call itself does not tell whether it or its caller was cancelled."""
    try:
        code: grpc.StatusCode = await call.code()
    except asyncio.CancelledError:
        call.cancel()
        raise
    return code


class _Line:
    """A channel, until it fails or falls silent: see `_grpc_connection` for why it is not used again then.

    Attributes:
        channel: gRPC's.
        under_way: calls.
        heard: when the last answer came.
        made_by: when it is connected, or failed to.
        ended: whether it is being closed.
        keeper: closes it, once it is replaced and the last call on it has ended.
    """

    def __init__(self, channel: Any, seconds: float) -> None:
        self.channel = channel
        self.under_way = 0
        self.heard = 0.0
        self.made_by = time.monotonic() + seconds
        self.ended = False
        self.keeper: Any = None


async def _close(line: _Line) -> None:
    line.ended = True
    await line.channel.close()
