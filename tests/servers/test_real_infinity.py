"""Infinity itself."""

from __future__ import annotations

import io

import numpy as np
import pytest
import requests
import torch
from contracts import contract
from docarray import Document, DocumentArray
from doors import DOORS
from PIL import Image
from rest_kit import encoded
from tiny_models import SIZE
from transformers import CLIPModel, CLIPProcessor

from inference_client import (
    AuthenticationError,
    InputError,
    ModelNotFoundError,
    Request,
    RetryPolicy,
    UnsupportedTaskError,
)
from inference_client.testing import AsyncTransportConformance, TransportConformance
from inference_client.testing.transports import TOKEN, texts_of

PHOTO = encoded('PNG', 3)


class DebugEngine:
    """Its model tells the length of a text 13 times, and obeys no parameters."""

    endpoint = '/encode'
    slow = None
    unreachable_url = 'infinity+http://127.0.0.1:9?model=debug'

    @pytest.fixture
    def url(self, infinity_torch):
        return f'{infinity_torch}?model=debug'

    def test_a_blob_arrives_unchanged(self, transport):
        """It takes texts only, so none is sent."""
        with pytest.raises(UnsupportedTaskError, match='embeds no images'):
            self._send(transport, Request('/encode', DocumentArray([Document(blob=PHOTO)])))

    test_pixels_arrive_unchanged = None

    def test_parameters_arrive(self, transport):
        request = Request('/encode', texts_of('hello'), {'dimensions': 5})
        assert self._send(transport, request).documents[0].embedding.tolist() == [5.0] * 5

    test_what_the_model_raises_is_a_server_error = None

    def test_what_the_model_refuses_is_an_input_error(self, transport):
        with pytest.raises(InputError, match='matryoshka_dim=99'):
            self._send(transport, Request('/encode', texts_of('a'), {'dimensions': 99}))
        assert self._send(transport, self._request('b')).documents[0].text == 'b'

    def test_the_token_is_in_no_error_and_no_log(self, connect, url, caplog):
        with pytest.raises(InputError) as caught:
            self._send(connect(url), Request('/encode', texts_of('a'), {'dimensions': 99}))
        assert TOKEN not in f'{caught.value!r} {vars(caught.value)!r} {caplog.text}'

    def test_more_texts_than_it_takes(self, transport):
        """The limit that is not asked for is the right one."""
        assert len(self._send(transport, Request('/encode', texts_of(*(['a'] * 2049)))).documents) == 2049


class TestDebugEngine(DebugEngine, TransportConformance):
    pass


class TestAsyncDebugEngine(DebugEngine, AsyncTransportConformance):
    pass


def test_what_is_sent_without_a_modality_is_embedded_as_text(infinity):
    """Why this client never does that."""
    body = {'model': 'debug', 'input': ['data:image/png;base64,aaaa']}
    url = infinity.partition('+')[2]
    answer = requests.post(f'{url}/embeddings', json=body, headers={'Authorization': f'Bearer {TOKEN}'}, timeout=30)
    assert answer.status_code == 200
    assert answer.json()['data'][0]['embedding'] == [26.0] * 13


def test_a_wrong_key(infinity):
    with DOORS['blocking']('another', trust_env=False, retry=RetryPolicy(attempts=1)) as client:
        model = client.get_model(infinity)
        with pytest.raises(AuthenticationError, match='Unauthorized'):
            model.encode(text='a')


def test_a_name_that_is_not_there(infinity):
    with DOORS['blocking'](TOKEN, trust_env=False) as client:
        assert client.get_model(infinity).encode(text='abc')[0].embedding.tolist() == [3.0] * 13
        with pytest.raises(ModelNotFoundError, match="no model 'other' but debug"):
            client.get_model(f'{infinity}?model=other').encode(text='a')


@pytest.fixture(params=DOORS)
def open_model(request, infinity_torch):
    with DOORS[request.param](trust_env=False, retry=RetryPolicy(attempts=1)) as client:
        yield lambda name: client.get_model(f'{infinity_torch}?model={name}')


def test_clip_sees_images(open_model, clip_folder):
    """It gives the embedding of the image itself, as transformers does."""
    texts, images = ['a cat', 'a rocket'], [encoded('PNG', seed) for seed in range(40)]
    model = open_model('clip')
    found = model.encode(image=images, batch_size=40)
    words = model.encode(text=texts)
    clip, processor = CLIPModel.from_pretrained(clip_folder), CLIPProcessor.from_pretrained(clip_folder)
    with torch.no_grad():
        pixels = processor(images=[picture(image) for image in images], return_tensors='pt')
        seen = clip.get_image_features(**pixels)
        read = clip.get_text_features(**processor(text=texts, return_tensors='pt', padding=True))
    for answers, features in ((found, seen), (words, read)):
        expected = features / features.norm(dim=-1, keepdim=True)
        assert np.allclose([one.embedding for one in answers], expected.numpy(), atol=1e-4)
    assert found[0].embedding.shape == (SIZE,)
    assert not np.allclose(found[0].embedding, found[1].embedding, atol=1e-3)


def picture(image):
    return Image.open(io.BytesIO(image))


def test_clip_ranks_by_cosines(open_model):
    model = open_model('clip')
    (answer,) = model.rank(reference=PHOTO, candidates=['a cat', 'a rocket', encoded('PNG', 3)])
    assert answer.matches[0].blob == PHOTO
    assert answer.matches[0].scores['clip_score_cosine'].value == pytest.approx(1, abs=1e-4)
    assert model.capabilities().modalities == {'text', 'image'}


def test_a_reranker_ranks_texts(open_model, infinity_torch):
    model = open_model('reranker')
    candidates = ['a kitten', 'a rocket', 'tea']
    (answer,) = model.rank(reference='a cat', candidates=candidates)
    found = {match.text: match.scores['relevance_score'].value for match in answer.matches}
    body = {'model': 'reranker', 'query': 'a cat', 'documents': candidates}
    told = requests.post(f'{infinity_torch.partition("+")[2]}/rerank', json=body, timeout=60).json()['results']
    assert found == pytest.approx({candidates[one['index']]: one['relevance_score'] for one in told}, abs=1e-5)
    assert len(set(found.values())) == 3
    assert [match.text for match in answer.matches] == sorted(found, key=found.get, reverse=True)
    with pytest.raises(UnsupportedTaskError, match='cannot encode: it offers rank'):
        model.encode(text='a')


def test_it_is_ready(open_model):
    assert open_model('clip').is_ready() is True


@pytest.mark.parametrize(
    ('ours', 'its'),
    [
        ('EmbedTexts', '_OpenAIEmbeddingInput_Text'),
        ('EmbedImages', 'OpenAIEmbeddingInput_Image'),
        ('Rerank', 'RerankInput'),
    ],
)
def test_the_stand_in_is_held_to_what_this_release_says(infinity_torch, ours, its):
    described = requests.get(f'{infinity_torch.partition("+")[2]}/openapi.json', timeout=30).json()
    theirs = described['components']['schemas'][its]
    mine = contract('infinity').schemas[ours]
    assert (set(mine['properties']), mine['required']) == (set(theirs['properties']), theirs['required'])
