"""A span for each request, by OpenTelemetry, where its environment variables ask for that."""

from __future__ import annotations

import os
import time
from importlib import metadata
from typing import Any, Mapping

from .._otel import SCOPE, find_tools
from .._telemetry import OPERATIONS
from .._version import __version__
from ..errors import ConfigurationError

VARIABLE = 'OTEL_TRACES_EXPORTER'
GROUP = 'opentelemetry_traces_exporter'  # the entry points of exporters
INSTALL = 'pip install opentelemetry-sdk opentelemetry-exporter-otlp'


class Tracing:
    """Makes spans.

    Args:
        provider: OpenTelemetry's, that gets them.
    """

    def __init__(self, provider: Any) -> None:
        from opentelemetry import propagate, trace

        self._extract = propagate.extract
        self._trace = trace
        self._tracer = provider.get_tracer(SCOPE, __version__)

    def note(
        self, headers: Mapping[str, str], model: str, task: str, protocol: str, outcome: str, seconds: float
    ) -> None:
        """Tell of a request that has just ended.

        Args:
            headers: that it came with; they say which span of the client it works for.
            model: its name; '' if it is none of the service.
            task: one of the model's; '' if it is not.
            protocol: `grpc`, `http` or `websocket`.
            outcome: `ok`, `failed` (by the model), `cancelled` (by the client), or the HTTP status of a refusal.
            seconds: that it took.
        """
        end = time.time_ns()
        attributes = {
            'inference.task': task,
            'gen_ai.operation.name': OPERATIONS.get(task, task),
            'gen_ai.request.model': model,
            'network.protocol.name': protocol,
            **({} if outcome == 'ok' else {'error.type': outcome}),
        }
        name = f'{task} {model}'.strip() or 'request'
        start = end - int(seconds * 1e9)
        kind = self._trace.SpanKind.SERVER
        span = self._tracer.start_span(name, self._extract(headers), kind, attributes, start_time=start)
        if outcome != 'ok':
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(end)


def find_tracing() -> Tracing | None:
    """What makes spans, as `opentelemetry-instrument` or else the variables set it up; None where nothing asks for any.

    Raises:
        ConfigurationError: what they ask for is not installed.
    """
    tools = find_tools()
    if tools is not None:
        return Tracing(tools.trace.get_tracer_provider())
    names = [name.strip() for name in os.environ.get(VARIABLE, '').split(',')]
    names = [name for name in names if name not in ('', 'none')]
    if not names or os.environ.get('OTEL_SDK_DISABLED', '').lower() == 'true':
        return None
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigurationError(f'{VARIABLE} asks for traces, and the SDK is not installed: {INSTALL}') from error
    provider = TracerProvider()  # which reads the other variables, and writes what is left at exit
    for name in names:
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    return Tracing(provider)


def _exporter(name: str) -> Any:
    over_http = os.environ.get('OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc').startswith('http')
    tried = (f'otlp_proto_{"http" if over_http else "grpc"}', 'otlp') if name == 'otlp' else (name,)
    entries = [one for found in metadata.distributions() for one in found.entry_points if one.group == GROUP]
    for wanted in tried:
        for entry in entries:
            if entry.name == wanted:
                return entry.load()()
    raise ConfigurationError(f'{VARIABLE} is {name!r}, and no such exporter is installed: {INSTALL}')
