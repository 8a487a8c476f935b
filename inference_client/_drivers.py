"""The driver: where an exchange meets a transport. `_drivers_aio.py` has the one for event loops.

    source ──documents──▶ exchange ──requests──▶ transport
    caller ◀──documents──          ◀──responses──

It takes turns: give what is answered, else send what may be sent, else wait.
"""

from __future__ import annotations

import contextvars
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Callable, Generator, Iterator

from ._threads import Threads
from .errors import InferenceError, ProtocolError, no_answer

if TYPE_CHECKING:
    from docarray import Document

    from ._exchange import Exchange, Finished
    from ._messages import Request, Response
    from ._policies import Timeouts
    from ._source import Source
    from .transports.base import Transport

Observe = Callable[['Finished'], Any]
Explain = Callable[[Exception], InferenceError]


def drive(
    exchange: Exchange, source: Source, transport: Transport, explain: Explain, observe: Observe
) -> Generator[list[Document], None, None]:
    """Run an exchange: yield what is answered, as it comes.

    Args:
        exchange: what to send.
        source: feeds it.
        transport: carries it. Several requests are out at once as futures of the transport, else in a thread
            each; one that is alone goes out from the calling thread.
        explain: makes an error of this package of whatever a transport raised.
        observe: is told of each batch that came to its end.

    Raises:
        Exception: what ended it early. What was answered besides is yielded before.
    """
    flights = _Flights(exchange, transport, explain)
    try:
        while True:
            ready = exchange.take()
            if ready:
                with paused(exchange):
                    yield ready
            if exchange.over:
                break
            if exchange.wanted and not flights.landed:
                with paused(exchange):
                    source.feed(exchange)
            flights.start_all(source.ended)
            if flights.landed or not exchange.wanted:
                flights.land()
            for finished in exchange.take_finished():
                with paused(exchange):
                    observe(finished)
    finally:
        flights.close()
    if exchange.failure is not None:
        yield exchange.take_rest()
        raise exchange.failure


@contextmanager
def paused(exchange: Exchange) -> Iterator[None]:
    """While the caller's own code runs, for which the driver waits."""
    exchange.pause(time.monotonic())
    try:
        yield
    finally:
        exchange.resume(time.monotonic())


@dataclass
class _Flight:
    """A request under way, whose answer `read` makes a response of."""

    request: Request
    seconds: float
    deadline: float | None  # None where the transport keeps it by itself
    read: Callable[[Any], Response]


class _Flights:
    """The requests of one exchange that are under way."""

    def __init__(self, exchange: Exchange, transport: Transport, explain: Explain) -> None:
        self._exchange = exchange
        self._transport = transport
        self._explain = explain
        self._running: dict[Future[Any], _Flight] = {}
        self._done: SimpleQueue[Future[Any]] = SimpleQueue()
        self._pool: Threads | None = None

    @property
    def landed(self) -> bool:
        """Whether an answer or failure waits to be handed over."""
        return not self._done.empty()

    def start_all(self, ended: bool) -> None:
        """Send what may be sent now; `ended` says that no more input comes."""
        few = ended and self._exchange.fed <= self._exchange.batch_size
        while True:
            now = time.monotonic()
            request = self._exchange.next_request(now)
            if request is None:
                return
            timeouts = self._exchange.timeouts(request, now)
            alone = self._exchange.window == 1 or (few and self._exchange.single)
            try:
                response = self._start(request, timeouts, now, alone)
            except Exception as error:  # noqa: BLE001 - a transport may be somebody's code
                self._exchange.fail(request.id, self._explain(error), time.monotonic())
            else:
                if response is not None:
                    self._exchange.receive(response, time.monotonic())

    def land(self) -> None:
        """Wait until something is answered, fails, or is due to be sent again, and hand over all that came."""
        now = time.monotonic()
        pauses = [flight.deadline - now for flight in self._running.values() if flight.deadline is not None]
        due = self._exchange.wait(now)
        pause = max(0.0, min(pauses + ([] if due is None else [due]), default=0.0))
        if not self._running:
            if pause:
                time.sleep(pause)
            return
        try:
            future = self._done.get(timeout=pause if pauses or due is not None else None)
            while True:
                self._hand_over(future)
                future = self._done.get_nowait()
        except Empty:
            self._expire(time.monotonic())

    def close(self) -> None:
        """Drop what is still under way: the caller went away."""
        for future in self._running:
            future.cancel()
        if self._pool is not None:
            self._pool.close(wait=not self._running)  # else each thread ends by its timeout

    def _start(self, request: Request, timeouts: Timeouts, now: float, alone: bool) -> Response | None:
        """Send a request; gives the response where that is already there."""
        if request.trace is None:
            return self._started(request, timeouts, now, alone)
        with request.trace:
            return self._started(request, timeouts, now, alone)

    def _started(self, request: Request, timeouts: Timeouts, now: float, alone: bool) -> Response | None:
        future = self._transport.submit(request, timeouts)
        if future is not None:
            flight = _Flight(request, timeouts.read, now + timeouts.read, self._transport.read)
        elif alone:
            return answer_to(request, self._transport.send(request, timeouts))
        else:
            if self._pool is None:
                self._pool = Threads(self._exchange.window)
            future = self._pool.submit(contextvars.copy_context().run, self._transport.send, request, timeouts)
            flight = _Flight(request, timeouts.read, None, _as_it_is)
        self._running[future] = flight
        future.add_done_callback(self._done.put)
        return None

    def _hand_over(self, future: Future[Any]) -> None:
        flight = self._running.pop(future, None)
        if flight is None:  # it came too late
            return
        try:
            response = answer_to(flight.request, flight.read(future.result()))
        except Exception as error:  # noqa: BLE001 - a transport may be somebody's code
            self._exchange.fail(flight.request.id, self._explain(error), time.monotonic())
        else:
            self._exchange.receive(response, time.monotonic())

    def _expire(self, now: float) -> None:
        late = [one for one, flight in self._running.items() if flight.deadline is not None and flight.deadline <= now]
        for future in late:
            flight = self._running.pop(future)
            future.cancel()
            self._exchange.fail(flight.request.id, no_answer(flight.seconds), now)


def answer_to(request: Request, response: Response) -> Response:
    """The response, which must be to that request."""
    if response.id != request.id:
        raise ProtocolError('the answer to another request came: the server or the transport mixes them up')
    return response


def _as_it_is(response: Response) -> Response:
    return response
