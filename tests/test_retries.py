"""What is sent again, how often, and what is said of it: on every transport, with servers that refuse."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from email.utils import formatdate
from http import HTTPStatus

import grpc
import pytest
from flows import Server, jina_server
from hypothesis import given
from hypothesis import strategies as st
from peers import HOST, embed, embed_json, grpc_peer, http_peer, listener, serving_websockets, wait_until, ws_peer
from ports import free_ports
from proxy import Proxy

from inference_client import (
    AsyncClient,
    AuthenticationError,
    Client,
    ConfigurationError,
    ConnectionFailedError,
    InferenceError,
    InputError,
    RequestTimeoutError,
    RequestTooLargeError,
    RetryPolicy,
    ServerError,
    Timeouts,
    UnsupportedTaskError,
)
from inference_client._policies import LONGEST, Backoff

WIRES = ['grpc', 'http', 'ws']
KINDS = ['blocking', 'async']
TOKEN = 'secret-token-1234'
FAST = RetryPolicy(initial=0.01, maximum=0.02)


def encode(kind, url, token=None, client=None, **arguments):
    """The answers, or the error."""

    async def asynchronous():
        async with AsyncClient(token, **(client or {})) as made:
            return await (await made.get_model(url)).encode(**arguments)

    try:
        if kind == 'async':
            return asyncio.run(asynchronous())
        with Client(token, **(client or {})) as made:
            return made.get_model(url).encode(**arguments)
    except InferenceError as error:
        return error


def scripted(*statuses):
    """Answers with these HTTP statuses and `Retry-After`s, then well. Gives the function and the headers to send."""
    left, headers = list(statuses), []

    def answer(data):
        status, retry_after = left.pop(0) if left else (200, None)
        headers[:] = [('Retry-After', retry_after)] if retry_after else []
        return embed_json(data) if status == 200 else (status, b'not now')

    return answer, headers


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('status', [408, 425, 429, 500, 502, 503, 504])
def test_statuses_that_may_pass_are_sent_again(kind, status):
    answer, headers = scripted((status, None), (status, None))
    with http_peer(answer, headers) as (url, seen):
        assert len(encode(kind, url, text=['a', 'b'], retry=FAST)) == 2
    assert len(seen) == 3


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('attempts', [1, 4])
def test_a_status_that_never_passes_costs_so_many_requests_and_no_more(kind, attempts):
    with http_peer(lambda data: (500, b'no')) as (url, seen):
        error = encode(kind, url, text='a', retry=RetryPolicy(attempts=attempts, initial=0))
    assert isinstance(error, ServerError)
    assert len(seen) == len(error.attempts) == attempts
    assert (f'(after {attempts} attempts)' in str(error)) == (attempts > 1)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('status', [400, 401, 403, 404, 405, 413, 422])
def test_statuses_that_will_not_pass_are_sent_once(kind, status):
    with http_peer(lambda data: (status, b'no')) as (url, seen):
        error = encode(kind, url, text='a', retry=FAST)
    assert isinstance(error, (ServerError, UnsupportedTaskError, AuthenticationError))
    assert len(seen) == (2 if status in (404, 405) else 1)  # a Flow's path, and a Deployment's
    assert len(error.attempts) == 1


@pytest.mark.parametrize(('kind', 'form'), [('blocking', 'seconds'), ('async', 'seconds'), ('async', 'date')])
def test_retry_after_is_obeyed(kind, form):
    wait = '1' if form == 'seconds' else formatdate(time.time() + 2.5, usegmt=True)  # a date has no fractions
    answer, headers = scripted((429, wait))
    with http_peer(answer, headers) as (url, seen):
        started = time.monotonic()
        assert len(encode(kind, url, text='a', retry=FAST)) == 1
    assert 0.9 < time.monotonic() - started < 8
    assert len(seen) == 2


@pytest.mark.parametrize('kind', KINDS)
def test_who_comes_too_early_waits_as_often_as_it_takes(kind):
    answer, headers = scripted(*[(429, '1')] * 3)
    with http_peer(answer, headers) as (url, seen):
        assert len(encode(kind, url, text='a', retry=RetryPolicy(attempts=2))) == 1
    assert len(seen) == 4


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('wait', ['3600', 'in an hour', 'Wed, 01 Jan 2200 00:00:00 -0000'])
def test_a_retry_after_beyond_the_deadline_is_given_up_at_once(kind, wait):
    answer, headers = scripted((503, formatdate(time.time() + 3600) if wait == 'in an hour' else wait))
    with http_peer(answer, headers) as (url, seen):
        error = encode(kind, url, text='a', timeout=30)
    assert isinstance(error, ServerError)
    assert error.retry_after > 30
    assert len(seen) == 1


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('headers', [{'Retry-After': '0.4'}, {'Retry-After': '100', 'Retry-After-Ms': '400'}], ids=str)
def test_parts_of_a_second_are_read(kind, headers):
    left = [429]
    sent = []

    def answer(data):
        sent[:] = headers.items() if left else []
        return (left.pop(), b'not now') if left else embed_json(data)

    with http_peer(answer, sent) as (url, seen):
        started = time.monotonic()
        assert len(encode(kind, url, text='a', retry=FAST)) == 1
    assert 0.4 <= time.monotonic() - started < 20
    assert len(seen) == 2


@pytest.mark.parametrize('wait', ['soon', '-1', '', '١٢', 'Wed, 99 Jan 2200', '1e3'])
def test_a_retry_after_that_says_nothing_is_left_aside(wait):
    answer, headers = scripted((503, wait.encode().decode('latin-1')))
    with http_peer(answer, headers) as (url, seen):
        assert len(encode('blocking', url, text='a', retry=FAST)) == 1
    assert len(seen) == 2


@pytest.mark.parametrize('kind', KINDS)
def test_a_storm_of_503_costs_no_answer(kind):
    calls = iter(range(1000))

    def stormy(data):
        return (503, b'storm') if next(calls) % 2 else embed_json(data)

    with http_peer(stormy) as (url, _):
        retry = RetryPolicy(attempts=30, initial=0.001, maximum=0.002)
        answered = encode(kind, url, text=[str(i) for i in range(60)], batch_size=2, prefetch=8, retry=retry)
    assert [document.text for document in answered] == [str(i) for i in range(60)]


STATUSES = {
    grpc.StatusCode.UNAVAILABLE: (ConnectionFailedError, 3),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (ServerError, 3),
    grpc.StatusCode.DEADLINE_EXCEEDED: (RequestTimeoutError, 3),
    grpc.StatusCode.INTERNAL: (ServerError, 1),
    grpc.StatusCode.INVALID_ARGUMENT: (ServerError, 1),
    grpc.StatusCode.UNAUTHENTICATED: (AuthenticationError, 1),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('status', STATUSES, ids=lambda status: status.name)
def test_grpc_statuses_that_may_pass_are_sent_again(kind, status):
    expected, attempts = STATUSES[status]
    with grpc_peer(refuse=status) as (url, seen):
        error = encode(kind, url, text='a', retry=FAST)
    assert isinstance(error, expected)
    assert len(seen) == len(error.attempts) == attempts


@pytest.mark.parametrize('kind', KINDS)
def test_a_grpc_status_that_passes(kind):
    left = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
    with grpc_peer(refuse=lambda: left.pop() if left else None) as (url, seen):
        assert len(encode(kind, url, text='a', retry=FAST)) == 1
    assert len(seen) == 3


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('wire', WIRES)
def test_an_error_of_the_model_is_sent_once(plain_flow, caplog, wire, kind):
    error = encode(kind, plain_flow[wire], text='raise', retry=RetryPolicy(attempts=5, initial=0))
    assert isinstance(error, ServerError)
    assert len(error.attempts) == 1
    assert not caplog.records


@pytest.mark.parametrize('kind', KINDS)
def test_each_retry_is_one_warning_without_the_token(caplog, kind):
    caplog.set_level(logging.INFO)
    with http_peer(lambda data: (500, f'you sent {TOKEN}'.encode())) as (url, _):
        error = encode(kind, url, TOKEN, text='a', retry=FAST)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warnings] == ['inference_client.retry'] * 2
    numbers = [record.getMessage().partition(' at ')[0] for record in warnings]
    assert numbers == ['attempt 1 of 3', 'attempt 2 of 3']
    assert all('you sent ***' in record.getMessage() for record in warnings)
    assert TOKEN not in caplog.text + repr(error.attempts) + str(error)


@pytest.mark.parametrize('kind', KINDS)
def test_the_policy_of_a_call_goes_before_the_clients(kind):
    client = {'retry': RetryPolicy(attempts=2, initial=0), 'timeouts': Timeouts(read=0.3, total=20)}
    with http_peer(lambda data: (500, b'no')) as (url, _):
        assert len(encode(kind, url, client=client, text='a').attempts) == 2
        assert len(encode(kind, url, client=client, text='a', retry=RetryPolicy(1)).attempts) == 1
    with listener() as port:
        error = encode(kind, f'http://{HOST}:{port}', client=client, text='a')
        assert isinstance(error, RequestTimeoutError)
        assert len(error.attempts) == 2
        error = encode(kind, f'http://{HOST}:{port}', client=client, text='a', timeout=0.2)
        assert '0.2 s' in str(error)


# -- connections that cannot be made


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('wire', WIRES)
def test_a_name_that_does_not_resolve(wire, kind):
    started = time.monotonic()
    error = encode(kind, f'{wire}://no-such-host.invalid:1', text='a', retry=FAST)
    assert isinstance(error, ConnectionFailedError)
    assert 'check the address' in str(error)
    assert time.monotonic() - started < 15


@pytest.fixture
def blackhole():
    """A port that connections are never made to: its backlog is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind((HOST, 0))
        server.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_the_time_to_connect_is_limited_of_its_own(blackhole):
    """On every transport at once."""
    timeouts = Timeouts(connect=0.4, read=60, total=60)
    options = {'batch_size': 1, 'timeout': timeouts, 'retry': RetryPolicy(2)}

    def run(one):
        started = time.monotonic()
        error = encode(one[1], f'{one[0]}://{HOST}:{blackhole}', text=[str(number) for number in range(8)], **options)
        return one, error, time.monotonic() - started

    with ThreadPoolExecutor(6) as pool:
        for one, error, took in pool.map(run, [(wire, kind) for wire in WIRES for kind in KINDS]):
            assert isinstance(error, ConnectionFailedError), one
            assert len(error.attempts) == 2
            assert 0.7 < took < 6  # seconds; not one after the other


@pytest.mark.parametrize('kind', KINDS)
def test_a_connection_that_was_idle_may_be_closed_by_the_server(kind):
    """At rest, and in the very moment in which the next request goes out."""
    pauses = (0, 0.1, 0, 0.05, 0)
    with http_peer() as (url, _), Proxy(int(url.rpartition(':')[2])) as proxy:

        async def asynchronous():
            async with AsyncClient() as client:
                model = await client.get_model(proxy.url('http'))
                for pause in pauses:
                    assert len(await model.encode(text='a', retry=FAST)) == 1
                    await asyncio.get_running_loop().run_in_executor(None, proxy.cut)
                    await asyncio.sleep(pause)

        def blocking():
            with Client() as client:
                model = client.get_model(proxy.url('http'))
                for pause in pauses:
                    assert len(model.encode(text='a', retry=FAST)) == 1
                    proxy.cut()
                    time.sleep(pause)

        asyncio.run(asynchronous()) if kind == 'async' else blocking()


def refusing(status, times):
    """What refuses so many handshakes of WebSockets; gives also the list of those that it saw."""
    seen = []

    def refuse(connection, request):
        seen.append(request)
        return connection.respond(HTTPStatus(status), 'no') if len(seen) <= times else None

    return refuse, seen


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('status', [408, 425, 429, 500, 502, 503, 504])
def test_a_handshake_that_may_pass_is_tried_again(kind, status):
    refuse, seen = refusing(status, 2)
    with ws_peer(process_request=refuse) as (url, _):
        assert len(encode(kind, url, text=['a', 'b'], retry=FAST)) == 2
    assert len(seen) == 3


@pytest.mark.parametrize('kind', KINDS)
def test_a_handshake_that_never_passes_is_no_items_fault(kind):
    refuse, seen = refusing(500, 99)
    with ws_peer(process_request=refuse) as (url, _):
        error = encode(kind, url, text=['a', 'b'], retry=RetryPolicy(attempts=1), on_item_error='return')
    assert isinstance(error, ServerError)
    assert 'status 500' in str(error)
    assert len(seen) == 1


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('code', [1000, 1001, 1011, 1012])
def test_a_websocket_that_is_closed_is_opened_anew(kind, code):
    closed = []

    def handle(connection):
        for number, data in enumerate(connection):
            if number == 2 and len(closed) < 2:
                closed.append(code)
                connection.close(code, 'so long')
                return
            connection.send(embed(data))

    with serving_websockets(handle) as url:
        texts = [str(number) for number in range(20)]
        answered = encode(kind, url, text=texts, batch_size=1, retry=RetryPolicy(attempts=8, initial=0.01))
    assert [document.text for document in answered] == texts
    assert len(closed) == 2


# -- too large


def grpc_limited():
    return grpc_peer(max_size=20_000)


def http_limited():
    return http_peer(lambda data: (413, b'too large') if len(data) > 20_000 else embed_json(data))


def ws_limited():
    return ws_peer(max_size=20_000)


def gateway_limited():
    return grpc_peer(max_size=20_000, gateway=True)


LIMITED = {'grpc': grpc_limited, 'gateway': gateway_limited, 'http': http_limited, 'ws': ws_limited}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('wire', LIMITED)
def test_what_is_too_large_for_a_server_is_split(wire, kind):
    """Whoever shares a connection with it is sent again, without that being an attempt."""
    once = {'retry': RetryPolicy(attempts=1)}
    texts = [str(number) * 2000 for number in range(10)] + ['small'] * 40
    with LIMITED[wire]() as (url, _):
        answered = encode(kind, url, text=texts, batch_size=10, prefetch=5, **once)
        assert [document.text for document in answered] == texts
        error = encode(kind, url, text=['a', 'b' * 30_000, 'c'], batch_size=3, **once)
        assert isinstance(error, RequestTooLargeError)
        assert 'send smaller documents' in str(error)
        assert error.span == (1, 2)
        texts = ['a', 'b' * 30_000, 'c'] * 4
        answered = encode(kind, url, text=texts, batch_size=1, on_item_error='return', **once)
        assert ['error' in document.tags for document in answered] == [False, True, False] * 4


@pytest.mark.parametrize('kind', KINDS)
def test_the_small_limit_of_a_deployment_is_met_by_splitting(deployments, kind):
    answered = encode(kind, deployments['http'], text=['x' * 150_000] * 12)
    assert [document.embedding[0] for document in answered] == [150_000] * 12
    error = encode(kind, deployments['http'], text='x' * 2_000_000)
    assert isinstance(error, RequestTooLargeError)


def test_a_message_of_megabytes_that_a_websocket_does_not_take():
    with ws_peer(max_size=1_000_000) as (url, _):
        error = encode('blocking', url, text='x' * 27_000_000, timeout=20)
    assert isinstance(error, RequestTooLargeError)


# -- ready or not


def test_waiting_for_a_server_that_is_not_up_yet(plain_flow):
    """On every transport at once."""
    with ExitStack() as stack:
        proxies = {wire: stack.enter_context(Proxy(int(plain_flow[wire].rpartition(':')[2]))) for wire in WIRES}
        for proxy in proxies.values():
            proxy.refuse()
        pool = stack.enter_context(ThreadPoolExecutor(6))
        started = time.monotonic()
        waiting = [pool.submit(wait, kind, proxies[wire].url(wire), 10) for wire in WIRES for kind in KINDS]
        time.sleep(0.8)
        assert not any(one.done() for one in waiting)
        for proxy in proxies.values():
            proxy.listen()
        assert [one.result(20) for one in waiting] == [None] * 6
        assert time.monotonic() - started < 8


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('wire', WIRES)
def test_waiting_for_a_server_that_never_comes(wire, kind):
    (port,) = free_ports(1)
    started = time.monotonic()
    error = wait(kind, f'{wire}://{HOST}:{port}', 0.5)
    assert isinstance(error, RequestTimeoutError)
    reason = str(error).partition('not ready within 0.5 s: ')[2]
    assert reason.startswith(('the server cannot be reached', 'no answer within 0.'))  # in what is left of the time
    assert 0.3 < time.monotonic() - started < 3


REFUSING = {
    'grpc': lambda: grpc_peer(refuse=grpc.StatusCode.UNAUTHENTICATED),
    'http': lambda: http_peer(lambda data: (401, b'no')),
    'ws': lambda: ws_peer(process_request=lambda connection, request: connection.respond(401, 'no')),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('wire', WIRES)
def test_a_refused_token_is_not_waited_for(wire, kind):
    with REFUSING[wire]() as (url, _):
        started = time.monotonic()
        assert isinstance(wait(kind, url, 20), AuthenticationError)
        assert time.monotonic() - started < 5


@pytest.fixture
def loading_flow(jina_python, tmp_path):
    """URLs of a Flow whose gateway is up while its Executor is loading, and the file which ends that."""
    gate, ports = tmp_path / 'gate', free_ports(3)
    server = Server(jina_python, 'flow', *ports, GATE=str(gate))
    server.begin()
    try:
        wait_until(lambda: all(map(listens, ports)), 60)
        yield {wire: f'{wire}://{HOST}:{port}' for wire, port in zip(WIRES, ports)}, gate
    finally:
        server.kill()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def test_a_model_that_is_being_loaded_is_waited_for(loading_flow):
    """On every transport at once."""
    urls, gate = loading_flow
    every = [(kind, url) for url in urls.values() for kind in KINDS]
    with ThreadPoolExecutor(len(every)) as pool:
        errors = [one.result(30) for one in [pool.submit(wait, kind, url, 0.5) for kind, url in every]]
        waiting = [pool.submit(wait, kind, url, 60) for kind, url in every]
        loading = [isinstance(error, RequestTimeoutError) for error in errors]
        assert (loading, [one.done() for one in waiting]) == ([True] * 6, [False] * 6)
        gate.touch()
        assert [one.result(90) for one in waiting] == [None] * 6
    for kind, url in every:
        assert encode(kind, url, text='abc', retry=RetryPolicy(attempts=1))[0].embedding[0] == 3


@pytest.mark.parametrize('kind', KINDS)
def test_a_server_that_says_it_is_busy_is_waited_for(kind):
    answer, _ = scripted((503, None), (503, None))
    with http_peer(answer) as (url, _):
        assert wait(kind, url, 10) is None


@pytest.mark.parametrize('kind', KINDS)
def test_a_model_in_this_process_is_ready(kind):
    pytest.importorskip('onnxruntime')
    assert wait(kind, 'local://embedded', 60) is None


def wait(kind, url, seconds):
    async def asynchronous():
        async with AsyncClient() as client:
            await (await client.get_model(url)).wait_until_ready(seconds)

    try:
        if kind == 'async':
            asyncio.run(asynchronous())
        else:
            with Client() as client:
                client.get_model(url).wait_until_ready(seconds)
    except InferenceError as error:
        return error
    return None


# -- Ctrl-C

BULK = """
import asyncio, sys, threading, time
from inference_client import AsyncClient, Client

kind, url = sys.argv[1:]
texts = [str(i) for i in range(1000)]
options = dict(batch_size=1, prefetch=8, sleep=20)

async def main():
    async with AsyncClient() as client:
        await (await client.get_model(url)).encode(text=texts, **options)

threading.Timer(0.5, print, ('under way',), {'flush': True}).start()
try:
    if kind == 'async':
        asyncio.run(main())
    else:
        Client().get_model(url).encode(text=texts, **options)
except KeyboardInterrupt:
    print('interrupted', flush=True)
"""


@pytest.mark.skipif(os.name != 'posix', reason='sends a signal')
def test_ctrl_c_ends_a_bulk_call_and_the_process_soon(jina_python):
    """On every transport at once."""

    with jina_server(jina_python, 'flow') as urls:  # of its own: the Executor sleeps on
        every = [(kind, urls[wire]) for kind in KINDS for wire in WIRES]
        running = [
            subprocess.Popen([sys.executable, '-c', BULK, *one], stdout=subprocess.PIPE, text=True) for one in every
        ]
        for process in running:
            assert process.stdout.readline() == 'under way\n'
        for process in running:
            started = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == 'interrupted\n'
            process.communicate(timeout=10)
            assert process.returncode == 0
            assert time.monotonic() - started < 8


# -- the policies themselves

SECONDS = st.one_of(st.floats(), st.integers(), st.none(), st.text(max_size=2), st.booleans())


def is_time(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= LONGEST


@given(SECONDS, SECONDS, SECONDS)
def test_timeouts_are_seconds(connect, read, total):
    if all(map(is_time, (connect, read, total))):
        assert Timeouts(connect, read, total).total == total
    else:
        with pytest.raises(ConfigurationError, match='expected seconds above 0'):
            Timeouts(connect, read, total)


@given(st.floats(0.001, 1e6), st.floats(0.001, 1e6), st.floats(-10, 1e6))
def test_an_attempt_has_no_more_than_what_is_left(read, total, left):
    within = Timeouts(1, read, total).within(left)
    assert 0 < within.read <= max(min(read, left), 0.001)
    assert within.connect == 1


@given(SECONDS, SECONDS, SECONDS, SECONDS)
def test_policies_are_checked(attempts, initial, multiplier, maximum):
    valid = (
        isinstance(attempts, int)
        and not isinstance(attempts, bool)
        and attempts >= 1
        and all(is_time(one) or (one == 0 and not isinstance(one, bool)) for one in (initial, maximum))
        and isinstance(multiplier, (int, float))
        and not isinstance(multiplier, bool)
        and 1 <= multiplier < float('inf')
    )
    if valid:
        assert RetryPolicy(attempts, initial, multiplier, maximum).attempts == attempts
    else:
        with pytest.raises(ConfigurationError, match='expected'):
            RetryPolicy(attempts, initial, multiplier, maximum)


@given(st.integers(1, 10**6), st.floats(0, 1e6), st.floats(1, 1e300), st.floats(0, 1e6), st.floats(0, 1))
def test_a_wait_is_never_longer_than_the_maximum(failed, initial, multiplier, maximum, random):
    policy = RetryPolicy(10**9, initial, multiplier, maximum)
    assert 0 <= policy.wait(ConnectionFailedError('lost'), failed, random) <= maximum


@pytest.mark.parametrize('kind', [Client, AsyncClient])
@pytest.mark.parametrize('wrong', [{'timeouts': 3}, {'retry': 3}, {'retry': None}])
def test_a_client_takes_policies_alone(kind, wrong):
    with pytest.raises(ConfigurationError, match=r'expected (Timeouts|RetryPolicy)\(\.\.\.\)'):
        kind(**wrong)


@pytest.mark.parametrize('wrong', [{'timeout': 0}, {'timeout': 'x'}, {'timeout': float('nan')}, {'retry': 3}])
def test_a_call_takes_policies_alone(wrong):
    with http_peer() as (url, seen):
        error = encode('blocking', url, text='a', **wrong)
    assert isinstance(error, InputError)
    assert seen == []


def test_pauses_grow_and_use_the_time_that_there_is():
    backoff, pauses = Backoff(1.0), []
    started = time.monotonic()
    with pytest.raises(RequestTimeoutError, match='not ready within 1 s: no answer'):
        while True:
            backoff.failed(RequestTimeoutError('no answer'))
            pauses.append(backoff.pause)
            time.sleep(backoff.pause)
    assert 0.8 < time.monotonic() - started < 1.5
    assert pauses[:3] == [0.05, 0.1, 0.2]
