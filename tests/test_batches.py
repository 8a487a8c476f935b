"""Requests that wait are run together, and nobody can tell but by the time it takes."""

from __future__ import annotations

import http.client
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from services import TIMEOUT, service
from websockets.sync.client import connect

from inference_client import Client, InputError
from inference_client._wire.jina_pb2 import DataRequestProto
from inference_client.engines.base import Engine
from inference_client.server import batches, work
from inference_client.server.batches import Waiting
from inference_client.transports._grpc_settings import UNARY

CONFIG = """
[[models]]
name = "together"
engine = "named"
max-batch = 8

[[models]]
name = "alone"
engine = "named"
max-batch = 1

[[models]]
name = "patient"
engine = "named"
max-batch = 3
batch-wait-ms = 60000
"""


def request(*texts, endpoint='/encode', **parameters):
    message = DataRequestProto()
    message.header.request_id, message.header.exec_endpoint = f'id of {texts}', endpoint
    message.parameters.update(parameters)
    for text in texts:
        message.data.docs.docs.add(id=text, text=text)
    return message


# -- which go together


ARRIVALS = st.tuples(st.sampled_from(['/encode', '/rank']), st.integers(0, 2), st.integers(0, 5), st.integers(0, 3))


@given(st.lists(ARRIVALS, max_size=30), st.integers(1, 6), st.sets(st.integers(0, 29)))
def test_each_request_is_taken_once_in_order_and_with_its_equals(arrivals, most, taken_back):
    waiting, taken, kinds, counts = Waiting(most, 0), [], {}, {}

    def take():
        jobs = waiting.take()
        numbers = [job.number for job in jobs]
        assert len({kinds[number] for number in numbers}) == 1
        assert sum(counts[number] for number in numbers) <= most or len(numbers) == 1
        assert numbers[0] == left()[0]
        taken.extend(numbers)

    def left():
        return [number for number in kinds if number not in taken and number not in gone]

    gone = set()
    for number, (endpoint, seed, count, takes) in enumerate(arrivals):
        kinds[number], counts[number] = (endpoint, seed), count
        message = request(*'abcde'[:count], endpoint=endpoint, **({'seed': seed} if seed else {}))
        waiting.note(number, message.SerializeToString(), float(number))
        if number in taken_back:
            assert waiting.take_back(number)
            gone.add(number)
        for _ in range(min(takes, len(waiting))):
            if waiting:
                take()
    while waiting:
        take()
    assert sorted(taken) == sorted(set(kinds) - gone)
    for kind in set(kinds.values()):
        of_kind = [number for number in taken if kinds[number] == kind]
        assert of_kind == sorted(of_kind)
    assert waiting.take() == []


def test_what_was_taken_back_too_late_is_no_error():
    waiting = Waiting(4, 0)
    assert not waiting.take_back(1)
    assert not waiting


def test_large_requests_are_not_put_together():
    waiting = Waiting(64, 0)
    for number in range(3):
        waiting.note(number, request('x' * (batches.MOST_BYTES // 2)).SerializeToString(), 0.0)
    assert [len(waiting.take()) for _ in range(3)] == [1, 1, 1]


def test_how_long_the_oldest_waits():
    waiting = Waiting(2, 3.0)
    assert waiting.patience(0.0) == 0
    waiting.note(0, request('a').SerializeToString(), 10.0)
    assert waiting.patience(11.0) == 2
    assert waiting.patience(14.0) == 0
    waiting.note(1, request('b', endpoint='/rank').SerializeToString(), 11.0)
    assert waiting.patience(11.0) == 2  # it goes with no other
    waiting.note(2, request('c').SerializeToString(), 11.0)
    assert waiting.patience(11.0) == 0  # there is no room for more


# -- what comes back


class Choosy(Engine):
    """Embeds a text as its length and first letter; a bad text fails all that it is with."""

    tasks = frozenset({'encode'})

    def __init__(self):
        self.runs = []

    def run(self, task, documents, parameters):
        self.runs.append(len(documents))
        for document in documents:
            document.tags['seen'] = True
            if document.text == 'bad':
                raise InputError('a bad text')
            if document.text == 'broken':
                raise RuntimeError('broken')
            document.embedding = np.array([len(document.text), ord(document.text[0])], np.float32)
        return documents


TEXTS = st.sampled_from(['bad', 'broken', 'a', 'bc', 'def', 'ghij'])


@given(st.lists(st.lists(TEXTS, max_size=4), min_size=1, max_size=8), st.sampled_from(['/encode', '/nothing']))
def test_answers_are_those_of_each_request_by_itself(texts, endpoint):
    messages = [request(*one, endpoint=endpoint) for one in texts]
    engine = Choosy()
    together = work.answers(engine, 'choosy', messages)
    assert together == [work.answers(Choosy(), 'choosy', [message])[0] for message in messages]
    assert [answer.failed for answer in together] == [
        bool(one) and (endpoint == '/nothing' or not {'bad', 'broken'}.isdisjoint(one)) for one in texts
    ]
    if not any(answer.failed for answer in together):
        assert engine.runs == [sum(map(len, texts))] * any(texts)


# -- the service


@pytest.fixture(scope='module')
def running(server_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp('batches')
    (folder / 'service.toml').write_text(CONFIG, encoding='utf-8')
    with service(server_python, folder, '--config', str(folder / 'service.toml')) as started:
        yield started


def url(running, wire, name):
    return f'{running.urls[wire]}/models/{name}'


def asked_at_once(model, texts, **parameters):
    """The answers, or what was raised, of requests that come while another one of the model runs."""
    with ThreadPoolExecutor(len(texts) + 1) as pool:
        first = pool.submit(model.encode, text='first', sleep=1.0)
        calls = [pool.submit(model.encode, text=text, **parameters) for text in texts]
        first.result()
        return [call.exception() or call.result()[0] for call in calls]


@pytest.mark.parametrize('wire', ['grpc', 'http', 'ws'])
def test_requests_that_wait_run_together(running, wire):
    texts = ['x' * length for length in range(1, 13)]
    with Client(trust_env=False) as client:
        model = client.get_model(url(running, wire, 'together'))
        model.encode(text='connected')
        answers = asked_at_once(model, texts)
    assert [answer.embedding[0] for answer in answers] == list(range(1, 13))
    sizes = [answer.tags['size'] for answer in answers]
    assert 1 < max(sizes) <= 8


def test_a_request_of_a_batch_fails_alone(running):
    texts = ['refuse', 'a', 'bc', 'raise', 'def']
    with Client(trust_env=False) as client:
        model = client.get_model(url(running, 'grpc', 'together'))
        model.encode(text='connected')
        refused, *others = asked_at_once(model, texts)
    assert isinstance(refused, InputError)
    assert [others[index].embedding[0] for index in (0, 1, 3)] == [1, 2, 3]
    assert 'RuntimeError' in str(others[2])


def test_one_at_a_time_where_it_is_asked_for(running):
    with Client(trust_env=False) as client:
        model = client.get_model(url(running, 'grpc', 'alone'))
        model.encode(text='connected')
        assert [answer.tags['size'] for answer in asked_at_once(model, ['a', 'b', 'c'])] == [1, 1, 1]


def test_a_request_may_wait_for_others(running):
    with Client(trust_env=False) as client:
        model = client.get_model(url(running, 'grpc', 'patient'))
        with ThreadPoolExecutor() as pool:
            answers = [call.result()[0] for call in [pool.submit(model.encode, text='a') for _ in range(3)]]
    assert [answer.tags['size'] for answer in answers] == [3, 3, 3]


@pytest.mark.parametrize('wire', ['grpc', 'http', 'ws'])
def test_a_request_whose_client_leaves_while_it_waits_does_not_run(running, wire):
    with grpc.insecure_channel(running.urls['grpc'].partition('://')[2]) as channel:
        call = channel.unary_unary(UNARY)
        metadata = (('model', 'alone'),)
        busy = request('first', sleep=3.0, begun=f'busy for {wire}').SerializeToString()
        first = call.future(busy, TIMEOUT, metadata)
        while not (running.folder / f'busy for {wire}').exists():
            assert not first.done(), first.result()
        LEAVE[wire](running, call, request('die').SerializeToString())
        requests.get(running.urls['http'], timeout=TIMEOUT)  # by then the service has seen it leave
        last = call.future(request('last').SerializeToString(), TIMEOUT, metadata)
        for answer in (first, last):
            assert DataRequestProto.FromString(answer.result()).header.status.code == 0
    assert 'ended' not in running.log
    page = requests.get(running.urls['http'] + '/metrics', timeout=TIMEOUT).text
    assert 'model="alone",outcome="failed"' not in page  # nothing that its client gave up is the model's failure


def leave_a_call(running, call, data):
    deadly = call.future(data, TIMEOUT, (('model', 'alone'),))
    gone = threading.Event()
    deadly.add_done_callback(lambda _: gone.set())
    deadly.cancel()
    assert gone.wait(TIMEOUT)


def leave_a_page(running, call, data):
    address, _, path = url(running, 'http', 'alone').partition('://')[2].partition('/')
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
    connection.request('POST', f'/{path}/post', data, {'Content-Type': 'application/x-protobuf'})
    requests.get(running.urls['http'], timeout=TIMEOUT)  # by then the service works on it: else it would not begin
    connection.close()


def leave_a_socket(running, call, data):
    with connect(url(running, 'ws', 'alone'), subprotocols=['bytes']) as socket:
        socket.send(data)


LEAVE = {'grpc': leave_a_call, 'http': leave_a_page, 'ws': leave_a_socket}


def test_batches_are_counted(running):
    def counts():
        page = requests.get(running.urls['http'] + '/metrics', timeout=TIMEOUT).text
        found = re.findall(r'^inference_batch_documents_(count|sum){model="together"} (\S+)$', page, re.MULTILINE)
        return {name: float(value) for name, value in found}

    with Client(trust_env=False) as client:
        model = client.get_model(url(running, 'http', 'together'))
        model.encode(text=['a', 'b', 'c'], batch_size=3)
        before = counts()
        model.encode(text=['a', 'b', 'c'], batch_size=3)
    assert counts() == {'count': before['count'] + 1, 'sum': before['sum'] + 3}
