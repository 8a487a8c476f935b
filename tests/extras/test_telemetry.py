"""Traces and metrics, as the SDK of OpenTelemetry gets them."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flows
import pytest
from doors import DOORS
from isolated import output_of, run_python
from pages import ROOT, blocks
from rest_servers import VllmServer, serving
from services import service

from inference_client import (
    AsyncClient,
    Client,
    InferenceError,
    InputError,
    RequestTooLargeError,
    Response,
    RetryPolicy,
    ServerError,
    Transport,
    TransportOptions,
)
from inference_client.testing import FakeEngine, FakeTransport, Fault, async_client_for, client_for

pytest.importorskip('opentelemetry.sdk')
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

WIRES = ['grpc', 'http', 'ws']
QUICK = RetryPolicy(attempts=3, initial=0.0)
PAYLOAD, PARAMETER, TOKEN = 'a-text-of-the-caller', 'a-parameter-of-the-caller', 'a-token-of-the-caller'
SECRETS = (PAYLOAD, PARAMETER, TOKEN)


class Told:
    """What OpenTelemetry was told since the last `clear`."""

    def __init__(self):
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        trace.set_tracer_provider(tracers)
        metrics.set_meter_provider(MeterProvider([self._reader]))
        self.tracer = trace.get_tracer('test')

    def clear(self):
        self._exporter.clear()
        self._reader.get_metrics_data()

    def spans(self, end=''):
        """Those whose name ends so, in the order of their beginnings."""
        return sorted(
            (one for one in self._exporter.get_finished_spans() if one.name.endswith(end)),
            key=lambda one: one.start_time,
        )

    def call(self):
        (span,) = (one for one in self.spans() if one.attributes and 'inference.documents' in one.attributes)
        return span

    def counts(self, model):
        """How much was measured of one model since the process began: by metric and type of error."""
        data = json.loads(self._reader.get_metrics_data().to_json())
        return {
            metric['name']: {
                point['attributes'].get('error.type'): point.get('count', point.get('value'))
                for point in metric['data']['data_points']
                if point['attributes'].get('gen_ai.request.model') == model
            }
            for resource in data['resource_metrics']
            for scope in resource['scope_metrics']
            for metric in scope['metrics']
        }

    def everything(self):
        return '\n'.join([*(one.to_json() for one in self.spans()), self._reader.get_metrics_data().to_json()])


@pytest.fixture(scope='module')
def sdk():
    return Told()


@pytest.fixture
def told(sdk):
    sdk.clear()
    return sdk


@pytest.fixture(scope='module')
def traced_flow(jina_python):
    """URLs by scheme of a Jina Flow that traces."""
    folder = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flows, 'SCRIPT', folder / 'traced_flow.py')
        patch.setenv('PYTHONPATH', str(folder.parent))
        with flows.jina_server(jina_python) as urls:
            yield urls


def parents(span, told):
    """Names of the spans above one, the nearest first."""
    by_id = {one.context.span_id: one for one in told.spans()}
    names = []
    while span.parent is not None:
        span = by_id[span.parent.span_id]
        names.append(span.name)
    return names


class Nowhere(Transport):
    """Answers in the thread that sends, and notes that and the current span."""

    def __init__(self, at_once=1):
        super().__init__('nowhere://model', TransportOptions())
        self.seen = []
        self._together = threading.Barrier(at_once)

    def send(self, request, timeouts):
        self._together.wait(30)
        span = trace.get_current_span()
        self.seen.append((threading.current_thread().name, span.get_span_context().span_id))
        return Response(request.id, FakeEngine().run('encode', request.documents, {}))


# -- spans


@pytest.mark.parametrize('wire', WIRES)
def test_a_call_its_batches_and_attempts(told, plain_flow, door, wire):
    url = plain_flow[wire]
    with told.tracer.start_as_current_span('mine') as mine, door() as client:
        client.get_model(url).encode(text=['a', 'b', 'c'], batch_size=2)
    call = told.call()
    assert (call.name, call.parent.span_id) == ('encode', mine.get_span_context().span_id)
    batches, attempts = told.spans('encode batch'), told.spans('encode attempt')
    assert [one.parent.span_id for one in batches] == [call.context.span_id] * 2
    assert {one.parent.span_id for one in attempts} == {one.context.span_id for one in batches}
    assert sorted(
        (one.attributes['inference.batch.first'], one.attributes['inference.batch.documents']) for one in batches
    ) == [(0, 2), (2, 1)]
    host, port = url.partition('://')[2].split(':')
    for one in (call, *batches, *attempts):
        assert one.attributes['gen_ai.operation.name'] == 'embeddings'
        assert (one.attributes['server.address'], one.attributes['server.port']) == (host, int(port))
        assert one.attributes['url.scheme'] == wire
        assert one.status.status_code is StatusCode.UNSET
        assert call.start_time <= one.start_time <= one.end_time <= call.end_time
    assert {one.kind for one in attempts} == {SpanKind.CLIENT}
    expected = {
        'grpc': ('rpc.system', 'grpc'),
        'http': ('http.request.method', 'POST'),
        'ws': ('network.protocol.name', 'websocket'),
    }
    key, value = expected[wire]
    assert {one.attributes[key] for one in attempts} == {value}


def test_the_parent_in_an_event_loop(told, plain_flow):
    async def main():
        async with AsyncClient() as client:
            model = await client.get_model(plain_flow['grpc'])

            async def one(name):
                with told.tracer.start_as_current_span(name):
                    await model.encode(text=name)
                    return trace.get_current_span().get_span_context().trace_id

            return await asyncio.gather(*(one(f'mine {index}') for index in range(3)))

    ids = asyncio.run(main())
    assert len(set(ids)) == 3
    for attempt in told.spans('encode attempt'):
        *_, top = parents(attempt, told)
        assert top.startswith('mine ')
    assert sorted(one.context.trace_id for one in told.spans('encode attempt')) == sorted(ids)


def test_threads_that_share_a_model(told):
    model = client_for(FakeTransport()).get_model('my-model')

    def work(name):
        with told.tracer.start_as_current_span(name) as span:
            model.encode(text=name)
            return span.get_span_context().trace_id

    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(work, [f'mine {index}' for index in range(8)]))
    attempts = told.spans('encode attempt')
    assert sorted(one.context.trace_id for one in attempts) == sorted(ids)
    assert all(parents(one, told)[:2] == ['encode batch', 'encode my-model'] for one in attempts)


@pytest.mark.parametrize('asynchronous', [False, True])
def test_the_attempt_is_the_current_span_of_background_threads(told, asynchronous):
    transport = Nowhere(at_once=3)
    texts = ['a', 'b', 'c']
    if asynchronous:

        async def main():
            model = async_client_for(transport)
            found = await model.get_model('my-model')
            await found.encode(text=texts, batch_size=1)

        asyncio.run(main())
    else:
        client_for(transport).get_model('my-model').encode(text=texts, batch_size=1)
    attempts = told.spans('encode attempt')
    assert sorted(span for _, span in transport.seen) == sorted(one.context.span_id for one in attempts)
    assert all(name == 'inference-client' for name, _ in transport.seen)
    assert not trace.get_current_span().get_span_context().is_valid


def test_what_is_sent_again(told):
    fake = FakeTransport(faults=[Fault(drop=True), None])
    client_for(fake, retry=QUICK).get_model('my-model').encode(text='a')
    (batch,) = told.spans('encode batch')
    first, second = told.spans('encode attempt')
    assert [one.attributes['inference.attempt'] for one in (first, second)] == [1, 2]
    assert {one.parent.span_id for one in (first, second)} == {batch.context.span_id}
    assert (first.status.status_code, first.attributes['error.type']) == (StatusCode.ERROR, 'ConnectionFailedError')
    for good in (second, batch, told.call()):
        assert good.status.status_code is StatusCode.UNSET
        assert 'error.type' not in good.attributes


def test_what_is_split(told):
    fake = FakeTransport(faults=[Fault(error=RequestTooLargeError('too large')), None, None])
    client_for(fake).get_model('my-model').encode(text=['a', 'b'])
    whole, *halves = told.spans('encode batch')
    assert whole.attributes['error.type'] == 'RequestTooLargeError'
    assert [one.attributes['inference.batch.documents'] for one in halves] == [1, 1]
    assert all('error.type' not in one.attributes for one in (*halves, told.call()))


def test_what_fails_for_good(told):
    fake = FakeTransport(faults=[Fault(error=ServerError(f'no {PAYLOAD} please'))])
    with pytest.raises(ServerError):
        client_for(fake).get_model('my-model').encode(text=PAYLOAD)
    for one in (told.call(), *told.spans('batch'), *told.spans('attempt')):
        assert (one.status.status_code, one.attributes['error.type']) == (StatusCode.ERROR, 'ServerError')
        assert one.events == ()
    assert PAYLOAD not in told.everything()


def test_an_input_that_is_of_no_use(told):
    with pytest.raises(InputError):
        client_for(FakeTransport()).get_model('my-model').encode(image=f'{PAYLOAD}.jpg')
    assert told.call().attributes['error.type'] == 'InputError'
    assert told.call().attributes['inference.documents'] == 0
    assert PAYLOAD not in told.everything()


@pytest.mark.parametrize('kind', DOORS)
def test_a_stream_that_is_left(told, kind):
    fake = FakeTransport(faults=[Fault(delay=60)])
    arguments = {'batch_size': 1, 'prefetch': 2, 'ordered': False}
    if kind == 'blocking':
        answers = client_for(fake).get_model('my-model').stream('encode', ['a', 'b', 'c'], **arguments)
        assert next(answers).text == 'b'
        answers.close()
    else:

        async def main():
            model = await async_client_for(fake).get_model('my-model')
            answers = model.stream('encode', ['a', 'b', 'c'], **arguments)
            assert (await answers.__anext__()).text == 'b'
            await answers.aclose()

        asyncio.run(main())
    assert 'error.type' not in told.call().attributes
    for left, answered, *_ in (told.spans('batch'), told.spans('attempt')):
        assert left.attributes['error.type'] == 'cancelled'
        assert 'error.type' not in answered.attributes


def test_nothing_of_the_caller_is_told(told, plain_flow):
    with Client(TOKEN) as client:
        client.get_model(plain_flow['http']).encode(text=PAYLOAD, size=PARAMETER)
        with pytest.raises(ServerError):
            client.get_model(plain_flow['grpc']).encode(text='raise', retry=RetryPolicy(attempts=1))
    assert len(told.spans()) == 6
    assert [secret for secret in SECRETS if secret in told.everything()] == []


# -- the trace goes on in the server


@pytest.mark.parametrize('wire', ['grpc', 'http'])
@pytest.mark.parametrize('kind', DOORS)
def test_a_jina_flow_continues_the_trace(told, traced_flow, kind, wire):
    with DOORS[kind]() as client:
        answers = client.get_model(traced_flow[wire]).encode(text=['a', 'b'], batch_size=1)
    assert {one.tags['trace'] for one in answers} == {f'{told.call().context.trace_id:032x}'}


@pytest.mark.parametrize('kind', DOORS)
def test_a_jina_flow_answers_a_websocket_whose_messages_carry_a_trace(told, traced_flow, kind):
    """It cannot know that they do, and begins a trace of its own."""
    with DOORS[kind]() as client:
        (answer,) = client.get_model(traced_flow['ws']).encode(text='a')
    assert answer.embedding.tolist() == [1]


@pytest.mark.parametrize('wire', WIRES)
def test_our_own_server_continues_the_trace(told, server_python, tmp_path, wire):
    with service(server_python, tmp_path, 'named', OTEL_TRACES_EXPORTER='console') as running, Client() as client:
        model = client.get_model(running.urls[wire])
        model.encode(text=PAYLOAD)
        with pytest.raises(InferenceError):
            model.encode(text='refuse', which=PARAMETER)
        assert running.stop() == 0
        written = running.process.stdout.read()
    spans = [json.loads(one) for one in re.findall(r'^{$.*?^}$', written, re.MULTILINE | re.DOTALL)]
    good = next(one for one in spans if one['name'] == 'encode named' and 'error.type' not in one['attributes'])
    attempt = told.spans('attempt')[0]
    assert good['context']['trace_id'] == f'0x{attempt.context.trace_id:032x}'
    assert good['parent_id'] == f'0x{attempt.context.span_id:016x}'
    assert good['kind'] == 'SpanKind.SERVER'
    assert good['attributes']['network.protocol.name'] == {'ws': 'websocket'}.get(wire, wire)
    assert good['start_time'] < good['end_time']
    assert [one['attributes'].get('error.type') for one in spans] == [None, 'failed']
    assert not [secret for secret in SECRETS if secret in written]


@pytest.mark.parametrize('exporter', ['no-such', 'console,no-such'])
def test_an_exporter_that_is_not_there(server_python, exporter):
    done = run_python(
        'from inference_client.server.tracing import find_tracing\nfind_tracing()', OTEL_TRACES_EXPORTER=exporter
    )
    assert "ConfigurationError: OTEL_TRACES_EXPORTER is 'no-such'" in done.stderr


@pytest.mark.parametrize(
    'variables',
    [{}, {'OTEL_TRACES_EXPORTER': 'none'}, {'OTEL_TRACES_EXPORTER': 'console', 'OTEL_SDK_DISABLED': 'true'}],
)
def test_a_server_that_nobody_asked_for_traces(server_python, variables):
    assert (
        output_of('from inference_client.server.tracing import find_tracing\nprint(find_tracing())', **variables)
        == 'None'
    )


@pytest.mark.parametrize('kind', DOORS)
def test_other_apis_get_the_trace_as_a_header(told, kind):
    with serving(VllmServer()) as server, DOORS[kind]() as client:
        client.get_model(f'openai+{server.url}/v1').encode(text='a')
    (attempt,) = told.spans('attempt')
    posted = next(one for one in server.asked if one.method == 'POST')
    trace_id, span_id = attempt.context.trace_id, attempt.context.span_id
    assert posted.headers['traceparent'].startswith(f'00-{trace_id:032x}-{span_id:016x}-')


# -- metrics


def test_metrics(told):
    def client(*faults):
        return client_for(FakeTransport(faults=faults), retry=QUICK).get_model('measured')

    client(Fault(drop=True)).encode(text=['a', 'b', 'c'], batch_size=2)
    with pytest.raises(ServerError):
        client(Fault(error=ServerError('no'))).encode(text='d')
    assert told.counts('measured') == {
        'gen_ai.client.operation.duration': {None: 1, 'ServerError': 1},
        'inference.client.batch.duration': {None: 2, 'ServerError': 1},
        'inference.client.attempt.duration': {None: 2, 'ConnectionFailedError': 1, 'ServerError': 1},
        'inference.client.documents': {None: 3, 'ServerError': 1},
    }


def test_the_page(plain_flow):
    text = (ROOT / 'docs' / 'observability.md').read_text(encoding='utf-8')
    program = blocks(text, 'python')[1].replace('grpc://127.0.0.1:51000', plain_flow['grpc'])
    assert sorted(output_of(program).split('\n')) == sorted(blocks(text, 'text')[1].rstrip().split('\n'))


# -- what it costs where nobody asked for it


ENCODE = """
    from inference_client.testing import FakeTransport, client_for
    client_for(FakeTransport()).get_model('m').encode(text='a')
"""


def test_nothing_is_imported_where_the_program_has_not_done_so():
    told = output_of(
        f"{ENCODE}\n    import sys\n    print([one for one in sys.modules if one.startswith('opentelemetry')])"
    )
    assert told == '[]'


def test_nothing_is_told_where_nothing_is_set_up():
    code = f"""
    from opentelemetry import metrics, trace
    from inference_client import _otel
    {ENCODE}
    print(_otel.find_tools())
    """
    assert output_of(code) == 'None'


METRICS = 'metrics.set_meter_provider(Telling([InMemoryMetricReader()]))'
TRACES = """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    trace.set_tracer_provider(TracerProvider())
"""


@pytest.mark.parametrize('parts', [(METRICS,), (METRICS, TRACES), (TRACES, METRICS)])
def test_instruments_are_made_once(parts):
    """Where metrics alone are set up, and where traces are sooner or later; the SDK warns of two of one name."""
    code = """
    import logging, sys
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from inference_client.testing import FakeTransport, client_for

    class Telling(MeterProvider):
        def get_meter(self, name, *arguments, **options):
            if name == 'inference_client':
                print('asked for a meter')
            return super().get_meter(name, *arguments, **options)

    logging.basicConfig(stream=sys.stdout)
    model = client_for(FakeTransport()).get_model('m')
    """
    for part in parts:
        code += f"""{part}
    model.encode(text='a')
    model.encode(text='b')
    """
    assert output_of(code) == 'asked for a meter'


def test_another_distribution_of_the_name(tmp_path):
    """Such as one that puts only its own part into the namespace."""
    (tmp_path / 'opentelemetry').mkdir()
    (tmp_path / 'opentelemetry' / '__init__.py').touch()
    assert output_of(f'    import opentelemetry\n{ENCODE}\n    print(opentelemetry.__file__)', tmp_path).startswith(
        str(tmp_path)
    )
