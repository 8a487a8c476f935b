"""HTTP and WebSocket, both on each of their ports: what a Jina gateway answers there, a path a model, the directory.

Over 250 lines, because both are one server of aiohttp, with one way through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import ssl
import time
from typing import Any, Mapping
from urllib.parse import unquote

from aiohttp import WSCloseCode, WSMsgType, web

from .._version import __version__
from .._wire.jina_pb2 import StatusProto
from .._wire.json import dumps
from . import strangers
from .desk import Asker, Desk
from .directory import Directory
from .json_wire import answer_of, request_of, status_of
from .openapi import description
from .refusals import BrokenError, Refusal, UnknownKindError
from .window import Window

JSON = 'application/json'
METRICS = 'text/plain; version=0.0.4; charset=utf-8'  # of Prometheus
PROTOBUF = 'application/x-protobuf'  # the messages of gRPC
MODELS = '/models/'
SUFFIXES = ('/post', '/dry_run', '/status')
DIRECTORY = '/api/v1/models/'
CLOSING = 1.0  # seconds for clients to take leave
END = b'\x00'  # of the requests on a socket, as jina.Client says it
PROTOCOLS = ('bytes', 'json')  # those of a Jina gateway; which one it is shows in each message


class WebDoor:
    """The HTTP and the WebSocket end.

    Args:
        desk: where requests go.
        directory: answers look-ups.
    """

    def __init__(self, desk: Desk, directory: Directory) -> None:
        self._desk = desk
        self._directory = directory
        self._bodies = strangers.Bodies(desk.limits.body)
        self._sockets: dict[web.WebSocketResponse, set[asyncio.Task[None]]] = {}  # and what they wait for
        application = web.Application(middlewares=[_refusals])
        application.router.add_route('*', r'/{path:[\s\S]*}', self._serve)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,  # what nobody waits for any more is not run
            shutdown_timeout=1.0,
            keepalive_timeout=strangers.IDLE,
            auto_decompress=False,
            logger=strangers.logger,
        )
        self._first: Any = None
        self._servers: list[asyncio.AbstractServer] = []

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen at an address, with TLS if there is a context; may be called for several."""
        if self._runner.server is None:
            await self._runner.setup()
            made: Any = self._runner.server
            self._first = strangers.FirstRequests(made)
        self._servers.append(await self._first.listen(host, port, tls))

    async def close(self, seconds: float) -> None:
        """Close all connections, those on which an answer is sent within so many seconds."""
        for server in self._servers:
            server.close()
        end = time.monotonic() + seconds
        await asyncio.gather(*(_leave(socket, tasks, seconds) for socket, tasks in self._sockets.items()))
        connections: Any = self._runner.server
        connections.pre_shutdown()  # those that are idle
        left = max(CLOSING, end - time.monotonic())  # of the time that the sockets had
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(connections.shutdown(left), left + CLOSING)
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self._first.came(request)
        self._desk.gate.check_origin(request.headers.get('Host', ''), request.headers.get('Origin'))
        path = request.rel_url.raw_path
        method = 'GET' if request.method == 'HEAD' and not _is_socket(request) else request.method
        if path.rstrip('/') == DIRECTORY.rstrip('/') and method == 'GET':
            return self._look_up(request)
        asker, rest = _asker(request)
        handlers: Mapping[tuple[str, str], Any] = {
            ('GET', '/'): self._alive,
            ('GET', '/dry_run'): self._dry_run,
            ('GET', '/ready'): self._ready,
            ('GET', '/status'): self._status,
            ('GET', '/openapi.json'): self._describe,
            ('GET', '/metrics'): self._metrics,
            ('POST', '/post'): self._post,
        }
        handler = handlers.get((method, rest))
        if handler is None:
            known = any(one == rest for _, one in handlers)
            return web.json_response(
                {'detail': 'Method Not Allowed' if known else 'Not Found'}, status=405 if known else 404
            )
        answer: web.StreamResponse = await handler(request, asker)
        return answer

    def _look_up(self, request: web.Request) -> web.Response:
        asker, _ = _asker(request)
        with self._desk.gate.noted(asker.token, asker.peer, asker.protocol, DIRECTORY) as who:
            self._desk.gate.pace(who)
            name = request.query.get('model_name')
            host = request.headers.get('Host', '')
            found = self._directory.listing(host) if name is None else self._directory.entry(name, host)
        return _json(found)

    async def _alive(self, request: web.Request, asker: Asker) -> web.StreamResponse:
        if _is_socket(request) or asker.model is not None:  # which models there are is not for everybody
            self._desk.gate.admit(asker.token, asker.peer)
        self._desk.models.find(asker.model)
        return await self._socket(request, asker) if _is_socket(request) else _json({})

    async def _dry_run(self, request: web.Request, asker: Asker) -> web.StreamResponse:
        status = StatusProto()
        retry: Refusal | None = None
        try:
            self._desk.ready(asker)
        except Refusal as refusal:
            if refusal.http != 503:
                raise
            retry = refusal
            status.code, status.description = StatusProto.ERROR, refusal.message
        if _is_socket(request):
            socket = web.WebSocketResponse(protocols=PROTOCOLS, compress=False)
            await socket.prepare(request)
            await socket.send_bytes(status.SerializeToString())
            await socket.close()
            return socket
        return _json(status_of(status), retry)

    async def _ready(self, request: web.Request, asker: Asker) -> web.Response:
        self._desk.settled()
        return _json({})

    async def _status(self, request: web.Request, asker: Asker) -> web.Response:
        with self._desk.gate.noted(asker.token, asker.peer, asker.protocol, '/status'):
            tasks = self._desk.models.find(asker.model).tasks
        models = {one.name: one.status for one in self._desk.models.values()}
        return _json({'jina': {'inference-client': __version__}, 'envs': {}, 'models': models, 'tasks': tasks})

    async def _metrics(self, request: web.Request, asker: Asker) -> web.Response:
        with self._desk.gate.noted(asker.token, asker.peer, asker.protocol, '/metrics'):
            return web.Response(body=self._desk.metrics.page(), headers={'Content-Type': METRICS})

    async def _describe(self, request: web.Request, asker: Asker) -> web.Response:
        return _json(description(self._desk.gate.wants_tokens))

    async def _post(self, request: web.Request, asker: Asker) -> web.Response:
        kind = request.content_type
        answer = await self._desk.ask(asker, lambda: self._message_of(request))
        accepted = request.headers.get('Accept', '*/*')
        as_protobuf = PROTOBUF in accepted or (kind == PROTOBUF and JSON not in accepted)
        headers = {'Accept-Post': f'{JSON}, {PROTOBUF}'}
        if as_protobuf:
            return web.Response(body=answer, content_type=PROTOBUF, headers=headers)
        return web.Response(body=answer_of(answer), content_type=JSON, headers=headers)

    async def _message_of(self, request: web.Request) -> bytes:
        kind = request.content_type
        if kind not in (JSON, PROTOBUF):
            raise UnknownKindError(f'the body is {kind}: expected {JSON} or {PROTOBUF}')
        body = await self._bodies.read(request)
        return request_of(body, self._desk.limits.items) if kind == JSON else body

    async def _socket(self, request: web.Request, asker: Asker) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=PROTOCOLS, compress=False, max_msg_size=self._desk.limits.body)
        await socket.prepare(request)
        tasks = self._sockets[socket] = set()
        try:
            await _converse(
                socket, tasks, lambda *request: self._desk.ask_in_band(asker, *request), self._desk.limits.items
            )
        finally:
            del self._sockets[socket]
        return socket


async def _leave(socket: web.WebSocketResponse, tasks: set[asyncio.Task[None]], seconds: float) -> None:
    """Close a socket once its answers have left, or so many seconds are over."""
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(socket.close(code=WSCloseCode.GOING_AWAY), CLOSING)


async def _converse(socket: web.WebSocketResponse, tasks: set[asyncio.Task[None]], ask: Any, most: int) -> None:
    """Answer the requests of a socket until the client ends them; if it leaves, those under way are given up."""
    window = Window()

    async def answer(message: Any) -> None:
        size = len(message.data)
        as_text = message.type is WSMsgType.TEXT
        answered: Any = await (_ask_json(ask, message.data, most) if as_text else ask(message.data))
        window.change(size, len(answered))
        with contextlib.suppress(ConnectionError):  # the client left meanwhile
            await (socket.send_str(answered) if as_text else socket.send_bytes(answered))
        window.leave(len(answered))

    try:
        async for message in socket:
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                break
            if message.data in (END, '{}'):
                await asyncio.gather(*tasks)
                break
            await window.enter(len(message.data))
            task = asyncio.ensure_future(answer(message))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await socket.close()
    finally:
        for task in tasks:
            task.cancel()


async def _ask_json(ask: Any, text: str, most: int) -> str:
    try:
        return answer_of(await ask(text.encode(), lambda body: request_of(body, most))).decode()
    except Exception:  # noqa: BLE001 - of which a client is told nothing, but that there is no other answer
        strangers.logger.exception('a request failed')
        return answer_of(BrokenError('the service failed; its log tells more').in_band('')).decode()


@web.middleware
async def _refusals(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
        return answer
    except Refusal as refusal:
        refused = _refused(refusal)
        if _is_socket(request):
            refused.force_close()  # there is nothing more to say, and some clients wait for this
        return refused
    except web.HTTPException:
        raise
    except Exception:  # noqa: BLE001 - of which a client is told nothing
        strangers.logger.exception('a request failed')
        return _refused(BrokenError('the service failed; its log tells more'))


def _refused(refusal: Refusal) -> web.Response:
    return _json({'detail': refusal.message, 'error': refusal.error}, refusal)


def _json(value: Any, refusal: Refusal | None = None) -> web.Response:
    headers = {} if refusal is None else {'Inference-Error': refusal.error}
    if refusal is not None and refusal.retry_after is not None:
        headers['Retry-After'] = f'{math.ceil(refusal.retry_after)}'  # whole seconds, by RFC 9110
        headers['Retry-After-Ms'] = f'{refusal.milliseconds}'  # which OpenAI's server has, too
    status = 200 if refusal is None else refusal.http
    return web.Response(body=dumps(value), content_type=JSON, status=status, headers=headers)


def _is_socket(request: web.Request) -> bool:
    return request.headers.get('Upgrade', '').lower() == 'websocket'


def _asker(request: web.Request) -> tuple[Asker, str]:
    """Who asks, and what for."""
    model, rest = _routed(request.rel_url.raw_path)
    protocol = 'websocket' if _is_socket(request) else 'http'
    return Asker(model, request.headers.get('Authorization'), request.remote or '', protocol, request.headers), rest


def _routed(path: str) -> tuple[str | None, str]:
    """The model that a path names, and what is asked of it."""
    if not path.startswith(MODELS):
        return None, path
    rest = path[len(MODELS) :]
    for suffix in SUFFIXES:
        if rest.endswith(suffix):
            return unquote(rest[: -len(suffix)]), suffix
    return unquote(rest.rstrip('/')), '/'
