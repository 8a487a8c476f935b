"""Relays a socket file to a TCP server, byte for byte: whoever may open the file may use the server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any, Callable, Iterator

from inference_client import ConfigurationError

CHUNK = 1 << 16
BACKLOG = 100


class Bridge:
    """One socket file, one server.

    Args:
        path: of the socket file.
        host: of the server.
        port: of the server.
        say: gets a line for each connection that the server did not take.
    """

    def __init__(self, path: Path, host: str, port: int, say: Callable[[str], Any]) -> None:
        self._path, self._host, self._port, self._say = path, host, port, say
        self._open: set[asyncio.Task[None]] = set()

    async def run(self, mode: int, ready: Callable[[], Any]) -> None:
        """Relay until SIGINT or SIGTERM.

        Args:
            mode: permissions of the socket file.
            ready: called once connections are taken.

        Raises:
            ConfigurationError: the socket file cannot be made.
        """
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        with listening(self._path, mode) as listener:
            server = await asyncio.start_unix_server(self._accept, sock=listener)
            ready()
            await stop.wait()
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._relay(reader, writer)
        except asyncio.CancelledError:
            pass  # the bridge stops
        finally:
            self._open.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            self._say(f'{self._host}:{self._port} does not answer: {error}')
            return
        ways = [asyncio.ensure_future(copy(reader, server_writer)), asyncio.ensure_future(copy(server_reader, writer))]
        try:
            await asyncio.gather(*ways)
        except OSError:
            pass  # either side may go at any time; the other is told by the end of its connection
        finally:
            for way in ways:
                way.cancel()
            server_writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction to its end, no faster than the receiver takes it."""
    while True:
        data = await reader.read(CHUNK)
        if not data:
            break
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


@contextlib.contextmanager
def listening(path: Path, mode: int) -> Iterator[socket.socket]:
    """A listening socket of that path and mode; the file is removed at the end, if it is still this one."""
    _remove_stale(path)
    with socket.socket(socket.AF_UNIX) as listener:
        mask = os.umask(0o777 & ~mode)  # the file is never open to others, not even for a moment
        try:
            listener.bind(str(path))
        except OSError as error:
            raise ConfigurationError(f'the socket file {str(path)!r} cannot be made: {error}') from error
        finally:
            os.umask(mask)
        made = path.stat()
        try:
            listener.listen(BACKLOG)
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), made):
                    path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on any more.

    Raises:
        ConfigurationError: somebody does, or the file is something else.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigurationError(f'{str(path)!r} exists and is no socket file: choose another path')
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink()
        return
    except OSError as error:
        reason = 'permission denied' if error.errno in (errno.EACCES, errno.EPERM) else str(error)
        raise ConfigurationError(f'the socket file {str(path)!r} cannot be used: {reason}') from error
    raise ConfigurationError(f'somebody listens on {str(path)!r} already: stop that, or choose another path')
