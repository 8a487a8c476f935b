"""Tiny models with random weights, written as the libraries write them and read by their own loaders."""

from __future__ import annotations

import json

import numpy as np
import open_clip
import pytest
import tokenizers
import torch
import transformers
from isolated import output_of
from pages import ROOT, blocks
from PIL import Image
from safetensors.torch import save_file

TINY = {
    'embed_dim': 16,
    'vision_cfg': {'image_size': 32, 'layers': 2, 'width': 32, 'head_width': 16, 'patch_size': 8},
    'text_cfg': {'context_length': 77, 'vocab_size': 49408, 'width': 32, 'heads': 2, 'layers': 2},
}
COLOURS = {'mean': [0.4, 0.5, 0.6], 'std': [0.2, 0.3, 0.4]}  # of no published model


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    """The machine's own choice of device and precision reaches no test."""
    monkeypatch.delenv('INFERENCE_DEVICE', raising=False)
    monkeypatch.delenv('INFERENCE_PRECISION', raising=False)


@pytest.fixture(scope='session')
def clip_files(tmp_path_factory):
    """Where a tiny CLIP, which open_clip knows as `tiny-clip`, is as a file (`tiny.pt`) and a directory (`saved`)."""
    folder = tmp_path_factory.mktemp('clip')
    (folder / 'tiny-clip.json').write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / 'tiny-clip.json')
    torch.manual_seed(0)
    model = open_clip.create_model('tiny-clip')
    with torch.no_grad():
        model.logit_scale.fill_(1.5)
    torch.save(model.state_dict(), folder / 'tiny.pt')
    (folder / 'saved').mkdir()
    save_file(model.state_dict(), folder / 'saved' / 'open_clip_model.safetensors')
    (folder / 'saved' / 'open_clip_config.json').write_text(json.dumps({'model_cfg': TINY, 'preprocess_cfg': COLOURS}))
    return folder


SENTENCES = ['Question: what is this? Answer: a photo of a cat and a dog', 'hello world, a cat or a rocket']
SMALL = {'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 2}
FAR_APART = 0.5  # standard deviation of the weights: with the usual 0.02 all images would look the same


def trained_tokenizer():
    """A tokenizer of its own, trained here, that puts `<s>` before a text as that of OPT does."""
    special = ['<pad>', '<s>', '</s>', '<unk>']
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token='<unk>'))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    inner.train_from_iterator(SENTENCES, trainer)
    inner.post_processor = tokenizers.processors.TemplateProcessing(single='<s> $A', special_tokens=[('<s>', 1)])
    names = dict(zip(('pad_token', 'bos_token', 'eos_token', 'unk_token'), special))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **names)


def language(kind, words):
    if kind == 't5':
        sizes = {'d_model': 32, 'd_kv': 16, 'd_ff': 64, 'num_layers': 2, 'num_heads': 2}
        return transformers.T5Config(vocab_size=words, decoder_start_token_id=0, **sizes)
    sizes = {'hidden_size': 32, 'word_embed_proj_dim': 32, 'ffn_dim': 64, 'num_hidden_layers': 2}
    ends = {'pad_token_id': 0, 'bos_token_id': 1, 'eos_token_id': 2}
    return transformers.OPTConfig(
        vocab_size=words, num_attention_heads=2, max_position_embeddings=256, init_std=FAR_APART, **sizes, **ends
    )


@pytest.fixture(scope='session')
def blip2_files(tmp_path_factory):
    """Where tiny BLIP-2 models are: `opt` and `t5`, which generate, and `itm`, for retrieval."""
    folder = tmp_path_factory.mktemp('blip2')
    images = transformers.BlipImageProcessor(size={'height': 32, 'width': 32})
    processor = transformers.Blip2Processor(images, trained_tokenizer(), num_query_tokens=4)
    words = len(processor.tokenizer)
    torch.manual_seed(0)
    for name in ('opt', 't5', 'itm'):
        config = transformers.Blip2Config(
            vision_config={**SMALL, 'image_size': 32, 'patch_size': 8, 'initializer_range': FAR_APART},
            qformer_config={
                **SMALL,
                'encoder_hidden_size': 32,
                'vocab_size': words,
                'cross_attention_frequency': 1,
                'max_position_embeddings': 64,
                'initializer_range': FAR_APART,
                'use_qformer_text_input': name == 'itm',
            },
            text_config=language(name, words).to_dict(),
            num_query_tokens=4,
            image_text_hidden_size=16,
            image_token_index=processor.tokenizer.convert_tokens_to_ids('<image>'),
            initializer_range=FAR_APART,
        )
        kind = 'Blip2ForImageTextRetrieval' if name == 'itm' else 'Blip2ForConditionalGeneration'
        model = getattr(transformers, kind)(config)
        torch.nn.init.normal_(model.query_tokens)
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return folder


LIKE_CLIP = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def clip_tokenizer():
    """A tokenizer that does with texts what CLIP's of transformers does, with few words."""
    special = ['<|startoftext|>', '<|endoftext|>']
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=special[1], end_of_word_suffix='</w>'))
    inner.normalizer = tokenizers.normalizers.Sequence(
        [
            tokenizers.normalizers.NFC(),
            tokenizers.normalizers.Replace(tokenizers.Regex(r'\s+'), ' '),
            tokenizers.normalizers.Lowercase(),
        ]
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(LIKE_CLIP), 'removed', invert=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, end_of_word_suffix='</w>'
    )
    inner.train_from_iterator(SENTENCES, trainer)
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single='<|startoftext|> $A <|endoftext|>', special_tokens=[(special[0], 0), (special[1], 1)]
    )
    names = {'bos_token': special[0], 'eos_token': special[1], 'pad_token': special[1]}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=77, **names)


@pytest.fixture(scope='session')
def hf_clip_files(tmp_path_factory):
    """Where a tiny CLIP is as transformers saves it."""
    folder = tmp_path_factory.mktemp('hf-clip')
    tokenizer = clip_tokenizer()
    torch.manual_seed(0)
    projected = {'projection_dim': 16}
    ends = {'bos_token_id': 0, 'eos_token_id': 1, 'pad_token_id': 1}
    config = transformers.CLIPConfig(
        text_config={**SMALL, **ends, **projected, 'vocab_size': len(tokenizer), 'max_position_embeddings': 77},
        vision_config={**SMALL, **projected, 'image_size': 32, 'patch_size': 8},
        **projected,
        initializer_factor=10.0,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={'shortest_edge': 32}, crop_size={'height': 32, 'width': 32}, image_mean=COLOURS['mean']
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope='session')
def onnx_files(hf_clip_files, tmp_path_factory):
    """What the program in the documentation makes of it."""
    folder = tmp_path_factory.mktemp('onnx')
    (program,) = (
        code
        for code in blocks((ROOT / 'docs' / 'engines.md').read_text(encoding='utf-8'), 'python')
        if 'torch.onnx.export' in code
    )
    for published, here in (('openai/clip-vit-base-patch32', hf_clip_files), ("'clip-onnx'", repr(str(folder)))):
        assert published in program
        program = program.replace(published, str(here))
    output_of(program)
    return folder


@pytest.fixture
def photos():
    """Two images that are not square, uint8 RGB."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (40, 60, 3), np.uint8), generator.integers(0, 256, (90, 50, 3), np.uint8)]


@pytest.fixture
def as_pil(photos):
    return [Image.fromarray(photo) for photo in photos]
