"""What the service counts of the requests to its models, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

LABELS = ('model', 'task', 'protocol')
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)  # seconds
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)  # documents


class Metrics:
    """Counts requests, and how long they take."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            'inference_requests', 'Requests, by what came of them.', (*LABELS, 'outcome'), registry=self._registry
        )
        self._seconds = Histogram(
            'inference_request_seconds', 'Seconds to an answer.', LABELS, buckets=BUCKETS, registry=self._registry
        )
        self._documents = Histogram(
            'inference_batch_documents', 'Documents a model was given at once.', LABELS[:1], buckets=SIZES,
            registry=self._registry,
        )  # fmt: skip

    def note_batch(self, model: str, documents: int) -> None:
        """Count what a model was given at once."""
        self._documents.labels(model).observe(documents)

    def note(self, model: str, task: str, protocol: str, outcome: str, seconds: float) -> None:
        """Count one request.

        Args:
            model: its name; '' if it is none of the service.
            task: one of the model's; '' if it is not.
            protocol: `grpc`, `http` or `websocket`.
            outcome: `ok`, `failed` (by the model), `cancelled` (by the client), or the HTTP status of a refusal.
            seconds: from the request to the answer.
        """
        self._requests.labels(model, task, protocol, outcome).inc()
        if outcome in ('ok', 'failed'):
            self._seconds.labels(model, task, protocol).observe(seconds)

    def page(self) -> bytes:
        """All of it, in the text format of Prometheus."""
        page: bytes = generate_latest(self._registry)
        return page
