"""The hosted API of Jina AI, against a stand-in for it."""

from __future__ import annotations

import numpy as np
import pytest
from docarray import Document, DocumentArray
from doors import DOORS
from rest_kit import encoded
from rest_servers import JinaAIServer, serving

from inference_client import (
    AuthenticationError,
    ConfigurationError,
    InputError,
    ModelNotFoundError,
    Request,
    RetryPolicy,
    ServerError,
    TransportOptions,
    UnsupportedTaskError,
)
from inference_client.engines.handler import handle
from inference_client.testing import FakeEngine
from inference_client.transports.rest.jinaai import JinaAITransport

KEY = 'a-key'


@pytest.fixture
def server():
    with serving(JinaAIServer(token=KEY)) as server:
        yield server


@pytest.fixture(params=DOORS)
def open_model(request, server):
    """Gives a model by its name, through the blocking and the asynchronous door."""
    with DOORS[request.param](KEY, trust_env=False, retry=RetryPolicy(attempts=1)) as client:
        yield lambda name: client.get_model(f'jinaai://{name}?base={server.url}/v1')


def test_texts_and_images_are_embedded(open_model, server):
    documents = [Document(text='a'), Document(blob=encoded('JPEG')), Document(tensor=np.zeros((4, 4, 3), np.uint8))]
    answers = open_model('jina-clip-v2').encode(
        docs=DocumentArray(documents), normalized=True, dimensions=8, task='retrieval.query'
    )
    expected = handle(FakeEngine(), Request('/encode', DocumentArray([Document(one, copy=True) for one in documents])))
    assert np.allclose([one.embedding for one in answers], [one.embedding for one in expected], atol=1e-6)
    assert [(a.body['normalized'], a.body['dimensions'], a.body['task']) for a in server.asked] == [
        (True, 8, 'retrieval.query')
    ] * 2
    assert {a.body['model'] for a in server.asked} == {'jina-clip-v2'}


def test_a_reranker_ranks_texts_and_images(open_model, server):
    candidates = ['b', encoded('PNG'), 'c']
    model = open_model('jina-reranker-m0')
    for reference in ('a', encoded('PNG', 1)):
        (answer,) = model.rank(reference=reference, candidates=candidates)
        found = [match.scores['relevance_score'].value for match in answer.matches]
        assert found == sorted(found, reverse=True)
        assert len(found) == 3
        assert sum(match.scores['clip_score'].value for match in answer.matches) == pytest.approx(1)
        assert 'clip_score_cosine' not in answer.matches[0].scores
    first, second = (asked.body for asked in server.asked)
    assert first['query'] == 'a'
    assert list(second['query']) == ['image']
    assert [list(one) for one in first['documents']] == [['text'], ['image'], ['text']]


def test_a_model_that_embeds_ranks_by_cosines(open_model, server):
    (answer,) = open_model('jina-clip-v2').rank(reference='a', candidates=['b', encoded('PNG')])
    assert {asked.path for asked in server.asked} == {'/v1/embeddings'}
    assert set(answer.matches[0].scores) == {'clip_score', 'clip_score_cosine'}


@pytest.mark.parametrize('task', ['caption', 'vqa'])
def test_it_neither_describes_nor_answers(open_model, server, task):
    arguments = {'question': 'what?'} if task == 'vqa' else {}
    with pytest.raises(UnsupportedTaskError, match=f'the API of Jina AI cannot {task}: it offers encode, rank'):
        open_model('jina-clip-v2').run(task, image=encoded('PNG'), **arguments)
    assert server.asked == []


def test_a_reranker_does_not_embed(open_model, server):
    with pytest.raises(UnsupportedTaskError, match='cannot encode: it offers rank'):
        open_model('jina-reranker-m0').encode(text='a')
    assert server.asked == []


@pytest.mark.parametrize(
    ('name', 'task'),
    [('jina-embeddings-v3', 'encode'), ('jina-embeddings-v2-base-en', 'encode'), ('jina-reranker-v2-base', 'rank')],
)
def test_a_model_for_texts_gets_no_image(open_model, server, name, task):
    model = open_model(name)
    with pytest.raises(UnsupportedTaskError, match='no images'):
        if task == 'encode':
            model.encode(image=encoded('PNG'))
        else:
            model.rank(reference='a', candidates=[encoded('PNG')])
    assert server.asked == []


def test_what_it_refuses_is_an_input_error(open_model, server):
    server.faults.append((422, {}, {'detail': 'dimensions must be at most 1024'}))
    with pytest.raises(InputError, match='at most 1024'):
        open_model('jina-clip-v2').encode(text='a', dimensions=4096)


@pytest.mark.parametrize(
    ('refusal', 'kind', 'words'),
    [
        ((400, 'INPUT_MODEL_NOT_FOUND', "Model 'jina-clip-v2' not found"), ModelNotFoundError, 'has no such model'),
        (
            (403, 'AUTHZ_INSUFFICIENT_BALANCE', 'Insufficient account balance'),
            ServerError,
            r'paid first \(403: Insufficient account balance\); see to the account',
        ),
        (
            (403, 'AUTHZ_RESOURCE_LIMIT_EXCEEDED', 'Resource limit exceeded for your plan'),
            ServerError,
            r'paid first \(403: Resource limit',
        ),
        ((403, 'ANOTHER', 'no'), AuthenticationError, 'refused the token'),
    ],
)
def test_the_codes_of_its_refusals_are_read(open_model, server, refusal, kind, words):
    server.refusal = refusal
    with pytest.raises(kind, match=words) as caught:
        open_model('jina-clip-v2').encode(text=['a', 'b'], on_item_error='return', retry=RetryPolicy(attempts=3))
    assert type(caught.value) is kind
    assert len(server.asked) == 1


@pytest.fixture(params=DOORS)
def encode(request, server):
    """Embeds a text as a client with some arguments does."""

    def call(*arguments, **options):
        with DOORS[request.param](*arguments, retry=RetryPolicy(attempts=1), **options) as client:
            return client.get_model(f'jinaai://jina-clip-v2?base={server.url}/v1').encode(text='a')

    return call


def test_the_token_that_is_given_comes_before_the_key_of_the_environment(encode, server, monkeypatch):
    monkeypatch.setenv('JINA_API_KEY', 'another')
    assert len(encode(KEY)) == 1
    monkeypatch.setenv('JINA_API_KEY', KEY)
    with pytest.raises(AuthenticationError, match='Incorrect API key'):
        encode('another')
    with pytest.raises(AuthenticationError, match='Incorrect API key'):
        encode('another', trust_env=False)


def test_the_key_comes_before_the_token_of_another_product(encode, server, monkeypatch):
    monkeypatch.setenv('JINA_AUTH_TOKEN', 'another')
    with pytest.raises(AuthenticationError, match='Incorrect API key'):
        encode()
    monkeypatch.setenv('JINA_API_KEY', KEY)
    assert len(encode()) == 1
    assert len(encode(token=None)) == 1
    server.faults.append((401, {}, {'detail': f'the key {KEY} is spent'}))
    with pytest.raises(AuthenticationError, match=r'the key \*\*\* is spent'):
        encode()


def test_a_key_that_no_header_can_hold_is_not_sent(encode, server, monkeypatch):
    monkeypatch.setenv('JINA_API_KEY', f' {KEY}\n')
    assert len(encode()) == 1
    monkeypatch.setenv('JINA_API_KEY', 'a-secret\nkey')
    with pytest.raises(ConfigurationError, match='JINA_API_KEY has characters that no header can hold') as caught:
        encode()
    assert 'secret' not in str(caught.value)
    assert len(encode(KEY)) == 1  # it is not looked at
    assert len(server.asked) == 2


def test_where_the_api_is():
    address, options = JinaAITransport.located('jinaai://jina-clip-v2', TransportOptions('t', trust_env=False))
    assert (address.base, address.version) == ('https://api.jina.ai', '/v1')
    assert options.token == 't'
