"""REST over blocking connections."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any, ClassVar, Mapping, NamedTuple

from ..._http import Deadline
from ..._messages import Request, Response
from ..._policies import Timeouts
from ..._spec import Capabilities
from ..._wire.status import wait_of
from ...errors import no_answer
from ..base import AsyncTransport, TransportOptions
from ..http import HttpTransport
from .address import Address, address_of
from .dialect import Dialect
from .http import HttpAnswer, HttpCall, Steps
from .limits import Pace


class Done(NamedTuple):
    """What a dialect came to."""

    value: Any


def advance(steps: Steps[Any], answer: HttpAnswer | None) -> HttpCall | Done:
    """Let a dialect go on with an answer, or begin with None."""
    try:
        return next(steps) if answer is None else steps.send(answer)
    except StopIteration as end:
        return Done(end.value)


def carrying(steps: Steps[Any], headers: Mapping[str, str]) -> Steps[Any]:
    """The same steps, each call with these headers, too."""
    step = advance(steps, None)
    while isinstance(step, HttpCall):
        answer = yield replace(step, headers={**headers, **step.headers})
        step = advance(steps, answer)
    return step.value


class RestTransport(HttpTransport):
    """A server with a REST API; a subclass names its dialect.

    A request may take several calls, one after the other, all before its time is over.
    """

    dialect_class: ClassVar[type[Dialect]]

    def __init__(self, url: str, options: TransportOptions) -> None:
        address, options = self.located(url, options)
        super().__init__(url, options, address)
        self._dialect = self.dialect_class(address)
        self._pace = Pace()

    @classmethod
    def located(cls, url: str, options: TransportOptions) -> tuple[Address, TransportOptions]:
        """Where the server is, and the options with the token that it gets."""
        return address_of(url, options, cls.dialect_class.url_options), options

    @classmethod
    def asynchronous(cls, url: str, options: TransportOptions) -> AsyncTransport:
        from .aio import AsyncRestTransport

        address, options = cls.located(url, options)
        return AsyncRestTransport(url, options, address, cls.dialect_class(address))

    def send(self, request: Request, timeouts: Timeouts) -> Response:
        return Response(request.id, self._run(carrying(self._dialect.run(request), request.headers), timeouts))

    def is_ready(self, timeouts: Timeouts) -> bool:
        ready: bool = self._run(self._dialect.ready(), timeouts)
        return ready

    def capabilities(self, timeouts: Timeouts) -> Capabilities:
        found: Capabilities = self._run(self._dialect.capabilities(), timeouts)
        return found

    def _run(self, steps: Steps[Any], timeouts: Timeouts) -> Any:
        with Deadline(timeouts.read) as deadline:
            step = advance(steps, None)
            while isinstance(step, HttpCall):
                step = advance(steps, self._call(step, deadline, timeouts.connect))
        return step.value

    def _call(self, call: HttpCall, deadline: Deadline, connect: float) -> HttpAnswer:
        time.sleep(self._pace.pause(deadline.left(), call))
        self._wait(deadline)
        status, after = 0, None
        try:
            got = self._request(call.method, call.path, call.data or None, deadline, connect, call.headers)
            status, after = got.status_code, wait_of(got.headers)
        finally:
            self._pace.leave(status, after)
        return HttpAnswer(status, got.headers, got.content, self.options.token)

    def _wait(self, deadline: Deadline) -> None:
        """Wait until a call may begin."""
        while True:
            time.sleep(self._pace.pause(deadline.left()))
            self._enter(deadline)
            if not self._pace.turned_back():
                return

    def _enter(self, deadline: Deadline) -> None:
        begun = threading.Event()
        if self._pace.enter(begun.set):
            return
        try:
            if not begun.wait(deadline.left()):
                raise no_answer(deadline.seconds)
        except BaseException:  # Ctrl-C, too
            self._pace.give_up(begun.set)
            raise
