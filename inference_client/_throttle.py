"""What a server teaches that takes no more requests for now: how many may be under way, and when to ask again."""

from __future__ import annotations

LONGEST_SPREAD = 8.0  # seconds, by which clients that were sent away together come back apart
MOST_ROUNDS = 64


class Throttle:
    """How many requests may be under way at once, and from when. Not thread-safe. Times are of one clock, in seconds.

    A refusal leaves as many as are under way besides, and a round of answers allows one more. Where that was too
    many, it takes twice as many rounds until it is tried again.

    Args:
        most: requests, unless the server refuses some.
    """

    def __init__(self, most: int) -> None:
        self.allowed = most
        self.until = 0.0
        self._most = most
        self._well = 0  # answers since the number changed
        self._rounds = 1  # of answers, until one more is tried
        self._tried = False  # whether the last change was for more
        self._in_a_row = 0  # times that the server asked to wait, without an answer in between

    def held(self, now: float) -> float:
        """Seconds until requests may begin."""
        return max(0.0, self.until - now)

    def refused(self, others: int, wait: float, now: float, random: float) -> None:
        """Note that a request came too early.

        Args:
            others: requests that are under way besides.
            wait: seconds that the server asked for, or 0.
            now: by the clock.
            random: from 0 to 1; how far this client goes apart from others.
        """
        if self._tried:
            self._rounds = min(2 * self._rounds, MOST_ROUNDS)
        self.allowed = max(1, min(self.allowed, others))
        self._well, self._tried = 0, False
        if not wait:
            return
        if now >= self.until:
            self._in_a_row += 1
        spread = min(wait * (2 ** min(max(self._in_a_row - 1, 0), 10) - 1), LONGEST_SPREAD)
        self.until = max(self.until, now + wait + random * spread)

    def answered(self) -> None:
        """Note that a request went well."""
        self._in_a_row = 0
        if self.allowed >= self._most:
            return
        self._well += 1
        if self._well >= self.allowed * self._rounds:
            if self._tried:
                self._rounds = max(1, self._rounds // 2)
            self.allowed, self._well, self._tried = self.allowed + 1, 0, True
