"""HTTP alone: its deadline, its sessions, and how it finds out what a server offers."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pytest
from docarray import Document, DocumentArray
from hypothesis import given
from hypothesis import strategies as st
from peers import HOST, embed_json, http_peer, listener, within

from inference_client import (
    Client,
    ConnectionFailedError,
    InferenceError,
    ProtocolError,
    RequestTimeoutError,
    ServerError,
    UnsupportedTaskError,
)
from inference_client._messages import Request
from inference_client.transports.base import TransportOptions
from inference_client.transports.http import HttpTransport

GENEROUS = 10  # seconds; these servers would go on for far longer


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv('NO_PROXY', HOST)


@contextlib.contextmanager
def transport(url, **options):
    made = HttpTransport(url, TransportOptions(**options))
    try:
        yield made
    finally:
        made.close()


def request(text='hi', endpoint='/encode'):
    return Request(endpoint, DocumentArray([Document(text=text)]))


@contextlib.contextmanager
def raw_server(speak):
    """Gives each connection to `speak(connection, over)` in a thread of its own."""
    over, threads = threading.Event(), []

    def one(connection):
        with connection, contextlib.suppress(OSError):
            speak(connection, over)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                threads.append(threading.Thread(target=one, args=(connection,)))
                threads[-1].start()

    with socket.create_server((HOST, 0)) as server:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f'http://{HOST}:{server.getsockname()[1]}'
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)
            for thread in (accepting, *threads):
                thread.join()


def drip(start, piece):
    """Sends a start, then a piece every 0.1 s, as long as anyone listens."""

    def speak(connection, over):
        connection.recv(1 << 16)
        connection.sendall(start)
        while not over.wait(0.1):
            connection.sendall(piece)

    return speak


def stall(start):
    def speak(connection, over):
        connection.recv(1 << 16)
        connection.sendall(start)
        over.wait(60)

    return speak


def no_post_then_drip(connection, over):
    time.sleep(0.3)
    connection.recv(1 << 16)
    connection.sendall(b'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n')
    drip(OK, b' ')(connection, over)


OK = b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n'
SLOW = {
    'body drips': drip(OK, b' '),
    'body without a length drips': drip(b'HTTP/1.1 200 OK\r\n\r\n', b' '),
    'chunks drip': drip(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', b'1\r\n \r\n'),
    'headers drip': drip(b'HTTP/1.1 200 OK\r\nX: ', b'x'),
    'status drips': drip(b'HTTP/1.1 404 Not Found\r\nContent-Length: 100000\r\n\r\n', b' '),
    'body stalls': stall(OK),
    'headers stall': stall(b'HTTP/1.1 200 OK\r\n'),
    'nothing comes': stall(b''),
    'probe, then drip': no_post_then_drip,
}


@pytest.mark.parametrize('name', SLOW)
def test_the_deadline_is_for_the_whole_request(name):
    with raw_server(SLOW[name]) as url, transport(url) as http:
        started = time.monotonic()
        with pytest.raises(RequestTimeoutError, match=r'no answer within 0\.5 s'):
            http.send(request(), within(0.5))
        assert time.monotonic() - started < GENEROUS
        assert http._free == []


def test_an_upload_that_nobody_reads_times_out():
    with listener() as port, transport(f'http://{HOST}:{port}') as http:
        started = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            http.send(request('x' * 30_000_000), within(0.5))
        assert time.monotonic() - started < GENEROUS


def test_an_upload_that_is_read_by_drops_times_out():
    def speak(connection, over):
        while not over.wait(0.05):
            connection.recv(1000)

    with raw_server(speak) as url, transport(url) as http:
        started = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            http.send(request('x' * 30_000_000), within(0.5))
        assert time.monotonic() - started < GENEROUS


def test_a_connection_is_of_use_after_the_deadline_of_an_earlier_request():
    with http_peer() as (url, seen), transport(url) as http:
        http.send(request(), within(0.3))
        time.sleep(0.5)
        assert len(http.send(request(), within(10)).documents) == 1
    assert len(seen) == 2


@pytest.mark.parametrize('timeout', [200, 1e6])
def test_a_deadline_may_be_far_away(timeout):
    with http_peer() as (url, _), transport(url) as http:
        assert len(http.send(request(), within(timeout)).documents) == 1


@pytest.mark.parametrize('host', ['a..b', f'{"a" * 70}.invalid', '.', 'a_b..c'])
def test_a_host_that_cannot_be_one_is_unreachable(host):
    with Client(trust_env=False) as client, pytest.raises(ConnectionFailedError, match='cannot be reached'):
        client.get_model(f'http://{host}:1').encode(text='hi', timeout=5)


def test_a_session_in_use_while_the_transport_closes_is_closed_after():
    under_way, go_on = threading.Event(), threading.Event()

    def answer(data):
        under_way.set()
        assert go_on.wait(30)
        return embed_json(data)

    answers = []
    with http_peer(answer) as (url, _), transport(url) as http:
        thread = threading.Thread(target=lambda: answers.append(http.send(request(), within(30))))
        thread.start()
        assert under_way.wait(30)
        http.close()
        go_on.set()
        thread.join()
        assert http._free == []
        assert len(answers[0].documents) == 1
        http.send(request(), within(30))
        assert len(http._free) == 1  # open again


@pytest.fixture
def netrc(tmp_path, monkeypatch):
    (tmp_path / 'netrc').write_text(f'machine {HOST} login me password other\n')
    monkeypatch.setenv('NETRC', str(tmp_path / 'netrc'))


@pytest.mark.parametrize('token', [None, 'a-token'])
@pytest.mark.parametrize('trust_env', [True, False])
def test_a_password_in_netrc_is_never_sent(netrc, token, trust_env):
    with http_peer() as (url, seen), transport(url, token=token, trust_env=trust_env) as http:
        http.send(request(), within(10))
    assert seen == [token]


def test_a_proxy_of_the_environment_is_used_if_that_is_trusted(monkeypatch):
    monkeypatch.delenv('NO_PROXY')
    monkeypatch.delenv('no_proxy', raising=False)
    with http_peer() as (proxy, proxied), http_peer() as (url, seen):
        monkeypatch.setenv('HTTP_PROXY', proxy)
        monkeypatch.setenv('http_proxy', proxy)
        with transport(url, trust_env=False) as http:
            http.send(request(), within(10))
        assert (len(proxied), len(seen)) == (0, 1)
        with transport(url, trust_env=True) as http:
            http.send(request(), within(10))
        assert (len(proxied), len(seen)) == (1, 1)


def test_the_deadline_holds_behind_a_proxy(monkeypatch):
    monkeypatch.delenv('NO_PROXY')
    monkeypatch.delenv('no_proxy', raising=False)
    with raw_server(drip(OK, b' ')) as proxy, transport(f'http://{HOST}:1') as http:
        monkeypatch.setenv('http_proxy', proxy)
        with pytest.raises(RequestTimeoutError):
            http.send(request(), within(0.5))


@contextlib.contextmanager
def deployment(delay=0.3):
    """A server without `/post`; gives its URL and the paths that it was asked for."""
    paths = []

    def speak(connection, over):
        file = connection.makefile('rb')
        while not over.is_set():
            path = file.readline().split()[1].decode()
            headers = dict(line.lower().split(b': ') for line in iter(file.readline, b'\r\n'))
            data = file.read(int(headers[b'content-length']))
            paths.append(path)
            over.wait(delay)
            status, body = embed_json(data) if path == '/encode' else (404, b'')
            connection.sendall(b'HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s' % (status, len(body), body))

    def until_hung_up(connection, over):
        with contextlib.suppress(IndexError):  # there is no further request
            speak(connection, over)

    with raw_server(until_hung_up) as url:
        yield url, paths


def test_the_first_requests_find_out_what_the_server_is():
    with deployment() as (url, paths), transport(url) as http:
        with ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(lambda _: http.send(request(), within(30)), range(5)))
        assert [len(answer.documents) for answer in answers] == [1] * 5
        assert paths.count('/encode') == 5
        paths.clear()
        http.send(request(), within(30))
        assert paths == ['/encode']


def test_a_first_request_without_an_answer_keeps_no_other_from_theirs():
    seen, over = threading.Event(), threading.Event()

    def answer(data):
        if not seen.is_set():
            seen.set()
            over.wait(30)
        return embed_json(data)

    with http_peer(answer) as (url, _), transport(url) as http, ThreadPoolExecutor(1) as pool:
        first = pool.submit(http.send, request(), within(30))
        assert seen.wait(10)
        assert len(http.send(request(), within(5)).documents) == 1
        assert not first.done()
        over.set()
        assert len(first.result(20).documents) == 1


def test_after_a_first_request_that_failed_the_next_one_finds_out():
    statuses = itertools.chain([503], itertools.repeat(200))

    def answer(data):
        status = next(statuses)
        return embed_json(data) if status == 200 else (status, b'')

    with http_peer(answer) as (url, _), transport(url) as http:
        with pytest.raises(ServerError, match='not up'):
            http.send(request(), within(10))
        assert http._site.path is None
        http.send(request(), within(10))
        assert http._site.path == '/post'


def test_an_endpoint_that_a_deployment_lacks_is_unsupported():
    with deployment(0) as (url, _), transport(url) as http, pytest.raises(UnsupportedTaskError):
        http.send(request(endpoint='/caption'), within(10))


@pytest.mark.parametrize('rename', [False, True])
def test_pixels_come_back_as_the_caller_gave_them(rename):
    def answer(data):
        status, body = embed_json(data)
        answered = orjson.loads(body)
        for number, document in enumerate(answered['data']):
            document['id'] = f'n{number}' if rename else document['id']
        return status, orjson.dumps(answered)

    images = [np.full((3, 4, 3), value, np.uint8) for value in (1, 2)]
    sent = [Document(id='twin' if not rename else str(i), tensor=image) for i, image in enumerate(images)]
    with http_peer(answer) as (url, _), Client(trust_env=False) as client:
        response = client.get_model(url).encode(docs=sent)
    for document, image in zip(response, images):
        assert np.array_equal(document.tensor, image)
        assert not document.blob


@given(body=st.binary(max_size=30) | st.just(b'{"data": [{"tags": [1]}]}'), status=st.integers(200, 599))
def test_whatever_comes_is_an_error_of_ours(hostile, body, status):
    hostile.answer = (204 if status == 304 else status, b'' if status in (204, 304) else body)
    with pytest.raises(InferenceError) as caught:
        hostile.transport.send(request(), within(10))
    assert status != 200 or isinstance(caught.value, ProtocolError)


@pytest.fixture(scope='module')
def hostile():
    class Hostile:
        answer = (200, b'')

    with http_peer(lambda data: Hostile.answer) as (url, _), transport(url) as http:
        peer = Hostile
        peer.transport = http
        yield peer
