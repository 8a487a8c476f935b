"""The process of one replica: a model in the runtime of Jina's Executors, on a free port of 127.0.0.1.

It says on its standard output, as one line of JSON, where it listens or why it does not. It ends with its standard
input, so that nothing is left when the service is killed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import warnings
from typing import Any, Callable, Mapping

HOST = '127.0.0.1'
END_TIMEOUT = 5.0  # seconds for Jina to stop, once the service is gone


def main(arguments: Mapping[str, Any]) -> int:
    """Load a model and serve it until SIGTERM.

    Args:
        arguments: `engine`, what is loaded; `pixels`, the most that an image may have.

    Returns:
        The exit code.
    """
    if hasattr(os, 'setpgid'):
        os.setpgid(0, 0)  # Ctrl-C is for the service, which then ends its replicas in order
    say = _private_output()
    threading.Thread(target=_end_with_the_service, daemon=True).start()
    try:
        runtime = _runtime(arguments['engine'], arguments['pixels'])
    except Exception as error:  # noqa: BLE001 - whatever it is, the service tells it
        say({'error': str(error), 'kind': type(error).__name__})
        return 1
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    say({'port': port})
    runtime(port)
    return 0


def _private_output() -> Callable[[Any], None]:
    """What writes to standard output; whatever else prints there reaches standard error from now on."""
    output = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)

    def say(value: Any) -> None:
        output.write(json.dumps(value) + '\n')
        output.flush()

    return say


def _end_with_the_service() -> None:
    while os.read(0, 1024):  # sys.stdin has a lock, which the end of this process would wait for
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(END_TIMEOUT)
    os._exit(1)


def _runtime(engine: str, pixels: int) -> Callable[[int], None]:
    """Load the model; what is returned serves it on a port."""
    os.environ.update(GRPC_VERBOSITY='ERROR', JINA_LOG_LEVEL='CRITICAL', JINA_HIDE_SURVEY='1')
    os.environ['JINA_OPTOUT_TELEMETRY'] = '1'
    from .. import _images
    from ..engines.loader import load_engine

    _images.MAX_PIXELS = pixels
    load_engine(engine)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'pkg_resources is deprecated')  # jina's affair
        from jina.parsers import set_pod_parser
        from jina.serve.runtimes.asyncio import AsyncNewLoopRuntime
        from jina.serve.runtimes.worker.request_handling import WorkerRequestHandler

    from .executor import executor_class
    from .pickles import refuse_pickles

    refuse_pickles()
    executor = executor_class(engine)

    def run(port: int) -> None:
        # As `jina executor` does in a container: no parent process of Jina's, which would fork.
        args = set_pod_parser().parse_args(['--name', 'model', '--quiet-error'])
        args.uses, args.host, args.port = executor.__name__, HOST, port
        args.grpc_server_options = {'grpc.so_reuseport': 0}  # else two may listen at one port
        with AsyncNewLoopRuntime(args, req_handler_cls=WorkerRequestHandler) as runtime:
            runtime.run_forever()

    return run


if __name__ == '__main__':
    code = main(json.loads(sys.argv[1]))
    sys.stderr.flush()
    os._exit(code)  # all is closed; what gRPC and Jina would still do at an ordinary exit fails, loudly
