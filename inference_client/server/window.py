"""How much of one stream or socket is worked on at once."""

from __future__ import annotations

import asyncio

MOST = 256  # requests
MOST_BYTES = 128 << 20  # of requests that have no answer yet, and of answers that have not left; one may be larger


class Window:
    """Lets requests of one connection in, and answers out; one task reads the requests."""

    def __init__(self) -> None:
        self._count = self._bytes = 0
        self._left = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Wait until a request of so many bytes may be worked on."""
        while self._count and (self._count >= MOST or self._bytes + size > MOST_BYTES):
            self._left.clear()
            await self._left.wait()
        self._count += 1
        self._bytes += size

    def change(self, size: int, answered: int) -> None:
        """Note that an answer takes the place of its request."""
        self._bytes += answered - size
        self._left.set()

    def leave(self, answered: int) -> None:
        """Note that an answer is with the client, or with nobody."""
        self._count -= 1
        self._bytes -= answered
        self._left.set()
