"""What spans and metrics of OpenTelemetry are made with, where the program has set these up.

Its API is imported only where the program has done so before: if not, there is nobody to tell.
"""

from __future__ import annotations

import inspect
import sys
import time
from functools import lru_cache
from typing import Any, Mapping

from ._version import __version__

SCOPE = 'inference_client'  # what OpenTelemetry calls what tells it something
BOUNDARIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # seconds


def find_tools() -> Tools | None:
    """What spans and metrics are made with; None where nobody would get them."""
    trace, metrics = sys.modules.get('opentelemetry.trace'), sys.modules.get('opentelemetry.metrics')
    tracers = None if trace is None else trace.get_tracer_provider()
    meters = None if metrics is None else metrics.get_meter_provider()
    tracers, meters = (None if _is_idle(one) else one for one in (tracers, meters))
    return None if tracers is None and meters is None else _tools(tracers, meters)


def _is_idle(provider: Any) -> bool:
    """Whether nothing was set up: the providers of the API itself do nothing."""
    return provider is None or type(provider).__module__.startswith(('opentelemetry.trace', 'opentelemetry.metrics'))


@lru_cache(maxsize=1)
def _tools(tracers: Any, meters: Any) -> Tools:
    return Tools(tracers, _metrics(meters))


@lru_cache(maxsize=1)
def _metrics(meters: Any) -> Metrics:
    """Made once for a provider, whichever way traces go: the SDK warns of a second time."""
    return Metrics(meters)


class Tools:
    """What spans and metrics are made with.

    Attributes:
        trace: the API's module.
        tracer: makes spans.
        metrics: what is measured.
    """

    def __init__(self, tracers: Any, metrics: Metrics) -> None:
        from opentelemetry import trace

        self.trace = trace
        self.tracer = (tracers or trace.get_tracer_provider()).get_tracer(SCOPE, __version__)
        self.metrics = metrics


class Metrics:
    """What is measured.

    Attributes:
        call: histogram of the seconds of calls.
        batch: of batches, with all their attempts.
        attempt: of attempts.
        documents: counts documents, by what came of them.
    """

    def __init__(self, meters: Any) -> None:
        from opentelemetry import metrics

        # Not the API's own provider, whose instruments become those of one that is set up later.
        self._meter = (meters or metrics.NoOpMeterProvider()).get_meter(SCOPE, __version__)
        self.call = self._histogram('gen_ai.client.operation.duration', 'Task calls.')
        self.batch = self._histogram('inference.client.batch.duration', 'Requests, with all their attempts.')
        self.attempt = self._histogram('inference.client.attempt.duration', 'Attempts to send a request.')
        self.documents = self._meter.create_counter(
            'inference.client.documents', '{document}', 'Documents that were sent, and answered or failed for good.'
        )

    def _histogram(self, name: str, description: str) -> Any:
        """One of seconds."""
        create = self._meter.create_histogram
        advice = 'explicit_bucket_boundaries_advisory'  # unknown to older ones, whose boundaries are for milliseconds
        options = {advice: BOUNDARIES} if advice in inspect.signature(create).parameters else {}
        return create(name, 's', description, **options)


class Timed:
    """A span, and its seconds in a histogram.

    Args:
        tools: makes the span.
        histogram: gets the seconds.
        name: of the span.
        labels: attributes of the span and the measurement.
        context: the parent's; None is the current one.
        kind: name of the span's kind.
        attributes: of the span alone.

    Attributes:
        context: to be the parent of others.
        span: OpenTelemetry's.
    """

    def __init__(
        self,
        tools: Tools,
        histogram: Any,
        name: str,
        labels: Mapping[str, Any],
        context: Any = None,
        kind: str = 'INTERNAL',
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self._tools = tools
        self._histogram = histogram
        self._labels = labels
        self._start = time.perf_counter()
        self._ended = False
        kinds = tools.trace.SpanKind
        self.span = tools.tracer.start_span(name, context, kinds[kind], {**labels, **(attributes or {})})
        self.context = tools.trace.set_span_in_context(self.span, context)

    def end(self, error: str | None = None) -> None:
        """End it, with the name of the error that it came to; a second time changes nothing."""
        if self._ended:
            return
        self._ended = True
        labels = dict(self._labels)
        if error is not None:
            labels['error.type'] = error
            self.span.set_attribute('error.type', error)
            self.span.set_status(self._tools.trace.StatusCode.ERROR)
        self._histogram.record(time.perf_counter() - self._start, labels)
        self.span.end()
