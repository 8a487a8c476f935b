"""Infinity, against a stand-in that answers as it does; `tests/servers` has the real one."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from docarray import Document, DocumentArray
from doors import DOORS
from hypothesis import given
from hypothesis import strategies as st
from model_servers import InfinityServer
from rest_kit import RestKit, encoded
from rest_servers import from_data_uri, serving

from inference_client import (
    Capabilities,
    ConfigurationError,
    InferenceError,
    ModelNotFoundError,
    ProtocolError,
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
from inference_client.transports.rest.infinity import InfinityDialect
from inference_client.transports.rest.transport import advance

BOTH = frozenset({'text', 'image'})


class InfinityWire(RestKit):
    unreachable_url = 'infinity+http://127.0.0.1:9?model=clip'

    def make(self):
        return InfinityServer(lenient=True)

    def url_of(self, rest):
        return f'infinity+{rest.url}'

    def images_in(self, body):
        return [from_data_uri(one) for one in body['input']]


class TestInfinity(InfinityWire, TransportConformance):
    pass


class TestAsyncInfinity(InfinityWire, AsyncTransportConformance):
    pass


@pytest.fixture(params=DOORS)
def open_model(request):
    """Gives the model behind a URL, through the blocking and the asynchronous door."""
    with DOORS[request.param](trust_env=False, retry=RetryPolicy(attempts=1)) as client:
        yield client.get_model


def paths(server):
    return [asked.path for asked in server.asked]


def test_texts_and_images_are_embedded(open_model):
    documents = [Document(text='a'), Document(blob=encoded('JPEG')), Document(text='data:image/png;base64,as text')]
    with serving(InfinityServer(prefix='/v1')) as server:
        server.text = str  # a text may look like that, and is none the less one
        answers = open_model(f'infinity+{server.url}/v1').encode(docs=DocumentArray(documents), dimensions=8)
        kinds = [(asked.body['modality'], asked.body['model']) for asked in server.asked[1:]]
    expected = handle(FakeEngine(), Request('/encode', DocumentArray([Document(one, copy=True) for one in documents])))
    assert np.allclose([one.embedding for one in answers], [one.embedding for one in expected], atol=1e-6)
    assert sorted(kinds) == [('image', 'clip'), ('image', 'clip'), ('text', 'clip')]  # the first image is the question


def test_no_more_than_32_images_a_call(open_model):
    with serving(InfinityServer()) as server:
        answers = open_model(f'infinity+{server.url}').encode(image=[encoded('PNG')] * 40, batch_size=40)
        sizes = [len(asked.body['input']) for asked in server.asked[1:]]
    assert len(answers) == 40
    assert sizes == [1, 32, 8]


@pytest.mark.parametrize('abilities', [['embed'], None])
def test_an_image_is_not_sent_to_a_model_for_texts(open_model, abilities):
    with serving(InfinityServer(models={'m': abilities})) as server:
        model = open_model(f'infinity+{server.url}')
        with pytest.raises(UnsupportedTaskError, match='Infinity embeds no images: it takes text'):
            model.encode(image=encoded('PNG'))
        with pytest.raises(UnsupportedTaskError, match='no images'):
            model.rank(reference='a', candidates=['b', encoded('PNG')])
        assert model.encode(text='a')[0].embedding.shape == (8,)
        assert paths(server) == ['/models', '/embeddings']


def test_an_image_is_not_sent_where_modality_is_not_heeded(open_model):
    """That server would embed its data URI, and answer 200."""
    with serving(InfinityServer(heeds=False)) as server:
        model = open_model(f'infinity+{server.url}')
        for _ in range(2):
            with pytest.raises(UnsupportedTaskError, match='would embed an image as a text'):
                model.encode(image=encoded('PNG'))
        assert [asked.body['input'] for asked in server.asked[1:]] == [['no image']] * 2
        assert model.encode(text='a')[0].embedding.shape == (8,)


def test_a_server_that_cannot_answer_now_is_asked_again_before_an_image(open_model):
    with serving(InfinityServer()) as server:
        model = open_model(f'infinity+{server.url}')
        model.encode(text='a')
        server.faults.append((503, {}, {}))
        with pytest.raises(ServerError, match='503'):
            model.encode(image=encoded('PNG'))
        assert model.encode(image=encoded('PNG'))[0].embedding.shape == (8,)


def test_a_reranker_ranks_texts(open_model):
    with serving(InfinityServer(models={'r': ['rerank']})) as server:
        model = open_model(f'infinity+{server.url}')
        (answer,) = model.rank(reference='a', candidates=['b', 'c', 'd'], raw_scores=True)
        found = [match.scores['relevance_score'].value for match in answer.matches]
        assert found == sorted(found, reverse=True)
        assert sum(match.scores['clip_score'].value for match in answer.matches) == pytest.approx(1)
        assert server.asked[-1].body['raw_scores'] is True
        with pytest.raises(UnsupportedTaskError, match='Infinity cannot encode: it offers rank'):
            model.encode(text='a')
        with pytest.raises(UnsupportedTaskError, match='no images'):
            model.rank(reference=encoded('PNG'), candidates=['b'])
        assert paths(server) == ['/models', '/rerank']


def test_a_model_that_embeds_ranks_by_cosines(open_model):
    with serving(InfinityServer()) as server:
        (answer,) = open_model(f'infinity+{server.url}').rank(reference=encoded('PNG'), candidates=['b', 'c'])
        assert set(answer.matches[0].scores) == {'clip_score', 'clip_score_cosine'}
        assert set(paths(server)) == {'/models', '/embeddings'}


def test_it_neither_describes_nor_answers(open_model):
    with serving(InfinityServer()) as server:
        with pytest.raises(UnsupportedTaskError, match='Infinity cannot caption: it offers encode, rank'):
            open_model(f'infinity+{server.url}').caption(image=encoded('PNG'))
        assert server.asked == []


def test_names_of_models_bring_no_escape_characters(open_model):
    with serving(InfinityServer(models={'a\x1b[31m': ['embed'], 'b': ['embed']})) as server:
        for options in ('', '?model=c'):
            with pytest.raises(InferenceError, match=r'a \[31m, b') as caught:
                open_model(f'infinity+{server.url}{options}').encode(text='a')
            assert str(caught.value).isprintable()


def test_several_models_are_told_apart(open_model):
    with serving(InfinityServer(models={'a': ['embed'], 'b': ['rerank']})) as server:
        with pytest.raises(ConfigurationError, match=r'the server has a, b: add \?model='):
            open_model(f'infinity+{server.url}').encode(text='x')
        assert open_model(f'infinity+{server.url}?model=a').encode(text='x')[0].embedding.shape == (8,)
        assert open_model(f'infinity+{server.url}?model=b').capabilities().tasks == {'rank'}


def test_an_empty_name_is_none(open_model):
    with serving(InfinityServer()) as server:
        assert open_model(f'infinity+{server.url}?model=').encode(text='x')[0].embedding.shape == (8,)


def test_a_name_that_is_not_there_is_not_another_model(open_model):
    """A server with one model answers to any name."""
    with serving(InfinityServer()) as server, pytest.raises(ModelNotFoundError, match="no model 'other' but clip"):
        open_model(f'infinity+{server.url}?model=other').encode(text='x')


@pytest.mark.parametrize(
    ('abilities', 'found'),
    [
        (['embed', 'image_embed'], Capabilities(frozenset({'encode', 'rank'}), BOTH, None, 32)),
        (['embed'], Capabilities(frozenset({'encode', 'rank'}), frozenset({'text'}), None, 2048)),
        (['rerank'], Capabilities(frozenset({'rank'}), frozenset({'text'}), None, 2048)),
        (['classify'], Capabilities(frozenset(), frozenset(), None, None)),
    ],
)
def test_capabilities(open_model, abilities, found):
    with serving(InfinityServer(models={'m': abilities})) as server:
        assert open_model(f'infinity+{server.url}').capabilities() == found


def test_another_kind_of_server(open_model):
    with serving(InfinityServer()) as server:
        server.faults.append((200, {}, {'object': 'list'}))
        with pytest.raises(ProtocolError, match='is this an Infinity server'):
            open_model(f'infinity+{server.url}').encode(text='a')


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5) | st.just('m'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(['data', 'id', 'capabilities']), inner),
    max_leaves=8,
)


@given(JSON, JSON)
def test_any_answers_are_results_or_errors_of_ours(models, embeddings):
    dialect = InfinityDialect(address_of('infinity+http://host?model=m', TransportOptions(), ('model',)))
    steps = dialect.run(Request('/encode', DocumentArray([Document(text='a')])))
    step = advance(steps, None)
    try:
        for answer in (models, embeddings):
            step = advance(steps, HttpAnswer(200, {}, orjson.dumps(answer)))
    except InferenceError:
        return
    assert np.isfinite(step.value[0].embedding).all()
