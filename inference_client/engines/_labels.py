"""The labels of the embedded model and how they are put into words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Sequence

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = Path(__file__).parent / 'data'

_SURE = 0.5  # least probability of one label that is named alone
_LIKELY = 0.4  # least probability of the first three together that makes two of them worth naming


def read_phrases(folder: Path = DATA) -> list[str]:
    """The 1000 labels with their articles ('a cheetah', 'jeans'), in ImageNet's order."""
    return (folder / 'labels.txt').read_text(encoding='utf-8').splitlines()


def read_embeddings(folder: Path = DATA) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings of the labels' texts, float32 (1000, 384), and their mean (384,)."""
    with np.load(folder / 'label-embeddings.npz', allow_pickle=False) as arrays:
        return arrays['embeddings'].astype(np.float32), arrays['mean']


def photo_of(phrase: str) -> str:
    """The sentence that stands for a phrase, as both the labels and a question's choices are embedded."""
    return f'a photo of {phrase}'


def caption(phrases: Sequence[str], probabilities: NDArray[np.float32]) -> str:
    """Describe a photo in words that get more careful as the probabilities get lower.

    Args:
        phrases: labels with their articles; equal ones count as one.
        probabilities: float of shape (n,), summing to at most 1.
    """
    names, sure = _names(phrases, probabilities)
    return photo_of(names) if sure else f'a photo that may show {names}'


def short_answer(phrases: Sequence[str], probabilities: NDArray[np.float32]) -> str:
    """The names in the caption of the same photo, without the sentence around them."""
    names, sure = _names(phrases, probabilities)
    return names if sure else f'maybe {names}'


def _names(phrases: Sequence[str], probabilities: NDArray[np.float32]) -> tuple[str, bool]:
    totals: dict[str, float] = {}
    for phrase, probability in zip(phrases, probabilities):
        totals[phrase] = totals.get(phrase, 0.0) + float(probability)
    best = sorted(totals, key=lambda phrase: -totals[phrase])[:3]
    if totals[best[0]] >= _SURE or len(best) == 1:
        return best[0], True
    if sum(totals[phrase] for phrase in best) >= _LIKELY:
        return f'{best[0]} or {best[1]}', True
    return f'{", ".join(best[:-1])} or {best[-1]}', False
