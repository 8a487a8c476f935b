"""MLServer itself, with a runtime of ours."""

from __future__ import annotations

import numpy as np
import pytest
from docarray import Document, DocumentArray
from doors import DOORS
from rest_kit import encoded

from inference_client import Capabilities, ModelNotFoundError, Request, RetryPolicy
from inference_client._images import decode_image
from inference_client.testing import AsyncTransportConformance, FakeEngine, TransportConformance
from inference_client.testing.transports import PARAMETERS, texts_of

FAKE = FakeEngine()


class MLServerWire:
    endpoint = '/encode'
    unreachable_url = 'kserve+http://127.0.0.1:9/clip'

    @pytest.fixture
    def url(self, mlserver):
        return f'{mlserver}/clip'

    @pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
    def test_a_blob_arrives_unchanged(self, transport, kind):
        blob = encoded(kind)
        (answer,) = self._send(transport, Request('/encode', DocumentArray([Document(blob=blob)]))).documents
        assert np.allclose(answer.embedding, FAKE.encode_image([decode_image(blob)], {})[0])

    def test_pixels_arrive_unchanged(self, transport):
        pixels = np.arange(9 * 32 * 3, dtype=np.uint8).reshape(9, 32, 3)
        (answer,) = self._send(transport, Request('/encode', DocumentArray([Document(tensor=pixels)]))).documents
        assert np.allclose(answer.embedding, FAKE.encode_image([pixels], {})[0])

    def test_parameters_arrive(self, transport):
        """Its runtime answers with sevens if they did."""
        (answer,) = self._send(transport, Request('/encode', texts_of('a'), dict(PARAMETERS))).documents
        assert answer.embedding.tolist() == [7] * 8


class TestMLServer(MLServerWire, TransportConformance):
    pass


class TestAsyncMLServer(MLServerWire, AsyncTransportConformance):
    pass


@pytest.fixture(params=DOORS)
def open_model(request, mlserver):
    with DOORS[request.param](trust_env=False, retry=RetryPolicy(attempts=1)) as client:
        yield lambda name: client.get_model(f'{mlserver}/{name}')


def test_texts_are_embedded(open_model):
    texts = ['a', 'caf\u00e9', '\U0001f600']
    answers = open_model('clip').encode(text=texts)
    assert np.allclose([one.embedding for one in answers], FAKE.encode_text(texts, {}))


def test_pixels_as_a_tensor(open_model):
    images = [encoded('PNG', seed) for seed in range(3)]
    answers = open_model('pixels').encode(image=images)
    assert np.allclose([one.embedding for one in answers], FAKE.encode_image(list(map(decode_image, images)), {}))


def test_a_score(open_model):
    (answer,) = open_model('reranker').rank(reference='four', candidates=['a', 'abc', 'ab'])
    assert [(match.text, match.scores['relevance_score'].value) for match in answer.matches] == [
        ('a', 3),
        ('ab', 2),
        ('abc', 1),
    ]


def test_an_answer(open_model):
    model = open_model('blip2')
    (answer,) = model.vqa(image=encoded('PNG'), question='Is it a cat?')
    assert answer.tags['response'] == 'Is it a cat? (9, 7, 3)'
    assert model.capabilities().tasks == {'caption', 'vqa'}


def test_capabilities(open_model):
    assert open_model('clip').capabilities() == Capabilities(
        frozenset({'encode', 'rank'}), frozenset({'text', 'image'}), 8
    )


def test_a_model_that_is_not_there(open_model):
    with pytest.raises(ModelNotFoundError, match='other'):
        open_model('other').encode(text='a')
    assert open_model('clip').is_ready() is True
