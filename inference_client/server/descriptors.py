"""Open files, of which each connection is one: as many as there may be, and no flood in the log where they run out."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import time
from typing import Any

MOST = 1 << 20  # where more are allowed: nobody has as many connections, and some programs make a table of all
PAUSE = 60.0  # seconds between two lines of the log that say the same
OUT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

logger = logging.getLogger('inference_client.server')


def raise_limit() -> None:
    """Have as many files open as this process may; 1,024 are common, and more are allowed to who asks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class BriefHandler:
    """Handles what nobody else does in an event loop: a connection that cannot be taken has a line, one a minute.

    asyncio itself logs it with a trace, a hundred times at each attempt.
    """

    def __init__(self) -> None:
        self._told = -PAUSE

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what happened."""
        error = context.get('exception')
        if not (isinstance(error, OSError) and error.errno in OUT and 'accept' in context['message']):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._told >= PAUSE:
            self._told = time.monotonic()
            logger.error('a connection cannot be taken (%s): allow more open files (LimitNOFILE)', error.strerror)
