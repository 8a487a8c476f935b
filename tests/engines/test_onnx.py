"""CLIP in ONNX files: a tiny random model, exported as the documentation says, beside what transformers makes of it."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import threading
import tracemalloc

import numpy as np
import onnx
import pytest
import torch
import transformers
from docarray import Document
from huggingface_hub import constants
from isolated import output_of
from PIL import Image

from inference_client import Capabilities, Client, ConfigurationError, ServerError
from inference_client.engines.loader import load_engine
from inference_client.engines.onnx import OnnxClipEngine
from inference_client.server.process import served
from inference_client.testing import EngineConformance

TEXTS = ['a photo of a cat', 'HELLO  world', 'naïve café, 10€', 'a ' * 200]


@pytest.fixture
def name(onnx_files):
    return f'onnx:{onnx_files}'


@pytest.fixture(scope='module')
def own(hf_clip_files):
    """What transformers makes of texts and images, each alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(hf_clip_files)
    prepare = transformers.CLIPImageProcessorPil.from_pretrained(hf_clip_files)
    text_side = transformers.CLIPTextModelWithProjection.from_pretrained(hf_clip_files)
    image_side = transformers.CLIPVisionModelWithProjection.from_pretrained(hf_clip_files)

    def embedded(texts=(), images=()):
        with torch.no_grad():
            rows = [text_side(**tokenizer([text], truncation=True, return_tensors='pt')).text_embeds for text in texts]
            rows += [image_side(**prepare(image, return_tensors='pt')).image_embeds for image in images]
        return torch.cat(rows).numpy()

    return embedded


def check(found, expected):
    assert found.dtype == np.float32
    assert not np.allclose(expected[0], expected[1], atol=1e-3)  # else any order would do
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_texts_are_embedded_as_transformers_does(name, own):
    check(Client().get_model(name).encode(text=TEXTS).embeddings, own(texts=TEXTS))


@pytest.mark.parametrize('shape', [(40, 60), (90, 50), (32, 32), (7, 20), (33, 1000)], ids=str)
def test_images_are_embedded_as_transformers_does(name, own, shape):
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (*shape, 3), np.uint8) for _ in range(20)]  # more than are run at once
    check(Client().get_model(name).encode(image=images, batch_size=20).embeddings, own(images=images))


def test_images_may_be_squeezed(hf_clip_files, onnx_files, own, photos, tmp_path):
    """As the processors of some models do: no part is cut off."""
    folder = shutil.copytree(onnx_files, tmp_path / 'squeezed')
    settings = json.loads((folder / 'preprocessor_config.json').read_text())
    settings.update(size={'height': 32, 'width': 32}, do_center_crop=False, resample=2)
    (folder / 'preprocessor_config.json').write_text(json.dumps(settings))
    prepare = transformers.CLIPImageProcessorPil.from_pretrained(folder)
    side = transformers.CLIPVisionModelWithProjection.from_pretrained(hf_clip_files)
    with torch.no_grad():
        expected = side(**prepare(photos, return_tensors='pt')).image_embeds.numpy()
    check(Client().get_model(f'onnx:{folder}').encode(image=photos).embeddings, expected)
    assert not np.allclose(expected, own(images=photos), atol=1e-3)


def test_rank_multiplies_cosines_by_a_hundred(name, photos):
    (ranked,) = Client().get_model(name).rank(reference=photos[0], candidates=TEXTS)
    cosines = np.array([match.scores['clip_score_cosine'].value for match in ranked.matches])
    shares = np.exp(100 * cosines)
    found = [match.scores['clip_score'].value for match in ranked.matches]
    np.testing.assert_allclose(found, shares / shares.sum(), rtol=1e-3)


def test_what_it_can_do_is_known(name):
    expected = Capabilities(frozenset({'encode', 'rank'}), frozenset({'text', 'image'}), 16, max_tokens=77)
    assert Client().get_model(name).capabilities() == expected


@pytest.mark.parametrize('scheme', ['grpc', 'http', 'ws'])
def test_a_server_hosts_it(name, photos, scheme):
    near = Client().get_model(name)
    with served(name) as urls, Client() as client:
        far = client.get_model(urls[scheme])
        for content in ({'text': TEXTS}, {'image': photos}):
            expected = near.encode(**content).embeddings
            np.testing.assert_allclose(far.encode(**content).embeddings, expected, atol=1e-5)


def test_torch_is_not_imported(name):
    printed = output_of(
        f"""
        import sys
        from inference_client import Client
        print(Client().get_model({name!r}).encode(text='a')[0].embedding.shape)
        print({{'torch', 'open_clip', 'transformers'}} & set(sys.modules))
        """
    )
    assert printed == '(16,)\nset()'


def test_a_text_of_any_length_needs_little_memory(name):
    engine = load_engine(name)
    texts = [4_000_000 * 'a ', 8_000_000 * ' ' + 'cat \ud800']
    tracemalloc.start()
    try:
        rows = engine.encode_text(texts, {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000
    np.testing.assert_allclose(rows, engine.encode_text(['a ' * 80, 'cat ?'], {}), atol=1e-5)


def test_a_strip_is_not_scaled_to_any_length(name, own):
    strip = np.random.default_rng(0).integers(0, 256, (1, 20_000, 3), np.uint8)
    engine = load_engine(name)
    tracemalloc.start()  # Pillow's memory is not seen by it, but the arrays that are made of its images are
    try:
        (row,) = engine.encode_image([strip], {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    np.testing.assert_allclose(row, own(images=[Image.fromarray(strip[:, 9984:10016])])[0], atol=1e-5)


def test_sides_may_be_in_a_folder_and_have_variants(onnx_files, tmp_path):
    inner = tmp_path / 'model' / 'onnx'
    shutil.copytree(onnx_files, inner.parent)
    inner.mkdir()
    for side in ('text_model', 'vision_model'):
        (inner.parent / f'{side}.onnx').rename(inner / f'{side}_mine.onnx')
    found = Client().get_model(f'onnx:{inner.parent}?variant=mine').encode(text=TEXTS).embeddings
    assert np.array_equal(found, Client().get_model(f'onnx:{onnx_files}').encode(text=TEXTS).embeddings)


def altered(onnx_files, folder, side, change):
    """The name of a copy with one side of the model changed."""
    shutil.copytree(onnx_files, folder)
    model = onnx.load(folder / f'{side}.onnx')
    change(model.graph)
    onnx.save(model, folder / f'{side}.onnx')
    return f'onnx:{folder}'


def test_a_text_side_may_take_a_mask_and_few_tokens_one_at_a_time(onnx_files, tmp_path, own):
    """As exports do that are not told of axes that vary; attention to the mask is up to the model."""

    def change(graph):
        (ids,) = graph.input
        del ids.type.tensor_type.shape.dim[:]
        for size in (1, 77):
            ids.type.tensor_type.shape.dim.add().dim_value = size
        mask = onnx.helper.make_tensor_value_info('attention_mask', onnx.TensorProto.INT32, [1, 77])
        graph.input.append(mask)

    name = altered(onnx_files, tmp_path / 'model', 'text_model', change)
    check(load_engine(name).encode_text(TEXTS, {}), own(texts=TEXTS))


def renamed(graph):
    (output,) = graph.output
    graph.node.append(onnx.helper.make_node('Identity', [output.name], ['pooler_output']))
    output.name = 'pooler_output'


def taking_four(graph):
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (renamed, r'takes pixel_values and gives pooler_output: expected one side of CLIP with its projection'),
        (taking_four, 'takes 4 inputs at once, no more and no fewer'),
    ],
)
def test_a_model_of_another_kind_is_told(onnx_files, tmp_path, change, words):
    name = altered(onnx_files, tmp_path / 'model', 'vision_model', change)
    with pytest.raises(ConfigurationError, match=words):
        load_engine(name)


@pytest.mark.parametrize(
    ('file', 'content', 'words'),
    [
        ('preprocessor_config.json', '{"size": 32}', "not one of CLIP .*'crop_size'"),
        ('preprocessor_config.json', '{"size": 32, "do_center_crop": false}', 'images of any shape'),
        ('preprocessor_config.json', '{"size": 32, "crop_size": 64}', '64 x 64 of 32 x 32 pixels'),
        ('preprocessor_config.json', '[]', 'holds a list: expected an object'),
        ('tokenizer_config.json', '{', 'is no JSON'),
        ('tokenizer_config.json', '{"pad_token": "<pad>"}', "has no '<pad>'"),
        ('vision_model.onnx', None, "has no vision_model.onnx: expected it in '"),
    ],
)
def test_files_of_another_kind_are_told(onnx_files, tmp_path, file, content, words):
    folder = shutil.copytree(onnx_files, tmp_path / 'model')
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(ConfigurationError, match=words):
        Client().get_model(f'onnx:{folder}').encode(text='a')


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('onnx:/no/such', "has no preprocessor_config.json: expected it in '/no/such'"),
        ('onnx:', 'has no preprocessor_config.json'),
        ('onnx:/no/such?variant=../x', "no variant '../x'"),
        ('onnx:/no/such?device=cpu', "the option 'device': known are variant"),
    ],
)
def test_a_name_of_no_use_is_a_sentence(name, words):
    with pytest.raises(ConfigurationError, match=words):
        Client().get_model(name).encode(text='a')


def test_a_file_that_is_no_model_is_an_error(onnx_files, tmp_path):
    folder = shutil.copytree(onnx_files, tmp_path / 'model')
    (folder / 'text_model.onnx').write_bytes(b'nothing')
    with pytest.raises(ServerError, match='could not be loaded'):
        Client().get_model(f'onnx:{folder}').encode(text='a')


# -- a repository of the hub


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(constants, 'HF_HUB_DISABLE_XET', True)


@pytest.fixture
def hub(onnx_files, monkeypatch):
    """A server that has the files as the hub has those of `somebody/clip`, and notes which were fetched."""
    fetched = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            content = self.answer()
            if content:
                fetched.append(self.path.rpartition('/')[2])
                self.wfile.write(content)

        def answer(self):
            repository, _, file = self.path.partition('/resolve/main/')
            path = onnx_files / file.rpartition('/')[2]
            there = repository == '/somebody/clip' and path.is_file() and file.startswith('onnx/') == ('.onnx' in file)
            content = path.read_bytes() if there else b''
            self.send_response(200 if there else 404)
            self.send_header('Content-Length', str(len(content)))
            if there:
                self.send_header('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header('X-Repo-Commit', 40 * 'a')
            else:
                known = repository == '/somebody/clip'
                self.send_header('X-Error-Code', 'EntryNotFound' if known else 'RepoNotFound')
            self.end_headers()
            return content

        def log_message(self, *_):
            """Say nothing."""

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(constants, 'ENDPOINT', f'http://127.0.0.1:{server.server_port}')
        monkeypatch.setattr(
            constants, 'HUGGINGFACE_CO_URL_TEMPLATE', constants.ENDPOINT + '/{repo_id}/resolve/{revision}/{filename}'
        )
        yield fetched
        server.shutdown()
        thread.join()


def test_a_repository_is_fetched_once(hub, empty_cache, own, photos, monkeypatch):
    check(OnnxClipEngine('onnx:somebody/clip').encode_image(photos, {}), own(images=photos))
    assert sorted(hub) == [
        'preprocessor_config.json',
        'text_model.onnx',
        'tokenizer.json',
        'tokenizer_config.json',
        'vision_model.onnx',
    ]
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    check(OnnxClipEngine('onnx:somebody/clip').encode_text(TEXTS, {}), own(texts=TEXTS))
    assert len(hub) == 5


@pytest.mark.parametrize('name', ['onnx:somebody/clip?variant=lost', 'onnx:nobody/clip'])
def test_what_the_hub_does_not_have_is_told(hub, empty_cache, name):
    with pytest.raises(ConfigurationError, match='the model hub has none that it would give: check the name'):
        Client().get_model(name).encode(text='a')


def test_a_hub_out_of_reach_is_told(empty_cache, monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(ConfigurationError) as caught:
        Client().get_model('onnx:Xenova/clip-vit-base-patch32').encode(text='a')
    assert 'hf download Xenova/clip-vit-base-patch32 preprocessor_config.json' in str(caught.value)
    assert "ask for 'onnx:/directory'" in str(caught.value)


class TestConformance(EngineConformance):
    engine_class = OnnxClipEngine

    @pytest.fixture
    def engine(self, name):
        return load_engine(name)

    def documents(self, task):
        generator = np.random.default_rng(1)
        pixels = [generator.integers(0, 256, (30, 40, 3), np.uint8) for _ in range(4)]
        documents = [
            Document(text='a cat'),
            Document(tensor=pixels[0]),
            Document(text='a dog'),
            Document(tensor=pixels[1]),
        ]
        if task == 'rank':
            for document in documents:
                document.matches = [Document(text='a'), Document(tensor=pixels[2]), Document(tensor=pixels[3])]
        return documents
