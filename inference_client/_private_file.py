"""Files with secrets: only their owner may read them, and another process never finds one half written."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Iterator

if sys.platform == 'win32':
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_LOCK, 1)  # tries for ten seconds, then it is an OSError
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)


OTHERS_MAY_READ = 0o044
OTHERS_MAY_WRITE = 0o022


def config_folder() -> Path:
    """Where files of a user are: `$XDG_CONFIG_HOME/inference-client`, else `~/.config/inference-client`.

    Raises:
        KeyError, RuntimeError: the user has no home; the former on Python 3.8.
    """
    return Path(os.environ.get('XDG_CONFIG_HOME') or Path.home() / '.config') / 'inference-client'


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep others, threads as well as processes, from changing a file: whoever changes it must ask here.

    The lock is a file beside it, for the file itself is replaced. The folder is made if it is not there.

    Raises:
        OSError: the folder or the lock cannot be made.
    """
    path = path.resolve()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(f'{path}.lock', os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(lock)
        yield
    finally:
        os.close(lock)  # which ends the lock


def write(path: Path, text: str) -> None:
    """Replace a file, or the one that a link leads to, at once and for good; its mode is 0600.

    Raises:
        OSError: it cannot be written; then the old one is as it was.
    """
    path = path.resolve()
    file, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')  # with mode 0600
    try:
        with os.fdopen(file, 'w', encoding='utf-8') as writing:
            writing.write(text)
            writing.flush()
            os.fsync(file)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def others_may(path: Path, what: int) -> bool:
    """Whether the mode of a file lets others than its owner read (`OTHERS_MAY_READ`) or write it."""
    return os.name == 'posix' and bool(path.stat().st_mode & what)
