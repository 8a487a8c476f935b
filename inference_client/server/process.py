"""The server as a child process, for as long as it is needed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import Iterator, Mapping

from ..errors import ServerError

STOP_TIMEOUT = 20.0  # seconds


@contextlib.contextmanager
def served(*models: str, python: str = sys.executable) -> Iterator[Mapping[str, str]]:
    """Host models on free ports of 127.0.0.1; gives the URL by scheme (`grpc`, `http`, `ws`) once they are up.

    Args:
        models: names of engines; without one, the embedded model. The first one is at the URL, each at /models/NAME.
        python: an interpreter with this package and its extra `[server]`.

    Raises:
        ServerError: it did not start; what it said is in the message.
    """
    command = [python, '-m', 'inference_client', 'serve', '--no-auth', *models]
    command += ['--grpc-port', '0', '--http-port', '0', '--ws-port', '0']
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _urls(process)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()


def _urls(process: subprocess.Popen[str]) -> Mapping[str, str]:
    urls: dict[str, str] = {}
    for line in process.stdout or ():
        scheme, separator, _ = line.partition('://')
        if not separator:
            return urls
        urls[scheme] = line.strip()
    raise ServerError(f'the server did not start (exit code {process.wait()}); what it said stands above')
