"""CLIP in ONNX files: a tiny random model, exported as the documentation says, beside what transformers makes of it."""

from __future__ import annotations

import json
import shutil
import tracemalloc

import numpy as np
import onnx
import pytest
import torch
import transformers
from isolated import output_of
from PIL import Image
from strategies import texts_and_images

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


def with_length(onnx_files, folder, length, positions):
    """The name of a copy whose tokenizer and configuration say how long a text may be."""
    shutil.copytree(onnx_files, folder)
    settings = json.loads((folder / 'tokenizer_config.json').read_text())
    (folder / 'tokenizer_config.json').write_text(json.dumps({**settings, 'model_max_length': length}))
    (folder / 'config.json').unlink() if positions is None else (folder / 'config.json').write_text(positions)
    return f'onnx:{folder}'


@pytest.mark.parametrize('length', [int(1e30), 1e30, None, 0, 'long'], ids=str)
@pytest.mark.parametrize(
    ('positions', 'expected'),
    [
        ('{"text_config": {"max_position_embeddings": 20}}', 20),
        ('{"max_position_embeddings": 20}', 20),  # of the text side alone
        ('{"text_config": {}}', 77),
        ('{"text_config": null}', 77),
        (None, 77),
    ],
)
def test_a_tokenizer_without_a_length_cuts_texts_at_the_positions(
    onnx_files, tmp_path, own, length, positions, expected
):
    name = with_length(onnx_files, tmp_path / 'model', length, positions)
    engine = load_engine(name)
    assert engine.max_tokens == expected
    if expected == 77:
        check(engine.encode_text(TEXTS, {}), own(texts=TEXTS))


def test_a_tokenizer_with_a_length_cuts_texts_there(onnx_files, tmp_path):
    assert (
        load_engine(with_length(onnx_files, tmp_path / 'model', 30, '{"max_position_embeddings": 20}')).max_tokens == 30
    )


def taking_bytes(graph):
    (pixels,) = graph.input
    for node in graph.node:
        node.input[:] = ['floats' if name == pixels.name else name for name in node.input]
    graph.node.insert(0, onnx.helper.make_node('Cast', [pixels.name], ['floats'], to=onnx.TensorProto.FLOAT))
    pixels.type.tensor_type.elem_type = onnx.TensorProto.UINT8


def twice_as_wide(graph):
    (output,) = graph.output
    for node in graph.node:
        node.output[:] = ['half' if name == output.name else name for name in node.output]
    graph.node.append(onnx.helper.make_node('Concat', ['half', 'half'], [output.name], axis=1))
    output.type.tensor_type.shape.dim[1].dim_value = 32


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (taking_bytes, r'takes pixel_values as tensor\(uint8\): known are tensor\(int64\)'),
        (twice_as_wide, 'embeddings of texts have 16 numbers and those of images 32: expected both sides of one model'),
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
        ('preprocessor_config.json', '{"size": 32}', r'not one of CLIP \(224 x 224 of 32 x 32 pixels\)'),
        (
            'preprocessor_config.json',
            '{"size": 48, "crop_size": 40}',
            'images of 32 x 32 pixels and .* makes them 40 x 40',
        ),
        ('preprocessor_config.json', '[]', 'holds a list: expected an object'),
        ('tokenizer_config.json', '{', 'is no JSON'),
        ('tokenizer_config.json', '{"pad_token": "<pad>"}', "has no '<pad>'"),
        ('tokenizer_config.json', '{"pad_token": {"x": 1}}', "has no {'x': 1}, with which"),
        ('tokenizer_config.json', '{"pad_token": 7}', 'has no 7, with which'),
        ('vision_model.onnx', None, "has no vision_model.onnx: expected it in '"),
    ],
)
def test_files_of_another_kind_are_told(onnx_files, tmp_path, file, content, words):
    folder = shutil.copytree(onnx_files, tmp_path / 'model')
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(ConfigurationError, match=words):
        Client().get_model(f'onnx:{folder}').encode(text='a')


def test_a_file_that_is_no_model_is_an_error(onnx_files, tmp_path):
    folder = shutil.copytree(onnx_files, tmp_path / 'model')
    (folder / 'text_model.onnx').write_bytes(b'nothing')
    with pytest.raises(ServerError, match='could not be loaded'):
        Client().get_model(f'onnx:{folder}').encode(text='a')


class TestConformance(EngineConformance):
    engine_class = OnnxClipEngine

    @pytest.fixture
    def engine(self, name):
        return load_engine(name)

    def documents(self, task):
        return texts_and_images(task)
