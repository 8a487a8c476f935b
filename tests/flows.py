"""Plain Jina servers as processes of their own: see `jina_servers.py`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).with_name('jina_servers.py')


class Server:
    """One that may be frozen, killed and started again on the same ports.

    Args:
        python: an interpreter that has jina.
        arguments: of the script.
        environment: besides that of this process.
    """

    def __init__(self, python, *arguments, **environment):
        self._command = [python, str(SCRIPT), *map(str, arguments)]
        self._environment = {**os.environ, **environment}

    def begin(self):
        """Start it, and do not wait."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
            start_new_session=True,  # a group, which can be frozen and killed
        )

    def start(self):
        """Start it; gives its URLs by scheme once it is ready."""
        self.begin()
        for line in self._process.stdout:
            if line.startswith('{'):
                return json.loads(line)
        raise RuntimeError(f'{self._command} did not start')

    def send(self, number):
        """Send a signal to all its processes."""
        os.killpg(self._process.pid, number)

    def kill(self):
        self.send(signal.SIGKILL)
        with self._process:
            pass

    def stop(self):
        with self._process:
            self._process.stdin.close()
            self._process.wait(30)


@contextlib.contextmanager
def jina_server(python, *arguments):
    """Its URLs by scheme."""
    server = Server(python, *arguments)
    try:
        yield server.start()
    finally:
        server.stop()
