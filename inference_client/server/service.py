"""The service: a gateway in this process, in front of models in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Sequence

from .._registered import missing_extra
from ..errors import ConfigurationError, ServerError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class ModelSettings:
    """One model of a service.

    Attributes:
        name: which clients ask for.
        engine: an engine's name.
        replicas: how many processes run it.
    """

    name: str
    engine: str
    replicas: int = 1


@dataclass(frozen=True)
class Settings:
    """What a service is told.

    Attributes:
        models: the first one answers where none is named.
        host: address to listen on.
        ports: by scheme (`grpc`, `http`, `ws`); 0 takes a free one.
        public: URLs by scheme at which clients reach it, where that is not the address that they asked.
    """

    models: Sequence[ModelSettings]
    host: str = '127.0.0.1'
    ports: Mapping[str, int] = field(default_factory=lambda: {'grpc': 51000, 'http': 51001, 'ws': 51002})
    public: Mapping[str, str] = field(default_factory=dict)


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

    if find_spec('jina') is None:
        raise missing_extra('the server', ModuleNotFoundError("No module named 'jina'", name='jina'))
    return {model.name: engine_class(model.engine).tasks for model in settings.models}


async def _until_a_signal(settings: Settings, tasks: Mapping[str, frozenset[str]], say: Callable[[str], Any]) -> None:
    stop = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    await asyncio.sleep(0)  # one that came meanwhile
    if not stop.is_set():
        await _serve(settings, tasks, stop, say)


async def _serve(
    settings: Settings, tasks: Mapping[str, frozenset[str]], stop: asyncio.Event, say: Callable[[str], Any]
) -> None:
    os.environ.setdefault('GRPC_VERBOSITY', 'ERROR')
    from .desk import Desk
    from .directory import Directory
    from .grpc_door import GrpcDoor
    from .hosted import HostedModel, Models
    from .web_door import WebDoor

    models = Models(HostedModel(one.name, one.engine, tasks[one.name], one.replicas) for one in settings.models)
    with contextlib.ExitStack() as probes:  # open until all are chosen, so that no two are the same
        ports = {scheme: _free_port(probes, settings.host, port, scheme) for scheme, port in settings.ports.items()}
    desk = Desk(models)
    calls, web = GrpcDoor(desk), WebDoor(desk, Directory(models, ports, public=settings.public))
    host = f'[{settings.host}]' if ':' in settings.host else settings.host
    await calls.open(f'{host}:{ports["grpc"]}')
    for scheme in ('http', 'ws'):
        await web.open(settings.host, ports[scheme])
    try:
        for model in models.values():
            model.start()
        for scheme, port in ports.items():
            say(f'{scheme}://{host}:{port}')
        await _tell(models, stop, say)
        await stop.wait()
        desk.stopping = True
    finally:
        await calls.close(0)
        await web.close()
        await asyncio.gather(*(model.stop() for model in models.values()))


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
