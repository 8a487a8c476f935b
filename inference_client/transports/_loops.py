"""Connections that belong to an event loop, and end with it."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Awaitable, Callable, Generic, TypeVar

C = TypeVar('C')


class PerLoop(Generic[C]):
    """A connection of the running loop: opened when it is first used there, closed when the loop ends.

    Args:
        open: makes one, in a running loop.
        close: closes one, in its own loop.
    """

    def __init__(self, open: Callable[[], C], close: Callable[[C], Awaitable[Any]]) -> None:
        self._open = open
        self._close = close
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: Any = None
        self._connection: C | None = None

    async def get(self) -> C:
        """The connection of the running loop."""
        loop = asyncio.get_running_loop()
        if self._connection is None or self._loop is not loop:
            self._loop, self._connection = loop, self._open()
            self._keeper = self._kept(self._connection)
            await self._keeper.__anext__()
        return self._connection

    async def close(self) -> None:
        """Close the connection of the running loop, if there is one."""
        keeper, self._keeper, self._connection = self._keeper, None, None
        if keeper is not None and self._loop is asyncio.get_running_loop():
            await keeper.aclose()

    def release(self, connection: C) -> Any:
        """Let the next `get` open another. Gives what closes this one, by `aclose()`; None if that happened before."""
        if self._connection is not connection:
            return None
        keeper, self._keeper, self._connection = self._keeper, None, None
        return keeper

    async def _kept(self, connection: C) -> AsyncIterator[None]:
        """A generator under way, which `asyncio.run` closes at the end of its loop, and the connection with it."""
        try:
            yield
        finally:
            if self._connection is connection:
                self._connection = None
            await self._close(connection)
