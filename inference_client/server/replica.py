"""One process of a model, watched: it is started again when it ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from typing import Any, Callable, Mapping

from .link import READ_AHEAD, Answer, Link, LostError

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a replica is started again
STEADY = 60.0  # seconds that one is up, after which the next pause is the first again
STOP_TIMEOUT = 2.0  # seconds to end after its standard input

logger = logging.getLogger('inference_client.server')


class LoadError(Exception):
    """The process said, or showed, that its model cannot be loaded."""


class Replica:
    """A process that answers, if it is up.

    Args:
        arguments: of the process: see `worker.main`.
        changed: called whenever `up` or `failed` changes.

    Attributes:
        up: whether it answers.
        failed: why it could not be started; None as long as it may come.
        under_way: requests that it works on.
    """

    def __init__(self, arguments: Mapping[str, Any], changed: Callable[[], None]) -> None:
        self.up = False
        self.failed: str | None = None
        self.under_way = 0
        self._arguments = arguments
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._link: Link | None = None
        self._life: asyncio.Task[None] | None = None
        self._was_up = False

    def start(self) -> None:
        """Begin to start it."""
        self._life = asyncio.get_running_loop().create_task(self._live())

    @property
    def held(self) -> int:
        """Bytes of the requests that it has."""
        return 0 if self._link is None else self._link.held

    async def ask(self, data: bytes) -> Answer:
        """The answer to a request.

        Raises:
            LostError: none will come: ask another one.
            StuckError: none has come in time.
        """
        if self._link is None:
            raise LostError
        self.under_way += 1
        try:
            return await self._link.ask(data)
        finally:
            self.under_way -= 1

    async def stop(self) -> None:
        """End it, and wait until it has."""
        if self._life is not None:
            self._life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._life
        await self._end()

    async def _live(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._start()
                came = time.monotonic()
                why = await self._until_it_ends()
                pause = FIRST_PAUSE if time.monotonic() - came >= STEADY else pause
            except LoadError as error:
                if not self._was_up:
                    await self._give_up(str(error))  # it will fail again: no such model, a library that is missing
                    return
                why = f'could not be started again ({error})'
            except Exception as error:  # noqa: BLE001 - too many files or processes, no memory: it may pass
                why = f'could not be started ({type(error).__name__}: {error})'
            name = self._arguments['name']
            logger.warning('a process of the model %s %s; another one is started in %g seconds', name, why, pause)
            await self._end()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _give_up(self, why: str) -> None:
        logger.error('the model %r could not be started: %s', self._arguments['name'], why)
        self._set(failed=why)
        await self._end()

    async def _start(self) -> None:
        """Start the process and wait until its model is loaded.

        Raises:
            LoadError: it cannot be.
        """
        command = [sys.executable, '-m', f'{__package__}.worker', json.dumps(self._arguments)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=READ_AHEAD)
        self._process = process
        assert process.stdout is not None
        said = await process.stdout.readline()
        if not said:
            raise LoadError(f'its process ended with exit code {await process.wait()}')
        told = json.loads(said)
        if 'error' in told:
            raise LoadError(str(told['error']))
        self._link = Link(process)
        self._was_up = True
        self._set(up=True)

    async def _until_it_ends(self) -> str:
        """Wait for its end, or until it is stuck; gives which."""
        assert self._process is not None and self._link is not None
        seconds = self._arguments['max_seconds']
        stuck, *_ = tasks = [
            asyncio.ensure_future(one) for one in (self._link.watch(seconds), self._process.wait(), self._link.read())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return f'gave no answer for {seconds} s' if done == {stuck} else 'ended'
        finally:
            for task in tasks:
                task.cancel()
            self._unlink()

    def _unlink(self) -> None:
        self._set(up=False)
        if self._link is not None:
            self._link.close()
            self._link = None

    async def _end(self) -> None:
        self._unlink()
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        if not process.stdin.is_closing():
            process.stdin.transport.abort()  # close() would first send what the process does not read
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
        except asyncio.TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._process = None  # not before: stop() may cut this short, and does it again

    def _set(self, up: bool | None = None, failed: str | None = None) -> None:
        self.up = self.up if up is None else up
        self.failed = failed or self.failed
        self._changed()
