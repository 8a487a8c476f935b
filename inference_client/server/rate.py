"""How often a client may ask."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from typing import Callable

from ..errors import ConfigurationError

MOST_KEYS = 65_536  # that are remembered, some 10 MB; with more, those that were quiet for longest begin anew


class RateLimiter:
    """Token buckets by key: so many requests a second on average, and so many at once after a pause.

    Args:
        per_second: requests, of each key.
        burst: requests that may come at once; at least 1.
        clock: seconds.

    Raises:
        ConfigurationError: a value is of no use.
    """

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not (per_second > 0 and math.isfinite(per_second) and burst >= 1 and math.isfinite(burst)):
            raise ConfigurationError(
                f'a rate of {per_second} requests a second with bursts of {burst} lets nobody in: '
                'expected more than 0, and bursts of at least 1'
            )
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when; oldest first
        self._lock = threading.Lock()

    def delay(self, key: str) -> float:
        """Seconds until a request may come; 0.0 if this one may, which then counts."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            left, since = self._buckets.pop(key, (self._burst, now))
            left = min(self._burst, left + (now - since) * self._per_second)
            allowed = left >= 1
            self._buckets[key] = (left - 1 if allowed else left, now)
            return 0.0 if allowed else (1 - left) / self._per_second

    def _forget(self, now: float) -> None:
        """Drop buckets that are full again, which are like new ones, and the oldest where there are too many."""
        while self._buckets:
            key = next(iter(self._buckets))
            _, since = self._buckets[key]
            if len(self._buckets) < MOST_KEYS and (now - since) * self._per_second < self._burst:
                return
            del self._buckets[key]
