"""Which model, where it is, and what it can do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Mapping

from .errors import ConfigurationError

if TYPE_CHECKING:
    from .tasks.base import Task

SCHEMES: Mapping[str, str] = {'ws': 'websocket', 'wss': 'websocket', 'grpcs': 'grpc', 'https': 'http'}
"""Names of protocols where a scheme has another."""


@dataclass(frozen=True)
class Capabilities:
    """What a model can do and take, as far as it is known: None is not known.

    Attributes:
        tasks: names of the tasks that it does.
        modalities: what it embeds: `text`, `image`.
        embedding_size: numbers in an embedding.
        max_batch: texts or images that its server takes at once.
        max_tokens: of the longest text that it takes; engines in this process cut what is longer.
    """

    tasks: frozenset[str] | None = None
    modalities: frozenset[str] | None = None
    embedding_size: int | None = None
    max_batch: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class ModelSpec:
    """A model as a directory describes it, or as far as its URL tells.

    Attributes:
        name: its name, or its URL where only that is known.
        endpoints: URL by protocol: `grpc`, `http`, `websocket`, or a plugin's scheme.
        tasks: what it can do, or None if it is not known.
        named: whether `name` is a model's name, which tells its family.
        status: what the directory says of it, such as `Serving`.
    """

    name: str
    endpoints: Mapping[str, str] = field(default_factory=dict)
    tasks: frozenset[str] | None = None
    named: bool = True
    status: str | None = None

    @classmethod
    def of_url(cls, url: str, tasks: frozenset[str] | None = None) -> ModelSpec:
        """What is known of a model at a URL."""
        scheme = url.partition('://')[0].lower()
        return cls(url, {protocol_of(scheme): url}, tasks, named=False)

    def endpoint(self, protocol: str | None) -> str:
        """The URL for a protocol; without one, the first that the spec has, gRPC before the others.

        Raises:
            ConfigurationError: the model has no such endpoint.
        """
        if protocol is None:
            order = ['grpc', 'http', 'websocket', *self.endpoints]
            protocol = next((name for name in order if name in self.endpoints), 'grpc')
        url = self.endpoints.get(protocol_of(protocol.lower()))
        if not url:
            known = ', '.join(sorted(self.endpoints)) or 'none'
            raise ConfigurationError(
                f'model {self.name!r} has no {protocol} endpoint: it has {known}; choose one with protocol='
            )
        return url

    def supports(self, task: Task[Any]) -> bool:
        """Whether the model can do a task, as far as is known: what is unknown is tried."""
        if self.tasks is not None:
            return task.name in self.tasks
        if not self.named:
            return True
        return all(capability in self.name.lower() for capability in task.requires)


def protocol_of(scheme: str) -> str:
    """The protocol's name in a spec, for a URL scheme."""
    return SCHEMES.get(scheme, scheme)
