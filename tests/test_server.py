"""Our server: how it starts and stops, what it refuses, and that other clients are served."""

from __future__ import annotations

import base64
import contextlib
import functools
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
from docarray import Document, DocumentArray
from isolated import write_distribution
from websockets.sync.client import connect

from inference_client import Client, InputError, ServerError
from inference_client._wire.jina_pb2 import DataRequestProto
from inference_client.server.process import served
from inference_client.server.tokens import TokenStore

WIRES = ['grpc', 'http', 'ws']
HOST = '127.0.0.1'
TIMEOUT = 60
LOOPBACK = {'0100007F', '0000000000000000FFFF00000100007F'}  # 127.0.0.1 and ::ffff:127.0.0.1, as /proc shows them
FREE_PORTS = ['--grpc-port', '0', '--http-port', '0', '--ws-port', '0']

needs_proc = pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='needs /proc')


# -- processes


def in_session(leader):
    """Processes of the session that a process started, zombies aside."""
    found = []
    for file in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):
            state, _, _, session, *_ = file.read_text().rpartition(')')[2].split()
            if int(session) == leader and state != 'Z':
                found.append(int(file.parent.name))
    return found


@contextlib.contextmanager
def started(command, **environment):
    """A process that leads a session, of which nothing is left at the end."""
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:

        def kill():
            for pid in {process.pid, *in_session(process.pid)}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        killer = threading.Timer(TIMEOUT, kill)
        killer.start()
        try:
            yield process
        finally:
            killer.cancel()
            if process.poll() is None or in_session(process.pid):
                kill()


def serving(python, *arguments, **environment):
    auth = [] if '--token-file' in arguments else ['--no-auth']
    return started([python, '-m', 'inference_client', 'serve', *auth, *FREE_PORTS, *arguments], **environment)


def urls_of(process):
    """The URLs that a server prints before it says that it is ready."""
    lines = list(itertools.takewhile(lambda line: 'is ready' not in line, process.stdout))
    urls = {line.partition('://')[0]: line.strip() for line in lines}
    assert list(urls) == WIRES, process.stderr.read()
    return urls


def send(process, name, to_group):
    (os.killpg if to_group else os.kill)(process.pid, signal.Signals[name])


def assert_stopped(process):
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (0, '')
    assert 'ready' not in out
    assert in_session(process.pid) == []


def port_of(url):
    return int(url.rpartition(':')[2])


def listening(pids):
    """Addresses, as the kernel writes them, at which processes listen."""
    sockets = set()
    for pid in pids:
        for file in Path(f'/proc/{pid}/fd').iterdir():
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(file))
    found = []
    for table in ('tcp', 'tcp6'):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f'/proc/net/{table}').read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == '0A' and f'socket:[{fields[9]}]' in sockets:
                    found.append(fields[1])
    return found


@needs_proc
@pytest.mark.parametrize(('name', 'to_group'), [('SIGINT', True), ('SIGINT', False), ('SIGTERM', False)])
def test_it_serves_this_machine_until_a_signal(server_python, name, to_group):
    with serving(server_python) as process:
        urls = urls_of(process)
        with Client() as client:
            answers = [client.get_model(urls[wire]).encode(text='hello')[0].embedding for wire in WIRES]
        for answer in answers[1:]:
            np.testing.assert_allclose(answer, answers[0], atol=1e-6)
        addresses = listening(in_session(process.pid))
        assert {f'{port_of(url):04X}' for url in urls.values()} <= {one.partition(':')[2] for one in addresses}
        assert {one.partition(':')[0] for one in addresses} <= LOOPBACK
        send(process, name, to_group)
        assert_stopped(process)
    for url in urls.values():
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind((HOST, port_of(url)))


ENGINE = """
    import os, time
    from pathlib import Path
    from inference_client import hookimpl
    from inference_client.engines.base import Engine

    def pause(phase):
        folder = Path(os.environ['TEST_FOLDER'])
        if os.environ['TEST_PHASE'] == phase:
            (folder / 'reached').touch()
            while not (folder / 'go on').exists():
                time.sleep(0.02)

    class Slow(Engine):
        tasks = frozenset({'encode'})

        def __init__(self):
            pause('load')

        def run(self, task, documents, parameters):
            return documents

    class Broken(Slow):
        def __init__(self):
            raise RuntimeError('there are no weights here')

    pause('import')

    @hookimpl
    def inference_client_engines():
        return {'slow': Slow, 'broken': Broken}
"""


@pytest.fixture
def plugin(tmp_path):
    """Environment in which the engines `slow` and `broken` are installed."""
    write_distribution(tmp_path, 'test-engines', {'test': 'test_engines'}, test_engines=ENGINE)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])])
    return {'PYTHONPATH': path, 'TEST_FOLDER': str(tmp_path), 'TEST_PHASE': 'none'}


@needs_proc
@pytest.mark.parametrize(
    ('phase', 'name', 'to_group'),
    [
        ('import', 'SIGINT', True),
        ('import', 'SIGTERM', False),
        ('load', 'SIGINT', True),
        ('load', 'SIGINT', False),
        ('load', 'SIGTERM', True),
        ('load', 'SIGTERM', False),
    ],
)
def test_a_signal_while_it_starts(server_python, plugin, tmp_path, phase, name, to_group):
    with serving(server_python, 'slow', **{**plugin, 'TEST_PHASE': phase}) as process:
        while not (tmp_path / 'reached').exists():
            assert process.poll() is None, process.stderr.read()
        send(process, name, to_group)
        (tmp_path / 'go on').touch()
        assert_stopped(process)


def failed(python, *arguments, **environment):
    """Lines on standard error of a server that does not start."""
    with serving(python, *arguments, **environment) as process:
        out, err = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 1
        assert 'ready' not in out
        assert in_session(process.pid) == []
        return err.splitlines()


@needs_proc
def test_a_model_that_does_not_load(server_python, plugin):
    said, last = failed(server_python, 'broken', **plugin)
    assert said.startswith("Warning: the model 'broken' could not be started: ")
    assert said.endswith('RuntimeError: there are no weights here')
    assert last.startswith('Error: no model could be started')


@pytest.mark.parametrize('wire', WIRES)
def test_a_port_that_is_taken(server_python, wire):
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        (line,) = failed(server_python, f'--{wire}-port', str(port))
    assert line.startswith(f'Error: {HOST}:{port} cannot be used for {wire} ')
    assert f'--{wire}-port' in line


def test_one_port_for_two(server_python):
    (line,) = failed(server_python, '--grpc-port', '51002', '--ws-port', '51002')
    assert line == 'Error: the port 51002 is that of grpc and ws: give each its own, with --grpc-port or --ws-port'


def test_an_address_of_another_machine(server_python, tmp_path):
    TokenStore(tmp_path / 'tokens.json').create('somebody')
    (line,) = failed(server_python, '--host', '192.0.2.1', '--token-file', str(tmp_path / 'tokens.json'))
    assert line.startswith('Error: 192.0.2.1:0 cannot be used for grpc ')
    assert '--host' in line


def test_an_unknown_model(server_python):
    (line,) = failed(server_python, 'nope')
    assert line.startswith("Error: unknown engine 'nope': known are ")
    assert line.endswith(', echo, embedded, onnx:*')


@needs_proc
def test_served_leaves_nothing_behind(server_python):
    code = """
        import sys
        from inference_client.server.process import served
        try:
            with served(python=sys.argv[1]) as urls:
                print(*urls)
                raise KeyError('in the body')
        except KeyError:
            print('the error of the body')
    """
    with started([sys.executable, '-c', textwrap.dedent(code), server_python]) as process:
        out, err = process.communicate(timeout=TIMEOUT)
        assert in_session(process.pid) == []
    assert (process.returncode, err) == (0, '')
    assert out.splitlines() == ['grpc http ws', 'the error of the body']


def test_served_fails_as_the_server_does(server_python, capfd):
    with pytest.raises(ServerError, match='did not start'), served('nope', python=server_python):
        pytest.fail('there is no such model')
    assert "unknown engine 'nope'" in capfd.readouterr().err


# -- requests of strangers


def post(url, endpoint, **document):
    """An answer to a request that `curl` could send."""
    answer = requests.post(f'{url}/post', json={'data': [document], 'exec_endpoint': endpoint}, timeout=TIMEOUT)
    assert answer.status_code == 200
    return answer.json()


def raw(url, endpoint, fill):
    """The status code and description for one document, which `fill` writes into a message."""
    message = DataRequestProto()
    message.header.request_id = 'a request'
    message.header.exec_endpoint = endpoint
    fill(message.data.docs.docs.add())
    data = message.SerializeToString()
    if url.startswith('grpc:'):
        with grpc.insecure_channel(url.partition('://')[2]) as channel:
            answer = channel.unary_unary('/jina.JinaSingleDataRequestRPC/process_single_data')(data, timeout=TIMEOUT)
    else:
        with connect(url, subprotocols=['bytes'], open_timeout=TIMEOUT) as socket_:
            socket_.send(data)
            answer = socket_.recv(TIMEOUT)
    return DataRequestProto.FromString(answer).header.status


@pytest.fixture
def uris(photo):
    """URIs that a server could load, and a port of this machine that must not be connected to."""
    with socket.create_server((HOST, 0)) as server:
        server.setblocking(False)
        here = f'http://{HOST}:{server.getsockname()[1]}/photo.png'
        yield [photo, f'file://{photo}', 'file:///etc/passwd', 'http://169.254.169.254/latest/meta-data/', here]
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize('task', ['encode', 'rank', 'caption', 'vqa'])
@pytest.mark.parametrize('wire', ['grpc', 'ws'])
def test_no_uri_is_loaded(server, uris, wire, task):
    def fill(document, uri):
        document.uri = uri
        document.mime_type = 'image/png'
        document.tags['prompt'] = 'Question: what? Answer:'
        document.matches.add().uri = uri

    for uri in uris:
        status = raw(server[wire], f'/{task}', functools.partial(fill, uri=uri))
        assert status.code == 1
        assert 'URIs are not loaded here' in status.description


@pytest.mark.parametrize('task', ['encode', 'rank', 'caption', 'vqa'])
def test_no_uri_is_loaded_over_http(server, uris, task):
    for uri in uris:
        document = {'uri': uri, 'mime_type': 'image/png', 'tags': {'prompt': 'Question: what? Answer:'}}
        status = post(server['http'], f'/{task}', **document, matches=[{'uri': uri}])['header']['status']
        assert status['code'] == 1
        assert 'URIs are not loaded here' in status['description']


@pytest.mark.parametrize('wire', WIRES)
def test_no_uri_of_a_candidate_is_loaded(server, uris, wire):
    def fill(document, uri):
        document.text = 'a cat'
        document.matches.add().uri = uri

    for uri in uris:
        if wire == 'http':
            answer = post(server[wire], '/rank', text='a cat', matches=[{'uri': uri}])
            description = answer['header']['status']['description']
        else:
            description = raw(server[wire], '/rank', functools.partial(fill, uri=uri)).description
        assert 'URIs are not loaded here' in description


@pytest.mark.parametrize('wire', WIRES)
def test_the_servers_input_error_is_ours(server, wire):
    with Client() as client, pytest.raises(InputError, match='not an image') as caught:
        client.get_model(server[wire]).encode(docs=DocumentArray([Document(blob=b'no image')]))
    assert caught.value.url == server[wire]
    assert caught.value.task == 'encode'


# -- clients that are not ours


@pytest.fixture(scope='module')
def local():
    pytest.importorskip('onnxruntime')
    with Client() as client:
        yield client.get_model('local://embedded')


def test_json_over_http(server, local, photo):
    url = server['http']
    blob = base64.b64encode(Path(photo).read_bytes()).decode()

    (encoded,) = post(url, '/encode', text='hello')['data']
    np.testing.assert_allclose(encoded['embedding'], local.encode(text='hello')[0].embedding, atol=1e-5)
    (encoded,) = post(url, '/encode', blob=blob)['data']
    np.testing.assert_allclose(encoded['embedding'], local.encode(image=photo)[0].embedding, atol=1e-5)

    candidates = ['a rocket', 'a photo of a cat']
    (ranked,) = post(url, '/rank', blob=blob, matches=[{'text': text} for text in candidates])['data']
    assert [match['text'] for match in ranked['matches']] == ['a photo of a cat', 'a rocket']
    expected = local.rank(reference=photo, candidates=candidates)[0].matches[0].scores['clip_score_cosine'].value
    assert ranked['matches'][0]['scores']['clip_score_cosine']['value'] == pytest.approx(expected, abs=1e-5)

    (captioned,) = post(url, '/caption', blob=blob)['data']
    assert captioned['tags']['response'] == local.caption(image=photo)[0].tags['response']
    prompt = 'Question: Is it a cat or a dog? Answer:'
    (answered,) = post(url, '/vqa', blob=blob, tags={'prompt': prompt})['data']
    assert answered['tags']['response'] == local.vqa(image=photo, question=prompt)[0].tags['response']


def test_a_failure_over_http_is_in_the_header(server, photo):
    header = post(server['http'], '/vqa', blob=base64.b64encode(Path(photo).read_bytes()).decode())['header']
    assert header['status']['code'] == 1
    assert header['status']['exception']['name'] == 'InputError'
    assert "tags['prompt']" in header['status']['description']


@pytest.mark.parametrize('path', ['/', '/dry_run'])
@pytest.mark.parametrize('wire', ['http', 'ws'])
def test_it_says_that_it_is_alive(server, wire, path):
    url = server[wire].replace('ws://', 'http://')
    assert requests.get(url + path, timeout=TIMEOUT).status_code == 200


JINA_CLIENT = """
    import json, os, sys, warnings
    os.environ.update(JINA_LOG_LEVEL='ERROR', JINA_HIDE_SURVEY='1', JINA_OPTOUT_TELEMETRY='1')
    warnings.simplefilter('ignore')
    from jina import Client, Document, DocumentArray
    url, photo = sys.argv[1:]
    client = Client(host=url)
    image = Document(uri=photo).load_uri_to_blob()
    image.uri = ''
    encoded = client.post('/encode', DocumentArray([Document(text='hello'), image]))
    (answer,) = client.post('/encode', DocumentArray([Document(text='hello')]), return_responses=True)
    image.matches = DocumentArray([Document(text='a rocket'), Document(text='a photo of a cat')])
    ranked = client.post('/rank', DocumentArray([image]))
    print(json.dumps({
        'embeddings': encoded.embeddings.tolist(),
        'routes': [
            [route.executor, route.end_time.ToNanoseconds() - route.start_time.ToNanoseconds()]
            for route in answer.routes
        ],
        'texts': [match.text for match in ranked[0].matches],
        'cosines': [match.scores['clip_score_cosine'].value for match in ranked[0].matches],
    }))
"""


@pytest.mark.parametrize('wire', WIRES)
def test_the_jina_client(server, jina_python, local, photo, wire):
    done = subprocess.run(
        [jina_python, '-c', textwrap.dedent(JINA_CLIENT), server[wire], photo],
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
    )
    answered = json.loads(done.stdout.splitlines()[-1])
    expected = local.encode(docs=DocumentArray([Document(text='hello'), Document(uri=photo)])).embeddings
    np.testing.assert_allclose(answered['embeddings'], expected, atol=1e-5)
    (gateway, whole), (model, part), *_ = answered['routes']
    assert (gateway, model) == ('gateway', 'embedded')
    assert whole >= part > 0
    assert answered['texts'] == ['a photo of a cat', 'a rocket']
    matches = local.rank(reference=photo, candidates=['a rocket', 'a photo of a cat'])[0].matches
    assert answered['cosines'] == pytest.approx([m.scores['clip_score_cosine'].value for m in matches], abs=1e-5)
