"""The batches of an exchange: which may go out now, and what becomes of one that failed."""

from __future__ import annotations

import heapq
import logging
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from docarray import Document, DocumentArray

from ._echo import outgoing
from ._messages import Request
from ._plan import Plan
from ._policies import BystanderError, Timeouts
from ._throttle import Throttle
from .errors import (
    InferenceError,
    InputError,
    ProtocolError,
    RateLimitError,
    RequestTooLargeError,
    ServerError,
    UnsupportedTaskError,
)

if TYPE_CHECKING:
    from ._telemetry import AttemptTrace, BatchTrace

logger = logging.getLogger('inference_client.retry')


@dataclass
class Batch:
    """Documents of one request, with their places in the input, until they are answered or given up."""

    items: list[tuple[int, Document]]
    attempts: list[str] = field(default_factory=list)
    put_off: int = 0  # times that the server would not take it yet
    deadline: float | None = None  # for all its attempts
    shared: bool = False  # whether another was under way at the same time as its last attempt
    alone: bool = False  # to be sent with no other under way, to see what it comes to by itself
    trace: BatchTrace | None = None

    @property
    def documents(self) -> list[Document]:
        """Without their places."""
        return [document for _, document in self.items]


class Batches:
    """Those that are out, and those that are due to be sent. All times are of one monotonic clock, in seconds.

    Attributes:
        out: under way, by request id.
        able: whether the model is known to do the task.
    """

    def __init__(self, plan: Plan) -> None:
        self.out: dict[str, Batch] = {}
        self.able = False
        self._plan = plan
        self._due: list[tuple[float, int, Batch]] = []  # a heap: by time, then in input order
        self._throttle = Throttle(plan.window)
        self._stopped = False
        self._paused: float | None = None  # since when

    @property
    def over(self) -> bool:
        """Whether nothing is out or due."""
        return not self.out and not self._due

    @property
    def single(self) -> bool:
        """Whether one is out, and no other is due."""
        return len(self.out) == 1 and not self._due

    def add(self, items: list[tuple[int, Document]]) -> None:
        """Let documents go out as one batch."""
        self._put_off(0.0, Batch(items))

    def stop(self) -> None:
        """Send nothing any more; what is out may still come back."""
        self._stopped = True
        self._due.clear()

    def pause(self, now: float) -> None:
        """Let no deadline pass until `resume`: the driver is kept from sending anything again."""
        self._paused = now

    def resume(self, now: float) -> None:
        """Put all deadlines off by as long as the pause was."""
        assert self._paused is not None
        for batch in (*self.out.values(), *(batch for _, _, batch in self._due)):
            if batch.deadline is not None:
                batch.deadline += now - self._paused
        self._paused = None

    def next_request(self, now: float) -> Request | None:
        """The next request to send, if there is one now."""
        if not self._due or self._due_at() > now or self._is_blocked():
            return None
        batch = heapq.heappop(self._due)[2]
        if batch.deadline is None:
            batch.deadline = now + self._plan.timeouts.total
        for one in (batch, *self.out.values()):
            one.shared = bool(self.out)
        documents = DocumentArray([outgoing(document) for _, document in batch.items])
        request = Request(self._plan.endpoint, documents, self._plan.parameters, trace=self._traced(batch))
        self.out[request.id] = batch
        return request

    def wait(self, now: float) -> float | None:
        """Seconds until something may be sent again; None if nothing is due, or an answer must come before."""
        if not self._due or self._is_blocked():
            return None
        return max(0.0, self._due_at() - now)

    def timeouts(self, request: Request, now: float) -> Timeouts:
        """How long an attempt may take that starts now."""
        deadline = self.out[request.id].deadline
        return self._plan.timeouts.within(self._plan.timeouts.total if deadline is None else deadline - now)

    def answered(self, request_id: str) -> None:
        """Take one back that was answered."""
        self._throttle.answered()
        self._landed(self.out.pop(request_id), None, over=True)

    def fail(self, request_id: str, error: InferenceError, now: float) -> Batch | None:
        """Take one back that failed; gives it if it is not sent again: as it is, in halves, or alone."""
        batch = self.out.pop(request_id)
        given_up = self._given_up(batch, error, now)
        self._landed(batch, error, over=given_up is not None)
        return given_up

    def _given_up(self, batch: Batch, error: InferenceError, now: float) -> Batch | None:
        if isinstance(error, BystanderError) and self._left(batch, now) > 0 and not self._stopped:
            self._put_off(now, batch)
            return None
        if isinstance(error, RateLimitError) and self._is_put_off(batch, error, now):
            return None
        before = f' (put off {batch.put_off} times before)' if batch.put_off else ''
        batch.attempts.append(f'{type(error).__name__}: {error.message}{before}')
        if self._stopped:
            return batch
        if self._is_sent_again(batch, error, now) or self._is_split(batch, error, now):
            return None
        if batch.shared and self._is_doubtful(error):
            batch.alone = True
            self._put_off(now, batch)
            return None
        return batch

    def is_of_the_items(self, error: InferenceError) -> bool:
        """Whether an error for good is one of certain documents, and the others may do better."""
        if isinstance(error, ProtocolError) and not self.able:  # it may be no Jina server at all
            return False
        return _is_of_some(error)

    def _is_put_off(self, batch: Batch, error: RateLimitError, now: float) -> bool:
        """Whether it goes out later, however often it came too early: others may have taken its turn.

        Where the server says when, all wait for that; where it does not, the number of those under way was too large.
        """
        wait, left = error.retry_after or 0.0, self._left(batch, now)
        chance = random.random()
        self._throttle.refused(len(self.out), wait, now, chance)
        if not (wait or batch.shared) or wait >= left or self._stopped or self._plan.retry.attempts == 1:
            return False
        batch.put_off += 1
        pause = wait or min(chance * self._plan.retry.longest(batch.put_off), left / 2)
        logger.info('a request at %s waits for %.2f s: %s', self._plan.endpoint, pause, error.message)
        held = wait and left > self._throttle.held(now)
        self._put_off(0.0 if held else now + pause, batch)  # 0: before those that come later in the input
        return True

    def _is_sent_again(self, batch: Batch, error: InferenceError, now: float) -> bool:
        failed = len(batch.attempts)
        wait = self._plan.retry.wait(error, failed, random.random())
        if wait is None or wait >= self._left(batch, now):
            return False
        logger.warning(
            'attempt %d of %d at %s failed, the next comes in %.2f s: %s',
            failed, self._plan.retry.attempts, self._plan.endpoint, wait, batch.attempts[-1],
        )  # fmt: skip
        self._put_off(now + wait, batch)
        return True

    def _left(self, batch: Batch, now: float) -> float:
        """Seconds until the deadline of one that was sent."""
        return (batch.deadline or 0.0) - (now if self._paused is None else self._paused)

    def _is_split(self, batch: Batch, error: InferenceError, now: float) -> bool:
        middle = len(batch.items) // 2
        searched = self._plan.return_errors and _is_of_some(error)
        if not middle or not (searched or isinstance(error, RequestTooLargeError)):
            return False
        self._put_off(now, Batch(batch.items[:middle]))
        self._put_off(now, Batch(batch.items[middle:]))
        return True

    def _is_doubtful(self, error: InferenceError) -> bool:
        """Whether answers to others may show that an error is not what it seems.

        One message that is too large may end the connection, and with it all requests on it. A model that
        answers others can do the task, and speaks the protocol.
        """
        if self._plan.return_errors and isinstance(error, (ProtocolError, UnsupportedTaskError)):
            return not self.able
        return isinstance(error, RequestTooLargeError)

    def _traced(self, batch: Batch) -> AttemptTrace | None:
        trace = self._plan.trace
        if trace is None:
            return None
        if batch.trace is None:
            batch.trace = trace.batch(len(batch.items), batch.items[0][0])
        return trace.attempt(batch.trace)

    def _landed(self, batch: Batch, error: InferenceError | None, over: bool) -> None:
        trace = self._plan.trace
        if trace is None or batch.trace is None:
            return
        trace.landed(batch.trace, error)
        if over or not any(one is batch for _, _, one in self._due):  # its halves are sent in its place
            trace.over(batch.trace, error, len(batch.items) if over else 0)

    def _is_blocked(self) -> bool:
        """Whether the next batch must wait for an answer to another."""
        if len(self.out) >= self._throttle.allowed:
            return True
        return bool(self.out) and (self._due[0][2].alone or any(one.alone for one in self.out.values()))

    def _due_at(self) -> float:
        """When the next may go out: not while the server wants to be left alone, unless its time is over then."""
        due, _, batch = self._due[0]
        until = self._throttle.until
        return max(due, until) if batch.deadline is None or batch.deadline > until else due

    def _put_off(self, until: float, batch: Batch) -> None:
        if not self._stopped:
            heapq.heappush(self._due, (until, batch.items[0][0], batch))


def _is_of_some(error: InferenceError) -> bool:
    if isinstance(error, ServerError):
        return not error.busy
    return isinstance(error, (InputError, ProtocolError))
