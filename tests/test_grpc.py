"""gRPC alone: a stream to a gateway, a unary call to anything else, and what becomes of both if the server changes."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import grpc
import numpy as np
import pytest
from peers import HOST, embed, wait_until

from inference_client import Client, InferenceError, ProtocolError, RetryPolicy
from inference_client.transports._grpc_settings import DRY_RUN, UNARY
from inference_client.transports._grpc_stream import CALL


class Peer:
    """A gRPC server that is a gateway or not.

    Attributes:
        gateway: whether it serves streams, and says so.
        down: how many more questions whether it is a gateway it answers by UNAVAILABLE.
        answer: what it makes of each request, in a thread each.
        calls: the methods that were called.
    """

    def __init__(self):
        self.gateway, self.down, self.answer, self.calls = True, 0, embed, []
        self.streams = []

    def service(self, details):
        self.calls.append(details.method)
        if details.method == UNARY:
            return grpc.unary_unary_rpc_method_handler(lambda data, context: self.answer(data))
        if details.method == DRY_RUN and (self.gateway or self.down):
            return grpc.unary_unary_rpc_method_handler(self._dry_run)
        if details.method == CALL and self.gateway:
            return grpc.stream_stream_rpc_method_handler(self._stream)
        return None

    def cut(self):
        for context in self.streams:
            context.cancel()

    def _dry_run(self, _, context):
        if self.down:
            self.down -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, 'not yet')
        return b''

    def _stream(self, requests, context):
        self.streams.append(context)
        answers, pool = SimpleQueue(), ThreadPoolExecutor(16)
        context.add_callback(lambda: answers.put(None))

        def pull():
            with contextlib.suppress(Exception):  # gRPC raises a bare one when the stream ends
                for data in requests:
                    pool.submit(lambda data=data: answers.put(self.answer(data)))

        threading.Thread(target=pull, daemon=True).start()
        yield from iter(answers.get, None)
        pool.shutdown(wait=False)


@pytest.fixture
def peer():
    made = Peer()

    class Any(grpc.GenericRpcHandler):
        def service(self, details):
            return made.service(details)

    with ThreadPoolExecutor(32) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((Any(),))
        made.url = f'grpc://{HOST}:{server.add_insecure_port(f"{HOST}:0")}'
        server.start()
        yield made
        made.answer = embed
        server.stop(0).wait()


@pytest.fixture
def model(peer):
    with Client(retry=RetryPolicy(attempts=3, initial=0.05)) as client:
        yield client.get_model(peer.url)


def used(peer, model, method):
    """Ask until a request goes by a method."""

    def once():
        peer.calls.clear()
        model.encode(text='a')
        return method in peer.calls or (method == CALL and not peer.calls)

    wait_until(once)


def test_a_gateway_gets_one_stream(peer, model):
    used(peer, model, CALL)
    peer.calls.clear()
    assert len(model.encode(text=['a'] * 50, batch_size=1, prefetch=16)) == 50
    assert peer.calls == []  # nothing but the stream that is open
    assert len(peer.streams) == 1


def test_a_deployment_gets_calls(peer, model):
    peer.gateway = False
    for _ in range(3):
        model.encode(text='a')
    wait_until(lambda: DRY_RUN in peer.calls)
    model.encode(text=['a'] * 10, batch_size=1)
    assert set(peer.calls) == {UNARY, DRY_RUN}
    assert peer.calls.count(DRY_RUN) == 1


def test_a_gateway_that_is_not_up_at_first_is_asked_again(peer, model):
    peer.down = 2
    model.encode(text='a')
    used(peer, model, CALL)
    assert len(peer.streams) == 1


@pytest.mark.parametrize('gateway', [True, False])
def test_slow_requests_of_threads_run_at_once(peer, model, gateway):
    """The server answers only once eight requests are there."""
    peer.gateway = gateway
    used(peer, model, CALL if gateway else UNARY)
    together = threading.Barrier(8)

    def answer(data):
        together.wait(20)
        return embed(data)

    peer.answer = answer
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: len(model.encode(text=text, timeout=20)), 'abcdefgh')) == [1] * 8


def test_what_a_cut_stream_owed_is_sent_again(peer, model):
    used(peer, model, CALL)
    arrived, gate = threading.Semaphore(0), threading.Event()

    def answer(data):
        arrived.release()
        gate.wait(20)
        return embed(data)

    peer.answer = answer
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(model.encode, text=['a'] * 8, batch_size=1, prefetch=8)
        for _ in range(8):
            assert arrived.acquire(timeout=20)
        peer.cut()
        assert arrived.acquire(timeout=20)  # on the next stream; else all may be answered before the cut comes
        gate.set()
        assert len(call.result(20)) == 8
    assert len(peer.streams) == 2


@pytest.mark.parametrize('gateway', [True, False])
def test_a_request_that_goes_out_while_its_connection_is_swept_is_sent_again(peer, model, gateway):
    peer.gateway = gateway
    used(peer, model, CALL if gateway else UNARY)
    connection, swept = model._transport._connection, threading.Event()

    class Noted(set):
        def add(self, answer):  # the request is under way, and before that is noted here, another thread sweeps
            connection.usable = False
            assert connection.sweep()
            swept.set()
            super().add(answer)

    def held(data):
        swept.wait(10)
        return embed(data)

    peer.answer, connection._under_way = held, Noted()
    assert len(model.encode(text='a')) == 1
    assert swept.is_set()
    assert model._transport._connection is not connection


def test_a_gateway_that_was_replaced_by_a_deployment(peer, model):
    used(peer, model, CALL)
    peer.gateway = False
    peer.cut()
    wait_until(lambda: model._transport._connection._stream.ended)  # with no request under way
    assert len(model.encode(text=['a'] * 8, batch_size=1)) == 8
    assert UNARY in peer.calls


def test_garbage_on_the_stream_is_an_error_for_each_who_waits(peer, model):
    used(peer, model, CALL)
    peer.answer = lambda data: b'\xff\xff\xffgarbage'
    with pytest.raises(ProtocolError, match='not a Jina message'):
        model.encode(text='a')
    peer.answer = embed
    assert len(model.encode(text='a')) == 1


def test_answers_that_nobody_asked_for_are_dropped(peer, model):
    used(peer, model, CALL)
    peer.answer = lambda data: b''
    with pytest.raises(InferenceError, match='no answer within'):
        model.encode(text='a', timeout=0.5)
    peer.answer = embed
    assert len(model.encode(text='a')) == 1


@pytest.mark.parametrize('wire', ['grpc', 'http'])
def test_a_deployment_answers_threads(deployments, door, wire):
    with door() as client, ThreadPoolExecutor(8) as pool:
        model = client.get_model(deployments[wire])
        answers = list(pool.map(lambda size: model.encode(text='x' * size)[0].embedding[0], range(1, 41)))
    assert answers == list(range(1, 41))


@pytest.mark.parametrize('wire', ['grpc', 'http', 'ws'])
def test_64_megabytes(plain_flow, door, wire):
    blob = np.random.default_rng(0).bytes(64_000_000)
    with door() as client:
        text = blob.hex()[:64_000_000]
        (document,) = client.get_model(plain_flow[wire]).encode(text=text)
    assert document.embedding[0] == 64_000_000
    assert document.text == text
