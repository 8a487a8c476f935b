"""Text Embeddings Inference, against a stand-in made from its public OpenAPI: it has no Python package."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from docarray import Document, DocumentArray
from doors import DOORS
from hypothesis import given
from hypothesis import strategies as st
from model_servers import TeiServer
from rest_kit import RestKit, encoded
from rest_servers import serving

from inference_client import (
    Capabilities,
    InferenceError,
    InputError,
    ProtocolError,
    RateLimitError,
    Request,
    RetryPolicy,
    ServerError,
    TransportOptions,
    UnsupportedTaskError,
)
from inference_client.engines.handler import handle
from inference_client.testing import AsyncTransportConformance, FakeEngine, TransportConformance
from inference_client.transports.rest.address import address_of
from inference_client.transports.rest.http import HttpAnswer
from inference_client.transports.rest.tei import TeiDialect
from inference_client.transports.rest.transport import advance

TEXT = frozenset({'text'})


class TeiWire(RestKit):
    unreachable_url = 'tei+http://127.0.0.1:9'
    images = False

    def make(self):
        return TeiServer(lenient=True)

    def url_of(self, rest):
        return f'tei+{rest.url}'


class TestTei(TeiWire, TransportConformance):
    pass


class TestAsyncTei(TeiWire, AsyncTransportConformance):
    pass


@pytest.fixture(params=DOORS)
def open_model(request):
    """Gives the model of a server, through the blocking and the asynchronous door."""
    with DOORS[request.param]('a-key', trust_env=False, retry=RetryPolicy(attempts=1)) as client:
        yield lambda server: client.get_model(f'tei+{server.url}')


def paths(server):
    return [asked.path for asked in server.asked]


def test_texts_are_embedded_in_batches_that_the_server_takes(open_model):
    texts = [f'text {number}' for number in range(20)]
    with serving(TeiServer(most=8, token='a-key')) as server:
        model = open_model(server)
        answers = model.encode(text=texts, batch_size=20, normalize=False, truncate=True)
        assert [len(asked.body['inputs']) for asked in server.asked[1:]] == [8, 8, 4]
        assert (server.asked[-1].body['normalize'], server.asked[-1].body['truncate']) == (False, True)
        model.encode(text='a')
        assert paths(server).count('/info') == 1
    expected = handle(FakeEngine(), Request('/encode', DocumentArray([Document(text=text) for text in texts])))
    assert [one.text for one in answers] == texts
    assert np.allclose([one.embedding for one in answers], [one.embedding for one in expected], atol=1e-6)


@pytest.mark.parametrize('kind', ['embedding', 'reranker'])
def test_images_are_not_sent(open_model, kind):
    with serving(TeiServer(kind=kind)) as server:
        model = open_model(server)
        with pytest.raises(UnsupportedTaskError, match='Text Embeddings Inference embeds no images: it takes text'):
            model.encode(image=encoded('PNG'))
        with pytest.raises(UnsupportedTaskError, match='no images'):
            model.rank(reference='a', candidates=['b', encoded('PNG')])
        with pytest.raises(UnsupportedTaskError, match='cannot caption: it offers encode, rank'):
            model.caption(image=encoded('PNG'))
        assert server.asked == []


def test_a_reranker_ranks(open_model):
    with serving(TeiServer(kind='reranker', most=2)) as server:
        model = open_model(server)
        (answer,) = model.rank(reference='a', candidates=['b', 'c', 'd', 'e', 'f'], raw_scores=True)
        found = [match.scores['relevance_score'].value for match in answer.matches]
        assert found == sorted(found, reverse=True)
        assert len(set(found)) == 5
        assert sum(match.scores['clip_score'].value for match in answer.matches) == pytest.approx(1)
        assert [len(asked.body['texts']) for asked in server.asked[1:]] == [2, 2, 1]
        with pytest.raises(UnsupportedTaskError, match='cannot encode: it offers rank'):
            model.encode(text='a')


def test_a_model_that_embeds_ranks_by_cosines(open_model):
    with serving(TeiServer()) as server:
        (answer,) = open_model(server).rank(reference='a', candidates=['b', 'c'])
        assert set(answer.matches[0].scores) == {'clip_score', 'clip_score_cosine'}
        assert paths(server) == ['/info', '/embed']


def test_a_classifier_does_none_of_the_tasks(open_model):
    with serving(TeiServer(kind='classifier')) as server:
        model = open_model(server)
        with pytest.raises(UnsupportedTaskError, match='cannot encode: it offers none of the tasks'):
            model.encode(text='a')
        assert model.capabilities().tasks == frozenset()


def test_a_text_that_is_too_long_is_no_reason_for_smaller_requests(open_model):
    """It is answered with 413, as too many are."""
    with serving(TeiServer(longest=5)) as server:
        model = open_model(server)
        with pytest.raises(InputError, match=r'too long .*less than 5 tokens. Given: 6.*truncate=True'):
            model.encode(text='a b c d e f')
        assert model.encode(text='a b c d e f', truncate=True)[0].embedding.shape == (8,)
        model.encode(text=['a ' * 5] * 4)
        assert len(server.asked[-1].body['inputs']) == 4


def test_a_limit_that_sank_is_learned(open_model):
    with serving(TeiServer(most=8)) as server:
        model = open_model(server)
        model.encode(text='a')
        server.most = 3
        assert len(model.encode(text=['a'] * 8)) == 8
        assert [len(asked.body['inputs']) for asked in server.asked[2:]] == [8, 3, 3, 2]


@pytest.mark.parametrize(
    ('status', 'kind', 'error', 'words'),
    [
        (422, 'Tokenizer', InputError, 'Tokenization error'),
        (424, 'Backend', ServerError, '424: Tokenization error'),
        (429, 'Overloaded', RateLimitError, 'takes no more requests for now'),
        (503, 'Unhealthy', ServerError, 'not up'),
    ],
)
def test_errors_by_status(open_model, status, kind, error, words):
    with serving(TeiServer()) as server:
        model = open_model(server)
        model.encode(text='a')
        server.faults.append((status, {}, server.error('Tokenization error', kind)))
        with pytest.raises(error, match=words):
            model.encode(text='a')


def test_capabilities(open_model):
    with serving(TeiServer(longest=512)) as server:
        model = open_model(server)
        assert model.capabilities() == Capabilities(frozenset({'encode', 'rank'}), TEXT, None, 32, 512)
        model.encode(text='a')
        assert model.capabilities().embedding_size == 8


def test_another_kind_of_server(open_model):
    with serving(TeiServer()) as server:
        server.faults.append((404, {}, b''))
        with pytest.raises(UnsupportedTaskError, match='has no /info'):
            open_model(server).encode(text='a')
        for answer, words in (({'model_type': 'x'}, 'of type x'), ({'model_type': {'reranker': {}}}, 'max_client')):
            server.faults.append((200, {}, answer))
            with pytest.raises(ProtocolError, match=words):
                open_model(server).encode(text='a')


VALUES = st.none() | st.booleans() | st.integers(-3, 99) | st.floats(allow_nan=False) | st.text(max_size=5)
INFO = st.dictionaries(
    st.sampled_from(['model_type', 'max_client_batch_size', 'max_input_length']),
    VALUES | st.dictionaries(st.sampled_from(['embedding', 'reranker', 'x']), VALUES, max_size=2),
)


@given(INFO | VALUES, VALUES | st.lists(VALUES | st.lists(VALUES, max_size=3), max_size=2))
def test_any_answers_are_results_or_errors_of_ours(info, embeddings):
    dialect = TeiDialect(address_of('tei+http://host', TransportOptions(), ()))
    steps = dialect.run(Request('/encode', DocumentArray([Document(text='a')])))
    step = advance(steps, None)
    try:
        for answer in (info, embeddings):
            step = advance(steps, HttpAnswer(200, {}, orjson.dumps(answer)))
    except InferenceError:
        return
    assert np.isfinite(step.value[0].embedding).all()
