"""Tiny models with random weights, written as the libraries write them and read by their own loaders."""

from __future__ import annotations

import json

import numpy as np
import open_clip
import pytest
import tokenizers
import torch
import transformers
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


@pytest.fixture
def photos():
    """Two images that are not square, uint8 RGB."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (40, 60, 3), np.uint8), generator.integers(0, 256, (90, 50, 3), np.uint8)]


@pytest.fixture
def as_pil(photos):
    return [Image.fromarray(photo) for photo in photos]
