"""gRPC: one request a call, any number on a stream, health and readiness, all as bytes."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator
from urllib.parse import unquote

import grpc
import grpc.aio

from .._wire.jina_pb2 import EndpointsProto, StatusProto
from ..transports._grpc_settings import CALL, DISCOVERY, DRY_RUN, HEALTH, NOT_SERVING, SERVING, UNARY
from . import strangers
from .desk import Asker, Desk
from .refusals import Refusal, UnreadableError
from .window import Window

MODEL = 'model'  # metadata
STREAMS = 1024  # calls at once on one connection


class GrpcDoor(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The services of a Jina gateway, without parsing what passes.

    Args:
        desk: where requests go.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._readers: set[asyncio.Task[None]] = set()
        self._server: Any = None

    def service(self, handler_call_details: Any) -> Any:
        """What handles a method."""
        method = handler_call_details.method
        if method == CALL:
            return grpc.stream_stream_rpc_method_handler(self._stream)
        methods = {
            UNARY: self._single,
            DRY_RUN: self._dry_run,
            HEALTH: self._health,
            DISCOVERY: self._discover,
        }
        one = methods.get(method)
        return one and grpc.stream_unary_rpc_method_handler(one)  # or the message would be read before the token

    async def open(self, address: str, credentials: Any = None) -> None:
        """Listen at an address, with TLS if there are credentials."""
        self._server = grpc.aio.server(
            options=[
                ('grpc.max_send_message_length', -1),
                ('grpc.max_receive_message_length', self._desk.limits.body),
                ('grpc.max_concurrent_streams', STREAMS),
                ('grpc.so_reuseport', 0),  # else another server may listen at the same port
                ('grpc.compression_enabled_algorithms_bitset', 1),  # none: a small message could fill the memory
                ('grpc.server_handshake_timeout_ms', round(strangers.FIRST * 1000)),
                ('grpc.max_connection_idle_ms', round(strangers.IDLE * 1000)),
            ]
        )
        self._server.add_generic_rpc_handlers((self,))
        if credentials is None:
            self._server.add_insecure_port(address)
        else:
            self._server.add_secure_port(address, credentials)
        await self._server.start()

    async def close(self, seconds: float) -> None:
        """Refuse new calls, let answers of those under way leave within so many seconds, and close."""
        for reader in self._readers:
            reader.cancel()
        await self._server.stop(seconds)

    async def _single(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        async def read() -> bytes:
            async for data in requests:
                return data
            raise UnreadableError('there is no request: expected a DataRequestProto of Jina')

        try:
            return await self._desk.ask(_asker(context), read)
        except Refusal as refusal:
            return await _refuse(context, refusal)

    async def _dry_run(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        status = StatusProto()
        try:
            self._desk.ready(_asker(context))
        except Refusal as refusal:
            if refusal.http != 503:
                return await _refuse(context, refusal)
            status.code = StatusProto.ERROR
            status.description = refusal.message
        return status.SerializeToString()

    async def _discover(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        asker = _asker(context)
        try:
            with self._desk.gate.noted(asker.token, asker.peer, asker.protocol, DISCOVERY):
                tasks = self._desk.models.find(asker.model).tasks
        except Refusal as refusal:
            return await _refuse(context, refusal)
        return EndpointsProto(endpoints=[f'/{task}' for task in tasks]).SerializeToString()

    async def _health(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        try:
            self._desk.settled()
        except Refusal:
            return NOT_SERVING
        return SERVING

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        asker = _asker(context)
        try:
            self._desk.gate.admit(asker.token, asker.peer)
            self._desk.models.find(asker.model)
        except Refusal as refusal:
            await _refuse(context, refusal)
        answers: asyncio.Queue[bytes | None] = asyncio.Queue()
        window = Window()
        tasks: set[asyncio.Task[None]] = set()

        async def answer(data: bytes) -> None:
            answered = await self._desk.ask_in_band(asker, data)
            window.change(len(data), len(answered))
            answers.put_nowait(answered)

        async def read() -> None:
            try:
                async for data in requests:
                    await window.enter(len(data))
                    task = asyncio.ensure_future(answer(data))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            finally:  # at the end of the requests, or when the service reads no more of them
                await asyncio.gather(*tasks)
                answers.put_nowait(None)

        reader = asyncio.ensure_future(read())
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        try:
            while True:
                data = await answers.get()
                if data is None:
                    return
                yield data
                window.leave(len(data))  # not before: a client that does not read would fill the memory
        finally:
            for task in (reader, *tasks):
                task.cancel()


def _asker(context: Any) -> Asker:
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    model = metadata.get(MODEL)
    peer = address_of(context.peer())
    return Asker(None if model is None else unquote(model), metadata.get('authorization'), peer, 'grpc', metadata)


def address_of(peer: str) -> str:
    """The address in what gRPC calls a peer, such as `ipv6:%5B::1%5D:50000`."""
    return unquote(peer.partition(':')[2].rpartition(':')[0]).strip('[]')


async def _refuse(context: Any, refusal: Refusal) -> bytes:
    trailing = () if refusal.retry_after is None else (('retry-after', refusal.seconds),)
    await context.abort(getattr(grpc.StatusCode, refusal.grpc), refusal.message, trailing)
    raise AssertionError('abort() raises')
