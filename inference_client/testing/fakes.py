"""A transport without a server: it records what is sent, answers from this process, and fails on demand.

    request ──bytes──▶ recorded ──▶ answer function, canned documents or recording ──bytes──▶ [fault] ──▶ response

Requests and answers become bytes and are read again, so that what a wire does to them shows: whole numbers among
the parameters arrive as floats, and what cannot be sent is refused.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Sequence, Union

from docarray import Document, DocumentArray

from .._messages import Request, Response
from .._policies import Timeouts
from .._wire.documents import read_struct
from .._wire.protobuf import decode_message, encode_request, read_response
from ..engines.handler import handle
from ..errors import ConfigurationError, RequestTimeoutError, closed, no_answer, unreachable
from ..transports.base import AsyncTransport, Transport, TransportOptions
from .models import FakeEngine

if TYPE_CHECKING:
    from .recording import Recording

Answer = Callable[[Request], Iterable[Document]]
Answers = Union[Answer, Sequence[Document], 'Recording', None]

OVERTAKEN = 0.01  # seconds between the answer that overtakes and the one that is overtaken
HELD = 0.1  # seconds that an answer waits to be overtaken, where no other comes


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    Attributes:
        delay: seconds until it is answered or fails; `math.inf` never does.
        drop: whether the connection is lost.
        error: raised in place of an answer, a copy each time.
        reorder: whether the answer is overtaken by that of the next request, if one follows at once, and its
            documents come in reverse order.
    """

    delay: float = 0.0
    drop: bool = False
    error: Exception | None = None
    reorder: bool = False


class FakeTransport(Transport):
    """Answers in this process. May be used by threads, through `as_async` by event loops, and after `close`.

    Args:
        answers: a function from a `Request` to as many documents; or documents, of which each request takes as many
            as it holds; or a `Recording`. Without it, `FakeEngine` answers.
        faults: one for each request in the order in which they are sent, None for one that goes well; all is well
            after the last. `itertools.cycle` and generators do, too.
        url: what errors and `model.url` say.
        options: as of any transport.

    Attributes:
        requests: what was sent so far, attempts that failed included.
        ready: what `is_ready` answers.
    """

    def __init__(
        self,
        answers: Answers = None,
        *,
        faults: Iterable[Fault | None] = (),
        url: str = 'fake://model',
        options: TransportOptions | None = None,
    ) -> None:
        super().__init__(url, options or TransportOptions())
        self.requests: list[Request] = []
        self.ready = True
        self._answer = _function(answers)
        self._faults = iter(faults)
        self._lock = threading.RLock()
        self._open: set[futures.Future[bytes]] = set()
        self._held: list[Callable[[], None]] = []

    def send(self, request: Request, timeouts: Timeouts) -> Response:
        future = self.submit(request, timeouts)
        try:
            return self.read(future.result(min(timeouts.read, threading.TIMEOUT_MAX)))
        except RequestTimeoutError:  # of a fault; from Python 3.11 on it is a futures.TimeoutError
            raise
        except futures.TimeoutError as error:
            raise no_answer(timeouts.read) from error
        finally:
            future.cancel()

    def submit(self, request: Request, timeouts: Timeouts) -> futures.Future[Any]:
        seen = _read_request(encode_request(request))
        future: futures.Future[bytes] = futures.Future()
        with self._lock:
            self.requests.append(_copied(seen))
            fault = next(self._faults, None) or Fault()
            self._open.add(future)
            future.add_done_callback(self._open.discard)
            overtaken, self._held = self._held, []
            outcome = self._outcome(seen, fault)  # within the lock: functions of tests are seldom made for threads
        self._schedule(future, fault, outcome)
        for deliver in overtaken:
            _later(OVERTAKEN, deliver)
        return future

    def read(self, answer: Any) -> Response:
        return read_response(decode_message(answer))

    def is_ready(self, timeouts: Timeouts) -> bool:
        return self.ready

    def close(self) -> None:
        with self._lock:
            under_way = list(self._open)
        for future in under_way:
            _settle(future, closed())

    def as_async(self) -> AsyncFakeTransport:
        """The same for event loops: what is sent there is recorded and answered here."""
        return AsyncFakeTransport(self)

    def _outcome(self, request: Request, fault: Fault) -> bytes | Exception:
        if fault.drop:
            return unreachable('dropped by a fault of the test')
        if fault.error is not None:
            return copy.copy(fault.error)
        try:
            answered = _with_ids(request.documents, list(self._answer(_copied(request))))
            documents = DocumentArray(answered[::-1] if fault.reorder else answered)
            return encode_request(Request('', documents, id=request.id))
        except Exception as error:  # noqa: BLE001 - it is the test's, and the caller gets it
            return error

    def _schedule(self, future: futures.Future[bytes], fault: Fault, outcome: bytes | Exception) -> None:
        def deliver() -> None:
            _settle(future, outcome)

        seconds = fault.delay
        if fault.reorder and not seconds:
            with self._lock:
                self._held.append(deliver)
            seconds = HELD
        if seconds <= 0:
            deliver()
        elif seconds < threading.TIMEOUT_MAX:
            timer = _later(seconds, deliver)
            future.add_done_callback(lambda _: timer.cancel())


class AsyncFakeTransport(AsyncTransport):
    """A `FakeTransport` in an event loop; `FakeTransport.as_async` makes it."""

    def __init__(self, fake: FakeTransport) -> None:
        super().__init__(fake.url, fake.options)
        self.fake = fake

    async def send(self, request: Request, timeouts: Timeouts) -> Response:
        future = asyncio.wrap_future(self.fake.submit(request, timeouts))
        try:
            return self.fake.read(await asyncio.wait_for(future, min(timeouts.read, threading.TIMEOUT_MAX)))
        except RequestTimeoutError:  # as above
            raise
        except asyncio.TimeoutError as error:
            raise no_answer(timeouts.read) from error

    async def is_ready(self, timeouts: Timeouts) -> bool:
        return self.fake.ready

    async def close(self) -> None:
        self.fake.close()


def _function(answers: Answers) -> Answer:
    if answers is None:
        engine = FakeEngine()
        return lambda request: handle(engine, request)
    if callable(answers):
        return answers
    return _Canned(answers)


class _Canned:
    """Documents that are handed out one after the other."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._documents: Iterator[Document] = iter(list(documents))
        self._given = 0

    def __call__(self, request: Request) -> list[Document]:
        return [self._next() for _ in request.documents]

    def _next(self) -> Document:
        try:
            document = next(self._documents)
        except StopIteration:
            raise ConfigurationError(f'all {self._given} canned answers were given: give the fake more') from None
        self._given += 1
        return document


def _later(seconds: float, function: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()
    return timer


def _settle(future: futures.Future[bytes], outcome: bytes | Exception) -> None:
    try:
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except futures.InvalidStateError:  # given up, closed or answered meanwhile
        return


def _read_request(data: bytes) -> Request:
    message = decode_message(data)
    documents = read_response(message).documents
    return Request(message.header.exec_endpoint, documents, read_struct(message.parameters), message.header.request_id)


def _copied(request: Request) -> Request:
    return Request(request.endpoint, copy.deepcopy(request.documents), copy.deepcopy(request.parameters), request.id)


def _with_ids(sent: DocumentArray, answered: list[Document]) -> list[Document]:
    """The answers with the ids of what was sent, by which they are told apart."""
    if len(sent) == len(answered) and {one.id for one in sent} != {one.id for one in answered}:
        answered = [copy.deepcopy(answer) for answer in answered]
        for document, answer in zip(sent, answered):
            answer.id = document.id
    return answered
