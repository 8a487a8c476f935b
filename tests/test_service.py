"""The service: several models behind one gateway, each under its name."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
import requests
from services import HOST, OTHER, TIMEOUT, service
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from inference_client import Client, InputError, ModelNotFoundError, RetryPolicy, ServerError, TransportError
from inference_client._wire.jina_pb2 import DataRequestProto, StatusProto
from inference_client.transports._grpc_settings import CALL, HEALTH, NOT_SERVING, SERVING

WIRES = ['grpc', 'http', 'ws']
ONCE = RetryPolicy(attempts=1)
REQUEST = DataRequestProto(header={'exec_endpoint': '/encode'}).SerializeToString()


@pytest.fixture(scope='module')
def running(server_python, tmp_path_factory):
    """A service with two models that answer, one that starts, and one that has failed."""
    folder = tmp_path_factory.mktemp('service')
    with service(server_python, folder, 'named', OTHER, 'slow', 'broken', settle=False) as started:
        with Client() as client:
            for name in ('named', OTHER):
                client.get_model(at(started, 'grpc', name)).wait_until_ready(TIMEOUT)
        wait_for_status(started, 'broken', 'Failed')
        yield started


def at(started, wire, name):
    return f'{started.urls[wire]}/models/{quote(name, safe="")}'


def directory(started, **query):
    return requests.get(f'{started.urls["http"]}/api/v1/models/', params=query, timeout=TIMEOUT)


def wait_for_status(started, name, status):
    while True:
        found = directory(started, model_name=name).json()['status']
        if found == status:
            return
        assert found == 'Starting'


# -- which model answers


@pytest.mark.parametrize('wire', WIRES)
def test_the_path_names_the_model(running, connect, wire):
    assert connect(at(running, wire, OTHER)).encode(text='hello')[0].embedding.tolist() == [-5]
    assert connect(at(running, wire, 'named')).encode(text='hello')[0].embedding[0] == 5


@pytest.mark.parametrize('wire', WIRES)
def test_a_name_may_stand_in_the_path_as_it_is(running, connect, wire):
    model = connect(f'{running.urls[wire]}/models/org/other%201.0::x')
    assert model.encode(text='hello')[0].embedding.tolist() == [-5]
    assert model.is_ready()


@pytest.mark.parametrize('wire', WIRES)
def test_without_a_path_the_first_model_answers(running, connect, wire):
    model = connect(running.urls[wire])
    assert model.encode(text='hello')[0].embedding[0] == 5
    assert model.is_ready()


@pytest.mark.parametrize('wire', WIRES)
def test_models_of_one_server_do_not_mix(running, connect, wire):
    one, other = connect(at(running, wire, 'named')), connect(at(running, wire, OTHER))
    texts = ['x' * length for length in range(1, 40)]
    for model, sign in ((one, 1), (other, -1), (one, 1)):
        answered = model.encode(text=texts, batch_size=2, prefetch=8)
        assert [document.embedding[0] for document in answered] == [sign * len(text) for text in texts]


@pytest.mark.parametrize('name', ['nope', 'named/', 'NAMED', 'named/encode', '..%2Fnamed'])
@pytest.mark.parametrize('wire', WIRES)
def test_an_unknown_model(running, connect, wire, name):
    if name == 'named/':
        assert connect(f'{running.urls[wire]}/models/{name}').encode(text='hello')[0].embedding[0] == 5
        return
    with pytest.raises(ModelNotFoundError, match='the server does not know the model'):
        connect(f'{running.urls[wire]}/models/{name}').encode(text='hello')


def test_an_unknown_model_is_not_found(running):
    for path in ('/models/nope', '/models/nope/dry_run'):
        answer = requests.get(running.urls['http'] + path, timeout=TIMEOUT)
        assert answer.status_code == 404
        assert "no model 'nope' here" in answer.json()['detail']
    with pytest.raises(InvalidStatus) as caught, connect_to(f'{running.urls["ws"]}/models/nope'):
        pass
    assert caught.value.response.status_code == 404
    assert code_of(running, 'nope') == (grpc.StatusCode.NOT_FOUND, None)


def connect_to(url, **options):
    return connect(url, subprotocols=['bytes'], open_timeout=TIMEOUT, **options)


def code_of(running, model, data=REQUEST):
    """The status of a gRPC call, and the seconds after which it may be tried again."""
    with grpc.insecure_channel(running.urls['grpc'].partition('://')[2]) as channel:
        call = channel.unary_unary('/jina.JinaSingleDataRequestRPC/process_single_data')
        with pytest.raises(grpc.RpcError) as caught:
            call(data, timeout=TIMEOUT, metadata=(('model', model),))
    return caught.value.code(), dict(caught.value.trailing_metadata()).get('retry-after')


# -- models that are not up


@pytest.mark.parametrize('wire', WIRES)
def test_a_model_that_starts(running, door, wire):
    with door(retry=ONCE) as client:
        model = client.get_model(at(running, wire, 'slow'))
        assert not is_ready(model)
        with pytest.raises(ServerError, match='is starting') as caught:
            model.encode(text='hello')
        assert caught.value.transient
        assert caught.value.busy
        assert caught.value.retry_after == 2


@pytest.mark.parametrize('wire', WIRES)
def test_a_model_that_failed(running, door, wire):
    """It is asked once: it will not come up."""
    with door(retry=RetryPolicy(initial=0)) as client:
        model = client.get_model(at(running, wire, 'broken'))
        assert not is_ready(model)
        with pytest.raises(ServerError, match='could not be started') as caught:
            model.encode(text='hello')
        assert '/secret' not in str(caught.value)
        assert 'try again' not in str(caught.value)
        assert not caught.value.transient
        assert len(caught.value.attempts) == 1


def is_ready(model):
    with contextlib.suppress(ServerError):
        return model.is_ready()
    return False


def test_a_model_that_is_not_up_over_http(running):
    for path in ('post', 'dry_run'):
        method = requests.post if path == 'post' else requests.get
        for name, retry_after in (('slow', '2'), ('broken', None)):
            answer = method(f'{at(running, "http", name)}/{path}', json={'data': []}, timeout=TIMEOUT)
            assert (answer.status_code, answer.headers.get('Retry-After')) == (503, retry_after)
            assert '/secret' not in answer.text


def test_a_model_that_is_not_up_over_grpc(running):
    assert code_of(running, 'slow') == (grpc.StatusCode.UNAVAILABLE, '2')
    assert code_of(running, 'broken') == (grpc.StatusCode.FAILED_PRECONDITION, None)


def test_the_log_says_why_a_model_failed(running):
    assert "the model 'broken' could not be started" in running.log
    assert 'no weights in /secret/path' in running.log


def health(started):
    with grpc.insecure_channel(started.urls['grpc'].partition('://')[2]) as channel:
        return channel.unary_unary(HEALTH)(b'', timeout=TIMEOUT)


def test_a_model_comes_up_later(server_python, tmp_path):
    with service(server_python, tmp_path, 'slow', 'named', settle=False) as started, Client() as client:
        assert directory(started, model_name='slow').json()['status'] == 'Starting'
        ready = started.urls['http'] + '/ready'
        assert requests.get(ready, timeout=TIMEOUT).status_code == 503
        assert health(started) == NOT_SERVING
        client.get_model(at(started, 'ws', 'named')).wait_until_ready(TIMEOUT)
        (tmp_path / 'go on').touch()
        assert started.wait_until_settled() == 'slow, named are ready; Ctrl-C stops it\n'
        assert directory(started, model_name='slow').json()['status'] == 'Serving'
        assert requests.get(ready, timeout=TIMEOUT).status_code == 200
        assert health(started) == SERVING
        for wire in WIRES:
            assert client.get_model(at(started, wire, 'slow')).encode(text='hello')[0].embedding[0] == 5
        assert started.stop() == 0


# -- replicas


@pytest.fixture(scope='module')
def replicated(server_python, tmp_path_factory):
    """A service with one model of two replicas."""
    folder = tmp_path_factory.mktemp('replicas')
    with service(server_python, folder, 'named', '--replicas', '2') as started:
        yield started


def processes(model):
    return {int(document.embedding[1]) for document in model.encode(text=['x'] * 32, batch_size=1, prefetch=8)}


def test_replicas_share_the_work(replicated, connect):
    assert len(processes(connect(replicated.urls['grpc']))) == 2


@pytest.mark.parametrize('wire', WIRES)
def test_a_replica_that_dies_costs_no_answer(replicated, wire):
    """It is killed while both work, and started again."""
    with Client(retry=ONCE) as client:
        model = client.get_model(replicated.urls[wire])
        before = processes(model)
        while len(before) < 2:
            before = processes(model)
        answers = model.stream('encode', ['hello'] * 200, batch_size=1, prefetch=8, sleep=0.01)
        first = int(next(answers).embedding[1])
        os.kill(first, signal.SIGKILL)
        assert [document.embedding[0] for document in answers] == [5] * 199
        while len(processes(model)) < 2:
            pass
        assert first not in processes(model)


@pytest.mark.parametrize(
    'text, logged',
    [
        ('die', 'a process of the model named ended'),
        ('exit', 'SystemExit: enough'),  # it is gone at once, though a thread of the engine goes on
    ],
)
def test_a_request_that_ends_every_replica(server_python, tmp_path, text, logged):
    with service(server_python, tmp_path, 'named') as started, Client(retry=ONCE) as client:
        model = client.get_model(started.urls['grpc'])
        with pytest.raises(ServerError, match='ended while it worked on the request'):
            model.encode(text=text)
        model.wait_until_ready(TIMEOUT)
        assert model.encode(text='hello')[0].embedding[0] == 5
        assert logged in started.log


def test_a_request_that_kills_leaves_replicas(server_python, tmp_path):
    """It is given to two, and not to all."""
    with service(server_python, tmp_path, 'named', '--replicas', '3') as started, Client(retry=ONCE) as client:
        model = client.get_model(started.urls['grpc'])
        before = processes(model)
        while len(before) < 3:
            before |= processes(model)
        with pytest.raises(ServerError, match='ended while it worked on the request'):
            model.encode(text='die')
        assert int(model.encode(text='hello')[0].embedding[1]) in before


@pytest.mark.skipif(not Path('/proc').exists(), reason='needs /proc')
def test_nothing_is_left_when_the_service_is_killed(server_python, tmp_path):
    with service(server_python, tmp_path, 'named') as started, Client() as client:
        (replica,) = processes(client.get_model(started.urls['grpc']))
        started.process.kill()
        started.process.wait(TIMEOUT)
        while Path(f'/proc/{replica}').exists():
            pass


# -- its end


@pytest.mark.parametrize('wire', WIRES)
def test_it_answers_what_it_has_taken(server_python, tmp_path, wire):
    with service(server_python, tmp_path, 'named') as started, Client(retry=ONCE) as client:
        model = client.get_model(started.urls[wire])
        model.encode(text='hello')
        with ThreadPoolExecutor() as pool:
            under_way = [pool.submit(model.encode, text='hello', sleep=1.0) for _ in range(3)]
            time.sleep(0.5)
            started.process.send_signal(signal.SIGTERM)
            while True:  # until it has noticed
                try:
                    model.encode(text='late')
                except TransportError:
                    break
            assert [one.result()[0].embedding[0] for one in under_way] == [5] * 3
        assert started.process.wait(TIMEOUT) == 0


@pytest.mark.skipif(not Path('/proc').exists(), reason='needs /proc')
def test_a_signal_to_all_processes_costs_no_answer(server_python, tmp_path):
    """As systemd sends it, to each process of a service."""
    with service(server_python, tmp_path, 'named', '--replicas', '3') as started, Client(retry=ONCE) as client:
        replicas, models = set(), [client.get_model(started.urls[wire]) for wire in WIRES]
        while len(replicas) < 3:
            replicas |= processes(models[0])
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(one.encode, text='hello', sleep=3.0, begun=str(i)) for i, one in enumerate(models)]
            while not all((tmp_path / str(i)).exists() for i in range(3)):
                time.sleep(0.01)
            for process in (started.process.pid, *replicas):
                os.kill(process, signal.SIGTERM)
            assert {int(one.result()[0].embedding[1]) for one in asked} == replicas
        assert started.process.wait(TIMEOUT) == 0
        assert not any(Path(f'/proc/{one}').exists() for one in replicas)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(server_python, tmp_path, number):
    with service(server_python, tmp_path, 'named') as started, Client(retry=ONCE) as client:
        model = client.get_model(started.urls['grpc'])
        (replica,) = processes(model)
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(model.encode, text='hello', sleep=25.0, begun='begun')
            while not (tmp_path / 'begun').exists():
                time.sleep(0.01)
            for _ in range(2):  # which are one
                started.process.send_signal(number)
            time.sleep(1)
            assert started.process.poll() is None
            started.process.send_signal(number)
            assert started.process.wait(5) == 128 + number
            assert isinstance(asked.exception(), TransportError)
        assert 'by a second signal' in started.log
        while Path(f'/proc/{replica}').exists():
            time.sleep(0.01)


def test_it_goes_on_when_nobody_reads_what_it_says(server_python, tmp_path):
    with service(server_python, tmp_path, 'slow', settle=False) as started, Client() as client:
        started.process.stdout.close()
        (tmp_path / 'go on').touch()
        model = client.get_model(started.urls['grpc'])
        model.wait_until_ready(TIMEOUT)
        time.sleep(0.5)
        assert model.is_ready()
        assert started.stop() == 0
        assert not started.log


def large(size):
    message = DataRequestProto(header={'exec_endpoint': '/encode'})
    message.data.docs.docs.add(text='x' * size)
    return message.SerializeToString()


def over_grpc(url, data):
    """Answers as they are asked for, of six requests."""
    with grpc.insecure_channel(url.partition('://')[2], [('grpc.max_receive_message_length', -1)]) as channel:
        yield from channel.stream_stream('/jina.JinaRPC/Call')(iter([data] * 6), timeout=TIMEOUT)


def over_http(url, data):
    """Pieces of an answer as they are asked for."""
    headers = {'Content-Type': 'application/x-protobuf'}
    with requests.post(f'{url}/post', data * 6, headers=headers, timeout=TIMEOUT, stream=True) as answer:
        yield from answer.iter_content(1 << 20)


def over_websocket(url, data):
    with connect_to(url, max_queue=1, max_size=None) as socket:
        for _ in range(6):
            socket.send(data)
        for _ in range(6):
            yield socket.recv(TIMEOUT)


def test_answers_that_are_on_their_way_when_it_ends_arrive(server_python, tmp_path):
    """They are more than what fits between the service and clients that take their time."""
    wires = {'grpc': over_grpc, 'http': over_http, 'ws': over_websocket}
    with service(server_python, tmp_path, 'named') as started:
        pieces = {wire: answers(started.urls[wire], large(8_000_000)) for wire, answers in wires.items()}
        got = {wire: len(next(one)) for wire, one in pieces.items()}
        started.process.send_signal(signal.SIGTERM)
        time.sleep(4)
        for wire, one in pieces.items():
            got[wire] += sum(map(len, one))
        assert min(got.values()) > 48_000_000
        assert started.process.wait(TIMEOUT) == 0


def test_clients_that_read_nothing_do_not_keep_it_from_its_end(server_python, tmp_path):
    with service(server_python, tmp_path, 'named', '--drain', '1') as started, contextlib.ExitStack() as open_sockets:
        for _ in range(8):  # each does not take part in closing, either
            socket = open_sockets.enter_context(connect_to(started.urls['ws'], max_queue=1, close_timeout=0.1))
            for _ in range(16):
                socket.send(large(1_000_000))
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(TIMEOUT) == 0


# -- what other clients see


def test_a_failure_tells_no_path_and_no_trace(running):
    message = DataRequestProto()
    message.header.request_id = 'a request'
    message.header.exec_endpoint = '/encode'
    message.data.docs.docs.add().text = 'raise'
    with connect_to(running.urls['ws']) as socket:
        socket.send(message.SerializeToString())
        answer = socket.recv(TIMEOUT)
    assert b'Traceback' not in answer
    assert b'/secret' not in answer
    assert b'.py' not in answer
    status = DataRequestProto.FromString(answer).header.status
    assert status.code == StatusProto.ERROR
    assert 'RuntimeError' in status.description
    assert '/secret/path is broken' in running.log


@pytest.mark.parametrize('wire', WIRES)
def test_an_input_error_is_passed_on(running, connect, wire):
    with pytest.raises(InputError, match='this text is refused'):
        connect(running.urls[wire]).encode(text='refuse')


@pytest.mark.parametrize(('text', 'kind'), [('nothing', 'NoneType'), ('generator', 'generator')])
def test_an_engine_that_returns_no_documents(running, connect, text, kind):
    model = connect(running.urls['grpc'])
    before = processes(model)
    with pytest.raises(ServerError, match=f'answered 1 documents with a {kind}'):
        model.encode(text=text)
    assert processes(model) == before


def test_an_empty_message_is_no_request(running):
    assert code_of(running, 'named', b'') == (grpc.StatusCode.INVALID_ARGUMENT, None)
    with connect_to(running.urls['ws']) as socket:
        socket.send(b'')
        assert 'is empty' in DataRequestProto.FromString(socket.recv(TIMEOUT)).header.status.description


@pytest.mark.parametrize('wire', WIRES)
def test_bytes_that_are_no_request(running, wire):
    url = running.urls[wire]
    if wire == 'grpc':
        with grpc.insecure_channel(url.partition('://')[2]) as channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary('/jina.JinaSingleDataRequestRPC/process_single_data')(b'\xff\xff', timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    elif wire == 'http':
        for body in (b'{', b'[]', b'{"data": 3}', b'{"data": [{"blob": "%"}]}', b'{"data": [7]}'):
            headers = {'Content-Type': 'application/json'}
            assert requests.post(f'{url}/post', body, headers=headers, timeout=TIMEOUT).status_code == 400
    else:
        with connect_to(url) as socket:
            socket.send(b'\xff\xff')
            status = DataRequestProto.FromString(socket.recv(TIMEOUT)).header.status
            assert 'not a DataRequestProto' in status.description


@pytest.mark.parametrize(
    ('body', 'words'),
    [
        (b'{"data": [7]}', '"data" has at 0 what is neither a text nor an object'),
        (b'{"data": 3}', '"data" is not a list of documents'),
        (b'{"data": [], "header": 7}', '"header" is not an object'),
        (b'{"data": [], "parameters": [7]}', '"parameters" is not an object'),
        (b'{"data": [{"tags": 7}]}', 'the request cannot be read'),
        (b'{"data": [{"scores": [7]}]}', 'the request cannot be read'),
        (b'{"data": [{"matches": 7}]}', 'the request cannot be read'),
        (b'{"data": [{"matches": [7]}]}', 'the request cannot be read'),
    ],
)
def test_what_is_wrong_with_json_is_said_in_its_own_words(running, body, words):
    headers = {'Content-Type': 'application/json'}
    answer = requests.post(f'{running.urls["http"]}/post', body, headers=headers, timeout=TIMEOUT)
    assert answer.status_code == 400
    assert words in answer.json()['detail']
    assert not re.search("object has no|'int'|NoneType|<class|subscriptable|iterable", answer.json()['detail'])


@pytest.mark.parametrize('path', ['/', '/ready', '/status', '/models/named/status', '/api/v1/models/', '/openapi.json'])
def test_head_is_get_without_a_body(running, path):
    url = running.urls['http'] + path
    head, got = requests.head(url, timeout=TIMEOUT), requests.get(url, timeout=TIMEOUT)
    assert (head.status_code, head.headers['Content-Type']) == (got.status_code, got.headers['Content-Type'])
    assert head.content == b''
    assert requests.head(f'{running.urls["http"]}/post', timeout=TIMEOUT).status_code == 405


# -- clients that do not read


def answered(started):
    """Requests that a model has answered so far."""
    page = requests.get(f'{started.urls["http"]}/metrics', timeout=TIMEOUT).text
    found = re.findall(r'^inference_requests_total{model="named",outcome="ok".* (\S+)$', page, re.MULTILINE)
    return sum(map(float, found))


def test_a_stream_whose_client_does_not_read_is_not_read_either(running):
    """Else its answers would fill the memory: there are 320 MB of them."""
    message = DataRequestProto(header={'exec_endpoint': '/encode'})
    message.data.docs.docs.add().text = 'x' * (4 << 20)
    data, before = message.SerializeToString(), answered(running)
    options = [('grpc.max_receive_message_length', -1)]
    with grpc.insecure_channel(running.urls['grpc'].partition('://')[2], options) as channel:
        answers = channel.stream_stream(CALL)(iter([data] * 80), timeout=TIMEOUT)
        while answered(running) == before:
            pass
        count = -1
        while answered(running) != count:
            count = answered(running)
            time.sleep(0.5)  # in which it answers more than one, if it takes any
        assert count - before <= 40
        assert sum(len(answer) >= 4 << 20 for answer in answers) == 80


def test_a_fault_of_the_service_is_an_answer_too(caplog):
    """Else one request of a stream would never be answered."""
    pytest.importorskip('prometheus_client', reason='comes with the extra [server]')
    from inference_client.server.desk import Asker, Desk
    from inference_client.server.gate import Gate
    from inference_client.server.hosted import Models
    from inference_client.server.settings import Limits

    class Faulty(Gate):
        """Fails in a way that nobody thought of."""

        def admit(self, presented, peer):
            raise RuntimeError('/secret/path')

    request = DataRequestProto(header={'request_id': 'an id'}).SerializeToString()
    desk = Desk(Models([]), Faulty(), Limits())
    header = DataRequestProto.FromString(asyncio.run(desk.ask_in_band(Asker(None, None, HOST, 'grpc'), request))).header
    assert (header.request_id, header.status.exception.name) == ('an id', 'ServerError')
    assert '/secret' not in header.status.description
    assert '/secret/path' in caplog.text


# -- the directory


def test_the_directory_has_all_models(running):
    models = directory(running).json()['models']
    assert [(one['name'], one['status']) for one in models] == [
        ('named', 'Serving'), (OTHER, 'Serving'), ('slow', 'Starting'), ('broken', 'Failed'),
    ]  # fmt: skip
    assert models[1] == directory(running, model_name=OTHER).json()
    assert models[1]['tasks'] == ['encode']
    assert models[1]['endpoints'] == {
        'grpc': at(running, 'grpc', OTHER), 'http': at(running, 'http', OTHER), 'websocket': at(running, 'ws', OTHER),
    }  # fmt: skip


def test_the_directory_knows_no_such_model(running):
    answer = directory(running, model_name='nope')
    assert answer.status_code == 404
    assert answer.json()['error'] == 'ModelNotFoundError'


@pytest.mark.parametrize('protocol', ['grpc', 'http', 'websocket'])
def test_a_client_finds_models_by_name(running, door, protocol):
    with door(api_endpoint=f'{running.urls["http"]}/api/v1') as client:
        model = client.get_model(OTHER, protocol=protocol)
        assert model.encode(text='hello')[0].embedding.tolist() == [-5]
        with pytest.raises(ModelNotFoundError):
            client.get_model('nope')


def test_public_urls(server_python, tmp_path):
    urls = ['grpcs://models.example', 'https://models.example/', 'wss://models.example:444']
    options = [option for url in urls for option in ('--public-url', url)]
    with service(server_python, tmp_path, 'named', *options) as started:
        assert directory(started, model_name='named').json()['endpoints'] == {
            'grpc': 'grpcs://models.example/models/named',
            'http': 'https://models.example/models/named',
            'websocket': 'wss://models.example:444/models/named',
        }
