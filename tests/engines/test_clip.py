"""CLIP by open_clip: tiny models with random weights through the real loaders, and no network."""

from __future__ import annotations

import socket
import tracemalloc

import numpy as np
import open_clip
import pytest
import torch
from directory import model_directory
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st
from isolated import output_of
from PIL import Image
from strategies import texts_and_images

from inference_client import Capabilities, Client, ConfigurationError, ServerError, TaskFallbackWarning
from inference_client.engines import _hub, clip, loader
from inference_client.engines._texts import cut, sound
from inference_client.engines.clip import ClipEngine
from inference_client.engines.loader import engine_class, load_engine
from inference_client.testing import EngineConformance

TEXTS = ['a photo of a cat', 'HELLO world', 'naïve café, 10€', 'a ' * 200]


@pytest.fixture
def by_file(clip_files):
    return f'clip:{clip_files}/tiny.pt?arch=tiny-clip'


def own(architecture, pil, texts=TEXTS, **settings):
    """What open_clip itself makes of texts and images."""
    model, prepare = open_clip.create_model_from_pretrained(architecture, **settings)
    model.eval()
    with torch.no_grad():
        text = model.encode_text(open_clip.get_tokenizer(architecture)(texts))
        image = model.encode_image(torch.stack([prepare(one) for one in pil]))
    return text.numpy(), image.numpy()


def embedded(model, texts, images):
    return model.encode(text=texts).embeddings, model.encode(image=images).embeddings


def compare(found, expected):
    for one, same in zip(found, expected):
        assert one.dtype == np.float32
        assert not np.allclose(same[0], same[1], atol=1e-3)  # else any order would do
        np.testing.assert_allclose(one, same, atol=1e-5, rtol=0)


def test_a_file_gives_what_open_clip_gives(by_file, clip_files, photos, as_pil):
    expected = own('tiny-clip', as_pil, pretrained=str(clip_files / 'tiny.pt'))
    compare(embedded(Client().get_model(by_file), TEXTS, photos), expected)


def test_a_directory_brings_its_own_architecture_and_colours(clip_files, photos, as_pil):
    expected = own(f'local-dir:{clip_files}/saved', as_pil)
    compare(embedded(Client().get_model(f'local://clip:{clip_files}/saved'), TEXTS, photos), expected)
    other = own('tiny-clip', as_pil, pretrained=str(clip_files / 'tiny.pt'))
    assert not np.allclose(other[1], expected[1], atol=1e-3)


@pytest.fixture
def listed(clip_files, monkeypatch, tmp_path):
    """Weights that open_clip lists, with an activation and colours of their own, in the hub's cache."""
    weights = {'url': '', 'hf_hub': 'somebody/tiny/', 'quick_gelu': True, **COLOURS}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, 'tiny-clip', {'mine': weights})
    snapshot = tmp_path / 'models--somebody--tiny' / 'snapshots' / 'abc'
    snapshot.mkdir(parents=True)
    (tmp_path / 'models--somebody--tiny' / 'refs').mkdir()
    (tmp_path / 'models--somebody--tiny' / 'refs' / 'main').write_text('abc')
    weights_file = clip_files / 'saved' / 'open_clip_model.safetensors'
    (snapshot / 'open_clip_model.safetensors').symlink_to(weights_file)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    return weights_file


COLOURS = {'mean': (0.3, 0.4, 0.5), 'std': (0.2, 0.2, 0.2), 'interpolation': 'bilinear', 'resize_mode': 'squash'}


def test_a_listed_pair_is_prepared_for_as_it_was_trained(listed, photos, as_pil):
    """From the cache, without a network; a file of the same weights is told so by its tag."""
    settings = {f'image_{key}': value for key, value in COLOURS.items()}
    expected = own('tiny-clip', as_pil, pretrained=str(listed), force_quick_gelu=True, **settings)
    compare(embedded(Client().get_model('tiny-clip::mine'), TEXTS, photos), expected)
    compare(embedded(Client().get_model(f'clip:{listed}?arch=tiny-clip&tag=mine'), TEXTS, photos), expected)
    plain = own('tiny-clip', as_pil, pretrained=str(listed))
    assert not np.allclose(plain[1], expected[1], atol=1e-3)


def test_openai_weights_get_their_activation():
    """open_clip itself loads them into the architecture of that name with the wrong one, and warns."""
    from inference_client.engines.clip import _settings, _weights

    assert _settings(_weights('ViT-B-32', 'openai'))['force_quick_gelu'] is True
    assert _settings(_weights('ViT-B-32', 'laion2b_s34b_b79k'))['force_quick_gelu'] is False


@pytest.mark.parametrize('pair', open_clip.list_pretrained()[::10])
def test_listed_names_have_an_engine(pair):
    assert engine_class('::'.join(pair)) is ClipEngine


def test_rank_scales_cosines_as_the_model_says(by_file, photos):
    (ranked,) = Client().get_model(by_file).rank(reference=photos[0], candidates=TEXTS)
    cosines = np.array([match.scores['clip_score_cosine'].value for match in ranked.matches])
    shares = np.exp(np.exp(1.5) * cosines)
    found = [match.scores['clip_score'].value for match in ranked.matches]
    np.testing.assert_allclose(found, shares / shares.sum(), rtol=1e-4)
    assert list(cosines) == sorted(cosines, reverse=True)


def test_large_batches_are_as_small_ones(by_file):
    model = Client().get_model(by_file)
    texts = [f'number {number}' for number in range(150)]
    together = model.encode(text=texts, batch_size=150).embeddings
    np.testing.assert_allclose(together, model.encode(text=texts, batch_size=10).embeddings, atol=1e-5)


def test_texts_need_not_be_sound(by_file):
    """A lone surrogate has no UTF-8; JSON brings them."""
    assert np.isfinite(load_engine(by_file).encode_text(['a \ud800 b'], {})).all()


RUNS = [*'aé猫☕. \n\xa0\u200b', 'ab ', '12', '&amp;', '&eacute;', '<b>', '<end_of_text>']
LONG_TEXTS = st.lists(
    st.tuples(
        st.sampled_from(RUNS) | st.characters(codec='ascii', exclude_categories=['Cc']), st.sampled_from([1, 70, 3000])
    ),
    max_size=8,
).map(lambda runs: ''.join(characters * times for characters, times in runs))


@pytest.fixture(scope='module')
def tokenizer():
    return open_clip.tokenizer.SimpleTokenizer()


@settings(max_examples=50, deadline=None)
@given(text=LONG_TEXTS)
def test_a_text_that_is_cut_has_the_tokens_of_the_whole(tokenizer, text):
    assert torch.equal(tokenizer([cut(text, 77)]), tokenizer([sound(text)]))


def test_a_text_of_any_length_needs_little_memory(by_file):
    engine = load_engine(by_file)
    texts = [8_000_000 * 'a', 4_000_000 * 'a ', 8_000_000 * ' ' + 'cat']
    tracemalloc.start()
    try:
        rows = engine.encode_text(texts, {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000
    np.testing.assert_allclose(rows[1], engine.encode_text(['a ' * 80], {})[0], atol=1e-5)
    np.testing.assert_allclose(rows[2], engine.encode_text(['cat'], {})[0], atol=1e-5)


def test_a_strip_is_not_scaled_to_any_length(by_file, clip_files, listed):
    """What open_clip makes of it: a picture of 32 x 640,000, were it not cut. One that is squeezed is whole."""
    strip = np.random.default_rng(0).integers(0, 256, (1, 20_000, 3), np.uint8)
    engine = load_engine(by_file)
    seen, prepare = [], engine._prepare
    engine._prepare = lambda image: seen.append(image.size) or prepare(image)
    (row,) = engine.encode_image([strip], {})
    engine._prepare = prepare
    assert seen == [(32, 1)]
    near = own('tiny-clip', [Image.fromarray(strip[:, 9700:10300])], pretrained=str(clip_files / 'tiny.pt'))[1][0]
    np.testing.assert_allclose(row, near, atol=1e-5)
    squeezed = load_engine('tiny-clip::mine').encode_image([strip], {})[0]
    settings = {f'image_{key}': value for key, value in COLOURS.items()}
    whole = own('tiny-clip', [Image.fromarray(strip)], pretrained=str(listed), force_quick_gelu=True, **settings)
    np.testing.assert_allclose(squeezed, whole[1][0], atol=1e-5)


def test_no_more_words_are_remembered_than_so_many(by_file, monkeypatch):
    texts = [f'word{number:x} <end_of_text> a' for number in range(200)]
    engine = load_engine(by_file)
    before = engine.encode_text(texts, {})
    monkeypatch.setattr(clip, '_MOST_WORDS', 20)
    assert np.array_equal(engine.encode_text(texts, {}), before)
    assert len(engine._tokenizer.cache) <= 20
    assert np.array_equal(engine.encode_text(texts[:64], {}), before[:64])


def test_what_it_can_do_is_known(by_file, clip_files):
    for name in (by_file, f'clip:{clip_files}/saved'):
        expected = Capabilities(frozenset({'encode', 'rank'}), frozenset({'text', 'image'}), 16, max_tokens=77)
        assert Client().get_model(name).capabilities() == expected


def test_captions_fall_back(by_file, photos):
    with pytest.warns(TaskFallbackWarning):
        answer = Client().get_model(by_file).caption(image=photos[0])
    assert answer[0].embedding.shape == (16,)


@pytest.mark.parametrize('precision', ['bf16', 'fp16'])
def test_half_precision_is_near_and_comes_back_as_float32(by_file, photos, precision):
    full = embedded(Client().get_model(by_file), TEXTS, photos)
    half = embedded(Client().get_model(f'{by_file}&precision={precision}'), TEXTS, photos)
    for one, other in zip(full, half):
        assert other.dtype == np.float32
        assert not np.array_equal(one, other)
        near = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        assert near.min() > 0.99


def test_the_environment_chooses_where_the_name_does_not(by_file, monkeypatch):
    monkeypatch.setattr(loader, '_loaded', {})
    monkeypatch.setenv('INFERENCE_DEVICE', 'cpu')
    monkeypatch.setenv('INFERENCE_PRECISION', 'bf16')
    assert load_engine(by_file)._dtype is torch.bfloat16
    monkeypatch.setenv('INFERENCE_DEVICE', 'tpu')
    assert load_engine(f'{by_file}&device=cpu&precision=fp32')._dtype is torch.float32
    with pytest.raises(ConfigurationError, match="'tpu'"):
        load_engine(f'{by_file}&precision=fp32')


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('tiny-clop::openai', r"no architecture 'tiny-clop': did you mean .*tiny-clip"),
        ('ViT-B-32::opneai', r"no weights 'opneai' of 'ViT-B-32': it lists openai, laion"),
        ('clip:/no/such.pt?arch=tiny-clip', "expected weights at '/no/such.pt'"),
        ('clip:{folder}', 'has no open_clip_config.json'),
        ('clip:{folder}/tiny.pt', r'does not say which architecture .* add \?arch='),
        ('clip:{folder}/tiny.pt?arch=nope', "no architecture 'nope'"),
        ('clip:{folder}/tiny.pt?arch=tiny-clip&tag=nope', "no weights 'nope' of 'tiny-clip': it lists none"),
        ('ViT-B-32::openai?arch=x', "the option 'arch': known are device, precision"),
        ('clip:{folder}/saved?device=gpu', "no device 'gpu': expected auto, cpu, cuda"),
        ('clip:{folder}/saved?device=cuda:99', "sees no device 'cuda:99' here: it has cpu"),
        ('clip:{folder}/saved?precision=int8', "no precision 'int8': expected fp32, fp16, bf16"),
        ('clip:{folder}/saved?device=cpu&device=cpu', 'an option twice'),
    ],
)
def test_a_name_of_no_use_is_a_sentence(name, words, clip_files):
    with pytest.raises(ConfigurationError, match=words):
        Client().get_model(name.format(folder=clip_files)).encode(text='a')


def test_a_file_of_something_else_is_an_error(clip_files):
    with pytest.raises(ServerError, match='could not be loaded'):
        Client().get_model(f'clip:{clip_files}/tiny-clip.json?arch=tiny-clip').encode(text='a')


# -- without a network


def test_weights_that_cannot_be_had_are_told_at_once(monkeypatch, tmp_path):
    """The real look-up; no loader is begun, which would try for most of a minute."""
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://no-such-host.invalid')
    monkeypatch.setattr(open_clip, 'create_model_from_pretrained', None)
    with pytest.raises(ConfigurationError) as caught:
        Client().get_model('ViT-B-32::openai').encode(text='a')
    said = str(caught.value)
    assert f'not in {tmp_path}, and the model hub cannot be reached' in said
    assert 'hf download timm/vit_base_patch32_clip_224.openai open_clip_model.safetensors' in said
    assert "'clip:/directory/open_clip_model.safetensors?arch=ViT-B-32&tag=openai'" in said


def test_a_tokenizer_that_cannot_be_had_is_told_too(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    (tmp_path / 'weights.bin').write_bytes(b'')
    with pytest.raises(ConfigurationError, match=r'needs the files of timm/ViT-B-16-SigLIP, not in'):
        Client().get_model(f'clip:{tmp_path}/weights.bin?arch=ViT-B-16-SigLIP').encode(text='a')


def test_a_hub_that_never_answers_is_out_of_reach(monkeypatch):
    with socket.create_server(('127.0.0.1', 0)) as silent:
        monkeypatch.setattr(constants, 'ENDPOINT', f'http://127.0.0.1:{silent.getsockname()[1]}')
        monkeypatch.setattr(_hub, 'TIMEOUT', 0.1)
        assert not _hub.reachable()


def test_a_hub_that_answers_anything_is_reachable(monkeypatch):
    with model_directory() as directory:
        monkeypatch.setattr(constants, 'ENDPOINT', directory.url)
        assert _hub.reachable()
        monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
        assert not _hub.reachable()


def test_a_look_up_imports_neither_torch_nor_the_library():
    printed = output_of(
        """
        import sys
        from inference_client import Client
        for name in ('ViT-B-32::openai', 'clip:/a?arch=b', 'Salesforce/blip2-opt-2.7b', 'blip2:/a'):
            print(sorted(Client().get_model(name).spec.tasks))
        print({'torch', 'open_clip', 'transformers'} & set(sys.modules))
        """
    )
    lines = printed.splitlines()
    assert lines[:2] == ["['encode', 'rank']"] * 2
    assert lines[-1] == 'set()'


class TestConformance(EngineConformance):
    engine_class = ClipEngine

    @pytest.fixture
    def engine(self, by_file):
        return load_engine(by_file)

    def documents(self, task):
        return texts_and_images(task)
