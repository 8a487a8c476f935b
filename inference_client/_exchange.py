"""The core without I/O: cuts batches, keeps the window, decides what is sent again, puts answers back in input order.

    feed() ──batch──▶ next_request() ──▶ [driver: transport.send] ──▶ receive() or fail() ──▶ take()

At most `window` batches are out or wait for an earlier one, so memory does not grow with the input. A batch
that failed is sent again where the error may pass, split where that may help, or else ends the exchange.
"""

from __future__ import annotations

import heapq
import logging
import random
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Callable, Mapping, Sequence

from docarray import Document, DocumentArray

from ._echo import outgoing, paired
from ._messages import Request, Response
from ._policies import RETRY, TIMEOUTS, BystanderError, RetryPolicy, Timeouts
from .errors import InferenceError, InputError, ProtocolError, RequestTooLargeError, ServerError, UnsupportedTaskError

logger = logging.getLogger('inference_client.retry')


@dataclass(frozen=True)
class Plan:
    """How an exchange goes about its work.

    Attributes:
        endpoint: where the requests go, such as `/encode`.
        parameters: sent with each request.
        batch_size: documents in a request.
        window: batches that may be out, or wait for an earlier one, at the same time.
        ordered: whether answers are taken in input order.
        return_errors: whether an item that fails comes back with `tags['error']`, and ends nothing.
        retry: how often a request is sent.
        timeouts: how long it may take.
        accept: checks an answered document and gives what the caller gets for it.
        recall: gives the answer to a document if an earlier call has it.
        record: keeps answers, each with the document that was sent; None is for one that failed.
    """

    endpoint: str = '/'
    parameters: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 32
    window: int = 4
    ordered: bool = True
    return_errors: bool = False
    retry: RetryPolicy = RETRY
    timeouts: Timeouts = TIMEOUTS
    accept: Callable[[Document], Document] = lambda document: document
    recall: Callable[[Document], Document | None] | None = None
    record: Callable[[Sequence[tuple[Document, Document | None]]], None] | None = None


@dataclass
class _Batch:
    items: list[tuple[int, Document]]
    attempts: list[str] = field(default_factory=list)
    deadline: float | None = None  # for all its attempts
    shared: bool = False  # whether another was under way at the same time as its last attempt
    alone: bool = False  # to be sent with no other under way, to see what it comes to by itself


@dataclass(frozen=True)
class Finished:
    """A batch that came to its end: answered, or failed for good with the error."""

    documents: list[Document]
    error: InferenceError | None = None


class Exchange:
    """One task call. Not thread-safe: one driver runs it. All times are of one monotonic clock, in seconds.

    Attributes:
        failure: what ended it early, once that is so.
        fed: documents so far.
    """

    def __init__(self, plan: Plan) -> None:
        self.failure: Exception | None = None
        self.fed = 0
        self._plan = plan
        self._taken = 0
        self._ended = False
        self._broken: Exception | None = None
        self._able = False  # whether the model is known to do the task
        self._due: list[tuple[float, int, _Batch]] = []  # a heap
        self._tie = count()
        self._open: dict[str, _Batch] = {}
        self._answers: dict[int, Document] = {}
        self._finished: list[Finished] = []

    @property
    def batch_size(self) -> int:
        """Documents in a request."""
        return self._plan.batch_size

    @property
    def window(self) -> int:
        """Requests that may be out at the same time."""
        return self._plan.window

    @property
    def wanted(self) -> int:
        """Documents to feed now: a batch, or 0 while the window is full and once the input has ended."""
        waiting = self.fed - self._taken
        full = waiting > (self._plan.window - 1) * self._plan.batch_size
        return 0 if full or self._ended or self.failure is not None else self._plan.batch_size

    @property
    def over(self) -> bool:
        """Whether there is nothing left to send or to wait for."""
        if self._open:
            return False
        return self.failure is not None or (self._ended and not self._due)

    def feed(self, documents: Sequence[Document]) -> None:
        """Take the next documents of the input."""
        unknown = list(enumerate(documents, self.fed))
        self.fed += len(documents)
        if self._plan.return_errors:
            for document in documents:
                (document._data.tags or {}).pop('error', None)  # an earlier call's
        if self._plan.recall is not None:
            unknown = self._without_known(unknown, self._plan.recall)
        if unknown:
            self._put_off(0.0, _Batch(unknown))

    def refuse(self, document: Document, error: InferenceError) -> None:
        """Take an item of the input that could not become a document as answered by its error."""
        self._answers[self.fed] = _with_error(document, error)
        self.fed += 1
        self._finished.append(Finished([document], error))

    def end(self, error: Exception | None = None) -> None:
        """Note the end of the input, or what it raised, which ends the exchange once all before it is answered."""
        self._ended = True
        if isinstance(error, InferenceError):
            error.span = (self.fed, self.fed + 1)
        self._broken = error
        self._end_if_broken()

    def next_request(self, now: float) -> Request | None:
        """The next request to send, if there is one now."""
        if self.failure is not None or not self._due or self._due[0][0] > now or self._is_blocked():
            return None
        batch = heapq.heappop(self._due)[2]
        if batch.deadline is None:
            batch.deadline = now + self._plan.timeouts.total
        for one in (batch, *self._open.values()):
            one.shared = bool(self._open)
        documents = DocumentArray([outgoing(document) for _, document in batch.items])
        request = Request(self._plan.endpoint, documents, self._plan.parameters)
        self._open[request.id] = batch
        return request

    def timeouts(self, request: Request, now: float) -> Timeouts:
        """How long an attempt may take that starts now."""
        deadline = self._open[request.id].deadline
        return self._plan.timeouts.within(self._plan.timeouts.total if deadline is None else deadline - now)

    def wait(self, now: float) -> float | None:
        """Seconds until something may be sent again; None if nothing is due, or an answer must come before."""
        if self.failure is not None or not self._due or self._is_blocked():
            return None
        return max(0.0, self._due[0][0] - now)

    def receive(self, response: Response, now: float) -> None:
        """Take the answer to one request."""
        batch = self._open.get(response.id)
        if batch is None:
            self._fail_for_good(
                ProtocolError('an answer came to a request that is not open: the server mixes up requests')
            )
            return
        sent = [document for _, document in batch.items]
        try:
            answered = [self._accepted(one) for _, one in paired(sent, response.documents)]
        except InferenceError as error:
            self.fail(response.id, error, now)
            return
        if not self._able and all(isinstance(one, UnsupportedTaskError) for one in answered):
            assert isinstance(answered[0], UnsupportedTaskError)
            self.fail(response.id, answered[0], now)
            return
        self._able = True
        del self._open[response.id]
        self._record(sent, [None if isinstance(one, InferenceError) else one for one in answered])
        documents = [
            _with_error(own, one) if isinstance(one, InferenceError) else one for own, one in zip(sent, answered)
        ]
        for (position, _), document in zip(batch.items, documents):
            self._answers[position] = document
        self._finished.append(Finished(documents))
        self._end_if_broken()

    def fail(self, request_id: str, error: InferenceError, now: float) -> None:
        """Take what one request came to in place of an answer."""
        batch = self._open.pop(request_id)
        if self.failure is None and isinstance(error, BystanderError) and now < (batch.deadline or 0):
            self._put_off(now, batch)
            return
        batch.attempts.append(f'{type(error).__name__}: {error.message}')
        own_fault = self._plan.return_errors and _is_of_the_items(error)
        if self.failure is None:
            if self._is_sent_again(batch, error, now) or self._is_split(batch, error, own_fault, now):
                return
            if self._is_doubtful(error) and batch.shared:
                batch.alone = True
                self._put_off(now, batch)
                return
        if isinstance(error, ProtocolError) and not self._able:
            own_fault = False  # it may be no Jina server at all
        error.attempts = tuple(batch.attempts)
        error.span = (batch.items[0][0], batch.items[-1][0] + 1)
        documents = [document for _, document in batch.items]
        self._finished.append(Finished(documents, error))
        if own_fault:
            self._record(documents, [None] * len(documents))
            self._answers.update((position, _with_error(document, error)) for position, document in batch.items)
            self._end_if_broken()
        else:
            self._fail_for_good(error)

    def take(self) -> list[Document]:
        """Answered documents: in input order up to the first that still waits, or in that of their answers."""
        if self._plan.ordered:
            taken: list[Document] = []
            while self._taken + len(taken) in self._answers:
                taken.append(self._answers.pop(self._taken + len(taken)))
        else:
            taken = list(self._answers.values())
            self._answers.clear()
        self._taken += len(taken)
        return taken

    def take_rest(self) -> list[Document]:
        """After a failure: all that was answered, in input order, without what was not."""
        rest = [self._answers[position] for position in sorted(self._answers)]
        self._answers.clear()
        return rest

    def take_finished(self) -> list[Finished]:
        """Batches that came to their end since this was last called."""
        finished, self._finished = self._finished, []
        return finished

    def _without_known(
        self, items: list[tuple[int, Document]], recall: Callable[[Document], Document | None]
    ) -> list[tuple[int, Document]]:
        unknown, known = [], []
        try:
            for place, document in items:
                answer = self._recalled(document, recall)
                if answer is None:
                    unknown.append((place, document))
                else:
                    self._answers[place] = answer
                    known.append(answer)
                    self._able = True
        except InferenceError as error:
            self._fail_for_good(error)
        if known:
            self._finished.append(Finished(known))
        return unknown

    def _recalled(self, document: Document, recall: Callable[[Document], Document | None]) -> Document | None:
        try:
            return recall(document)
        except InputError as error:
            if error.item is None or not self._plan.return_errors:
                raise
            return _with_error(document, error)

    def _accepted(self, received: Document) -> Document | InferenceError:
        try:
            return self._plan.accept(received)
        except InferenceError as error:
            if not self._plan.return_errors:
                raise
            return error

    def _record(self, sent: list[Document], answers: Sequence[Document | None]) -> None:
        if self._plan.record is not None:
            try:
                self._plan.record(list(zip(sent, answers)))
            except InferenceError as error:
                self._fail_for_good(error)

    def _is_sent_again(self, batch: _Batch, error: InferenceError, now: float) -> bool:
        failed = len(batch.attempts)
        wait = self._plan.retry.wait(error, failed, random.random())
        if wait is None or batch.deadline is None or now + wait >= batch.deadline:
            return False
        logger.warning(
            'attempt %d of %d at %s failed, the next comes in %.2f s: %s',
            failed, self._plan.retry.attempts, self._plan.endpoint, wait, batch.attempts[-1],
        )  # fmt: skip
        self._put_off(now + wait, batch)
        return True

    def _is_split(self, batch: _Batch, error: InferenceError, own_fault: bool, now: float) -> bool:
        middle = len(batch.items) // 2
        if not middle or not (own_fault or isinstance(error, RequestTooLargeError)):
            return False
        self._put_off(now, _Batch(batch.items[:middle]))
        self._put_off(now, _Batch(batch.items[middle:]))
        return True

    def _is_doubtful(self, error: InferenceError) -> bool:
        """Whether answers to others may show that an error is not what it seems.

        One message that is too large may end the connection, and with it all requests on it. A model that
        answers others can do the task, and speaks the protocol.
        """
        if self._plan.return_errors and isinstance(error, (ProtocolError, UnsupportedTaskError)):
            return not self._able
        return isinstance(error, RequestTooLargeError)

    def _is_blocked(self) -> bool:
        """Whether the next batch must wait for an answer to another."""
        if len(self._open) >= self._plan.window:
            return True
        return bool(self._open) and (self._due[0][2].alone or any(one.alone for one in self._open.values()))

    def _put_off(self, until: float, batch: _Batch) -> None:
        heapq.heappush(self._due, (until, next(self._tie), batch))

    def _fail_for_good(self, error: Exception) -> None:
        self.failure = self.failure or error  # the first is the one that is raised
        self._due.clear()

    def _end_if_broken(self) -> None:
        if self._broken is not None and not self._open and not self._due:
            self._fail_for_good(self._broken)


def _is_of_the_items(error: InferenceError) -> bool:
    """Whether other documents may do better than those of the request that failed."""
    if isinstance(error, ServerError):
        return not error.busy
    return isinstance(error, (InputError, ProtocolError))


def _with_error(document: Document, error: InferenceError) -> Document:
    document.tags['error'] = error.message
    return document
