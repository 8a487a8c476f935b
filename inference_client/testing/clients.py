"""Clients whose models all answer through one transport, that of a test."""

from __future__ import annotations

from typing import Any, Iterable, TypeVar

from .._base_client import BaseClient
from .._policies import RETRY, TIMEOUTS, RetryPolicy, Timeouts
from .._spec import ModelSpec
from ..aio import AsyncClient, AsyncModel
from ..client import Client
from ..model import Model
from ..transports.base import AsyncTransport, ThreadedTransport, Transport
from .fakes import FakeTransport

M = TypeVar('M')


def client_for(
    transport: Transport,
    *,
    tasks: Iterable[str] | None = None,
    timeouts: Timeouts = TIMEOUTS,
    retry: RetryPolicy = RETRY,
) -> Client:
    """A client on which every name and URL leads to a transport, without any plugin or directory.

    Args:
        transport: a `FakeTransport`, or any other.
        tasks: what the models say that they can do; without it, their names tell, as those of a server would.
        timeouts: as of `Client`.
        retry: as of `Client`.
    """
    return _FakeClient(transport, tasks, timeouts, retry)


def async_client_for(
    transport: Transport | AsyncTransport,
    *,
    tasks: Iterable[str] | None = None,
    timeouts: Timeouts = TIMEOUTS,
    retry: RetryPolicy = RETRY,
) -> AsyncClient:
    """As `client_for`, for event loops; a transport that blocks sends each request in a thread."""
    if isinstance(transport, FakeTransport):
        transport = transport.as_async()
    elif isinstance(transport, Transport):
        transport = ThreadedTransport(transport)
    return _AsyncFakeClient(transport, tasks, timeouts, retry)


class _OneTransport(BaseClient[M]):
    def __init__(self, transport: Any, tasks: Iterable[str] | None, timeouts: Timeouts, retry: RetryPolicy) -> None:
        super().__init__(trust_env=False, timeouts=timeouts, retry=retry)
        self._given = transport
        self._tasks = None if tasks is None else frozenset(tasks)

    def _known_spec(self, name: Any) -> ModelSpec:
        return _spec_of(name, self._given.url, self._tasks)


class _FakeClient(_OneTransport[Model], Client):
    def _bind(self, spec: ModelSpec, url: str) -> Model:
        return Model(spec, self._given, self._timeouts, self._retry)


class _AsyncFakeClient(_OneTransport[AsyncModel], AsyncClient):
    def _bind(self, spec: ModelSpec, url: str) -> AsyncModel:
        return AsyncModel(spec, self._given, self._timeouts, self._retry)


def _spec_of(name: str | None, url: str, tasks: frozenset[str] | None) -> ModelSpec:
    if name is None or '://' in name:
        return ModelSpec.of_url(name or url, tasks)
    return ModelSpec(name, dict.fromkeys(('grpc', 'http', 'websocket'), url), tasks)
