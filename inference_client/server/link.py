"""What passes between the service and the process of a replica: numbered messages, on its standard input and output.

Pipes and not a port: nobody else on the machine can reach them, so nothing there need ask for a token.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from dataclasses import dataclass
from typing import BinaryIO, Iterator

REQUEST = struct.Struct('!QQ')  # its number, and the bytes that follow; none: its answer is not wanted any more
ANSWER = struct.Struct('!QQ?I')  # the request's number, the bytes that follow, and what else `Answer` has
READ_AHEAD = 1 << 20  # bytes


class LostError(Exception):
    """The process ended, and took the request with it."""


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
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._closed = False

    async def ask(self, data: bytes) -> Answer:
        """The answer to a request, which is not empty.

        Raises:
            LostError: none will come.
        """
        if self._closed:
            raise LostError
        number = next(self._numbers)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
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
                waiting = self._waiting.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.close()

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
