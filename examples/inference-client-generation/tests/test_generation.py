"""What is sent, what comes back, and the bare values of `compat`."""

from __future__ import annotations

import io

import numpy as np
import pytest
from docarray import Document, DocumentArray
from inference_client_generation.compat import unboxed
from PIL import Image

from inference_client import Client, InputError, UnsupportedTaskError
from inference_client.testing import FakeEngine, FakeTransport, client_for

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def png():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, 'PNG')
    return file.getvalue()


def answer(request):
    """As the servers of the original do."""
    for document in request.documents:
        prompt = document.tags.get('prompt')
        if request.endpoint == '/generate':
            document.tags['generated_text'] = f'{prompt}!'
        elif request.endpoint in ('/text-to-image', '/image-to-image'):
            count = int(request.parameters.get('num_images', 1))
            document.matches = [Document(blob=f'{prompt} {index}'.encode()) for index in range(count)]
        else:
            FakeEngine().run(request.endpoint.strip('/'), DocumentArray([document]), {})
    return request.documents


@pytest.fixture
def fake():
    return FakeTransport(answer)


@pytest.fixture
def model(fake):
    with client_for(fake) as client:
        yield client.get_model('blip2')


def sent(fake):
    (request,) = fake.requests
    return request.endpoint, [document.tags for document in request.documents], dict(request.parameters)


def test_generate(model, fake):
    answers = model.generate(prompt=['a', 'b'], max_new_tokens=5, do_sample=True, parameters={'top_p': 0.5})
    assert [one.tags['response'] for one in answers] == ['a!', 'b!']
    wanted = {'max_new_tokens': 5, 'do_sample': True, 'top_p': 0.5}
    assert sent(fake) == ('/generate', [{'prompt': 'a'}, {'prompt': 'b'}], wanted)


@pytest.mark.parametrize(
    ('tags', 'text'),
    [
        ({'generated_text': ''}, ''),
        ({'response': ''}, ''),
        ({'generated_text': '', 'response': 'a'}, 'a'),
        ({'generated_text': 'a', 'response': 'b'}, 'a'),
    ],
)
def test_a_model_that_ends_at_once_gives_an_empty_text(tags, text):
    def answered(request):
        for document in request.documents:
            document.tags.update(tags)
        return request.documents

    with client_for(FakeTransport(answered)) as client:
        assert client.get_model('m').generate(prompt='x')[0].tags['response'] == text


def test_text_to_image(model, fake):
    (answered,) = model.text_to_image(prompt='a', num_images=2)
    assert [one.blob for one in answered.matches] == [b'a 0', b'a 1']
    assert sent(fake) == ('/text-to-image', [{'prompt': 'a'}], {'num_images': 2})


def test_image_to_image(model, fake):
    (answered,) = model.image_to_image(image=png(), prompt='a', negative_prompt='b')
    assert answered.matches[0].blob == b'a 0'
    assert sent(fake) == ('/image-to-image', [{'prompt': 'a', 'negative_prompt': 'b'}], {})
    assert fake.requests[0].documents[0].blob == png()


def test_a_stream_of_pairs(model):
    answers = list(model.stream('image_to_image', [(png(), 'a'), (PIXELS, 'b')], batch_size=1))
    assert [one.matches[0].blob for one in answers] == [b'a 0', b'b 0']


def test_a_server_without_the_task():
    echo = client_for(FakeTransport(lambda request: request.documents)).get_model('m')
    for call in (
        lambda: echo.generate(prompt='a'),
        lambda: echo.text_to_image(prompt='a'),
        lambda: echo.image_to_image(image=png(), prompt='a'),
    ):
        with pytest.raises(UnsupportedTaskError):
            call()


@pytest.mark.parametrize('empty', [{'blob': b''}, {'text': 'no image'}])
def test_matches_without_an_image(empty):
    def without(request):
        for document in request.documents:
            document.matches = [Document(blob=b'image'), Document(**empty)]
        return request.documents

    with pytest.raises(UnsupportedTaskError, match='images in its matches'):
        client_for(FakeTransport(without)).get_model('m').text_to_image(prompt='a')


# -- bare values


def test_bare_values(model):
    bare = unboxed(model)
    assert (bare.model_name, bare.host) == ('blip2', model.url)
    assert bare.encode(text='a').shape == (8,)
    assert bare.encode(text=['a', 'b']).shape == (2, 8)
    assert bare.encode(image=PIXELS).shape == (8,)
    assert bare.caption(image=png()) == model.caption(image=png())[0].tags['response']
    assert isinstance(bare.vqa(image=png(), question='what?'), str)
    assert bare.generate('a') == 'a!'
    assert bare.generate(['a', 'b'], parameters={'top_k': 3}) == ['a!', 'b!']
    assert bare.generate(prompts='a') == 'a!'
    assert bare.text_to_image('a') == b'a 0'
    assert bare.text_to_image('a', parameters={'num_images': 2}) == [b'a 0', b'a 1']
    assert bare.image_to_image(PIXELS, 'a') == b'a 0'


def test_none_counts_as_not_given(model, fake):
    bare = unboxed(model)
    assert bare.encode(text=None, image=png(), docs=None, request_size=None).shape == (8,)
    assert bare.encode(text='a', image=None).shape == (8,)
    assert bare.generate('a', parameters=None, top_k=None) == 'a!'
    assert dict(fake.requests[-1].parameters) == {}
    assert len(bare.rank(image=png(), candidates=['a', 'b'], docs=None)) == 2


def test_bare_rankings(model):
    bare = unboxed(model)
    for arguments in ({'text': 'a.png'}, {'image': png()}):
        ranked = bare.rank(candidates=['a', 'b'], **arguments)
        assert sorted(content for content, _ in ranked) == ['a', 'b']
        scores = [values['clip_score_cosine'].value for _, values in ranked]
        assert scores == sorted(scores, reverse=True)


def test_a_bare_image():
    pytest.importorskip('inference_client_upscale')
    with Client(trust_env=False) as client:
        bare = unboxed(client.get_model('local://upscale'))
        scaled = [
            Image.open(io.BytesIO(bare.upscale(image=png(), scale='12:8', **named)))
            for named in ({}, {'image_format': 'jpg'}, {'image_format': 'JPEG'}, {'image_format': 'png'})
        ]
    assert [(one.size, one.format) for one in scaled] == [((12, 8), 'JPEG')] * 3 + [((12, 8), 'PNG')]


def test_documents_stay_documents(model):
    (answered,) = unboxed(model).generate(docs=[Document(tags={'prompt': 'a'})])
    assert answered.tags['response'] == 'a!'


def test_the_size_of_requests(model, fake):
    unboxed(model).encode(text=['a', 'b', 'c'], request_size=2)
    assert sorted(len(request.documents) for request in fake.requests) == [1, 2]


def test_what_is_missing(model):
    for call in (unboxed(model).text_to_image, unboxed(model).image_to_image, unboxed(model).generate):
        with pytest.raises(InputError):
            call()
