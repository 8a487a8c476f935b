"""Traces and metrics by OpenTelemetry, where the program has set that up; else nothing at all.

    encode MODEL ──┬── encode batch ──┬── encode attempt ──▶ server
                   │                  └── encode attempt ──▶ server
                   └── encode batch ─── ...

No span or metric has content, parameters, error messages (which may quote these) or the token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping
from urllib.parse import urlsplit

from ._otel import Timed, Tools, find_tools

if TYPE_CHECKING:
    from ._spec import ModelSpec

CANCELLED = 'cancelled'  # of what was under way when the caller went away
OPERATIONS = {'encode': 'embeddings', 'caption': 'generate_content', 'vqa': 'generate_content'}  # gen_ai's names
GRPC = {'rpc.system': 'grpc', 'rpc.service': 'jina.JinaSingleDataRequestRPC', 'rpc.method': 'process_single_data'}
HTTP = {'http.request.method': 'POST'}
WEBSOCKET = {'network.protocol.name': 'websocket'}
WIRES: Mapping[str, Mapping[str, Any]] = {
    'grpc': GRPC,
    'grpcs': GRPC,
    'http': HTTP,
    'https': HTTP,
    'ws': WEBSOCKET,
    'wss': WEBSOCKET,
}


def begin(task: str, spec: ModelSpec, url: str) -> CallTrace | None:
    """Begin to trace a call; None where the program has set up neither traces nor metrics."""
    tools = find_tools()
    return None if tools is None else CallTrace(tools, task, spec, url)


class AttemptTrace(Timed):
    """An attempt; a context manager, within which its span is the current one.

    Attributes:
        headers: tell the server which span it works for.
    """

    headers: Mapping[str, str]

    def inject(self) -> AttemptTrace:
        """Make the headers, in the formats that the program has chosen: W3C's unless it says otherwise."""
        from opentelemetry import propagate

        carrier: dict[str, str] = {}
        propagate.inject(carrier, self.context)
        self.headers = {key.lower(): value for key, value in carrier.items()}  # gRPC takes no capitals
        return self

    def __enter__(self) -> None:
        from opentelemetry import context

        self._token = context.attach(self.context)

    def __exit__(self, *_: object) -> None:
        from opentelemetry import context

        context.detach(self._token)


class BatchTrace(Timed):
    """A batch, with the attempt that is under way.

    Attributes:
        attempts: so far.
        attempt: the last one.
    """

    attempts = 0
    attempt: AttemptTrace | None = None


class CallTrace(Timed):
    """A task call. One driver tells it what happens, wherever the requests themselves go.

    Args:
        tools: makes the spans.
        task: its name.
        spec: of the model.
        url: where that is.
    """

    def __init__(self, tools: Tools, task: str, spec: ModelSpec, url: str) -> None:
        self._task = task
        self._scheme = url.partition('://')[0].lower()
        self._open: set[BatchTrace] = set()
        labels: dict[str, Any] = {
            'inference.task': task,
            'gen_ai.operation.name': OPERATIONS.get(task, task),
            'url.scheme': self._scheme,
        }
        if spec.named:
            labels['gen_ai.request.model'] = spec.name
        if self._wire:
            labels.update(_server(url))
        super().__init__(tools, tools.metrics.call, f'{task} {spec.name}' if spec.named else task, labels)

    @property
    def _wire(self) -> Mapping[str, Any]:
        """What is known of the protocol; empty for that of a plugin."""
        return WIRES.get(self._scheme.rpartition('+')[2], {})

    def batch(self, documents: int, first: int) -> BatchTrace:
        """Begin a batch of so many documents, given the place of the first."""
        told = {'inference.batch.documents': documents, 'inference.batch.first': first}
        name = f'{self._task} batch'
        batch = BatchTrace(self._tools, self._tools.metrics.batch, name, self._labels, self.context, attributes=told)
        self._open.add(batch)
        return batch

    def attempt(self, batch: BatchTrace) -> AttemptTrace:
        """Begin an attempt at a batch."""
        batch.attempts += 1
        kind = 'INTERNAL' if self._scheme == 'local' else 'CLIENT'
        told = {**self._wire, 'inference.attempt': batch.attempts}
        name = f'{self._task} attempt'
        attempt = AttemptTrace(self._tools, self._tools.metrics.attempt, name, self._labels, batch.context, kind, told)
        batch.attempt = attempt
        return attempt.inject()

    def landed(self, batch: BatchTrace, error: BaseException | None) -> None:
        """An attempt came to its end: to an error, or to an answer."""
        if batch.attempt is not None:
            batch.attempt.end(_name(error))

    def over(self, batch: BatchTrace, error: BaseException | None, documents: int) -> None:
        """A batch came to its end.

        Args:
            batch: one that was begun here.
            error: what it came to for good, if not to an answer.
            documents: that have their answer or error now; 0 if its halves are sent in its place.
        """
        self._open.discard(batch)
        batch.end(_name(error))
        if documents:
            labels = dict(self._labels) if error is None else {**self._labels, 'error.type': type(error).__name__}
            self._tools.metrics.documents.add(documents, labels)

    def close(self, error: BaseException | None, documents: int) -> None:
        """The call came to its end, with what is still under way.

        Args:
            error: what it raised; a stream that its caller left is none.
            documents: of its input.
        """
        for batch in self._open:
            if batch.attempt is not None:
                batch.attempt.end(CANCELLED)
            batch.end(CANCELLED)
        self._open.clear()
        self.span.set_attribute('inference.documents', documents)
        self.end(None if isinstance(error, GeneratorExit) else _name(error))


def _name(error: BaseException | None) -> str | None:
    return None if error is None else type(error).__name__


def _server(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {'server.address': parts.hostname, **({'server.port': parts.port} if parts.port else {})}
