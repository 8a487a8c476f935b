"""Rank: candidates by how well they go with a reference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Iterable, Iterator

from .._documents import copy_tree
from .._inputs import any_document, as_list, documents, from_document
from ..errors import InputError
from .base import Call, Task, not_answered, one_of

if TYPE_CHECKING:
    from docarray import Document


class RankTask(Task):
    """Candidates in `.matches`, best first, with the scores that CLIP-as-service gives.

    `scores['clip_score'].value` is the softmax over the candidates, `scores['clip_score_cosine'].value` the
    cosine of the two embeddings, from -1 to 1.
    """

    name = 'rank'

    def prepare(self, *, reference: Any = None, candidates: Any = None, docs: Any = None, **parameters: Any) -> Call:
        if one_of(reference=reference, docs=docs) == 'docs':
            if candidates is not None:
                raise InputError('candidates= goes with reference=: documents in docs= bring theirs in .matches')
            return Call(_with_matches(documents(docs)), parameters)
        if candidates is None:
            raise InputError('candidates= is missing: give the texts or images to rank by the reference')
        matches = [any_document(candidate) for candidate in as_list(candidates)]
        if not matches:
            raise InputError('candidates= is empty: give at least one text or image to rank')
        if isinstance(reference, (list, tuple)):
            raise InputError('reference= is a list: give one text or image, or several documents in docs=')
        return Call([copy_tree(any_document(reference), matches=matches)], parameters)

    def accept(self, document: Document) -> Document:
        matches = list(document.matches)
        if not matches or not all('clip_score' in match.scores for match in matches):
            raise not_answered("scores['clip_score'] in .matches")
        document.matches = sorted(matches, key=_goodness, reverse=True)
        return document


def _goodness(match: Document) -> tuple[float, float]:
    """The softmax of distant candidates underflows to 0; their cosines tell them apart. NaN comes last."""
    cosine = match.scores['clip_score_cosine'].value if 'clip_score_cosine' in match.scores else 0.0
    score = match.scores['clip_score'].value
    return -math.inf if math.isnan(score) else score, -math.inf if math.isnan(cosine) else cosine


def _with_matches(references: Iterable[Document]) -> Iterator[Document]:
    for reference in references:
        if not reference.matches:
            raise InputError(f'document {reference.id} has nothing to rank: put the candidates in .matches')
        yield copy_tree(reference, matches=[from_document(match) for match in reference.matches])
