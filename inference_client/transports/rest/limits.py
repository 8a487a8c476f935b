"""What a server takes: how many inputs in a call, and how many calls at the same time."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Callable

from ..._throttle import Throttle
from ...errors import RateLimitError

if TYPE_CHECKING:
    from .http import HttpCall

COUNTED = re.compile(r'batch.size|too many inputs|array too long|max(imum)? number of inputs|at most \d+ items', re.I)
"""How servers say that it is the number of inputs that is too large."""

SUMMED = re.compile(r'tokens per request', re.I)
"""How OpenAI says that the inputs are too long together."""

TOO_FAST = re.compile('request too large', re.I)
"""How OpenAI says with 429 that one call has more tokens than may come in a minute, so that it never will be taken."""

TOO_LONG = re.compile('too large to process|larger than the max context size', re.I)
"""How llama.cpp says, mostly with 500, that one input is too long; the numbers beside that are of tokens."""

UNLIMITED = 1 << 60


class Limits:
    """What was learned of the size of calls, from what a server says of itself and from what it refuses.

    Attributes:
        inputs: the most in one call, by modality; any where a modality is missing.
        size: bytes of the largest body that was not refused as too large.
        tokens: of the longest text, where the server tells.
    """

    def __init__(self) -> None:
        self.inputs: dict[str, int] = {}
        self.size = UNLIMITED
        self.tokens: int | None = None

    def most(self, modality: str) -> int:
        """The most inputs in one call."""
        return self.inputs.get(modality, UNLIMITED)

    def too_many(self, said: str, inputs: int) -> bool:
        """Note a refusal, and say whether fewer inputs would do."""
        if inputs > 1 and SUMMED.search(said):
            return True  # and nothing is learned of others, which may be shorter
        if inputs < 2 or not COUNTED.search(said) or TOO_LONG.search(said):
            return False
        named = [number for number in map(int, re.findall(r'\d{1,9}', said)) if 0 < number < inputs]
        for modality in ('text', 'image'):
            self.inputs[modality] = min(self.most(modality), max(named, default=inputs // 2))
        return True

    def too_large(self, size: int) -> None:
        """Note that a body of so many bytes was refused."""
        self.size = min(self.size, size - 1)


class Pace:
    """How many calls may be under way, and from when. It is shared by threads and event loops.

    Answers 429 teach it (`Throttle`). While the server wants to be left alone (`Retry-After`), no call begins.
    """

    def __init__(self) -> None:
        self.throttle = Throttle(UNLIMITED)
        self.busy = 0
        self._waiting: deque[Callable[[], object]] = deque()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def pause(self, left: float, call: HttpCall | None = None) -> float:
        """Seconds until a call may begin, and no fewer than it is to wait.

        Raises:
            RateLimitError: that is longer than the seconds that are left.
        """
        seconds = max(call.pause if call else 0.0, self.throttle.held(time.monotonic()))
        if seconds >= left:
            if call and call.refusal:
                raise call.refusal
            raise RateLimitError(
                f'the server takes no requests for another {seconds:.0f} s (429): try again then', retry_after=seconds
            )
        return seconds

    def enter(self, wake: Callable[[], object]) -> bool:
        """Begin a call now, if it may begin. Else `wake` is called once it has begun, unless `give_up` came before."""
        with self._lock:
            if self._process != os.getpid():  # forked: the calls under way are the parent's
                self._process, self.busy = os.getpid(), 0
                self._waiting.clear()
            if self.busy < self.throttle.allowed:
                self.busy += 1
                return True
            self._waiting.append(wake)
            return False

    def turned_back(self) -> bool:
        """End a call that has begun while the server wants to be left alone, and say whether it was so.

        It waited for its turn meanwhile, and has to wait for `pause` again.
        """
        if not self.throttle.held(time.monotonic()):
            return False
        self.leave()
        return True

    def give_up(self, wake: Callable[[], object]) -> None:
        """Wait no longer; where the call has begun meanwhile, end it."""
        with self._lock:
            if wake in self._waiting:
                self._waiting.remove(wake)
                return
        self.leave()

    def leave(self, status: int = 0, retry_after: float | None = None) -> None:
        """End a call, with the status of its answer, if there was one."""
        with self._lock:
            self._learn(status, retry_after)
            self.busy -= 1
            woken = []
            while self._waiting and self.busy < self.throttle.allowed:
                self.busy += 1
                woken.append(self._waiting.popleft())
        for wake in woken:
            wake()

    def _learn(self, status: int, retry_after: float | None) -> None:
        if status == 429:
            self.throttle.refused(self.busy - 1, retry_after or 0.0, time.monotonic(), random.random())
        elif 200 <= status < 300:
            self.throttle.answered()
