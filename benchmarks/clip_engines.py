"""CLIP by onnxruntime beside CLIP by open_clip, both of ViT-B-32's size: `python benchmarks/clip_engines.py`.

The weights are random, which takes as long as with others; the ONNX files are made by the program in
docs/engines.md, whose packages are needed, and the extras `[clip]` and `[local]`. Prints the milliseconds that
an image of 300 x 400 and a text of ten words take, alone and of a batch, the best of some rounds.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np

from inference_client.engines.base import MultimodalEngine
from inference_client.engines.clip import ClipEngine
from inference_client.engines.onnx import OnnxClipEngine

DOCS = Path(__file__).resolve().parents[1] / 'docs' / 'engines.md'
PUBLISHED, FOLDER = 'openai/clip-vit-base-patch32', 'clip-onnx'
WORDS = 'a photo of a cat on a mat in the sun'
BATCHES = (1, 16, 64)


def write_open_clip(folder: Path) -> str:
    """Write weights as open_clip reads them; returns the name of the model."""
    import open_clip
    import torch

    torch.save(open_clip.create_model('ViT-B-32').state_dict(), folder / 'weights.pt')
    return f'clip:{folder}/weights.pt?arch=ViT-B-32'


def write_onnx(folder: Path) -> str:
    """Write a model of transformers, and make ONNX files of it; returns the name of the model."""
    import tokenizers
    import transformers

    source = folder / 'source'
    ends = {'bos_token_id': 0, 'eos_token_id': 1, 'pad_token_id': 1}
    transformers.CLIPModel(transformers.CLIPConfig(text_config=ends)).save_pretrained(source)
    transformers.CLIPImageProcessor().save_pretrained(source)
    words = ['<|startoftext|>', '<|endoftext|>', *sorted(set(WORDS.split()))]
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, words[1]))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single=f'{words[0]} $A {words[1]}', special_tokens=[(words[0], 0), (words[1], 1)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=77, pad_token=words[1], eos_token=words[1], bos_token=words[0]
    ).save_pretrained(source)
    (program,) = re.findall(r'```python\n((?:(?!```).)*torch\.onnx\.export.*?)```', DOCS.read_text('utf-8'), re.DOTALL)
    program = program.replace(PUBLISHED, str(source)).replace(FOLDER, str(folder / FOLDER))
    subprocess.run([sys.executable, '-c', program], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return f'onnx:{folder / FOLDER}'


def milliseconds(call: Callable[[], Any], rounds: int) -> float:
    """The best of some calls, after one that does not count."""
    call()
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return 1000 * min(taken)


def measure(engine: MultimodalEngine, count: int, rounds: int) -> tuple[float, float]:
    """Milliseconds of one image and of one text, in batches of so many."""
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (300, 400, 3), np.uint8) for _ in range(count)]
    texts = [WORDS] * count
    image = milliseconds(lambda: engine.encode_image(images, {}), rounds) / count
    return image, milliseconds(lambda: engine.encode_text(texts, {}), rounds) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=5, help='calls of each kind; the best counts (5)')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engines = {
            'onnxruntime': OnnxClipEngine(write_onnx(Path(folder))),
            'open_clip': ClipEngine(write_open_clip(Path(folder))),
        }
        print(f'{os.cpu_count()} cores; ms an image, ms a text')
        for count in BATCHES:
            found = {name: measure(engine, count, options.rounds) for name, engine in engines.items()}
            told = '   '.join(f'{name} {image:6.1f} {text:6.1f}' for name, (image, text) in found.items())
            print(f'batch of {count:2}: {told}')


if __name__ == '__main__':
    main()
