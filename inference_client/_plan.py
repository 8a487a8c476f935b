"""How an exchange goes about its work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

from docarray import Document

from ._policies import RETRY, TIMEOUTS, RetryPolicy, Timeouts

if TYPE_CHECKING:
    from ._telemetry import CallTrace


@dataclass(frozen=True)
class Plan:
    """How an exchange goes about its work.

    Attributes:
        endpoint: where the requests go, such as `/encode`.
        parameters: sent with each request.
        batch_size: documents in a request.
        window: batches that may be out, or wait for an earlier one, at the same time.
        ordered: whether answers are taken in input order.
        return_errors: whether an item that fails comes back with `tags['error']`, and ends nothing.
        retry: how often a request is sent.
        timeouts: how long it may take.
        accept: checks an answered document and gives what the caller gets for it.
        recall: gives the answer to a document if an earlier call has it.
        record: keeps answers, each with the document that was sent; None is for one that failed.
        note: is told of the documents of the input.
        trace: is told of batches and attempts, where OpenTelemetry is set up.
    """

    endpoint: str = '/'
    parameters: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 32
    window: int = 4
    ordered: bool = True
    return_errors: bool = False
    retry: RetryPolicy = RETRY
    timeouts: Timeouts = TIMEOUTS
    accept: Callable[[Document], Document] = lambda document: document
    recall: Callable[[Document], Document | None] | None = None
    record: Callable[[Sequence[tuple[Document, Document | None]]], None] | None = None
    note: Callable[[Sequence[Document]], None] | None = None
    trace: CallTrace | None = None
