"""Messages over HTTP in place of JSON: only where the server says that it takes them, and never at a loss."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter

import numpy as np
import orjson
import pytest
from docarray import Document, DocumentArray
from peers import embed, embed_json, http_peer

from inference_client import Client, InputError, ProtocolError, RequestTooLargeError, RetryPolicy, ServerError
from inference_client._wire.jina_pb2 import DataRequestProto

PROTOBUF = 'application/x-protobuf'
TAKES = [('Accept-Post', f'application/json, {PROTOBUF}')]


class Peer:
    """Answers both kinds of bodies, and notes which came; `answer` in place of that for messages."""

    def __init__(self, answer=None):
        self.answer = answer
        self.answer_json = embed_json
        self.kinds = []

    def __call__(self, data):
        kind = 'json' if data[:1] == b'{' else 'protobuf'
        self.kinds.append(kind)
        if kind == 'json':
            return (*self.answer_json(data), [('Content-Type', 'application/json')])
        if self.answer is not None:
            return self.answer(data)
        return 200, embed(data), [('Content-Type', PROTOBUF)]


@pytest.fixture
def serving(connect):
    """A model of a peer, by what the peer answers to messages."""
    with contextlib.ExitStack() as stack:

        def serve(answer=None, headers=TAKES, **options):
            peer = Peer(answer)
            url, _ = stack.enter_context(http_peer(peer, headers))
            return peer, connect(url, **options)

        yield serve


def ask(model, *texts, **options):
    answered = model.encode(text=list(texts or ['hi']), **options)
    assert [one.embedding.tolist() for one in answered] == [[1, 1]] * len(answered)
    return answered


def test_messages_are_sent_once_the_server_says_that_it_takes_them(serving):
    peer, model = serving()
    for _ in range(3):
        ask(model)
    assert peer.kinds == ['json', 'protobuf', 'protobuf']


@pytest.mark.parametrize(
    'headers', [[], [('Accept-Post', 'application/json')], [('Accept', PROTOBUF)], [('Accept-Post', 'text/x-protobuf')]]
)
def test_a_server_that_does_not_say_so_is_never_asked(serving, headers):
    peer, model = serving(headers=headers)
    for _ in range(3):
        ask(model)
    assert peer.kinds == ['json'] * 3


def test_a_stock_flow_loses_nothing(plain_flow, connect):
    """No request besides those of the tasks, and none twice."""
    model = connect(plain_flow['http'])
    seen = Counter()
    transport = model._transport
    original = transport._request

    def counted(method, path, *arguments):
        seen[method, path] += 1
        return original(method, path, *arguments)

    transport._request = counted
    for _ in range(3):
        assert model.encode(text='abc')[0].embedding[0] == 3
    assert seen == {('POST', '/post'): 3}
    assert transport._site.protobuf is False


def test_our_server_takes_them(server, connect):
    over_http, over_grpc = connect(server['http']), connect(server['grpc'])
    texts = [f'text {number}' for number in range(5)]
    for expected in (False, True, True):
        assert over_http._transport._site.protobuf is expected
        answers = over_http.encode(text=texts, batch_size=5)
    assert np.allclose(answers.embeddings, over_grpc.encode(text=texts, batch_size=5).embeddings)
    assert [one.text for one in answers] == texts


@pytest.mark.parametrize('status', [406, 415, 422])
def test_a_server_that_takes_them_no_more_gets_json_for_good(serving, status):
    peer, model = serving(lambda data: (status, b'no'))
    for _ in range(3):
        ask(model)
    assert peer.kinds == ['json', 'protobuf', 'json', 'json']


def test_a_request_that_is_wrong_either_way_changes_nothing(serving):
    peer, model = serving()
    ask(model)
    peer.answer = peer.answer_json = lambda data: (422, b'wrong')
    with pytest.raises(ServerError, match='422'):
        ask(model)
    peer.answer, peer.answer_json = None, embed_json
    ask(model)
    assert peer.kinds == ['json', 'protobuf', 'json', 'protobuf']


def test_one_that_answers_in_json_is_understood(serving):
    def answer(data):
        documents = DataRequestProto.FromString(data).data.docs.docs
        return 200, orjson.dumps({'data': [{'id': one.id, 'embedding': [1.0, 1.0]} for one in documents]})

    peer, model = serving(answer)
    ask(model)
    ask(model)
    assert peer.kinds == ['json', 'protobuf']


def test_documents_travel_as_over_grpc(serving):
    sent = []

    def answer(data):
        sent.append(DataRequestProto.FromString(data))
        return 200, embed(data), [('Content-Type', f'{PROTOBUF}; charset=binary')]

    _, model = serving(answer)
    ask(model)
    pixels = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    document = Document(tensor=pixels, tags={'a': [1, 'b']})
    (answered,) = model.encode(docs=DocumentArray([document]), some='parameter')
    assert np.array_equal(answered.tensor, pixels)
    (message,) = sent
    assert (message.header.exec_endpoint, message.parameters['some']) == ('/encode', 'parameter')
    assert message.data.docs.docs[0].tensor.dense.buffer == pixels.tobytes()
    assert not message.data.docs.docs[0].blob


def failed(name):
    message = DataRequestProto()
    message.header.status.code = 1
    message.header.status.description = 'it does not like this'
    message.header.status.exception.name = name
    return message.SerializeToString()


@pytest.mark.parametrize(
    ('answer', 'error', 'said'),
    [
        ((200, failed('InputError'), [('Content-Type', PROTOBUF)]), InputError, 'does not like this'),
        ((200, failed('ValueError'), [('Content-Type', PROTOBUF)]), ServerError, 'does not like this'),
        ((200, b'\xff\xff', [('Content-Type', PROTOBUF)]), ProtocolError, 'not a Jina message'),
        ((200, b'\xff\xff'), ProtocolError, 'not JSON'),
        ((413, b'big'), RequestTooLargeError, '413'),
        ((503, b'later'), ServerError, 'not up'),
    ],
)
def test_failures(serving, answer, error, said):
    peer, model = serving(lambda data: answer)
    ask(model)
    with pytest.raises(error, match=said):
        ask(model, retry=RetryPolicy(attempts=1))
    assert set(peer.kinds[1:]) == {'protobuf'}


def test_many_at_once(serving):
    peer, model = serving()
    ask(model)
    texts = [str(number) for number in range(40)]
    assert [one.text for one in ask(model, *texts, batch_size=1, prefetch=8)] == texts
    assert Counter(peer.kinds) == {'json': 1, 'protobuf': 40}


def test_first_requests_of_threads_do_not_wait_for_what_the_first_learns():
    """Each is under way before there is an answer; those that come later are messages."""
    under_way = threading.Barrier(8)

    class Together(Peer):
        def __call__(self, data):
            if len(self.kinds) < 8:
                under_way.wait(60)
            return super().__call__(data)

    peer = Together()
    with http_peer(peer, TAKES) as (url, _), Client() as client:
        model = client.get_model(url)
        ask(model, *'abcdefgh', batch_size=1, prefetch=8)
        ask(model, *'abcdefgh', batch_size=1, prefetch=8)
    assert peer.kinds == ['json'] * 8 + ['protobuf'] * 8
