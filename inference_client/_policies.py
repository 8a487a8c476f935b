"""How long to wait, and how often to try."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, fields, replace

from .errors import ConfigurationError, ConnectionFailedError, InferenceError, InputError, RequestTimeoutError

SHORTEST_PAUSE = 0.05  # seconds
LONGEST_PAUSE = 2.0  # seconds
LONGEST = 1e6  # seconds; much longer ones overflow in sockets and locks


@dataclass(frozen=True)
class Timeouts:
    """How long to wait, in seconds.

    Attributes:
        connect: for a connection to the server.
        read: for the answer to one attempt, from its start.
        total: for a request with all its attempts and the waits between them, without what the caller's own code
            takes meanwhile, such as the body of a loop over a stream.
    """

    connect: float = 10.0
    read: float = 120.0
    total: float = 120.0

    def __post_init__(self) -> None:
        for one in fields(self):
            _check_seconds(f'Timeouts({one.name}=...)', getattr(self, one.name))

    def within(self, left: float) -> Timeouts:
        """The same for one attempt of a request that has so many seconds left."""
        if left >= self.read:
            return self
        left = max(left, 0.001)
        return Timeouts(self.connect, left, left)  # an attempt to connect may serve others, who have longer


@dataclass(frozen=True)
class RetryPolicy:
    """How often a request is sent, and how long to wait in between.

    The wait before each further attempt is random between 0 and `initial * multiplier ** n`, at most `maximum`
    ("full jitter"), or what the server asked for in `Retry-After`. Only what may pass is tried again: connections that
    could not be made or broke, time-outs, HTTP status 408, 425, 429 and 5xx, gRPC UNAVAILABLE,
    DEADLINE_EXCEEDED and RESOURCE_EXHAUSTED. A request that the server puts off, for it takes no more for now, goes out
    when the server says, and that is no attempt.

    Attributes:
        attempts: at most, the first included; 1 never sends a request again.
        initial: the longest wait before the second attempt, in seconds.
        multiplier: how much longer each further wait may be.
        maximum: the longest wait, in seconds.
    """

    attempts: int = 3
    initial: float = 0.5
    multiplier: float = 2.0
    maximum: float = 8.0

    def __post_init__(self) -> None:
        if not isinstance(self.attempts, int) or isinstance(self.attempts, bool) or self.attempts < 1:
            raise ConfigurationError(f'RetryPolicy(attempts={self.attempts!r}): expected a whole number of at least 1')
        for name in ('initial', 'maximum'):
            _check_seconds(f'RetryPolicy({name}=...)', getattr(self, name), zero=True)
        if not isinstance(self.multiplier, (int, float)) or not 1 <= self.multiplier < math.inf:
            raise ConfigurationError(f'RetryPolicy(multiplier={self.multiplier!r}): expected a number of at least 1')

    def wait(self, error: InferenceError, failed: int, random: float) -> float | None:
        """Seconds to wait before the next attempt, or None if there is none.

        Args:
            error: what the last attempt came to.
            failed: attempts so far.
            random: from 0 to 1.
        """
        if not error.transient or failed >= self.attempts:
            return None
        if error.retry_after is not None:
            return error.retry_after
        return random * self.longest(failed)

    def longest(self, failed: int) -> float:
        """The longest wait after so many failures, in seconds."""
        try:
            return min(self.initial * self.multiplier ** (failed - 1), self.maximum)
        except OverflowError:
            return self.maximum


def _check_seconds(name: str, value: object, zero: bool = False) -> None:
    if not _is_time(value) and not (zero and value == 0 and value is not False):
        raise ConfigurationError(f'{name} is {value!r}: expected seconds above 0, at most {LONGEST:g}')


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= LONGEST


class BystanderError(ConnectionFailedError):
    """The connection was closed over another request; this one is sent again, which does not count as an attempt."""


TIMEOUTS = Timeouts()
RETRY = RetryPolicy()


def timeouts_of(value: float | Timeouts | None, default: Timeouts) -> Timeouts:
    """What a call was given as `timeout`: a number is the total.

    Raises:
        InputError: it is of no use.
    """
    if value is None:
        return default
    if isinstance(value, Timeouts):
        return value
    if not _is_time(value):
        raise InputError(f'timeout is {value!r}: expected a number of seconds above 0, or Timeouts(...)')
    return replace(default, total=float(value))


class Backoff:
    """Waits that grow, up to a deadline, for something that is asked until it is so."""

    def __init__(self, seconds: float) -> None:
        if not _is_time(seconds):
            raise InputError(f'timeout is {seconds!r}: expected a number of seconds above 0')
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self.pause = 0.0

    @property
    def left(self) -> float:
        """Seconds until the deadline, as a timeout: always above 0."""
        return max(self._end - time.monotonic(), 0.001)

    def failed(self, error: Exception | None) -> None:
        """Note that it is not so yet.

        Raises:
            RequestTimeoutError: the deadline is over.
        """
        left = self._end - time.monotonic()
        self.pause = min(max(SHORTEST_PAUSE, self.pause * 2), LONGEST_PAUSE, max(SHORTEST_PAUSE, left / 2))
        if left <= self.pause + SHORTEST_PAUSE:  # which one more attempt would have at least
            raise RequestTimeoutError(f'the model is not ready within {self._seconds:g} s: {_reason(error)}') from error


def _reason(error: Exception | None) -> str:
    return 'the server says that it is not' if error is None else str(getattr(error, 'message', error))
