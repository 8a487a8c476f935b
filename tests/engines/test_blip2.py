"""BLIP-2 by transformers: tiny models with random weights through the real loaders, tokenizers and `generate`."""

from __future__ import annotations

import json
import resource
import shutil

import numpy as np
import pytest
import torch
import transformers
from docarray import Document
from huggingface_hub import constants

from inference_client import Capabilities, Client, ConfigurationError, InputError, UnsupportedTaskError
from inference_client.engines import blip2, loader
from inference_client.engines.blip2 import Blip2Engine, Blip2RetrievalEngine
from inference_client.engines.loader import engine_class, load_engine
from inference_client.testing import EngineConformance

PROMPTS = ['Question: what is this? Answer:', 'Question: is it a cat or a rocket, or none of the two? Answer:']


@pytest.fixture
def models(blip2_files):
    return {kind: Client().get_model(f'blip2:{blip2_files}/{kind}') for kind in ('opt', 't5', 'itm')}


def own(folder, kind=transformers.Blip2ForConditionalGeneration):
    return kind.from_pretrained(folder).eval(), transformers.Blip2Processor.from_pretrained(folder)


def continued(folder, image, prompt, **settings):
    """What transformers itself makes of one image and prompt."""
    model, processor = own(folder)
    inputs = processor(images=image, text=prompt, return_tensors='pt')
    (tokens,) = model.generate(**inputs, **settings)
    if model.config.use_decoder_only_language_model:
        tokens = tokens[inputs['input_ids'].shape[1] :]
    return processor.decode(tokens, skip_special_tokens=True).strip()


def responses(documents):
    return [document.tags['response'] for document in documents]


@pytest.mark.parametrize('kind', ['opt', 't5'])
@pytest.mark.parametrize(
    'settings', [{'max_new_tokens': 6}, {'num_beams': 3, 'max_new_tokens': 8, 'length_penalty': 0.5}]
)
def test_answers_are_those_of_transformers_without_the_prompt(models, blip2_files, photos, as_pil, kind, settings):
    expected = [continued(blip2_files / kind, *one, **settings) for one in zip(as_pil, PROMPTS)]
    found = responses(models[kind].vqa(image=photos, question=PROMPTS, **settings))
    assert found == expected
    assert len(set(expected)) == 2 or kind == 't5'  # which, with random weights, repeats one token
    assert 'Question' not in ''.join(found)


@pytest.mark.parametrize('kind', ['opt', 't5'])
def test_captions_are_those_of_transformers(models, blip2_files, photos, as_pil, kind):
    expected = [continued(blip2_files / kind, one, '', max_new_tokens=30) for one in as_pil]
    assert responses(models[kind].caption(image=photos)) == expected
    assert len(set(expected)) == 2 or kind == 't5'


def test_a_plain_question_is_put_into_the_prompt(models, photos):
    plain = models['opt'].vqa(image=photos[0], question='what is this?')
    assert responses(plain) == responses(models['opt'].vqa(image=photos[0], question=PROMPTS[0]))


def test_whole_numbers_of_a_wire_are_integers(models, blip2_files, photos, as_pil):
    expected = continued(blip2_files / 'opt', as_pil[0], '', max_new_tokens=7, min_new_tokens=7)
    over_a_wire = {'max_new_tokens': 7.0, 'min_new_tokens': 7.0}
    assert responses(models['opt'].caption(image=photos[0], **over_a_wire)) == [expected]
    with pytest.raises(InputError, match=r'max_new_tokens is 2\.5: expected an integer from 1 up to 512'):
        models['opt'].caption(image=photos[0], max_new_tokens=2.5)


def test_samples_differ(models, photos):
    torch.manual_seed(0)
    sampled = {
        responses(models['opt'].caption(image=photos[0], do_sample=True, temperature=5, top_k=200))[0] for _ in range(4)
    }
    assert len(sampled) > 1


def test_embeddings_are_the_mean_of_the_q_formers_states(models, blip2_files, photos, as_pil):
    model, processor = own(blip2_files / 'opt', transformers.Blip2Model)
    with torch.no_grad():
        states = model.get_qformer_features(processor(images=as_pil, return_tensors='pt')['pixel_values'])
    found = models['opt'].encode(image=photos).embeddings
    assert found.dtype == np.float32
    assert not np.allclose(found[0], found[1], atol=1e-2)
    np.testing.assert_allclose(found, states.mean(dim=1).numpy(), atol=1e-5)
    ranked = models['opt'].rank(reference=photos[0], candidates=photos[::-1])[0].matches
    assert ranked[0].scores['clip_score_cosine'].value == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize('kind', ['opt', 't5'])
def test_models_that_generate_embed_no_texts(models, photos, kind):
    for call in (
        lambda: models[kind].encode(text='a'),
        lambda: models[kind].rank(reference=photos[0], candidates=['a']),
    ):
        with pytest.raises(UnsupportedTaskError, match=r'embeds images only.*Salesforce/blip2-itm-vit-g'):
            call()


def test_models_for_retrieval_embed_both_as_transformers_does(models, blip2_files, photos, as_pil):
    assert models['itm'].spec.tasks == {'encode', 'rank'}
    texts = ['a cat', 'a photo of a dog and a rocket']
    model, processor = own(blip2_files / 'itm', transformers.Blip2ForImageTextRetrieval)
    inputs = processor(images=as_pil, text=texts, padding=True, return_tensors='pt')
    with torch.no_grad():
        expected = model(**inputs, use_image_text_matching_head=False)
    np.testing.assert_allclose(models['itm'].encode(text=texts).embeddings, expected.text_embeds.numpy(), atol=1e-5)
    pooled = expected.image_embeds.mean(dim=1).numpy()
    np.testing.assert_allclose(models['itm'].encode(image=photos).embeddings, pooled, atol=1e-5)
    cosines = expected.text_embeds.numpy() @ (pooled[0] / np.linalg.norm(pooled[0]))
    ranked = models['itm'].rank(reference=photos[0], candidates=texts)[0].matches
    found = {match.text: match.scores['clip_score_cosine'].value for match in ranked}
    assert [found[text] for text in texts] == pytest.approx(list(cosines), abs=1e-5)


def test_a_text_of_any_length_needs_little_memory(blip2_files):
    engine = load_engine(f'blip2:{blip2_files}/itm')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = engine.encode_text([8_000_000 * 'a', 2_000_000 * 'cat '], {})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # kB
    np.testing.assert_allclose(rows, engine.encode_text([1000 * 'a', 1000 * 'cat '], {}), atol=1e-5)


def test_a_text_is_cut_where_its_tokenizer_says(blip2_files, tmp_path):
    shutil.copytree(blip2_files / 'itm', tmp_path / 'left')
    settings = tmp_path / 'left' / 'tokenizer_config.json'
    settings.write_text(json.dumps({**json.loads(settings.read_text()), 'truncation_side': 'left'}))
    for folder, read in ((blip2_files / 'itm', 'cat '), (tmp_path / 'left', 'dog ')):
        long, short = load_engine(f'blip2:{folder}').encode_text([9000 * 'cat ' + 1000 * 'dog ', 1000 * read], {})
        np.testing.assert_allclose(long, short, atol=1e-5)


@pytest.mark.parametrize('kind', ['opt', 't5', 'itm'])
def test_half_precision(blip2_files, models, photos, kind):
    half = Client().get_model(f'blip2:{blip2_files}/{kind}?precision=bf16&device=cpu')
    found, full = (model.encode(image=photos).embeddings for model in (half, models[kind]))
    assert found.dtype == np.float32
    assert not np.array_equal(found, full)
    near = (found * full).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(full, axis=1)
    assert near.min() > 0.9
    if kind != 'itm':
        assert len(responses(half.caption(image=photos, max_new_tokens=3))) == 2


def test_what_they_can_do_is_known(models):
    able = {kind: model.capabilities() for kind, model in models.items()}
    assert able['opt'] == Capabilities(frozenset({'encode', 'rank', 'caption', 'vqa'}), frozenset({'image'}), 32)
    assert able['itm'] == Capabilities(frozenset({'encode', 'rank'}), frozenset({'image', 'text'}), 16)


# -- a model for retrieval beside one that generates


@pytest.fixture(params=['{}/itm', 'blip2:{}/itm'])
def paired(blip2_files, request):
    """The name of the pair, in both ways."""
    return f'blip2:{blip2_files}/opt?retrieval={request.param.format(blip2_files)}'


def test_a_pair_embeds_as_its_model_for_retrieval_and_generates_as_the_other(models, paired, photos):
    pair, texts = Client().get_model(paired), ['a cat', 'a photo of a dog and a rocket']
    assert pair.capabilities() == Capabilities(
        frozenset({'encode', 'rank', 'caption', 'vqa'}), frozenset({'image', 'text'}), 16
    )
    for inputs in ({'text': texts}, {'image': photos}):
        np.testing.assert_array_equal(pair.encode(**inputs).embeddings, models['itm'].encode(**inputs).embeddings)
    found, expected = (model.rank(reference=photos[0], candidates=texts)[0].matches for model in (pair, models['itm']))
    assert found[:, 'text'] == expected[:, 'text']
    settings = {'image': photos, 'max_new_tokens': 6}
    assert responses(pair.caption(**settings)) == responses(models['opt'].caption(**settings))


def test_what_embeds_is_loaded_when_it_is_needed(blip2_files, photos):
    pair = Client().get_model(f'blip2:{blip2_files}/opt?precision=fp32&retrieval={blip2_files}/itm&device=cpu')
    beside = f'blip2:{blip2_files}/itm?precision=fp32&device=cpu'
    pair.caption(image=photos[0], max_new_tokens=3)
    assert beside not in loader._loaded
    pair.encode(text='a cat')
    assert beside in loader._loaded


def test_only_a_model_for_retrieval_embeds_for_another(blip2_files):
    with pytest.raises(ConfigurationError, match='cannot embed for another: expected Blip2ForImageTextRetrieval'):
        Client().get_model(f'blip2:{blip2_files}/t5?retrieval={blip2_files}/opt').encode(text='a cat')
    with pytest.raises(ConfigurationError, match="the option 'retrieval': known are device, precision"):
        load_engine(f'blip2:{blip2_files}/itm?retrieval={blip2_files}/itm')


def put_into(hub, repository, folder):
    place = hub / f'models--{repository.replace("/", "--")}'
    (place / 'refs').mkdir(parents=True)
    (place / 'refs' / 'main').write_text('abc')
    shutil.copytree(folder, place / 'snapshots' / 'abc')


def test_published_models_have_the_published_one_beside_them(hub, blip2_files, models, photos, monkeypatch):
    monkeypatch.setattr(loader, '_loaded', {})
    put_into(hub, 'Salesforce/blip2-opt-2.7b', blip2_files / 'opt')
    model = Client().get_model('Salesforce/blip2-opt-2.7b')
    for inputs in ({'text': 'hello jina'}, {'image': photos}):
        with pytest.raises(ConfigurationError, match=r'hf download Salesforce/blip2-itm-vit-g.*"\?retrieval="'):
            model.encode(**inputs)
    alone = Client().get_model('Salesforce/blip2-opt-2.7b?retrieval=')
    expected = models['opt'].encode(image=photos).embeddings
    np.testing.assert_allclose(alone.encode(image=photos).embeddings, expected, atol=1e-6)
    put_into(hub, 'Salesforce/blip2-itm-vit-g', blip2_files / 'itm')
    with monkeypatch.context() as patch:  # no request waits for a network that the one before has not found
        patch.setattr(loader, 'load_engine', None)
        with pytest.raises(ConfigurationError, match='hf download Salesforce/blip2-itm-vit-g'):
            model.encode(text='hello jina')
    monkeypatch.setattr(blip2, '_LOOK_AGAIN', 0.0)
    expected = models['itm'].encode(text='hello jina').embeddings
    np.testing.assert_allclose(model.encode(text='hello jina').embeddings, expected, atol=1e-6)


# -- names


def test_the_engine_goes_by_the_configuration_or_else_the_name(blip2_files):
    assert engine_class(f'blip2:{blip2_files}/itm?device=cpu') is Blip2RetrievalEngine
    assert engine_class(f'blip2:{blip2_files}/opt') is Blip2Engine
    assert engine_class('Salesforce/blip2-itm-vit-g') is Blip2RetrievalEngine
    assert engine_class('Salesforce/blip2-flan-t5-xl') is Blip2Engine


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the hub, and no network."""
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://no-such-host.invalid')
    return tmp_path


def test_weights_that_cannot_be_had_are_told_at_once(hub, monkeypatch):
    """The real look-up; no loader is begun, which would try for most of a minute."""
    monkeypatch.setattr(transformers.Blip2Config, 'from_pretrained', None)
    with pytest.raises(ConfigurationError) as caught:
        Client().get_model('Salesforce/blip2-opt-2.7b').caption(image=np.zeros((4, 4, 3), np.uint8))
    said = str(caught.value)
    assert f'needs the files of Salesforce/blip2-opt-2.7b, not in {hub}, and the model hub cannot be reached' in said
    assert '"hf download Salesforce/blip2-opt-2.7b"' in said
    assert "ask for 'blip2:/directory'" in said


def test_what_was_fetched_before_needs_no_network(hub, blip2_files, models, photos):
    put_into(hub, 'somebody/blip2-tiny', blip2_files / 'opt')
    found = Client().get_model('somebody/blip2-tiny').encode(image=photos).embeddings
    np.testing.assert_allclose(found, models['opt'].encode(image=photos).embeddings, atol=1e-6)


def saved_with(folder, tmp_path, **changes):
    shutil.copytree(folder, tmp_path / 'copy')
    config = json.loads((tmp_path / 'copy' / 'config.json').read_text())
    (tmp_path / 'copy' / 'config.json').write_text(json.dumps({**config, **changes}))
    return f'blip2:{tmp_path}/copy'


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'architectures': ['Blip2Model']}, 'is a Blip2Model: expected Blip2ForConditionalGeneration'),
        ({'architectures': None}, 'of no named architecture'),
        ({'image_token_index': None}, r'of before transformers 4\.46'),
    ],
)
def test_a_directory_of_no_use_is_a_sentence(blip2_files, tmp_path, changes, words):
    with pytest.raises(ConfigurationError, match=words):
        load_engine(saved_with(blip2_files / 'opt', tmp_path, **changes))


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('blip2:/no/such/directory', "expected config.json, .* in the directory '/no/such/directory'"),
        ('blip2:{folder}/opt?arch=x', "the option 'arch': known are device, precision, retrieval"),
        ('blip2:{folder}/opt?device=tpu', "there is no device 'tpu'"),
    ],
)
def test_a_name_of_no_use_is_a_sentence(name, words, blip2_files):
    with pytest.raises(ConfigurationError, match=words):
        load_engine(name.format(folder=blip2_files))


class Blip2Conformance(EngineConformance):
    parameters = {'max_new_tokens': 4}

    def documents(self, task):
        generator = np.random.default_rng(1)
        pixels = [generator.integers(0, 256, (30, 40, 3), np.uint8) for _ in range(3)]
        documents = [Document(tensor=one) for one in pixels]
        for document, question in zip(documents, ('what is this?', 'a cat?', 'is it a cat or a dog, or a rocket?')):
            if task == 'vqa':
                document.tags['prompt'] = f'Question: {question} Answer:'
            if task == 'rank':
                document.matches = [Document(tensor=one) for one in pixels]
        return documents


class TestGeneration(Blip2Conformance):
    engine_class = Blip2Engine

    @pytest.fixture
    def engine(self, blip2_files):
        return load_engine(f'blip2:{blip2_files}/opt')


class TestRetrieval(Blip2Conformance):
    engine_class = Blip2RetrievalEngine

    @pytest.fixture
    def engine(self, blip2_files):
        return load_engine(f'blip2:{blip2_files}/itm')

    def documents(self, task):
        return [*super().documents(task)[:2], Document(text='a cat', matches=[Document(text='b')] * (task == 'rank'))]
