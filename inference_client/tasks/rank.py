"""Rank: candidates by how well they go with a reference."""

from __future__ import annotations

import math
from typing import Any, Iterable

from docarray import Document, DocumentArray

from .._documents import copy_tree
from .._inputs import any_document, as_list, documents, from_document, noting
from ..errors import InputError
from .base import Call, Task, not_answered, one_of, parameters_of_stream


class RankTask(Task[DocumentArray]):
    """Candidates in `.matches`, best first, with the scores that CLIP-as-service gives.

    `scores['clip_score'].value` is the softmax over the candidates, `scores['clip_score_cosine'].value` the
    cosine of the two embeddings, from -1 to 1.
    """

    name = 'rank'

    def prepare(self, *, reference: Any = None, candidates: Any = None, docs: Any = None, **parameters: Any) -> Call:
        if one_of(reference=reference, docs=docs) == 'docs':
            if candidates is not None:
                raise InputError('candidates= goes with reference=: documents in docs= bring theirs in .matches')
            return Call(documents(docs, _with_matches), parameters)
        if candidates is None:
            raise InputError('candidates= is missing: give the texts or images to rank by the reference')
        if isinstance(reference, (list, tuple)):
            raise InputError('reference= is a list: give one text or image, or several documents in docs=')
        return Call(map(noting(_paired), (reference,), (candidates,)), parameters)

    def prepare_stream(self, inputs: Iterable[Any], /, **arguments: Any) -> Call:
        """Each input is a document with matches, or a pair of a reference and its candidates."""
        return Call(map(noting(_ranked), inputs), parameters_of_stream(arguments, 'reference', 'candidates', 'docs'))

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


def _with_matches(reference: Any) -> Document:
    if isinstance(reference, Document) and not reference.matches:
        raise InputError(f'document {reference.id} has nothing to rank: put the candidates in .matches')
    checked = from_document(reference)
    return copy_tree(checked, matches=[from_document(match) for match in reference.matches])


def _paired(reference: Any, candidates: Any) -> Document:
    matches = [any_document(candidate) for candidate in as_list(candidates)]
    if not matches:
        raise InputError('candidates= is empty: give at least one text or image to rank')
    return copy_tree(any_document(reference), matches=matches)


def _ranked(value: Any) -> Document:
    if isinstance(value, Document):
        return _with_matches(value)
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return _paired(*value)
    raise InputError(f'got a {type(value).__name__}: expected (reference, candidates), or a Document with .matches')
