"""Which requests of those that wait a model is given together: equal ones, as many as it takes at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._wire.jina_pb2 import DataRequestProto

MOST_BYTES = 4 << 20  # of requests that are put together: larger ones keep a model busy by themselves


@dataclass(frozen=True)
class Job:
    """A request that waits.

    Attributes:
        number: its own, for the answer.
        message: the request.
        kind: what another must be equal in to go with it.
        count: documents in it, without those in them.
        size: bytes.
        came: when, in seconds.
    """

    number: int
    message: Any
    kind: tuple[str, bytes]
    count: int
    size: int
    came: float


class Waiting:
    """Requests in the order in which they came.

    Args:
        most: documents that the model is given together. A request that has more stays whole, and goes alone.
        wait: seconds that the oldest may wait for others to go with it.
    """

    def __init__(self, most: int, wait: float) -> None:
        self._most = most
        self._wait = wait
        self._jobs: dict[int, Job] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def take_back(self, number: int) -> bool:
        """Forget the request of this number; whether it still waited."""
        return self._jobs.pop(number, None) is not None

    def note(self, number: int, data: bytes, came: float) -> None:
        """Note a request and when it came."""
        message = DataRequestProto.FromString(data)
        kind = message.header.exec_endpoint, message.parameters.SerializeToString(deterministic=True)
        self._jobs[number] = Job(number, message, kind, len(message.data.docs.docs), len(data), came)

    def patience(self, now: float) -> float:
        """Seconds to wait for more requests; 0 if the next ones should run."""
        together = self._next()
        if not together or sum(job.count for job in together) >= self._most:
            return 0.0
        return max(0.0, together[0].came + self._wait - now)

    def take(self) -> list[Job]:
        """The next ones to run together: the oldest, and those equal to it that came after it, as far as they fit."""
        together = self._next()
        for job in together:
            del self._jobs[job.number]
        return together

    def _next(self) -> list[Job]:
        together: list[Job] = []
        documents = size = 0
        for job in self._jobs.values():
            if together and job.kind != together[0].kind:
                continue
            documents, size = documents + job.count, size + job.size
            if together and (documents > self._most or size > MOST_BYTES):
                break
            together.append(job)
        return together
