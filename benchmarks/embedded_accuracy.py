"""How good and how fast the embedded model is: `python benchmarks/embedded_accuracy.py`.

Prints, for photos and the captions that people wrote for them, how often the right caption wins among
ten (chance 10 %), and the milliseconds an image and a text take. `--claims` prints instead how well
thresholds on the cosine tell true from false claims about labels, which is how `yes_cosine` was chosen.

The captions are a JSON file {"captions": {file name: caption}, "distractors": [caption]}; the second
is optional. Nothing in the model was tuned on photos that are measured here.
"""

from __future__ import annotations

import argparse
import json
import time
from math import comb
from pathlib import Path
from typing import Any, Callable

import numpy as np
from PIL import Image

from inference_client._scores import unit_rows
from inference_client.engines._labels import photo_of, read_embeddings
from inference_client.engines.embedded import EmbeddedEngine

HERE = Path(__file__).parent
CHOICES = 10
# Kinds of things and the ImageNet labels that are of the kind.
CLAIMS = {
    'a dog': [*range(151, 269)],
    'a cat': [*range(281, 286)],
    'a bird': [*range(7, 25), *range(80, 101), *range(127, 147)],
    'a snake': [*range(52, 69)],
    'a spider': [*range(72, 78)],
    'a fish': [*range(7), *range(389, 398)],
    'an insect': [*range(300, 327)],
    'a monkey': [*range(369, 383)],
    'an animal': [*range(398)],
    'a mushroom': [947, *range(991, 998)],
    'a vegetable': [*range(935, 947)],
    'a fruit': [*range(948, 958)],
    'food': [*range(924, 970)],
    'a car': [407, 436, 468, 511, 609, 627, 661, 751, 817],
    'a truck': [555, 569, 717, 864, 867],
    'a boat': [472, 484, 554, 576, 625, 724, 780, 814, 871, 914],
    'a shoe': [502, 514, 630, 770, 774],
    'a clock': [409, 530, 531, 826, 835, 892],
    'furniture': [423, 493, 516, 520, 526, 532, 553, 559, 564, 765, 831, 894],
    'a mountain': [970, 972, 979, 980],
}


def win_rate(cosines: np.ndarray, right: int) -> float:
    """The exact chance that caption `right` beats nine others drawn from the rest."""
    better = int(np.sum(cosines >= cosines[right])) - 1
    others = len(cosines) - 1
    drawn = min(CHOICES - 1, others)
    return comb(others - better, drawn) / comb(others, drawn)


def accuracy(engine: EmbeddedEngine, images: dict[str, Any], captions: dict[str, str], more: list[str]) -> float:
    """Print one line a photo; returns the mean win rate."""
    texts = list(dict.fromkeys([*captions.values(), *more]))
    cosines = engine.encode_image([*images.values()], {}) @ engine.encode_text(texts, {}).T
    described = engine.caption_image([*images.values()], {})
    rates = []
    for name, row, said in zip(images, cosines, described):
        rates.append(win_rate(row, texts.index(captions[name])))
        print(f'{rates[-1]:5.0%}  {name:30} {said} | nearest: {texts[row.argmax()]}')
    return float(np.mean(rates))


def milliseconds(call: Callable[[], object], items: int, rounds: int = 20) -> str:
    """Best and median time an item; they are far apart when something else keeps the machine busy."""
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) / items * 1000)
    return f'{min(times):.1f} ms (median {np.median(times):.1f})'


def claims(engine: EmbeddedEngine) -> None:
    """Print, for thresholds, the share of true claims accepted and of false ones refused, mean over kinds."""
    labels, mean = read_embeddings()
    cosines = engine.encode_text([photo_of(claim) for claim in CLAIMS], {}) @ unit_rows(labels - mean).T
    for threshold in np.arange(0.1, 0.45, 0.05):
        yes = cosines >= threshold
        true = np.mean([row[kind].mean() for row, kind in zip(yes, CLAIMS.values())])
        false = np.mean([1 - np.delete(row, kind).mean() for row, kind in zip(yes, CLAIMS.values())])
        print(f'{threshold:.2f}  true {true:.1%}  false {false:.1%}  mean {(true + false) / 2:.1%}')


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Measure the embedded model.')
    parser.add_argument('--photos', type=Path, default=HERE.parent / 'tests' / 'photos')
    parser.add_argument('--captions', type=Path, default=HERE / 'captions.json')
    parser.add_argument('--claims', action='store_true', help='compare thresholds for yes and no')
    parser.add_argument('--one-core', action='store_true', help='compute with one thread')
    options = parser.parse_args(arguments)
    # Not by CPU affinity: ONNX Runtime pins its threads itself and would still use every core.
    engine = EmbeddedEngine(threads=1 if options.one_core else 0)
    if options.claims:
        claims(engine)
        return
    content = json.loads(options.captions.read_text(encoding='utf-8'))
    captions: dict[str, str] = content['captions']
    images = {name: np.asarray(Image.open(options.photos / name).convert('RGB')) for name in captions}
    rate = accuracy(engine, images, captions, content.get('distractors', []))
    print(f'{rate:.1%} right among {CHOICES}, {len(images)} photos')
    pictures, texts = [*images.values()], [*captions.values()]
    print(f'{milliseconds(lambda: engine.encode_image(pictures, {}), len(pictures))} an image, batch')
    print(f'{milliseconds(lambda: engine.encode_image(pictures[:1], {}), 1)} an image, alone')
    print(f'{milliseconds(lambda: engine.encode_text(texts, {}), len(texts))} a text, batch')
    print(f'{milliseconds(lambda: engine.encode_text(texts[:1], {}), 1)} a text, alone')


if __name__ == '__main__':
    main()
