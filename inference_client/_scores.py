"""Scores of ranked candidates, the same wherever they are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence, TypeVar

import numpy as np

if TYPE_CHECKING:
    from docarray import Document
    from numpy.typing import NDArray

D = TypeVar('D', bound='np.floating[Any]')

LOGIT_SCALE = 100.0
"""Factor on cosines before the softmax; CLIP's (Radford et al., 2021)."""


def unit_rows(rows: NDArray[D]) -> NDArray[D]:
    """Divide each row by its Euclidean length; rows of zeros stay zeros."""
    unit: NDArray[D] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit


def score_by_cosine(document: Document, cosines: Any, scale: float = LOGIT_SCALE) -> None:
    """Give each match its cosine and the softmax of all, and put the best first.

    Args:
        document: with as many matches as there are cosines, at least one.
        cosines: of shape (n,).
        scale: factor before the softmax.
    """
    cosines = np.asarray(cosines, np.float64)
    matches = list(document.matches)
    for match, cosine in zip(matches, cosines):
        _set(match, 'clip_score_cosine', cosine, 'cosine')
    _order(document, matches, scale * cosines)


def score_by_relevance(document: Document, relevances: Sequence[float]) -> None:
    """The same with what a reranker said: `relevance_score`, and the softmax of these as `clip_score`."""
    matches = list(document.matches)
    for match, relevance in zip(matches, relevances):
        _set(match, 'relevance_score', relevance, 'relevance')
    _order(document, matches, np.asarray(relevances, np.float64))


def _order(document: Document, matches: list[Document], logits: Any) -> None:
    exponentials = np.exp(logits - logits.max())
    for match, probability in zip(matches, exponentials / exponentials.sum()):
        _set(match, 'clip_score', probability, 'softmax')
    document.matches = [matches[position] for position in np.argsort(-logits, kind='stable')]


def _set(match: Document, name: str, value: Any, operation: str) -> None:
    match.scores[name].value = float(value)
    match.scores[name].op_name = operation
