"""The service: a gateway in this process, in front of models in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping

from .._registered import missing_extra
from ..errors import ConfigurationError, ServerError
from .access_log import AccessLog
from .descriptors import BriefHandler, raise_limit

if TYPE_CHECKING:
    from .desk import Desk
    from .gate import Gate
    from .settings import Settings

logger = logging.getLogger('inference_client.server')

CLOSE_TIMEOUT = 0.5  # seconds for answers to leave, if those under way took all the time there was
DRAIN_PAUSE = 0.02  # seconds between two looks at what is under way
NEEDED = 'prometheus_client'  # of the extra `[server]`, by whose absence it is told
TOGETHER = 0.5  # seconds in which signals are one: a program that passes one on may not be the only one that sends it
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(settings: Settings, say: Callable[[str], Any]) -> None:
    """Host models until SIGINT or SIGTERM.

    Args:
        settings: which, and where.
        say: gets each URL, a line each, and one more line when all models are up or have failed.

    Raises:
        ConfigurationError: a port is taken or the address is not this machine's.
        MissingExtraError: the extra `[server]`, or an engine's, is not installed.
        ServerError: no model could be loaded.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # imports are slow
    try:
        asyncio.run(_until_a_signal(settings, _tasks(settings), say))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        gc.collect()  # gRPC ends its thread once nothing of it is left; else the interpreter's end makes it complain


def _tasks(settings: Settings) -> Mapping[str, frozenset[str]]:
    """What the models can do, by name; raises if one is not installed."""
    from importlib.util import find_spec

    from ..engines.loader import engine_class

    tasks = {model.name: engine_class(model.engine).tasks for model in settings.models}
    if find_spec(NEEDED) is None:
        raise missing_extra('the server', ModuleNotFoundError(f'No module named {NEEDED!r}', name=NEEDED))
    return tasks


async def _until_a_signal(settings: Settings, tasks: Mapping[str, frozenset[str]], say: Callable[[str], Any]) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    raise_limit()
    loop.set_exception_handler(BriefHandler())
    handle = _signals(stop)
    for number in SIGNALS:
        loop.add_signal_handler(number, handle, number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    await asyncio.sleep(0)  # one that came meanwhile
    if not stop.is_set():
        await _serve(settings, tasks, stop, say)


def _signals(stop: asyncio.Event) -> Callable[[int], None]:
    """What handles signals: the first one sets the event, and one more ends the process, and the models by that."""
    first = 0.0

    def handle(number: int) -> None:
        nonlocal first
        if not stop.is_set():
            first = time.monotonic()
            stop.set()
        elif time.monotonic() - first > TOGETHER:
            logger.warning('ended at once, by a second signal: what was under way has no answer')
            os._exit(128 + number)

    return handle


async def _serve(
    settings: Settings, tasks: Mapping[str, frozenset[str]], stop: asyncio.Event, say: Callable[[str], Any]
) -> None:
    log = None if settings.access_log is None else AccessLog(settings.access_log)
    gate, (tls, credentials) = _gate(settings, log), _tls(settings)
    os.environ.setdefault('GRPC_VERBOSITY', 'ERROR')
    from .desk import Desk
    from .directory import Directory
    from .grpc_door import GrpcDoor
    from .hosted import HostedModel, Models
    from .tracing import find_tracing
    from .web_door import WebDoor

    models = Models(HostedModel(one, tasks[one.name], settings.limits) for one in settings.models)
    with contextlib.ExitStack() as probes:  # open until all are chosen, so that no two are the same
        ports = {scheme: _free_port(probes, settings.host, port, scheme) for scheme, port in settings.ports.items()}
    desk = Desk(models, gate, settings.limits, log, find_tracing())
    calls, web = GrpcDoor(desk), WebDoor(desk, Directory(models, ports, tls is not None, settings.public))
    host = f'[{settings.host}]' if ':' in settings.host else settings.host
    await calls.open(f'{host}:{ports["grpc"]}', credentials)
    for scheme in ('http', 'ws'):
        await web.open(settings.host, ports[scheme], tls)
    end = 0.0
    try:
        for model in models.values():
            model.start()
        for scheme, port in ports.items():
            say(f'{scheme}{"s" if tls else ""}://{host}:{port}')
        await _tell(models, stop, say)
        await stop.wait()
        end = time.monotonic() + settings.drain
        await _drain(desk, end)
    finally:
        desk.stopping = True
        left = max(CLOSE_TIMEOUT, end - time.monotonic())
        await asyncio.gather(calls.close(left), web.close(left))
        await asyncio.gather(*(model.stop() for model in models.values()))


def _gate(settings: Settings, log: AccessLog | None) -> Gate:
    """Raises where there are no tokens, and nobody said that none are wanted."""
    from .gate import Gate
    from .rate import RateLimiter
    from .tokens import TokenStore

    limits = settings.limits
    limiter = RateLimiter(limits.per_second, limits.burst) if limits.per_second else None
    if not settings.auth:
        return Gate(None, None, log)
    store = TokenStore(settings.token_file)
    if not store.list():
        raise ConfigurationError(
            f'there are no tokens in {store.path}: make one with "inference-client token create NAME", '
            'or let everyone on this machine in with --no-auth'
        )
    return Gate(store, limiter, log)


def _tls(settings: Settings) -> tuple[ssl.SSLContext | None, Any]:
    """What aiohttp and gRPC need for TLS; twice None without it."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None, None
    import grpc

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    clients = _authorities(context, settings.tls_client_ca)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password='')  # or OpenSSL asks for one
        pair = (Path(settings.tls_key).read_bytes(), Path(settings.tls_cert).read_bytes())
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f'the certificate {settings.tls_cert} and the key {settings.tls_key} cannot be used '
            f'({error.strerror or type(error).__name__}): expected PEM files that belong together, '
            'the key without a password'
        ) from error
    return context, grpc.ssl_server_credentials([pair], clients, require_client_auth=clients is not None)


def _authorities(context: ssl.SSLContext, path: str | None) -> bytes | None:
    """The certificates of those who vouch for clients, if these must show one; the context asks for it then."""
    if path is None:
        return None
    try:
        context.load_verify_locations(path)
        context.verify_mode = ssl.CERT_REQUIRED
        return Path(path).read_bytes()
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f'the certificates {path} for clients cannot be used ({error.strerror or type(error).__name__}): '
            'expected a PEM file with those of their authorities'
        ) from error


async def _drain(desk: Desk, end: float) -> None:
    """Refuse new requests, and wait until those under way are answered, or it is that time."""
    desk.stopping = True
    while desk.under_way and time.monotonic() < end:
        await asyncio.sleep(DRAIN_PAUSE)


async def _tell(models: Any, stop: asyncio.Event, say: Callable[[str], Any]) -> None:
    """Wait until all models are up or have failed, and say which."""
    stopped = asyncio.ensure_future(stop.wait())
    for model in models.values():
        settled = asyncio.ensure_future(model.settled.wait())
        await asyncio.wait({settled, stopped}, return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
    stopped.cancel()
    if stop.is_set():
        return
    up = [model.name for model in models.values() if model.status == 'Serving']
    if not up:
        raise ServerError('no model could be started; why stands above')
    say(f'{", ".join(up)} {"is" if len(up) == 1 else "are"} ready; Ctrl-C stops it')


def _free_port(probes: contextlib.ExitStack, host: str, port: int, scheme: str) -> int:
    """The port, or a free one for 0."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    probe = probes.enter_context(socket.socket(family, socket.SOCK_STREAM))
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((host, port))
        probe.listen()
    except OSError as error:
        raise ConfigurationError(
            f'{host}:{port} cannot be used for {scheme} ({error.strerror}): '
            f'choose another with --{scheme}-port or --host'
        ) from error
    return int(probe.getsockname()[1])
