"""The WebSocket transport when a connection is slow, stuck, broken, or no longer wanted."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import hashlib
import inspect
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from docarray import Document, DocumentArray
from peers import HOST, embed, listener, wait_until, within, ws_peer
from websockets.asyncio.client import connect as websockets_connect

from inference_client import Client, ConnectionFailedError, InferenceError, ProtocolError, RequestTimeoutError
from inference_client._messages import Request
from inference_client.transports.base import TransportOptions
from inference_client.transports.websocket import WebSocketTransport

TOKEN = 'secret-token-1234'
THREAD = 'inference-client-websocket'


@pytest.fixture
def opened():
    """Transports by URL, closed at the end."""
    with contextlib.ExitStack() as stack:

        def transport(url, **options):
            made = WebSocketTransport(url, TransportOptions(**options))
            stack.callback(made.close)
            return made

        yield transport


def ask(transport, timeout=20.0, blob=None):
    """The answer to one request, or the error."""
    document = Document(text='hi') if blob is None else Document(blob=blob)
    try:
        return transport.send(Request('/encode', DocumentArray([document])), within(timeout))
    except InferenceError as error:
        return error


def timed(transport, timeout, blob=None):
    started = time.monotonic()
    return ask(transport, timeout, blob), time.monotonic() - started


@contextlib.contextmanager
def deaf():
    """Shakes hands with whoever comes, and reads no further. Gives the URL and the accepted connections."""
    accepted = []

    def shake(client):
        head = b''
        while b'\r\n\r\n' not in head:
            head += client.recv(4096)
        key = next(line[19:] for line in head.split(b'\r\n') if line.lower().startswith(b'sec-websocket-key: '))
        accept = base64.b64encode(hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
        client.sendall(
            b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            b'Sec-WebSocket-Accept: ' + accept + b'\r\n\r\n'
        )

    def serve():
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                accepted.append(client)
                shake(client)

    with socket.create_server((HOST, 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f'ws://{HOST}:{server.getsockname()[1]}', accepted
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for client in accepted:
                client.close()


def threads():
    return {thread for thread in threading.enumerate() if thread.name == THREAD}


def test_a_server_that_never_reads_holds_nobody_beyond_the_deadline(opened):
    before = threads()
    with deaf() as (url, accepted), ThreadPoolExecutor(2) as pool:
        transport = opened(url)
        large = pool.submit(timed, transport, 2, bytes(27_000_000))
        wait_until(lambda: accepted)
        small = pool.submit(timed, transport, 1)
        for result in (large, small):
            error, took = result.result(20)
            assert isinstance(error, RequestTimeoutError)
            assert took < 6
        assert isinstance(ask(transport, 0.5), RequestTimeoutError)
        assert len(accepted) == 2  # what could not be sent in time is not trusted with more
        started = time.monotonic()
        transport.close()
        assert time.monotonic() - started < 6
    wait_until(lambda: threads() <= before)


def test_close_while_sending(opened):
    with deaf() as (url, accepted), ThreadPoolExecutor(1) as pool:
        transport = opened(url)
        large = pool.submit(ask, transport, 30, bytes(27_000_000))
        wait_until(lambda: accepted)
        transport.close()
        assert isinstance(large.result(10), ConnectionFailedError)


def test_a_server_may_answer_while_we_still_send():
    arrays = [np.full((500, 500, 3), number, np.uint8) for number in range(64)]
    with ws_peer() as (url, _), Client() as client:
        response = client.get_model(url).encode(image=arrays, batch_size=1, prefetch=64, timeout=60)
    assert len(response) == 64


def test_each_caller_of_a_silent_server_has_its_own_deadline(opened):
    before = threads()
    with listener() as port, ThreadPoolExecutor(5) as pool:
        transport = opened(f'ws://{HOST}:{port}')
        patient = [pool.submit(timed, transport, 2) for _ in range(4)]
        error, took = pool.submit(timed, transport, 0.3).result(20)
        assert isinstance(error, RequestTimeoutError)
        assert took < 1.8
        results = [one.result(20) for one in patient]
        assert all(isinstance(error, RequestTimeoutError) and 1.9 < took < 6 for error, took in results)
        assert len({id(error) for error, _ in results}) == 4
    wait_until(lambda: threads() <= before)


@pytest.mark.parametrize('scheme', ['ws', 'wss'])
def test_close_while_connecting(opened, scheme):
    with listener() as port, ThreadPoolExecutor(1) as pool:
        transport = opened(f'{scheme}://{HOST}:{port}')
        waiting = pool.submit(ask, transport, 30)
        wait_until(lambda: transport._links and transport._links[-1].pending)
        started = time.monotonic()
        transport.close()
        assert time.monotonic() - started < 6
        error = waiting.result(10)
    assert isinstance(error, ConnectionFailedError)
    assert 'this client closed' in str(error)


def test_callers_share_one_attempt_and_its_failure(opened):
    gate, seen = threading.Event(), []

    def refuse(connection, request):
        seen.append(request)
        gate.wait(10)
        return connection.respond(503, 'no')

    with ws_peer(process_request=refuse) as (url, _), ThreadPoolExecutor(4) as pool:
        transport = opened(url)
        asked = [pool.submit(ask, transport) for _ in range(4)]
        wait_until(lambda: transport._links and len(transport._links[-1].pending) == 4)
        gate.set()
        errors = [one.result(20) for one in asked]
    assert len(seen) == 1
    assert all('not up' in str(error) for error in errors)
    assert len({id(error) for error in errors}) == 4


def test_callers_share_one_connection(opened):
    with ws_peer() as (url, seen), ThreadPoolExecutor(8) as pool:
        transport = opened(url)
        answers = list(pool.map(lambda _: ask(transport), range(40)))
    assert all(answer.documents[0].embedding.tolist() == [1, 1] for answer in answers)
    assert len(seen) == 1


def test_a_dropped_model_leaves_nothing_behind():
    before = threads()
    with ws_peer() as (url, _):
        client = Client()
        model = client.get_model(url)
        model.encode(text='hi')
        (thread,) = threads() - before
        del client, model
        gc.collect()
        thread.join(10)
        assert not thread.is_alive()


def test_the_token_is_in_no_record(opened, caplog):
    caplog.set_level(logging.DEBUG)
    with ws_peer() as (url, seen):
        assert ask(opened(url, token=TOKEN)).documents
    assert seen == [TOKEN]
    ours = [record for record in caplog.records if not record.name.startswith('websockets.server')]
    assert any('(hidden)' in record.getMessage() for record in ours)
    assert not any(TOKEN in record.getMessage() for record in ours)


def test_the_token_does_not_follow_a_redirect(opened):
    with ws_peer() as (target, seen):

        def redirect(connection, request):
            response = connection.respond(302, 'there')
            response.headers['Location'] = target
            return response

        with ws_peer(process_request=redirect) as (url, _):
            error = ask(opened(url, token=TOKEN))
    assert isinstance(error, ProtocolError)
    assert seen == []


def test_close_during_a_request_says_who_closed(opened):
    arrived, gate = threading.Event(), threading.Event()

    def slow(data):
        arrived.set()
        gate.wait(10)
        return embed(data)

    with ws_peer(slow) as (url, _), ThreadPoolExecutor(1) as pool:
        transport = opened(url)
        asked = pool.submit(ask, transport)
        assert arrived.wait(10)
        transport.close()
        error = asked.result(10)
        gate.set()
    assert isinstance(error, ConnectionFailedError)
    assert 'this client closed' in str(error)
    assert 'server' not in str(error)


@pytest.mark.parametrize('host', ['a..b', 'a' * 70 + '.test'])
def test_hosts_that_no_resolver_takes(opened, host):
    error = ask(opened(f'ws://{host}:1'))
    assert type(error) is ConnectionFailedError
    assert 'check the address' in str(error)


def test_proxies_of_the_environment(opened, monkeypatch):
    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as nobody, ws_peer() as (url, _):
        nobody.bind((HOST, 0))  # bound, but it does not listen
        for name in ('http_proxy', 'https_proxy', 'ws_proxy', 'wss_proxy', 'socks_proxy', 'all_proxy'):
            monkeypatch.setenv(name, f'http://{HOST}:{nobody.getsockname()[1]}')
        assert ask(opened(url, trust_env=False)).documents
        if 'proxy' in inspect.signature(websockets_connect).parameters:
            assert isinstance(ask(opened(url)), ConnectionFailedError)


def test_garbage_is_an_error_of_its_own_for_each_who_waits(opened):
    arrived, gate = [], threading.Event()

    def garbage(data):
        arrived.append(data)
        gate.wait(10)
        return b'\xff\xff\xffgarbage'

    with ws_peer(garbage) as (url, _), ThreadPoolExecutor(3) as pool:
        transport = opened(url)
        asked = [pool.submit(ask, transport) for _ in range(3)]
        wait_until(lambda: arrived and len(transport._links[-1].pending) == 3)
        gate.set()
        errors = [one.result(10) for one in asked]
    assert [type(error) for error in errors] == [ProtocolError] * 3
    assert len({id(error) for error in errors}) == 3


def test_from_a_thread_with_a_running_event_loop(opened):
    async def main():
        return ask(transport)

    with ws_peer() as (url, _):
        transport = opened(url)
        assert asyncio.run(main()).documents


def test_a_request_that_was_given_up_does_not_harm_the_next(opened):
    first = []

    def slow_once(data):
        if not first:
            first.append(data)
            time.sleep(0.5)
        return embed(data)

    with ws_peer(slow_once) as (url, seen):
        transport = opened(url)
        transport.send(Request('/encode', DocumentArray([Document(text='a')])), within(5))
        first.clear()
        assert isinstance(ask(transport, 0.2), RequestTimeoutError)
        assert ask(transport).documents
    assert len(seen) == 2  # it cannot be told that the first connection still works
