"""Starts and stops the Flow."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import warnings
from typing import Any, Callable, Iterator, Mapping

from .._registered import missing_extra
from ..errors import ConfigurationError, ServerError

SIGNALS = (signal.SIGINT, signal.SIGTERM)

PROTOCOLS = {'grpc': 'grpc', 'http': 'http', 'ws': 'websocket'}
"""What Jina calls a scheme."""


def serve(model: str, host: str, ports: Mapping[str, int], say: Callable[[str], Any]) -> None:
    """Host an engine until SIGINT or SIGTERM.

    Args:
        model: an engine's name.
        host: address to listen on.
        ports: port by scheme (`grpc`, `http`, `ws`); 0 takes a free one.
        say: gets each URL, a line each, and one more line when the model answers.

    Raises:
        ConfigurationError: a port is taken or the address is not this machine's.
        MissingExtraError: the extra `[server]`, or the engine's, is not installed.
        ServerError: the model could not be loaded.
    """
    stop = threading.Event()
    with _signals_held():  # imports are slow, and that of jina sets a handler of its own
        from rich import get_console

        from ..engines.loader import engine_class

        engine_class(model)
        with contextlib.ExitStack() as probes:  # open until all are chosen, so that no two are the same
            chosen = {scheme: _free_port(probes, host, port, scheme) for scheme, port in ports.items()}
        flow = _flow(model, host, chosen)
        for number in SIGNALS:
            signal.signal(number, lambda *_: stop.set())
    if stop.is_set():
        return
    get_console().quiet = True  # keeps Jina's banner off
    try:
        flow.start()
    except Exception as error:
        if stop.is_set():  # a signal to the whole process group reached Jina's processes too
            return
        raise ServerError(f'the model {model!r} could not be started; what it said stands above') from error
    try:
        if not stop.is_set():
            for scheme, port in chosen.items():
                say(f'{scheme}://{host}:{port}')
            say(f'{model} is ready; Ctrl-C stops it')
        stop.wait()
    finally:
        flow.close()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _flow(model: str, host: str, ports: Mapping[str, int]) -> Any:
    os.environ.setdefault('GRPC_VERBOSITY', 'ERROR')  # else Ctrl-C, which reaches all processes, shows what each lost
    os.environ.setdefault('JINA_LOG_LEVEL', 'ERROR')
    os.environ.setdefault('JINA_HIDE_SURVEY', '1')
    os.environ.setdefault('JINA_OPTOUT_TELEMETRY', '1')
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'pkg_resources is deprecated')  # jina's affair
        try:
            from jina import Flow

            from .executor import executor_class
            from .pickles import refuse_pickles
        except ImportError as error:
            raise missing_extra('the server', error) from error
    refuse_pickles()
    flow = Flow(
        protocol=[PROTOCOLS[scheme] for scheme in ports],
        port=list(ports.values()),
        host=host,
        quiet_error=True,
    )
    return flow.add(uses=executor_class(model), name='model', host='127.0.0.1', quiet_error=True)


def _free_port(probes: contextlib.ExitStack, host: str, port: int, scheme: str) -> int:
    """The port, or a free one for 0; jina itself starts on a port that is taken, and hangs."""
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
