"""Asks again what is no batch: look-ups in the directory, and what a model can do."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Awaitable, Callable, TypeVar

from ._policies import RetryPolicy
from .errors import InferenceError, RateLimitError

R = TypeVar('R')

logger = logging.getLogger('inference_client.retry')


def again(ask: Callable[[float], R], retry: RetryPolicy, seconds: float) -> R:
    """What is answered at last.

    Args:
        ask: is given the seconds that are left.
        retry: how often, and how long to wait in between.
        seconds: for all of it.
    """
    attempts = _Attempts(retry, seconds)
    while True:
        try:
            return ask(attempts.left)
        except InferenceError as error:
            pause = attempts.pause(error)
            if pause is None:
                raise
        time.sleep(pause)


async def again_async(ask: Callable[[float], Awaitable[R]], retry: RetryPolicy, seconds: float) -> R:
    """As `again`, in an event loop."""
    attempts = _Attempts(retry, seconds)
    while True:
        try:
            return await ask(attempts.left)
        except InferenceError as error:
            pause = attempts.pause(error)
            if pause is None:
                raise
        await asyncio.sleep(pause)


class _Attempts:
    """Those of one question."""

    def __init__(self, retry: RetryPolicy, seconds: float) -> None:
        self._retry = retry
        self._end = time.monotonic() + seconds
        self._failed: list[str] = []

    @property
    def left(self) -> float:
        """Seconds until the deadline, as a timeout: always above 0."""
        return max(self._end - time.monotonic(), 0.001)

    def pause(self, error: InferenceError) -> float | None:
        """Seconds to wait before the next attempt, or None if there is none."""
        asked_to_wait = isinstance(error, RateLimitError) and error.retry_after and self._retry.attempts > 1
        if not asked_to_wait:
            self._failed.append(f'{type(error).__name__}: {error.message}')
            error.attempts = tuple(self._failed)
        wait = error.retry_after if asked_to_wait else self._retry.wait(error, len(self._failed), random.random())
        if wait is None or wait >= self._end - time.monotonic():
            return None
        level = logging.INFO if asked_to_wait else logging.WARNING
        logger.log(level, 'asked again in %.2f s: %s: %s', wait, type(error).__name__, error.message)
        return wait
