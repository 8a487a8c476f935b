"""The models of a service: which there are, how they are, and which of their replicas answers a request."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Iterable, Iterator, Mapping

from .link import Answer, LostError
from .refusals import FailedError, Refusal, UnavailableError, UnknownModelError
from .replica import Replica
from .settings import Limits, ModelSettings

STARTING, SERVING, FAILED = 'Starting', 'Serving', 'Failed'
TRIES = 2  # replicas that a request is given to: the one that ends two would end all
MOST_WAITING = 512 << 20  # bytes of requests that the processes of a model have; one may be larger
RETRY_AFTER = 2.0  # seconds after which a model that starts may have come up


class HostedModel:
    """A model, and the processes that run it.

    Args:
        settings: its name, what is loaded, how many processes.
        tasks: what it can do.
        limits: what it takes.

    Attributes:
        replicas: the processes.
        settled: set once each replica is up or has failed.
    """

    def __init__(self, settings: ModelSettings, tasks: Iterable[str], limits: Limits) -> None:
        self.name = settings.name
        self.tasks = sorted(tasks)
        self.settled = asyncio.Event()
        arguments = {**asdict(settings), 'pixels': limits.pixels}
        self.replicas = [Replica(arguments, self._look) for _ in range(settings.replicas)]

    @property
    def status(self) -> str:
        """`Starting`, `Serving` or `Failed`."""
        if any(replica.up for replica in self.replicas):
            return SERVING
        return FAILED if all(replica.failed for replica in self.replicas) else STARTING

    def start(self) -> None:
        """Begin to start all replicas."""
        for replica in self.replicas:
            replica.start()

    async def stop(self) -> None:
        """End all replicas."""
        await asyncio.gather(*(replica.stop() for replica in self.replicas))

    async def ask(self, data: bytes) -> Answer:
        """The answer of the replica with the least to do; of one other if that is lost meanwhile.

        Raises:
            Refusal: there is none.
            StuckError: there was none in time.
        """
        held = sum(replica.held for replica in self.replicas)
        if held and held + len(data) > MOST_WAITING:
            raise UnavailableError(f'the model {self.name!r} has too much to do: try again later', RETRY_AFTER)
        tried: set[Replica] = set()
        while True:
            free = [replica for replica in self.replicas if replica.up and replica not in tried]
            if not free or len(tried) == TRIES:
                raise self.unavailable(bool(tried))
            replica = min(free, key=lambda one: one.under_way)
            tried.add(replica)
            try:
                return await replica.ask(data)
            except LostError:
                continue

    def unavailable(self, lost: bool = False) -> Refusal:
        """Why it does not answer."""
        if lost:
            return UnavailableError(f'the model {self.name!r} ended while it worked on the request', RETRY_AFTER)
        if self.status == FAILED:
            return FailedError(f'the model {self.name!r} could not be started: the log of the service tells why')
        return UnavailableError(f'the model {self.name!r} is starting: try again later', RETRY_AFTER)

    def _look(self) -> None:
        if all(replica.up or replica.failed for replica in self.replicas):
            self.settled.set()


class Models(Mapping[str, HostedModel]):
    """The models by name, in the order in which they were given; the first one answers where none is named."""

    def __init__(self, models: Iterable[HostedModel]) -> None:
        self._models = {model.name: model for model in models}

    def __getitem__(self, name: str) -> HostedModel:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def find(self, name: str | None) -> HostedModel:
        """The model of this name.

        Raises:
            UnknownModelError: there is none.
        """
        if name is None:
            return next(iter(self._models.values()))
        if name not in self._models:
            raise UnknownModelError(f'no model {name[:200]!r} here: see /api/v1/models/ for those that there are')
        return self._models[name]
