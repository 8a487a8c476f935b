"""Files with secrets: only those whom their owner lets may read them, and nobody ever finds one half written."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Iterator

if sys.platform == 'win32':
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_LOCK, 1)  # tries for ten seconds, then it is an OSError

    def _take_after(file: int, old: os.stat_result, others: int) -> None:
        """A file has the rights of its folder here."""
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _take_after(file: int, old: os.stat_result, others: int) -> None:
        """Give an open file the owner, group and mode of another; none of `others`, who are not its owner."""
        new = os.fstat(file)
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            try:
                os.fchown(file, old.st_uid, old.st_gid)
            except OSError as error:
                why = f'it belongs to user {old.st_uid} and group {old.st_gid}: run this as that user, or as root'
                raise PermissionError(error.errno, why) from error
        os.fchmod(file, stat.S_IMODE(old.st_mode) & 0o666 & ~others)


OTHERS_MAY_READ = 0o044
OTHERS_MAY_WRITE = 0o022
NOBODY_ELSE = OTHERS_MAY_READ | OTHERS_MAY_WRITE


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


def write(path: Path, text: str, others: int = NOBODY_ELSE) -> None:
    """Replace a file, or the one that a link leads to, at once and for good.

    It belongs to whom it belonged before, for who writes may be another than who reads it. A new one has mode 0600.

    Args:
        path: of the file.
        text: what is to be in it.
        others: what its mode lets nobody but its owner do from now on; of the rest it stays as it was.

    Raises:
        OSError: it cannot be written, or not for its owner; then the old one is as it was.
    """
    path = path.resolve()
    file, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')  # with mode 0600
    try:
        with os.fdopen(file, 'w', encoding='utf-8') as writing:
            with contextlib.suppress(FileNotFoundError):
                _take_after(file, path.stat(), others)
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
