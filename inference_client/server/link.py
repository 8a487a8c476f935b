"""What passes between the service and the process of a replica: numbered messages, on its standard input and output.

Pipes and not a port: nobody else on the machine can reach them, so nothing there need ask for a token.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import time
from dataclasses import dataclass
from typing import BinaryIO, Iterator

REQUEST = struct.Struct('!QQ')  # its number, and the bytes that follow; none: its answer is not wanted any more
ANSWER = struct.Struct(
    '!QQ?I'
)  # the request's number, the bytes that follow (none: it was taken back), and what else `Answer` has
READ_AHEAD = 1 << 20  # bytes


class LostError(Exception):
    """The process ended, and took the request with it."""


class StuckError(Exception):
    """The process did not get through with the request in the time that it has."""


@dataclass(frozen=True)
class Answer:
    """What a replica answered.

    Attributes:
        data: the message.
        failed: whether it says that the model failed.
        batch: documents that the model was given at once, told with one answer of those that it gave; else 0.
    """

    data: bytes
    failed: bool
    batch: int = 0


class Link:
    """The service's end of the pipes of a process.

    Args:
        process: with pipes as its standard input and output.

    Attributes:
        held: bytes of the requests that the process has, those among them that nobody waits for any more.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._sizes: dict[int, int] = {}  # of what the process has, by number, oldest first
        self._moved = 0.0  # when it last got on
        self._closed = False
        self.held = 0

    async def ask(self, data: bytes) -> Answer:
        """The answer to a request, which is not empty.

        Raises:
            LostError: none will come.
            StuckError: none has come in time.
        """
        if self._closed:
            raise LostError
        number = next(self._numbers)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        if not self._sizes:
            self._moved = time.monotonic()
        self._sizes[number] = len(data)
        self.held += len(data)
        self._send(number, data)
        try:
            return await answer
        except asyncio.CancelledError:
            if not self._closed:
                self._send(number, b'')
            raise
        finally:
            del self._waiting[number]

    async def read(self) -> None:
        """Hand out the answers until the process closes its output; then no more will come."""
        try:
            while True:
                number, size, failed, batch = ANSWER.unpack(await self._output.readexactly(ANSWER.size))
                answer = Answer(await self._output.readexactly(size), failed, batch)
                self.held -= self._sizes.pop(number, 0)
                self._moved = time.monotonic()
                waiting = self._waiting.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.close()

    async def watch(self, seconds: float) -> None:
        """Return when the process has not got on for so long, although it has requests.

        The oldest of them, which it works on, is given up: it would hold up the next process, too.
        """
        while True:
            left = self._moved + seconds - time.monotonic() if self._sizes else seconds
            if left <= 0:
                break
            await asyncio.sleep(left)
        waiting = self._waiting.get(next(iter(self._sizes)))
        if waiting is not None and not waiting.done():
            waiting.set_exception(StuckError())

    def close(self) -> None:
        """Tell all who wait that no answer will come."""
        self._closed = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(LostError())

    def _send(self, number: int, data: bytes) -> None:
        # Without a wait until it is written: `HostedModel` bounds what is under way.
        self._input.write(REQUEST.pack(number, len(data)))
        self._input.write(data)


def requests(pipe: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The process's end: requests with their numbers, until the pipe is closed; no bytes take one back."""
    while True:
        head = pipe.read(REQUEST.size)
        if len(head) < REQUEST.size:
            return
        number, size = REQUEST.unpack(head)
        data = pipe.read(size)
        if len(data) < size:
            return
        yield number, data


def send(pipe: BinaryIO, number: int, answer: Answer) -> None:
    """The process's end: write an answer."""
    pipe.write(ANSWER.pack(number, len(answer.data), answer.failed, answer.batch))
    pipe.write(answer.data)
    pipe.flush()
