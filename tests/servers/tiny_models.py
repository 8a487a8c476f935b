"""Models of a few kilobytes with random weights, in files that transformers reads: made here, not fetched."""

from __future__ import annotations

import json

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
)

SIZE = 16  # of CLIP's embeddings
LAYER = {'hidden_size': 16, 'intermediate_size': 32, 'num_hidden_layers': 1, 'num_attention_heads': 2}


def make_clip(folder):
    """A CLIP that sees 16 x 16 pixels."""
    torch.manual_seed(0)
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f'{letter}</w>' for letter in letters), '<|startoftext|>', '<|endoftext|>']
    folder.mkdir()
    (folder / 'vocab.json').write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / 'merges.txt').write_text('#version: 0.2\n')
    tokenizer = CLIPTokenizer(str(folder / 'vocab.json'), str(folder / 'merges.txt'), model_max_length=20)
    ends = {'bos_token_id': len(words) - 2, 'eos_token_id': len(words) - 1, 'pad_token_id': len(words) - 1}
    text = {**LAYER, **ends, 'vocab_size': len(words), 'max_position_embeddings': 20, 'max_length': 20}
    vision = {**LAYER, 'image_size': 16, 'patch_size': 8}
    images = CLIPImageProcessor(size={'shortest_edge': 16}, crop_size={'height': 16, 'width': 16})
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=SIZE)).save_pretrained(folder)
    CLIPProcessor(images, tokenizer).save_pretrained(folder)


def make_reranker(folder):
    """A BERT that gives a pair of texts one score."""
    torch.manual_seed(0)
    folder.mkdir()
    words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *(chr(code) for code in range(97, 123))]
    words += [f'##{letter}' for letter in words[5:]]
    (folder / 'vocab.txt').write_text('\n'.join(words))
    tokenizer = BertTokenizerFast(str(folder / 'vocab.txt'), model_max_length=32)
    config = BertConfig(**LAYER, vocab_size=len(words), max_position_embeddings=32, num_labels=1, initializer_range=1.0)
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
