"""The core without I/O: cuts batches, keeps the window, decides what is sent again, puts answers back in input order.

    feed() ──batch──▶ next_request() ──▶ [driver: transport.send] ──▶ receive() or fail() ──▶ take()

At most `window` batches are out or wait for an earlier one, so memory does not grow with the input. A batch
that failed is sent again where the error may pass, split where that may help (`_batches.py`), or else ends the
exchange.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Iterable, Sequence

from docarray import Document

from ._batches import Batches
from ._echo import paired, with_error
from ._messages import Request, Response
from ._plan import Plan
from ._policies import Timeouts
from .errors import InferenceError, InputError, ProtocolError, UnsupportedTaskError


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
        taken: answers that `take` gave; before those that `take_rest` gives, others are missing.
        rest: places in the input of those that `take_rest` gave.
    """

    def __init__(self, plan: Plan) -> None:
        self.failure: Exception | None = None
        self.fed = 0
        self._plan = plan
        self._batches = Batches(plan)
        self.taken = 0
        self.rest: list[int] = []
        self._ended = False
        self._broken: Exception | None = None
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
        waiting = self.fed - self.taken
        full = waiting > (self._plan.window - 1) * self._plan.batch_size
        return 0 if full or self._ended or self.failure is not None else self._plan.batch_size

    @property
    def over(self) -> bool:
        """Whether there is nothing left to send or to wait for."""
        return self._batches.over and (self._ended or self.failure is not None)

    @property
    def single(self) -> bool:
        """Whether the request that is out has no other beside it: a batch that was split is several."""
        return self._batches.single

    def feed(self, documents: Sequence[Document]) -> None:
        """Take the next documents of the input."""
        unknown = list(enumerate(documents, self.fed))
        self.fed += len(documents)
        if self._plan.note is not None:
            self._plan.note(documents)
        if self._plan.return_errors:
            for document in documents:
                (document._data.tags or {}).pop('error', None)  # an earlier call's
        if self._plan.recall is not None:
            unknown = self._without_known(unknown, self._plan.recall)
        if unknown:
            self._batches.add(unknown)

    def refuse(self, document: Document, error: InferenceError) -> None:
        """Take an item of the input that could not become a document as answered by its error."""
        self._answers[self.fed] = with_error(document, error)
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
        return self._batches.next_request(now)

    def timeouts(self, request: Request, now: float) -> Timeouts:
        """How long an attempt may take that starts now."""
        return self._batches.timeouts(request, now)

    def pause(self, now: float) -> None:
        """Note that the caller has its turn, in which nothing is sent again: it costs no request its time."""
        self._batches.pause(now)

    def resume(self, now: float) -> None:
        """Note the end of that."""
        self._batches.resume(now)

    def wait(self, now: float) -> float | None:
        """Seconds until something may be sent again; None if nothing is due, or an answer must come before."""
        return self._batches.wait(now)

    def receive(self, response: Response, now: float) -> None:
        """Take the answer to one request."""
        batch = self._batches.out.get(response.id)
        if batch is None:
            self._fail_for_good(ProtocolError('an answer came to a request that is not open: the server mixes them up'))
            return
        sent = batch.documents
        try:
            answered = self._judged(sent, response)
        except InferenceError as error:
            self.fail(response.id, error, now)
            return
        self._batches.able = True
        self._batches.answered(response.id)
        self._record(sent, [None if isinstance(one, InferenceError) else one for one in answered])
        self._finish(
            batch.items,
            [with_error(own, one) if isinstance(one, InferenceError) else one for own, one in zip(sent, answered)],
        )

    def fail(self, request_id: str, error: InferenceError, now: float) -> None:
        """Take what one request came to in place of an answer."""
        batch = self._batches.fail(request_id, error, now)
        if batch is None:
            return
        error.attempts = tuple(batch.attempts)
        error.span = (batch.items[0][0], batch.items[-1][0] + 1)
        documents = batch.documents
        if self._plan.return_errors and self._batches.is_of_the_items(error):
            self._record(documents, [None] * len(documents))
            self._finish(batch.items, [with_error(document, error) for document in documents], error)
        else:
            self._finished.append(Finished(documents, error))
            self._fail_for_good(error)

    def take(self) -> list[Document]:
        """Answered documents: in input order up to the first that still waits, or in that of their answers."""
        if self._plan.ordered:
            taken: list[Document] = []
            while self.taken + len(taken) in self._answers:
                taken.append(self._answers.pop(self.taken + len(taken)))
        else:
            taken = list(self._answers.values())
            self._answers.clear()
        self.taken += len(taken)
        return taken

    def take_rest(self) -> list[Document]:
        """After a failure: all that was answered, in input order, without what was not."""
        self.rest = sorted(self._answers)
        rest = [self._answers[position] for position in self.rest]
        self._answers.clear()
        return rest

    def take_finished(self) -> list[Finished]:
        """Batches that came to their end since this was last called."""
        finished, self._finished = self._finished, []
        return finished

    def _finish(
        self, items: Iterable[tuple[int, Document]], documents: list[Document], error: InferenceError | None = None
    ) -> None:
        for (position, _), document in zip(items, documents):
            self._answers[position] = document
        self._finished.append(Finished(documents, error))
        self._end_if_broken()

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
                    self._batches.able = True
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
            return with_error(document, error)

    def _judged(self, sent: list[Document], response: Response) -> list[Document | InferenceError]:
        """What came back for each document, or what is wrong with it; raises what is wrong with all."""
        answered = [self._accepted(one) for _, one in paired(sent, response.documents)]
        if not self._batches.able and all(isinstance(one, UnsupportedTaskError) for one in answered):
            assert isinstance(answered[0], UnsupportedTaskError)
            raise answered[0]
        return answered

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

    def _fail_for_good(self, error: Exception) -> None:
        self.failure = self.failure or error  # the first is the one that is raised
        self._batches.stop()

    def _end_if_broken(self) -> None:
        if self._broken is not None and self._batches.over:
            self._fail_for_good(self._broken)
