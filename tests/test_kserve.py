"""The Open Inference Protocol v2, against a stand-in for Triton, with and without its extensions."""

from __future__ import annotations

import base64

import numpy as np
import orjson
import pytest
from docarray import Document, DocumentArray
from doors import DOORS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rest_kit import RestKit, encoded
from rest_servers import serving
from triton_server import CLIP, Model, TritonServer

from inference_client import (
    AuthenticationError,
    Capabilities,
    ConfigurationError,
    InferenceError,
    InputError,
    ModelNotFoundError,
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
from inference_client.testing.transports import PARAMETERS, texts_of
from inference_client.transports.rest.http import HttpAnswer
from inference_client.transports.rest.kserve import KServeDialect, KServeTransport
from inference_client.transports.rest.tensors import Tensor, numbers, unpacked
from inference_client.transports.rest.transport import advance

EMBEDDING = {'EMBEDDING': ('FP32', [-1, 8])}


class TritonWire(RestKit):
    unreachable_url = 'kserve+http://127.0.0.1:9/clip'
    binary = True

    def make(self):
        return TritonServer(lenient=True, binary=self.binary)

    def url_of(self, rest):
        return f'kserve+{rest.url}/clip'

    def images_in(self, body):
        (tensor,) = body['inputs']
        return tensor['values']

    def test_parameters_arrive(self, transport, rest):
        self._send(transport, Request(self.endpoint, texts_of('a'), dict(PARAMETERS)))
        assert rest.asked[-1].body['parameters'] == PARAMETERS


class PlainWire(TritonWire):
    """As a server without the extensions has it."""

    binary = False

    def images_in(self, body):
        return [base64.b64decode(value) for value in super().images_in(body)]


class TestTriton(TritonWire, TransportConformance):
    pass


class TestAsyncTriton(TritonWire, AsyncTransportConformance):
    pass


class TestPlain(PlainWire, TransportConformance):
    pass


class TestAsyncPlain(PlainWire, AsyncTransportConformance):
    pass


@pytest.fixture(params=DOORS)
def open_model(request):
    """Gives a model of a server, by its path and options, through the blocking and the asynchronous door."""
    with DOORS[request.param]('a-key', trust_env=False, retry=RetryPolicy(attempts=1)) as client:
        yield lambda server, rest='clip': client.get_model(f'kserve+{server.url}/{rest}')


def served(model, binary=True, **more):
    return serving(TritonServer(models={'clip': model}, binary=binary, **more))


def expected(*documents):
    """What these servers' model answers in this process."""
    answers = handle(FakeEngine(), Request('/encode', DocumentArray(documents)))
    return np.stack([one.embedding for one in answers])


def infers(server):
    return [asked for asked in server.asked if asked.path.endswith('/infer')]


@pytest.mark.parametrize('binary', [False, True])
def test_texts_and_images_are_embedded(open_model, binary):
    documents = [Document(text='a'), Document(blob=encoded('JPEG')), Document(tensor=np.zeros((4, 5, 3), np.uint8))]
    with served(CLIP, binary, token='a-key') as server:
        model = open_model(server)
        answers = model.encode(docs=DocumentArray(documents), temperature=0.5)
        model.encode(text='b')
        assert [asked.path for asked in server.asked[:3]] == ['/v2', '/v2/models/clip', '/v2/models/clip/config']
        assert infers(server)[0].body['parameters'] == {'temperature': 0.5}
        assert 'parameters' not in infers(server)[-1].body
        assert len(server.asked) == 6
    found = np.stack([one.embedding for one in answers])
    assert np.allclose(found, expected(*(Document(one, copy=True) for one in documents)), atol=1e-6)


IMAGES = {
    'bytes': ('BYTES', [-1, 1], 'none', 3),
    'bytes without batches': ('BYTES', [1], 'none', 1),
    'a file as numbers': ('UINT8', [-1], 'none', 1),
    'a file as numbers in a batch': ('UINT8', [-1, -1], 'none', 1),
    'pixels of any size': ('UINT8', [-1, -1, -1, 3], 'none', 1),
    'pixels': ('UINT8', [-1, 9, 7, 3], 'none', 3),
    'pixels, channels first': ('UINT8', [-1, 3, 9, 7], 'none', 3),
    'pixels without batches': ('UINT8', [9, 7, 3], 'none', 1),
    'numbers from 0 to 1': ('FP32', [-1, 3, 9, 7], 'none', 3),
    'numbers as for CLIP': ('FP32', [-1, 3, 9, 7], 'clip', 3),
    'numbers as for SigLIP': ('FP64', [-1, 9, 7, 3], 'siglip', 3),
    'short numbers as for ImageNet': ('FP16', [-1, 3, 9, 7], 'imagenet', 3),
}


@pytest.mark.parametrize('binary', [False, True])
@pytest.mark.parametrize('kind', IMAGES)
def test_images_as_tensors_take_them(kind, binary):
    """Each way, the model sees the pixels that the image has; and as many images at once as fit."""
    datatype, shape, normalize, at_once = IMAGES[kind]
    images = [encoded('PNG', seed) for seed in range(5)]
    model = Model({'image': (datatype, shape)}, EMBEDDING, most=3 if at_once > 1 else 0, normalize=normalize)
    with served(model, binary) as server, DOORS['blocking'](trust_env=False, retry=RetryPolicy(attempts=1)) as client:
        option = f'?normalize={normalize}' if datatype.startswith('FP') else ''
        answers = client.get_model(f'kserve+{server.url}/clip{option}').encode(image=images)
        calls = len(infers(server))
    assert np.allclose([one.embedding for one in answers], expected(*(Document(blob=one) for one in images)), atol=1e-6)
    assert calls == (5 if at_once == 1 else 2 if binary else 3)  # one that is too large teaches where it is not told


def test_an_image_is_scaled_to_fill_and_its_middle_is_taken():
    picture = np.zeros((20, 60, 3), np.uint8)
    picture[:, 20:40] = 200
    with served(Model({'image': ('UINT8', [-1, 10, 10, 3])}, EMBEDDING)) as server:
        with DOORS['blocking'](trust_env=False) as client:
            client.get_model(f'kserve+{server.url}/clip').encode(image=picture)
        (asked,) = infers(server)
        assert asked.body['inputs'][0]['shape'] == [1, 10, 10, 3]
        pixels = asked.body['inputs'][0]['values'].reshape(10, 10, 3)
    assert (pixels[:, 1:9] > 190).all()


def test_pixels_that_are_no_integers_need_to_be_told_how(open_model):
    with served(Model({'image': ('FP32', [-1, 3, 9, 7])}, EMBEDDING)) as server:
        with pytest.raises(ConfigurationError, match=r'add \?normalize= \(clip, imagenet, none, siglip\)'):
            open_model(server).encode(image=encoded('PNG'))
        with pytest.raises(ConfigurationError, match='normalize=other is unknown'):
            open_model(server, 'clip?normalize=other')
        assert infers(server) == []


@pytest.mark.parametrize(
    ('spec', 'words'),
    [
        (('FP32', [-1, 4, 9, 9]), r'image \(FP32 \[-1, 4, 9, 9\]\) takes no images: expected BYTES'),
        (('INT64', [-1, 77]), 'takes no images'),
        (('UINT8', [-1, 3, 9, -1]), 'one free side'),
    ],
)
def test_tensors_that_take_no_images(open_model, spec, words):
    with served(Model({'image': spec}, EMBEDDING)) as server:
        with pytest.raises(ConfigurationError, match=words):
            open_model(server).encode(image=encoded('PNG'))
        assert infers(server) == []


def test_a_tensor_that_takes_no_texts(open_model):
    tokens = Model({'text': ('INT64', [-1, 77])}, EMBEDDING)
    with served(tokens) as server, pytest.raises(ConfigurationError, match='takes no texts: expected BYTES'):
        open_model(server).encode(text='a')


OTHER_NAMES = Model(
    {'INPUT_0': ('BYTES', [-1]), 'INPUT_1': ('BYTES', [-1])},
    {'OUTPUT_0': ('FP32', [-1, 8]), 'OUTPUT_1': ('FP32', [-1, 8])},
    roles={'INPUT_0': 'text', 'INPUT_1': 'image', 'OUTPUT_0': 'text_embedding', 'OUTPUT_1': 'image_embedding'},
)


def test_names_are_mapped_by_the_url(open_model):
    options = '?text=INPUT_0&image=INPUT_1&text_embedding=OUTPUT_0&image_embedding=OUTPUT_1'
    documents = [Document(text='a'), Document(blob=encoded('PNG'))]
    with served(OTHER_NAMES) as server:
        answers = open_model(server, f'clip{options}').encode(docs=DocumentArray(documents))
        assert {asked.body['outputs'][0]['name'] for asked in infers(server)} == {'OUTPUT_0', 'OUTPUT_1'}
        with pytest.raises(ConfigurationError, match='has no tensors that are known by their names'):
            open_model(server).encode(text='a')
        with pytest.raises(ConfigurationError, match='text=INPUT_9 names no tensor of the model'):
            open_model(server, 'clip?text=INPUT_9').encode(text='a')
    found = np.stack([one.embedding for one in answers])
    assert np.allclose(found, expected(*(Document(one, copy=True) for one in documents)), atol=1e-6)


def test_images_may_have_a_model_of_their_own(open_model):
    models = {
        'clip_text': Model(
            {'text': ('BYTES', [-1, 1])}, {'any name': ('FP32', [-1, 8])}, roles={'any name': 'embedding'}
        ),
        'clip_image': Model({'image': ('BYTES', [-1, 1])}, EMBEDDING, most=2),
    }
    with serving(TritonServer(models=models)) as server:
        model = open_model(server, 'clip_text?image_model=clip_image')
        (answer,) = model.rank(reference=encoded('PNG'), candidates=['a', encoded('PNG', 1), 'b'])
        assert set(answer.matches[0].scores) == {'clip_score', 'clip_score_cosine'}
        assert {asked.path for asked in infers(server)} == {
            '/v2/models/clip_text/infer',
            '/v2/models/clip_image/infer',
        }
        found = model.capabilities()
        assert found == Capabilities(frozenset({'encode', 'rank'}), frozenset({'text', 'image'}), 8, 2)


def test_a_version(open_model):
    with serving(TritonServer(models={'clip/versions/3': CLIP})) as server:
        assert open_model(server, 'clip?version=3').encode(text='a')[0].embedding.shape == (8,)


def test_a_path_before_the_model():
    address, _ = KServeTransport.located('kserve+https://host/serving/v1/a%20b', TransportOptions())
    assert (address.base, address.options['model']) == ('https://host/serving/v1', 'a b')
    address, _ = KServeTransport.located('kserve+https://host/v1', TransportOptions())
    assert (address.base, address.options['model']) == ('https://host', 'v1')
    address, _ = KServeTransport.located('kserve+https://host/post', TransportOptions())
    assert (address.base, address.options['model']) == ('https://host', 'post')


@pytest.mark.parametrize('url', ['kserve+http://host:1', 'kserve+http://host:1/', 'kserve+http://host:1/?text=a'])
def test_a_url_without_a_model(url):
    with pytest.raises(ConfigurationError, match='names no model'):
        KServeTransport.located(url, TransportOptions())


def test_images_are_not_sent_to_a_model_for_texts(open_model):
    with served(Model({'text': ('BYTES', [-1, 1])}, EMBEDDING)) as server:
        model = open_model(server)
        with pytest.raises(UnsupportedTaskError, match=r'embeds no images: it takes text; .* by \?image=INPUT'):
            model.encode(image=encoded('PNG'))
        with pytest.raises(UnsupportedTaskError, match='cannot caption: it offers encode, rank'):
            model.caption(image=encoded('PNG'))
        assert infers(server) == []
        assert model.capabilities().modalities == {'text'}


RERANKER = Model({'query': ('BYTES', [-1, 1]), 'text': ('BYTES', [-1, 1])}, {'score': ('FP32', [-1, 1])}, most=2)


@pytest.mark.parametrize('binary', [False, True])
def test_a_reranker_ranks(open_model, binary):
    with served(RERANKER, binary) as server:
        model = open_model(server)
        (answer,) = model.rank(reference='a', candidates=['b', 'c', 'd'])
        found = [match.scores['relevance_score'].value for match in answer.matches]
        assert found == sorted(found, reverse=True)
        assert sum(match.scores['clip_score'].value for match in answer.matches) == pytest.approx(1)
        assert len(infers(server)) == (2 if binary else 3)  # the limit is told, or learned
        with pytest.raises(UnsupportedTaskError, match='cannot encode: it offers rank'):
            model.encode(text='a')
        assert model.capabilities().tasks == {'rank'}


@pytest.mark.parametrize('shape', [[-1, 2], [1, 2]])
def test_a_score_for_each_class_is_no_relevance(open_model, shape):
    """Logits of "no" and "yes": the first of them would put the worst first."""
    with served(RERANKER._replace(outputs={'score': ('FP32', shape)})) as server:
        with pytest.raises(ConfigurationError, match=r'score .* gives more than one number for each candidate'):
            open_model(server).rank(reference='a', candidates=['b', 'c'])
        assert infers(server) == []


@pytest.mark.parametrize('candidates', [['b'], ['b', 'c']])
def test_a_score_for_each_class_that_the_metadata_does_not_tell_of(open_model, candidates):
    count = len(candidates)
    with served(RERANKER._replace(outputs={'score': ('FP32', [-1, -1])})) as server:
        model = open_model(server)
        assert len(model.rank(reference='a', candidates=candidates)) == 1
        scores = {'name': 'score', 'datatype': 'FP32', 'shape': [count, 2], 'data': [-5.0, 5.0] * count}
        server.faults.append((200, {}, {'outputs': [scores]}))
        with pytest.raises(ProtocolError, match="'score' has 2 numbers for each candidate: expected one"):
            model.rank(reference='a', candidates=candidates)


BLIP2 = Model({'image': ('BYTES', [-1, 1]), 'prompt': ('BYTES', [-1, 1])}, {'response': ('BYTES', [-1, 1])})
CAPTIONER = Model({'image': ('UINT8', [-1, -1, -1, 3])}, {'response': ('BYTES', [-1])})


@pytest.mark.parametrize('binary', [False, True])
def test_images_are_described_and_asked_about(open_model, binary):
    picture = 'an image of 7 x 9 pixels <- '
    with served(BLIP2, binary) as server:
        model = open_model(server)
        (answer,) = model.caption(image=encoded('PNG'), prompt='Colours?')
        assert answer.tags['response'] == f'{picture}Colours?'
        answers = model.vqa(image=[encoded('PNG')] * 2, question='Is it a cat?')
        assert [one.tags['response'] for one in answers] == [f'{picture}Is it a cat?'] * 2
        assert model.capabilities().tasks == {'caption', 'vqa'}


def test_a_model_that_takes_no_questions(open_model):
    with served(CAPTIONER) as server:
        model = open_model(server)
        assert model.caption(image=encoded('PNG'))[0].tags['response'] == 'an image of 7 x 9 pixels <- nothing'
        with pytest.raises(UnsupportedTaskError, match='cannot vqa: it offers caption'):
            model.vqa(image=encoded('PNG'), question='what?')


def test_a_limit_that_is_not_told_is_learned(open_model):
    model = CLIP._replace(most=3)
    with served(model, binary=False) as server:
        assert len(open_model(server).encode(text=['a'] * 8)) == 8
        assert [asked.body['inputs'][0]['shape'] for asked in infers(server)] == [[8, 1], [3, 1], [3, 1], [2, 1]]


@pytest.mark.parametrize(
    ('status', 'said', 'error', 'words'),
    [
        (400, {'error': 'expected 2 inputs but got 1'}, InputError, 'expected 2 inputs but got 1'),
        (422, {'detail': 'not so'}, InputError, 'not so'),
        (401, {'error': 'no'}, AuthenticationError, 'no'),
        (429, {'error': 'busy'}, RateLimitError, 'takes no more requests'),
        (503, {'error': 'loading'}, ServerError, 'not up'),
        (200, {'outputs': []}, ProtocolError, "no output 'EMBEDDING'"),
        (200, {'outputs': [{'name': 'EMBEDDING', 'shape': [1, 2, 2], 'data': [1, 2, 3, 4]}]}, ProtocolError, 'shape'),
        (200, {'outputs': [{'name': 'EMBEDDING', 'shape': [2, 2], 'data': [1, 2, 3, 4]}]}, ProtocolError, 'shape'),
        (200, {'outputs': [{'name': 'EMBEDDING', 'shape': [1, 2], 'data': [1]}]}, ProtocolError, '1 values'),
        (200, {'outputs': [{'name': 'EMBEDDING', 'shape': [1, 1], 'data': ['a']}]}, ProtocolError, 'no numbers'),
        (200, b'<html>', ProtocolError, 'none of the Open Inference Protocol'),
    ],
)
def test_what_goes_wrong_is_told_apart(open_model, status, said, error, words):
    with served(CLIP) as server:
        model = open_model(server)
        model.encode(text='a')
        server.faults.append((status, {}, said))
        with pytest.raises(error, match=words):
            model.encode(text='a')
        assert model.encode(text='a')[0].embedding.shape == (8,)


def test_a_server_that_is_not_up_at_first_is_asked_again(open_model):
    """Were it taken to have no extensions, a Triton would get base64 for images from then on."""
    with served(CLIP) as server:
        model = open_model(server)
        server.faults.append((503, {}, {'error': 'loading'}))
        with pytest.raises(ServerError, match='not up'):
            model.encode(text='a')
        assert model.encode(image=encoded('PNG'))[0].embedding.shape == (8,)


def test_a_model_that_is_not_there(open_model):
    with served(CLIP) as server, pytest.raises(ModelNotFoundError, match="unknown model: 'other'"):
        open_model(server, 'other').encode(text='a')


@pytest.mark.parametrize('metadata', [{}, {'inputs': [], 'outputs': []}, {'inputs': [{'name': 'a'}]}, []])
def test_metadata_that_says_nothing(open_model, metadata):
    with served(CLIP) as server:
        server.faults.extend([None, (200, {}, metadata)])
        with pytest.raises(ProtocolError, match='metadata'):
            open_model(server).encode(text='a')


def test_readiness(open_model):
    with served(CLIP) as server:
        model = open_model(server)
        assert model.is_ready() is True
        server.faults.append((400, {}, b''))
        assert model.is_ready() is False


# -- without a server

VALUES = st.none() | st.booleans() | st.integers(-3, 9) | st.floats(allow_nan=False) | st.text(max_size=3)
SHAPE = st.lists(st.integers(-1, 3), max_size=3) | VALUES
TENSORS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            'name': st.sampled_from(['text', 'embedding']),
            'datatype': st.sampled_from(['BYTES', 'FP32']) | VALUES,
            'shape': SHAPE,
            'data': st.lists(VALUES, max_size=3) | VALUES,
            'parameters': st.fixed_dictionaries({}, optional={'binary_data_size': VALUES}) | VALUES,
        },
    ),
    max_size=2,
)
METADATA = st.fixed_dictionaries({}, optional={'inputs': TENSORS, 'outputs': TENSORS})
GOOD = {
    'inputs': [{'name': 'text', 'datatype': 'BYTES', 'shape': [-1]}],
    'outputs': [{'name': 'embedding', 'datatype': 'FP32', 'shape': [-1, 2]}],
}


@given(VALUES, METADATA | VALUES | st.just(GOOD), METADATA | VALUES, st.none() | st.text(max_size=3) | st.just('40'))
def test_any_answers_are_results_or_errors_of_ours(server, metadata, answer, head):
    address, _ = KServeTransport.located('kserve+http://host/m', TransportOptions())
    steps = KServeDialect(address).run(Request('/encode', DocumentArray([Document(text='a')])))
    step = advance(steps, None)
    try:
        for said in (server, metadata, {}, answer):
            headers = {'Inference-Header-Content-Length': head} if head and said is answer else {}
            step = advance(steps, HttpAnswer(200, headers, orjson.dumps(said)))
    except InferenceError:
        return
    assert np.isfinite(step.value[0].embedding).all()


@given(arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=st.floats(-1e3, 1e3, width=32)))
def test_numbers_survive_as_json_and_as_bytes(values):
    tensor = Tensor('x', 'FP32', values.shape, values, {})
    head, data = tensor.binary()
    for content, size in (
        (orjson.dumps({'outputs': [tensor.json()]}), None),
        (orjson.dumps({'outputs': [head]}) + data, str(len(orjson.dumps({'outputs': [head]})))),
    ):
        assert np.array_equal(numbers(unpacked(content, size), 'x', len(values)), values)


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=4))
def test_bytes_survive(values):
    head, data = Tensor('x', 'BYTES', [len(values)], values, {}).binary()
    content = orjson.dumps({'outputs': [head]})
    assert unpacked(content + data, str(len(content)))['outputs'][0]['data'] == values
