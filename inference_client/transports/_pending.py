"""Requests that wait for their answers on one connection, whichever order these come in."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Callable

from .._policies import BystanderError
from ..errors import RequestTooLargeError

if TYPE_CHECKING:
    from .._wire.jina_pb2 import DataRequestProto
    from ..errors import InferenceError

    Answer = Future[DataRequestProto]


SILENCE = 0.2  # seconds that say nothing of a connection


def is_silent(asked: float, heard: float) -> bool:
    """Whether a connection brought nothing in the later half of the time that a request was waited for.

    Args:
        asked: when it was sent, on the monotonic clock.
        heard: when the last answer to any request came.
    """
    waited = time.monotonic() - asked
    return waited > SILENCE and heard < asked + waited / 2


def fail(answer: Future[Any], error: InferenceError) -> None:
    """Fail a future, unless it is done or was given up."""
    with suppress(InvalidStateError):
        answer.set_exception(error)


class Pending:
    """Futures of answers by request id; one that is cancelled is forgotten. May be used by threads."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Answer, int]] = {}  # with the size of the request
        self._failure: Callable[[], InferenceError] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._waiting

    @property
    def ended(self) -> bool:
        """Whether the connection has ended."""
        return self._failure is not None

    def add(self, request_id: str, size: int) -> Answer:
        """A future for the answer to a request of so many bytes; it has failed at once if the connection has ended."""
        answer: Answer = Future()
        with self._lock:
            failure = self._failure
            if failure is None:
                self._waiting[request_id] = answer, size
        if failure is None:
            answer.add_done_callback(lambda _: self._waiting.pop(request_id, None))
        else:
            answer.set_exception(_for_bystanders(failure()))
        return answer

    def hand_out(self, message: DataRequestProto) -> bool:
        """Give an answer to who waits for it; False if nobody does."""
        answer, _ = self._waiting.get(message.header.request_id, (None, 0))
        try:
            if answer is not None:
                answer.set_result(message)
        except InvalidStateError:  # given up at this moment
            return False
        return answer is not None

    def fail(self, failure: Callable[[], InferenceError]) -> None:
        """End the connection for all who wait and who still come: an error each, for callers add to theirs.

        Where it ended because a request was too large, that was the largest.
        """
        with self._lock:
            self._failure = failure
            waiting = list(self._waiting.values())
        largest = max((size for _, size in waiting), default=0)
        for answer, size in waiting:
            fail(answer, failure() if size == largest else _for_bystanders(failure()))


def _for_bystanders(error: InferenceError) -> InferenceError:
    if isinstance(error, RequestTooLargeError):
        return BystanderError('the connection was closed over another request, which was too large')
    return error
