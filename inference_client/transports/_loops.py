"""Connections that belong to an event loop, and end with it."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, AsyncGenerator, Awaitable, Callable, Generic, TypeVar

C = TypeVar('C')


class PerLoop(Generic[C]):
    """A connection of each loop: opened when it is first used there, closed when the loop or the transport ends.

    Args:
        open: makes one, in a running loop. It must not refer to the transport, which would then end too late.
        close: closes one, in its own loop; nor may this.
    """

    def __init__(self, open: Callable[..., C], close: Callable[[C], Awaitable[Any]]) -> None:
        self._open = open
        self._close = close
        self._kept: dict[asyncio.AbstractEventLoop, tuple[C, AsyncGenerator[None, None]]] = {}

    async def get(self, *arguments: Any) -> C:
        """The connection of the running loop; the arguments are for `open`, if there is none yet."""
        loop = asyncio.get_running_loop()
        kept = self._kept.get(loop)
        if kept is None:
            connection = self._open(*arguments)
            keeper = _keep(weakref.ref(self), loop, connection, self._close)
            self._kept[loop] = kept = connection, keeper
            await keeper.__anext__()  # which does not wait
        return kept[0]

    async def close(self) -> None:
        """Close the connection of the running loop, if there is one."""
        _, keeper = self._kept.pop(asyncio.get_running_loop(), (None, None))
        if keeper is not None:
            await keeper.aclose()

    def release(self, connection: C, loop: asyncio.AbstractEventLoop | None = None) -> Any:
        """Let the next `get` open another. Gives what closes this one, by `aclose()`; None if that happened before."""
        loop = loop or asyncio.get_running_loop()
        for ended in [one for one in list(self._kept) if one.is_closed()]:  # too late to close theirs
            self._kept.pop(ended, None)
        kept = self._kept.get(loop)
        if kept is None or kept[0] is not connection:
            return None
        del self._kept[loop]
        return kept[1]


async def _keep(
    owner: weakref.ref[PerLoop[C]],
    loop: asyncio.AbstractEventLoop,
    connection: C,
    close: Callable[[C], Awaitable[Any]],
) -> AsyncGenerator[None, None]:
    """A generator under way: `asyncio.run` closes it at the end of its loop, and the loop once nobody holds it."""
    try:
        yield
    finally:
        still = owner()
        if still is not None:
            still.release(connection, loop)
        await close(connection)
