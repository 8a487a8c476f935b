"""What passes between the exchange and a transport."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

if TYPE_CHECKING:
    from docarray import Document, DocumentArray

    from ._telemetry import AttemptTrace


def _new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Request:
    """One batch for one endpoint of a model.

    Attributes:
        endpoint: the task's, such as `/encode`.
        documents: with text, an encoded image in `.blob` or pixels in `.tensor`.
        parameters: strings, finite numbers, booleans, None, and lists and dicts of these.
        id: what the response must carry.
        trace: where OpenTelemetry is set up, what traces this attempt; it is the current span within it.
    """

    endpoint: str
    documents: DocumentArray
    parameters: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=_new_id)
    trace: AttemptTrace | None = field(default=None, repr=False, compare=False)

    @property
    def headers(self) -> Mapping[str, str]:
        """What a transport sends beside the message: to which trace the request belongs, if to any."""
        return {} if self.trace is None else self.trace.headers


@dataclass(frozen=True)
class Route:
    """A stage of a request's way through a server: its gateway, or one of its models.

    Attributes:
        name: of the stage.
        start: when the request came there, in nanoseconds of the epoch, by the server's clock.
        end: when the answer left it.
    """

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Response:
    """The answer to the request of the same id.

    Attributes:
        id: the request's.
        documents: as many as were sent; they may come in another order.
        routes: reads its way through the server, as far as that tells of it.
    """

    id: str
    documents: Sequence[Document]
    routes: Callable[[], Sequence[Route]] = field(default=tuple, repr=False, compare=False)
