"""The service and strangers: whatever bytes come, it answers in order, tells nothing, and goes on serving others."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import pickle
import re
import socket
import ssl
import struct
import subprocess
import time
import zlib
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
from aiohttp import web
from docarray import Document, DocumentArray
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from peers import HOST
from ports import free_ports
from services import service
from strategies import share
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_socket

from inference_client import Client
from inference_client._wire.jina_pb2 import DataRequestProto

TIMEOUT = 30
UNARY = '/jina.JinaSingleDataRequestRPC/process_single_data'
CALL = '/jina.JinaRPC/Call'
LEAKS = re.compile(r'Traceback|File "|\.py\b|site-packages|/(?:home|root|tmp|usr)/|0x[0-9a-f]{8}')
HELLO, SETTINGS = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', b'\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0'  # and acknowledged
SECRET = 'ict_' + 64 * 'a'


@pytest.fixture(scope='module')
def running(server_python, tmp_path_factory):
    """A service without tokens, which is alive at the end and said nothing of what came."""
    folder = tmp_path_factory.mktemp('strangers')
    with service(server_python, folder, 'echo', 'pictures') as made:
        yield made
        assert made.process.poll() is None
        with Client() as client:
            for url in made.urls.values():
                assert client.get_model(url).is_ready()
        assert 'Traceback' not in made.log
        assert SECRET not in made.log


def port_of(running, wire):
    return int(running.urls[wire].rpartition(':')[2])


def assert_tells_nothing(text):
    assert not LEAKS.search(text), text


def raw(port, data, seconds=TIMEOUT):
    """What comes back for some bytes, until the service closes the connection."""
    with socket.create_connection((HOST, port), seconds) as connection:
        connection.sendall(data)
        received = b''
        while True:
            part = connection.recv(65536)
            if not part:
                return received
            received += part


def get(running, path, headers=b''):
    """Status and text of an answer to a path that no library would send as it is."""
    head = b'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%s\r\n' % (path, headers)
    answer = raw(port_of(running, 'http'), head).decode()
    return int(answer.split()[1]), answer


def post(running, body, **headers):
    headers = {'Content-Type': 'application/json', **headers}
    return requests.post(f'{running.urls["http"]}/post', data=body, headers=headers, timeout=TIMEOUT)


# -- paths


@pytest.mark.parametrize(
    'path',
    [b'/../../etc/passwd', b'/models/../../etc/passwd', b'/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd/dry_run',
     b'/models/..%5c..%5cwindows/dry_run', b'/models/%00/dry_run', b'/models/%ff%fe/dry_run', b'//etc/passwd', b'/%00',
     b'/models//dry_run', b'/models/' + b'a' * 4000 + b'/dry_run', b'/api/v1/models/../../../etc/passwd',
     b'/api/v1/models/?model_name=../../etc/passwd', b'/api/v1/models/?model_name=%00',
     b'/api/v1/models/?model_name=%ff',
     b'/api/v1/models/?model_name=file:///etc/passwd', b'/static/../../etc/passwd', b'/.env', b'/debug', b'/admin'],
)  # fmt: skip
def test_no_path_leads_to_a_file(running, path):
    status, answer = get(running, path)
    assert status in (400, 404)
    assert 'root:' not in answer
    assert_tells_nothing(answer.replace(path.decode(), ''))


@pytest.mark.parametrize('host', [b'a b', b'"><script>', b'[::1', b'x:99999', b'a/../b', b'a@b', b'a\\b', b'a#b', b''])
def test_what_is_no_host_is_in_no_endpoint(running, host):
    head = b'GET /api/v1/models/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' % host
    answer = raw(port_of(running, 'http'), head)
    if b' 200 ' in answer[:20]:  # else it was none of this machine's, or no header at all
        model, _ = json.loads(answer.partition(b'\r\n\r\n')[2])['models']
        for url in model['endpoints'].values():
            assert re.fullmatch(r'[a-z]+://([a-z0-9.-]+|\[[0-9a-f:]+\]):\d+/models/echo', url), url


# -- what is no HTTP


@pytest.mark.parametrize(
    'data',
    [b'nonsense\r\n\r\n', b'GET / HTTP/9.9\r\n\r\n', b'\x16\x03\x01\x00\x05hello', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
     b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ' + b'a' * 100_000 + b'\r\n\r\n',
     b'GET / HTTP/1.1\r\n' + b'X: a\r\n' * 10_000 + b'\r\n',
     b'GET /' + b'a' * 100_000 + b' HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n',
     b'POST /post HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n',
     b'POST /post HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
     b'POST /post HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
     b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: %s\x01\r\n\r\n' % SECRET.encode(),
     b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization : %s\r\n\r\n' % SECRET.encode()],
)  # fmt: skip
def test_what_is_no_http_is_refused(running, data):
    answer = raw(port_of(running, 'http'), data).decode(errors='replace')
    assert answer.startswith('HTTP/1.0 400 ')
    assert_tells_nothing(answer)


# -- bodies

BODIES = [
    b'', b'{', b'[]', b'null', b'5', b'"text"', b'\xff\xfe', b'{"data": 5}', b'{"data": [5]}',
    b'{"data": [{"text": 5}]}',
    b'{"data": [{"tags": 5}]}', b'{"parameters": 5}', b'{"header": 5}',
    b'{"data": [{"blob": "%%"}]}', b'{"data": [{"tensor": [[1], [2, 3]]}]}', b'{"data": [{"embedding": ["a"]}]}',
    b'{"data": ' + b'[' * 200_000 + b']' * 200_000 + b'}', b'{"data": [{"text": "\\ud800"}]}',
    b'{"parameters": {"a": 1e999}}',
    b'{"data": [{"matches": {}}]}', b'{"data": [{"scores": {"a": 5}}]}', b'{"data": [{"id": 5}]}',
    b'{"data": [' + b'{"matches": [' * 500 + b']}' * 500 + b']}',
]  # fmt: skip


@pytest.mark.parametrize('body', BODIES, ids=lambda body: repr(body[:30]))
def test_a_body_that_is_no_request_is_refused(running, body):
    answer = post(running, body)
    assert answer.status_code in (400, 413, 422)
    assert isinstance(answer.json()['detail'], str)
    assert_tells_nothing(answer.text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    'id',
    'text',
    'blob',
    'tensor',
    'embedding',
    'tags',
    'matches',
    'chunks',
    'scores',
    'uri',
    'mime_type',
    'weight',
]
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        'data': st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4) | JSON, max_size=3) | JSON,
        'exec_endpoint': st.sampled_from(['/echo', '/encode', '/']) | JSON,
        'parameters': JSON,
        'header': JSON,
        'target_executor': JSON,
    },
)


@effort(max_examples=share(200))
@given(REQUESTS | JSON)
def test_whatever_json_comes(running, value):
    answer = post(running, json.dumps(value))
    assert answer.status_code in (200, 400, 413, 422)
    assert_tells_nothing(answer.text.replace(json.dumps(value), ''))


def messages():
    """Bytes that are nearly messages, and such that are far from it."""
    whole = request()
    cut = st.integers(0, len(whole)).map(lambda size: whole[:size])
    spoilt = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)).map(
        lambda one: whole[: one[0]] + bytes([one[1]]) + whole[one[0] + 1 :]
    )
    return st.binary(max_size=200) | cut | spoilt


def request(text='hi', endpoint='/echo'):
    message = DataRequestProto()
    message.header.request_id = 'an id'
    message.header.exec_endpoint = endpoint
    message.parameters.update({'a': [1, {'b': None}]})
    document = message.data.docs.docs.add()
    document.text = text
    document.tags.update({'c': 'd'})
    document.embedding.dense.buffer = np.ones(3, '<f4').tobytes()
    document.embedding.dense.shape.append(3)
    document.embedding.dense.dtype = '<f4'
    return message.SerializeToString()


@pytest.fixture(scope='module')
def channel(running):
    options = [('grpc.max_send_message_length', -1)]
    with grpc.insecure_channel(f'{HOST}:{port_of(running, "grpc")}', options) as made:
        yield made


@effort(max_examples=share(200))
@given(messages())
def test_whatever_bytes_come_over_grpc(channel, data):
    try:
        answer = channel.unary_unary(UNARY)(data, timeout=TIMEOUT)
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)
        assert_tells_nothing(error.details())
    else:
        status = DataRequestProto.FromString(answer).header.status
        assert_tells_nothing(f'{status}')


@given(st.lists(messages(), max_size=5))
def test_whatever_bytes_come_on_a_stream(channel, many):
    """Each has an answer, and the stream goes on."""
    sent = [*many, request('last')]
    answers = [DataRequestProto.FromString(one) for one in channel.stream_stream(CALL)(iter(sent), timeout=TIMEOUT)]
    assert len(answers) == len(sent)
    assert any(one.data.docs.docs and one.data.docs.docs[0].text == 'last' for one in answers)
    for answer in answers:
        assert_tells_nothing(f'{answer.header.status}')


@pytest.mark.parametrize(
    'method', ['/x/y', '/', '/jina.JinaRPC/', '/grpc.reflection.v1alpha.ServerReflection/X', CALL + 'x']
)
def test_methods_that_are_not_there(channel, method):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(b'', timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert_tells_nothing(caught.value.details())


@given(messages() | st.text(max_size=100) | st.builds(json.dumps, REQUESTS))
def test_whatever_comes_on_a_socket(running, data):
    some_end_it = contextlib.suppress(ConnectionClosed)  # as jina.Client says it
    with connect_socket(running.urls['ws'], subprotocols=['bytes'], open_timeout=TIMEOUT) as connection, some_end_it:
        connection.send(data)
        answer = connection.recv(TIMEOUT)
        text = answer if isinstance(answer, str) else f'{DataRequestProto.FromString(answer).header.status}'
        assert_tells_nothing(text)


@pytest.mark.parametrize('frame', [b'\x83\x80\x00\x00\x00\x00', b'\xff\xff\xff\xff'])
def test_what_is_no_frame_ends_the_socket(running, frame):
    port = port_of(running, 'ws')
    handshake = (
        b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
        b'Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n'
    )
    answer = raw(port, handshake + frame)
    assert answer.startswith(b'HTTP/1.1 101 ')


# -- pickles and bombs


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')


@pytest.mark.parametrize('wire', ['grpc', 'stream', 'ws', 'protobuf'])
def test_no_pickle_is_read(running, channel, tmp_path, wire):
    canary = tmp_path / 'pickled'
    message = DataRequestProto()
    message.header.exec_endpoint = '/echo'
    for data in (pickle.dumps(Canary(str(canary))), DocumentArray([Document(text='hi')]).to_bytes('pickle-array')):
        message.data.docs_bytes = data
        sent = message.SerializeToString()
        if wire == 'grpc':
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(UNARY)(sent, timeout=TIMEOUT)
            assert 'never read' in caught.value.details()
        elif wire == 'stream':
            (answer,) = channel.stream_stream(CALL)(iter([sent]), timeout=TIMEOUT)
            assert 'never read' in DataRequestProto.FromString(answer).header.status.description
        elif wire == 'ws':
            with connect_socket(running.urls['ws'], subprotocols=['bytes']) as connection:
                connection.send(sent)
                assert 'never read' in DataRequestProto.FromString(connection.recv(TIMEOUT)).header.status.description
        else:
            answer = post(running, sent, **{'Content-Type': 'application/x-protobuf'})
            assert answer.status_code >= 400
    assert not canary.exists()


@pytest.mark.parametrize('encoding', ['gzip', 'deflate', 'GZIP', 'br', 'zstd', 'gzip, gzip'])
def test_no_body_is_decompressed(running, encoding):
    body = b'{"data": [{"text": "%s"}]}' % (b' ' * 200_000_000)
    packed = zlib.compress(body, 1) if encoding == 'deflate' else gzip.compress(body, 1)
    before = memory(running)
    answer = post(running, packed, **{'Content-Encoding': encoding})
    assert answer.status_code in (400, 415)
    assert memory(running) - before < 50  # MB


@pytest.mark.parametrize('algorithm', [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize('method', [UNARY, CALL])
def test_no_message_of_grpc_is_decompressed(running, channel, algorithm, method):
    before = memory(running)
    call = channel.stream_stream(method)
    with pytest.raises(grpc.RpcError) as caught:
        list(call(iter([request(' ' * 200_000_000)]), compression=algorithm, timeout=TIMEOUT))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert memory(running) - before < 50  # MB


@pytest.fixture(scope='module')
def bomb():
    """A whole PNG of 50,000 x 50,000 pixels, black and white, in 1.4 MB: 7.5 GB as RGB."""
    side, packer = 50_000, zlib.compressobj(1)
    pixels = b''.join(packer.compress(bytes(1 + side // 8)) for _ in range(side)) + packer.flush()

    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', side, side, 1, 0, 0, 0, 0)
    png = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', pixels) + chunk(b'IEND', b'')
    assert len(png) < 2_000_000
    return png


def test_no_image_bomb_goes_off(running, channel, bomb):
    message = DataRequestProto()
    message.header.exec_endpoint = '/encode'
    message.data.docs.docs.add().blob = bomb
    sent, model, before = message.SerializeToString(), '/models/pictures', peak(running)
    answers = [channel.unary_unary(UNARY)(sent, timeout=TIMEOUT, metadata=(('model', 'pictures'),))]
    with connect_socket(running.urls['ws'] + model, subprotocols=['bytes']) as connection:
        connection.send(sent)
        answers.append(connection.recv(TIMEOUT))
    url = f'{running.urls["http"]}{model}/post'
    answers.append(
        requests.post(url, sent, headers={'Content-Type': 'application/x-protobuf'}, timeout=TIMEOUT).content
    )
    for answer in answers:
        status = DataRequestProto.FromString(answer).header.status
        assert (status.code, status.exception.name) == (1, 'InputError')
        assert '80,000,000' in status.description or '80000000' in status.description
    body = {'data': [{'blob': base64.b64encode(bomb).decode()}], 'exec_endpoint': '/encode'}
    assert (
        requests.post(url, json=body, timeout=TIMEOUT).json()['header']['status']['exception']['name'] == 'InputError'
    )
    assert peak(running) - before < 150  # MB of all processes, at any time


CROWD = 1_000_000
EMPTY = b'\x0a\x00' * CROWD  # documents in a list, entries in a struct, or arguments of an exception
CROWDS = {
    'documents': ((4, 1), b'{"data": [' + b'"",' * CROWD + b'""]}'),
    'no documents': ((4, 1), b'{"data": [{"matches": [' + b'7,' * CROWD + b'7]}]}'),
    'parameters': ((2,), b'{"data": ["a"], "parameters": {"a": [' + b'0,' * CROWD + b'0]}}'),
    'tags': ((4, 1, 1, 17), b'{"data": [{"tags": {"a": [' + b'0,' * CROWD + b'0]}}]}'),
    'arguments': ((1, 2, 3), b'{"data": ["a"], "parameters": [' + b'{},' * CROWD * 2 + b'0]}'),
}


@pytest.mark.parametrize(('fields', 'body'), CROWDS.values(), ids=CROWDS)
def test_no_crowd_is_made(running, channel, fields, body):
    """They are counted where two bytes are one, not where each is an object."""
    data = EMPTY if fields != (1, 2, 3) else b'\x12\x00' * CROWD
    for number in reversed(fields):
        data = field(number, data)
    sent = DataRequestProto(header={'request_id': 'an id', 'exec_endpoint': '/echo'}).SerializeToString() + data
    assert post(running, b'{"data": []}').status_code == 200
    before = peak(running)
    assert post(running, body).status_code == 413
    assert post(running, sent, **{'Content-Type': 'application/x-protobuf'}).status_code == 413
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(UNARY)(sent, timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for one in (sent, body.decode()):
        with connect_socket(running.urls['ws'], subprotocols=['bytes']) as connection:
            connection.send(one)
            answer = connection.recv(TIMEOUT)
        if one is sent:
            header = DataRequestProto.FromString(answer).header
            assert (header.request_id, header.status.exception.name) == ('an id', 'RequestTooLargeError')
        else:
            assert 'RequestTooLargeError' in answer
    assert peak(running) - before < 100  # MB


def field(number, data):
    """A field of bytes, with its number and their length in four bytes each."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value):
    """In four bytes."""
    return bytes([value & 127 | 128, value >> 7 & 127 | 128, value >> 14 & 127 | 128, value >> 21])


def peak(running):
    """MB that the service's processes had at most, each."""
    if not Path('/proc/self/status').exists():
        pytest.skip('needs /proc')
    found = [running.process.pid]
    for path in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(')')[2].split()[1]) == running.process.pid:
                found.append(int(path.parent.name))
    assert len(found) == 3
    sizes = [re.search(r'VmHWM:\s+(\d+)', Path(f'/proc/{one}/status').read_text())[1] for one in found]
    return sum(map(int, sizes)) / 1024


def memory(running):
    """MB of the service's main process."""
    status = Path(f'/proc/{running.process.pid}/status')
    if not status.exists():
        pytest.skip('needs /proc')
    return int(re.search(r'VmRSS:\s+(\d+)', status.read_text())[1]) / 1024


# -- slow ones


def test_requests_that_do_not_come_are_not_waited_for(running):
    """Nor do they keep others from being served meanwhile."""
    starts = [b'', b'GET / HT', b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n']
    with contextlib.ExitStack() as stack:
        slow = []
        for wire in ('http', 'ws'):
            for start in starts:
                slow.append(stack.enter_context(socket.create_connection((HOST, port_of(running, wire)), TIMEOUT)))
                slow[-1].sendall(start)
        assert post(running, b'{"data": [{"text": "hi"}], "exec_endpoint": "/echo"}').status_code == 200
        for connection in slow:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b''


@contextlib.asynccontextmanager
async def grpc_served():
    """Health of no models, over gRPC; gives the port."""
    pytest.importorskip('prometheus_client', reason='comes with the extra [server]')
    from inference_client.server.desk import Desk
    from inference_client.server.gate import Gate
    from inference_client.server.grpc_door import GrpcDoor
    from inference_client.server.hosted import Models
    from inference_client.server.settings import Limits

    door, port = GrpcDoor(Desk(Models([]), Gate(), Limits())), free_ports(1)[0]
    await door.open(f'{HOST}:{port}')
    try:
        yield port
    finally:
        await door.close(0)


@pytest.mark.parametrize('sent', [b'', b'PRI * HTTP/2.0\r\n', HELLO + SETTINGS])
def test_connections_of_grpc_that_do_nothing_are_closed(monkeypatch, sent):
    """Whether they are no HTTP/2 yet, or have no call."""
    from inference_client.server import strangers

    monkeypatch.setattr(strangers, 'FIRST', 1.0)
    monkeypatch.setattr(strangers, 'IDLE', 1.0)

    async def ask():
        async with grpc_served() as port:
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(sent)
            with contextlib.suppress(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 10)
            writer.close()

    asyncio.run(ask())


MAIN = """
import sys
from inference_client.__main__ import main
sys.argv[1:] = ['serve', 'echo', '--no-auth', '--grpc-port', '0', '--http-port', '0', '--ws-port', '0']
main()
"""


@pytest.fixture
def changed(server_python, tmp_path):
    """Starts a service, in a process that does something else before; gives the URLs, and the standard error."""
    with contextlib.ExitStack() as stack:

        def start(code):
            errors = tmp_path / 'stderr'
            process = stack.enter_context(
                subprocess.Popen(
                    [server_python, '-c', code + MAIN],
                    stdout=subprocess.PIPE,
                    stderr=stack.enter_context(errors.open('w')),
                    text=True,
                )
            )
            stack.callback(process.terminate)
            said = [process.stdout.readline().strip() for _ in range(4)]
            assert 'ready' in said[3], errors.read_text()
            return said[:3], errors

        yield start


def test_a_model_that_rested_longer_than_a_connection_is_ready(changed):
    urls, _ = changed('from inference_client.server import strangers; strangers.IDLE = 1.0')
    with Client() as client:
        models = [client.get_model(url) for url in urls]
        for _ in range(3):
            for model in models:
                assert model.is_ready()
            time.sleep(2.5)


def limited(changed, soft, hard):
    """The URL of HTTP and the standard error of a service with a soft and a hard limit of open files."""
    pytest.importorskip('resource')
    urls, errors = changed(f'import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))')
    return urls[1], errors


def crowd(stack, url, count):
    for _ in range(count):
        stack.enter_context(socket.create_connection((HOST, int(url.rpartition(':')[2])), TIMEOUT))


def test_as_many_files_are_open_as_may_be(changed):
    url, errors = limited(changed, 100, 1000)
    with contextlib.ExitStack() as stack:
        crowd(stack, url, 200)
        assert requests.get(f'{url}/', timeout=TIMEOUT).status_code == 200
        assert not errors.read_text()


def test_connections_that_cannot_be_taken_have_one_line(changed):
    url, errors = limited(changed, 100, 100)
    with contextlib.ExitStack() as stack:
        crowd(stack, url, 200)
        time.sleep(3)
    assert requests.get(f'{url}/', timeout=TIMEOUT).status_code == 200
    (line,) = errors.read_text().splitlines()
    assert 'a connection cannot be taken (Too many open files)' in line


def test_over_tls_too_the_first_request_has_only_so_long():
    """Whether the handshake does not come, or nothing after it."""
    from inference_client.server.strangers import FirstRequests

    authority = pytest.importorskip('trustme').CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert('localhost').configure_cert(server)
    authority.configure_trust(client)

    async def answer(request):
        return web.Response()

    async def ask():
        made = web.Server(answer)
        listening = await FirstRequests(made, 2.0).listen(HOST, 0, server)
        port = listening.sockets[0].getsockname()[1]
        try:
            for tls in ({}, {'ssl': client, 'server_hostname': 'localhost'}):
                reader, writer = await asyncio.open_connection(HOST, port, **tls)
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b''
                writer.close()
        finally:
            listening.close()
            await made.shutdown()

    asyncio.run(asyncio.wait_for(ask(), TIMEOUT))


@contextlib.asynccontextmanager
async def bodies_read(most):
    """What reads bodies, at an address in this process."""
    from inference_client.server import strangers

    bodies = strangers.Bodies(most)

    async def serve(request):
        try:
            return web.Response(body=await bodies.read(request))
        except strangers.Refusal as refusal:
            return web.Response(status=refusal.http, text=refusal.message)

    runner = web.ServerRunner(web.Server(serve, lingering_time=0.1))
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    try:
        yield site._server.sockets[0].getsockname()
    finally:
        await runner.cleanup()


async def send_body(address, head, body):
    """The reader of an answer, and what more of the body can be written to."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b'POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n' + head + b'\r\n\r\n' + body)
    return reader, writer


async def status_of(reader):
    return int((await asyncio.wait_for(reader.readline(), TIMEOUT)).split()[1])


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    from inference_client.server import strangers

    monkeypatch.setattr(strangers, 'BODY', 0.3)
    monkeypatch.setattr(strangers, 'CRAWL', 1e9)

    async def ask():
        async with bodies_read(5) as address:
            for body, expected in ((b'hello', 200), (b'hell', 408)):
                reader, writer = await send_body(address, b'Content-Length: 5', body)
                assert await status_of(reader) == expected
                writer.close()

    asyncio.run(ask())


def test_bodies_on_their_way_in_have_room_for_so_many_bytes(monkeypatch):
    """Those that come first are read, and the next one is when they are there; one alone may be larger."""
    from inference_client.server import strangers

    monkeypatch.setattr(strangers, 'MOST_COMING', 10)

    async def ask():
        async with bodies_read(100) as address:
            first, rest = await send_body(address, b'Content-Length: 9', b'12345678')
            while True:  # until the service has those
                reader, writer = await send_body(address, b'Content-Length: 3', b'123')
                status = await status_of(reader)
                writer.close()
                if status == 503:
                    break
            rest.write(b'9')
            assert await status_of(first) == 200
            rest.close()
            reader, writer = await send_body(address, b'Content-Length: 50', b'x' * 50)
            assert await status_of(reader) == 200
            writer.close()

    asyncio.run(asyncio.wait_for(ask(), TIMEOUT))


@pytest.mark.parametrize(
    ('head', 'body'), [(b'Content-Length: 6', b''), (b'Transfer-Encoding: chunked', b'3\r\nabc\r\n3\r\ndef\r\n')]
)
def test_a_body_that_is_too_large_is_not_waited_for(head, body):
    async def ask():
        async with bodies_read(5) as address:
            reader, writer = await send_body(address, head, body)
            assert await status_of(reader) == 413
            writer.close()

    asyncio.run(ask())


# -- what the description says


@pytest.mark.once(reason='it is the description that is tried')
def test_it_does_what_its_openapi_says(running):
    """schemathesis sends what the description allows and what it does not, and compares the answers with it."""
    schemathesis = pytest.importorskip('schemathesis')
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    description = schemathesis.openapi.from_dict(requests.get(f'{running.urls["http"]}/openapi.json').json())
    tried = set()
    for found in description.get_all_operations():
        operation = found.ok()
        tried.add(operation.path)

        # What schemathesis makes, it filters much of.
        @effort(max_examples=25, database=None, suppress_health_check=[HealthCheck.filter_too_much])
        @given(operation.as_strategy())
        def check(case):
            answer = case.call(base_url=running.urls['http'], timeout=TIMEOUT)
            assert answer.status_code < 500, answer.text
            assert_tells_nothing(answer.text)
            # No schema says all that a document must be, such as that its arrays are no ragged ones.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])

        check()
    assert '/post' in tried
