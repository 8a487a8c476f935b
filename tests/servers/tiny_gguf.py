"""A tiny BERT with random weights, as a file that llama.cpp loads: enough to embed texts, though it knows nothing."""

from __future__ import annotations

import sys

import gguf
import numpy as np

WIDTH, INNER, LONGEST, TYPES = 32, 64, 128, 2
UNUSED = (f'[unused{number}]' for number in range(99))
SPECIAL = ['[PAD]', *UNUSED, '[UNK]', '[CLS]', '[SEP]', '[MASK]']  # where BERT has them
LETTERS = [*'abcdefghijklmnopqrstuvwxyz0123456789']
TOKENS = [*SPECIAL, *(f'\u2581{letter}' for letter in LETTERS), *LETTERS]


def write(path):
    """Write the model to a file."""
    writer = gguf.GGUFWriter(path, 'bert')
    writer.add_context_length(LONGEST)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-6)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model('bert')
    writer.add_token_type_count(TYPES)
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (2 * len(LETTERS)))
    for name, token in (('pad', '[PAD]'), ('unk', '[UNK]'), ('bos', '[CLS]'), ('sep', '[SEP]'), ('mask', '[MASK]')):
        getattr(writer, f'add_{name}_token_id')(TOKENS.index(token))
    for name, tensor in tensors().items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors():
    """Weights by name; numpy's last axis is GGUF's first."""
    random = np.random.default_rng(0)

    def weights(*shape):
        return random.normal(size=shape).astype(np.float32)

    found = {
        'token_embd.weight': weights(len(TOKENS), WIDTH),
        'token_types.weight': weights(TYPES, WIDTH),
        'position_embd.weight': weights(LONGEST, WIDTH),
    }
    sizes = {'attn_q': WIDTH, 'attn_k': WIDTH, 'attn_v': WIDTH, 'attn_output': WIDTH, 'ffn_up': INNER}
    for name, size in sizes.items():
        found[f'blk.0.{name}.weight'] = weights(size, WIDTH)
        found[f'blk.0.{name}.bias'] = weights(size)
    found['blk.0.ffn_down.weight'] = weights(WIDTH, INNER)
    found['blk.0.ffn_down.bias'] = weights(WIDTH)
    for name in ('token_embd_norm', 'blk.0.attn_output_norm', 'blk.0.layer_output_norm'):
        found[f'{name}.weight'] = np.ones(WIDTH, np.float32)
        found[f'{name}.bias'] = np.zeros(WIDTH, np.float32)
    return found


if __name__ == '__main__':
    write(sys.argv[1])
