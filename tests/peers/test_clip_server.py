"""This client against `clip_server` 0.8.3, which serves a tiny model with random weights; `tox -e peers` runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from directory import model_directory
from docarray import Document, DocumentArray
from PIL import Image

from inference_client import TaskFallbackWarning, UnsupportedTaskError

pytest.importorskip('clip_server', reason='needs clip_server: run tox -e peers')

import onnx
import onnxruntime
from clip_server.model import clip
from clip_server.model.tokenization import Tokenizer
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).resolve().parent
PHOTOS = HERE.parent / 'photos'
pytestmark = pytest.mark.filterwarnings('ignore:pkg_resources is deprecated')  # clip_server imports it
SIDE, TOKENS, SIZE = 224, 77, 8
TEXTS = ['a photo of a cat', 'a photo of a rocket', 'hello']


def build(path, inputs, nodes, rows):
    """Write a model whose last step multiplies by random weights of so many rows."""
    weights = np.random.RandomState(0).standard_normal((rows, SIZE)).astype(np.float32)
    graph = helper.make_graph(
        [*nodes, helper.make_node('MatMul', ['features', 'weights'], ['output'])],
        path.stem,
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info('output', TensorProto.FLOAT, ['n', SIZE])],
        [numpy_helper.from_array(weights, 'weights')],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=9), path)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The two halves of a model that `clip_server` takes for CLIP."""
    folder = tmp_path_factory.mktemp('model')
    pool = helper.make_node('AveragePool', ['pixel_values'], ['pooled'], kernel_shape=[56, 56], strides=[56, 56])
    visual = [pool, helper.make_node('Flatten', ['pooled'], ['features'])]
    pixels = {'pixel_values': (TensorProto.FLOAT, ['n', 3, SIDE, SIDE])}
    build(folder / 'visual.onnx', pixels, visual, 3 * 4 * 4)
    textual = [
        helper.make_node('Mul', ['input_ids', 'attention_mask'], ['masked']),
        helper.make_node('Cast', ['masked'], ['number'], to=TensorProto.FLOAT),
        helper.make_node('Sin', ['number'], ['features']),
    ]
    tokens = {name: (TensorProto.INT32, ['n', TOKENS]) for name in ('input_ids', 'attention_mask')}
    build(folder / 'textual.onnx', tokens, textual, TOKENS)
    return folder


@pytest.fixture(scope='module')
def urls(folder):
    command = [sys.executable, str(HERE / 'clip_server_flow.py'), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield next(json.loads(line) for line in process.stdout if line.startswith('{"'))
        finally:
            process.stdin.close()  # tells it to stop
            process.wait(30)


@pytest.fixture(params=['grpc', 'http', 'ws'])
def model(request, urls, connect):
    return connect(urls[request.param])


@pytest.fixture(scope='module')
def expected(folder):
    """What the model makes of a text or of an image's bytes, without a server."""
    sessions = {half: onnxruntime.InferenceSession(str(folder / f'{half}.onnx')) for half in ('visual', 'textual')}
    tokenize, transform = Tokenizer('ViT-B-32::openai'), clip._transform_blob(SIDE)

    def embedding(content):
        if isinstance(content, bytes):
            return sessions['visual'].run(None, {'pixel_values': transform(content).numpy()[None]})[0][0]
        tokens = {name: value.numpy().astype(np.int32) for name, value in tokenize([content]).items()}
        return sessions['textual'].run(None, tokens)[0][0]

    return embedding


def cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def test_texts_get_the_embeddings_of_the_model(model, expected):
    answers = model.encode(text=TEXTS)
    assert answers[:, 'text'] == TEXTS
    np.testing.assert_allclose(answers.embeddings, [expected(text) for text in TEXTS], rtol=1e-5, atol=1e-5)


def test_images_get_the_embeddings_of_the_model(model, expected, photo):
    answer = model.encode(image=photo)[0]
    np.testing.assert_allclose(answer.embedding, expected(Path(photo).read_bytes()), rtol=1e-5, atol=1e-5)
    pixels = np.asarray(Image.open(photo).convert('RGB'))
    np.testing.assert_allclose(model.encode(image=pixels)[0].embedding, answer.embedding, rtol=1e-5, atol=1e-5)


def test_many_inputs_in_several_requests_come_back_in_order(model, expected, photo):
    texts = [f'text {number}' for number in range(150)]
    docs = DocumentArray([Document(text=text) for text in texts] + [Document(uri=photo)])
    answers = model.encode(docs=docs, batch_size=8)
    assert answers[:-1, 'text'] == texts
    for text, answer in zip(texts, answers):
        np.testing.assert_allclose(answer.embedding, expected(text), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(answers[-1].embedding, expected(Path(photo).read_bytes()), rtol=1e-5, atol=1e-5)


def test_candidates_are_ranked_by_cosine(model, expected, photo):
    query = expected(Path(photo).read_bytes())
    cosines = {text: cosine(query, expected(text)) for text in TEXTS}
    matches = model.rank(reference=photo, candidates=TEXTS)[0].matches
    assert matches[:, 'text'] == sorted(TEXTS, key=cosines.get, reverse=True)
    for match in matches:
        assert match.scores['clip_score_cosine'].value == pytest.approx(cosines[match.text], abs=1e-5)
    assert sum(match.scores['clip_score'].value for match in matches) == pytest.approx(1, abs=1e-5)


def test_images_are_ranked_for_a_text(model, expected):
    photos = [str(PHOTOS / name) for name in ('chelsea.png', 'coffee.png', 'rocket.jpg')]
    query = expected('hello')
    matches = model.rank(reference='hello', candidates=photos)[0].matches
    best = sorted(photos, key=lambda name: cosine(query, expected(Path(name).read_bytes())), reverse=True)
    assert matches[:, 'uri'] == best


def test_each_of_several_rankings_has_its_own_candidates(model):
    docs = DocumentArray(
        [
            Document(text='one', matches=[Document(text=text) for text in TEXTS]),
            Document(text='two', matches=[Document(text=text) for text in TEXTS[:2]]),
        ]
    )
    answers = model.rank(docs=docs)
    assert [sorted(answer.matches[:, 'text']) for answer in answers] == [sorted(TEXTS), sorted(TEXTS[:2])]


def test_captions_are_not_what_it_can_do(model, photo):
    """Its endpoint for all names embeds what is sent to `/caption`: no text comes back, which is an error."""
    with pytest.raises(UnsupportedTaskError, match='the server has no model for this task'):
        model.caption(image=photo)


def test_the_fallback_of_the_original_works_on_it(urls, door, photo, expected):
    """A name without BLIP-2 in it cannot caption: the image is embedded instead."""
    models = {'ViT-B-32::openai': {'endpoints': {'grpc': urls['grpc']}}}
    with model_directory(models) as directory, door(api_endpoint=directory.url, token=directory.token) as client:
        model = client.get_model('ViT-B-32::openai')
        with pytest.warns(TaskFallbackWarning):
            answer = model.caption(image=photo)[0]
    np.testing.assert_allclose(answer.embedding, expected(Path(photo).read_bytes()), rtol=1e-5, atol=1e-5)
