"""Programs on pseudo-terminals."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import struct
import subprocess
import sys
import threading

import pytest

needs_terminals = pytest.mark.skipif(importlib.util.find_spec('pty') is None, reason='needs pseudo-terminals')

TIMEOUT = 60


def rest_of(terminal):
    """All that comes until the process behind a pseudo-terminal ends."""
    shown = b''
    with contextlib.suppress(OSError):  # EIO is its end of file
        while True:
            more = terminal.read(1000)
            if not more:
                break
            shown += more
    return shown


def on_terminal(*command, columns=80, stdout=None, **environment):
    """Run Python with these arguments on a terminal of so many columns.

    Standard output goes there too, or to the file `stdout`.

    Returns:
        The exit code, and what the terminal was sent.
    """
    import fcntl
    import pty
    import termios

    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ('COLUMNS', 'LINES')}
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=stdout or there,
        stderr=there,
        env={**variables, 'TERM': 'xterm', 'PYTHONIOENCODING': 'utf-8', **environment},
        start_new_session=True,
    )
    os.close(there)
    with process, os.fdopen(here, 'rb', 0) as terminal:
        killer = threading.Timer(TIMEOUT, process.kill)
        killer.start()
        shown = rest_of(terminal)
        code = process.wait(TIMEOUT)
        killer.cancel()
    return code, shown.decode()
