"""gRPC in an event loop: a unary call for each request."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from .._messages import Request, Response
from .._policies import Timeouts
from .._wire.protobuf import decode_message, encode_request, read_response
from ..errors import CLOSED, ConnectionFailedError, unreachable
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
from ._loops import PerLoop
from .base import AsyncTransport, TransportOptions


class AsyncGrpcTransport(AsyncTransport):
    """`grpc://` and `grpcs://` on `grpc.aio`.

    Args:
        url: as for `GrpcTransport`.
        options: as for `GrpcTransport`.
        address: where its server is.
    """

    def __init__(self, url: str, options: TransportOptions, address: Address) -> None:
        super().__init__(url, options)
        self._address = address
        self._metadata = metadata_of(options)
        self._channels: PerLoop[Any] = PerLoop(self._open, _close)

    async def send(self, request: Request, timeouts: Timeouts) -> Response:
        answer = await self._ask(UNARY, encode_request(request), timeouts)
        response = read_response(decode_message(answer))
        return Response(request.id, response.documents)

    async def is_ready(self, timeouts: Timeouts) -> bool:
        try:
            return is_ready(await self._call(DRY_RUN, b'', timeouts))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise translated(error, timeouts.read) from error
        return await self._ask(HEALTH, b'', timeouts) == SERVING

    async def close(self) -> None:
        await self._channels.close()

    async def _ask(self, method: str, data: bytes, timeouts: Timeouts) -> bytes:
        try:
            return await self._call(method, data, timeouts)
        except grpc.aio.AioRpcError as error:
            raise translated(error, timeouts.read) from error
        except grpc.aio.UsageError as error:  # closed meanwhile
            raise unreachable(error) from error

    async def _call(self, method: str, data: bytes, timeouts: Timeouts) -> bytes:
        channel = await self._channels.get()
        if channel.get_state(True) is not grpc.ChannelConnectivity.READY:
            seconds = min(timeouts.connect, timeouts.read)
            try:
                await asyncio.wait_for(_settled(channel), seconds)
            except asyncio.TimeoutError as error:
                raise unreachable(f'no connection within {seconds:g} s') from error
        call = channel.unary_unary(method)(data, timeout=timeouts.read, metadata=self._metadata)
        try:
            answer: bytes = await call
        except asyncio.CancelledError:
            if channel.get_state() is not grpc.ChannelConnectivity.SHUTDOWN:
                raise
            raise ConnectionFailedError(CLOSED) from None
        return answer

    def _open(self) -> Any:
        opener = grpc.aio.secure_channel if self._address.secure else grpc.aio.insecure_channel
        target, *credentials, settings = channel_arguments(self._address, self.options)
        return opener(target, *credentials, options=settings)


async def _settled(channel: Any) -> None:
    """Wait until a channel is connected, or failed to."""
    state = channel.get_state(True)
    while state in (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING):
        await channel.wait_for_state_change(state)
        state = channel.get_state(True)


async def _close(channel: Any) -> None:
    await channel.close()
