"""The faults of `jina.Client` that were seen when this client was designed: it must have none of them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from docarray import Document
from isolated import output_of
from peers import HOST, embed, grpc_peer, listener, ws_peer
from proxy import Proxy

from inference_client import Client, ConnectionFailedError, InferenceError, RetryPolicy, ServerError, Timeouts
from inference_client._wire.jina_pb2 import DataRequestProto

WIRES = ['grpc', 'http', 'ws']


@pytest.fixture(params=WIRES)
def plain(request, plain_flow, connect):
    return connect(plain_flow[request.param])


def test_an_input_that_ends_late_ends_the_call_in_order(plain):
    """There: `results_in_order=True` hangs for good."""

    def texts():
        for number in range(1, 6):
            yield 'x' * number
        time.sleep(0.3)  # everything is answered by now

    answers = list(plain.stream('encode', texts(), batch_size=1))
    assert [int(one.embedding[0]) for one in answers] == [1, 2, 3, 4, 5]


def test_the_error_of_a_single_request_is_never_lost(plain):
    """There: over WebSocket, an empty result 12 of 15 times."""
    for _ in range(15):
        with pytest.raises(ServerError, match='the executor does not like this'):
            plain.encode(text='raise')


def test_each_thread_gets_its_own_documents(plain):
    """There: over WebSocket, rarely those of another thread."""

    def work(number):
        texts = [f'{chr(0x4E00 + number)}{chr(0x400 + turn)}' for turn in range(30)]
        for text in texts:
            (document,) = plain.encode(text=text)
            assert document.text == text
            assert document.embedding.tolist() == [2, ord(text[0]), ord(text[1]), ord(' ')]
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))


def test_clients_of_a_process_work_at_once(door):
    """There: one lock for all gRPC clients. Here the server answers only once four requests are there."""
    together = threading.Barrier(4)

    def answer(data):
        together.wait(20)
        return embed(data)

    def ask(url):
        with door() as client:
            return len(client.get_model(url).encode(text='a', timeout=20))

    with grpc_peer(answer) as (url, _), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, [url] * 4)) == [1] * 4


def test_threads_of_one_client_work_at_once(door):
    together = threading.Barrier(4)

    def answer(data):
        together.wait(20)
        return embed(data)

    with grpc_peer(answer) as (url, _), ThreadPoolExecutor(4) as pool, door() as client:
        model = client.get_model(url)
        assert list(pool.map(lambda text: len(model.encode(text=text, timeout=20)), 'abcd')) == [1] * 4


def test_large_answers_over_websocket(door):
    """There: those above 4 MiB fail."""

    def large(data):
        message = DataRequestProto.FromString(embed(data))
        message.data.docs.docs[0].embedding.dense.buffer = np.ones(3 << 20, '<f4').tobytes()
        message.data.docs.docs[0].embedding.dense.shape[:] = [3 << 20]
        return message.SerializeToString()

    with ws_peer(large) as (url, _), door() as client:
        assert client.get_model(url).encode(text='a')[0].embedding.shape == (3 << 20,)


def test_errors_inside_a_running_loop_are_themselves(plain_flow):
    """There: "something wrong when running the eventloop"."""

    async def main():
        for wire in WIRES:
            with Client() as client, pytest.raises(ServerError, match='ValueError: the executor does not like this'):
                client.get_model(plain_flow[wire]).encode(text='raise')

    asyncio.run(main())


@pytest.mark.parametrize('wire', WIRES)
def test_a_server_that_dies_is_a_connection_error(plain_flow, door, wire):
    """There: `CancelledError`, which is no `Exception`."""
    with Proxy(int(plain_flow[wire].rpartition(':')[2])) as proxy, door(retry=RetryPolicy(attempts=1)) as client:
        model = client.get_model(proxy.url(wire))
        model.encode(text='a')
        errors = []

        def ask():
            try:
                model.encode(text='sleep 3')
            except BaseException as error:  # noqa: BLE001 - its type is what matters
                errors.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.5)
        proxy.refuse()
        proxy.reset()
        thread.join(20)
        (error,) = errors
        assert isinstance(error, ConnectionFailedError)
        assert isinstance(error, InferenceError)


def test_a_slow_consumer_is_not_outrun(plain):
    """There: 18,000 items are pulled ahead."""
    pulled = []

    def texts():
        for number in range(20_000):
            pulled.append(number)
            yield 'a'

    answers = plain.stream('encode', texts(), batch_size=8, prefetch=2)
    for taken in range(1, 33):
        next(answers)
        time.sleep(0.005)
        assert len(pulled) <= taken + 4 * 8
    answers.close()


def test_it_waits_no_longer_than_it_was_told(door):
    with listener() as port, door(timeouts=Timeouts(connect=0.3, read=0.3, total=0.3)) as client:
        for wire in WIRES:
            with pytest.raises((ConnectionFailedError, TimeoutError)):
                client.get_model(f'{wire}://{HOST}:{port}').encode(text='a')


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs limits of resources')
def test_import_and_use_leave_the_process_as_it_was(plain_flow):
    """There: the import unsets `http_proxy`, sets the event-loop policy, raises RLIMIT_NOFILE and sends telemetry."""
    printed = output_of(
        f"""
        import asyncio, os, resource, signal, sys
        hosts = set()

        def watch(event, arguments):
            if event == 'socket.connect' and isinstance(arguments[1], tuple):
                hosts.add(arguments[1][:2])

        def state():
            return (dict(os.environ), type(asyncio.get_event_loop_policy()), resource.getrlimit(resource.RLIMIT_NOFILE),
                    signal.getsignal(signal.SIGINT))

        sys.addaudithook(watch)
        before = state()
        from inference_client import *
        for url in {list(plain_flow.values())!r}:
            with Client() as client:
                client.get_model(url).encode(text='a')

            async def main():
                async with AsyncClient() as client:
                    await (await client.get_model(url)).encode(text='a')

            asyncio.run(main())
        print(state() == before, *sorted(f'{{host}}:{{port}}' for host, port in hosts))
        """,
        http_proxy='http://127.0.0.1:9',
        no_proxy='127.0.0.1',
    )
    same, *hosts = printed.split()
    assert same == 'True'
    assert set(hosts) <= {url.partition('://')[2] for url in plain_flow.values()}  # gRPC connects by itself, unseen


def test_documents_keep_their_ids_and_order(plain):
    documents = [Document(id=f'd{number}', text='x' * (number + 1)) for number in range(50)]
    answers = plain.encode(docs=documents, batch_size=3, prefetch=8)
    assert [one.id for one in answers] == [one.id for one in documents]
    assert [int(one.embedding[0]) for one in answers] == list(range(1, 51))
