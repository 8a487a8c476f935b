"""What of an answer people are shown, whatever draws it: a notebook, a terminal or a plot."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Container

import numpy as np

from ._fetch import load, printable, read_file, shorten
from ._foreign import pixels_of
from ._images import thumbnail
from .errors import InputError

if TYPE_CHECKING:
    from docarray import Document
    from PIL import Image

LABELS = {'clip_score': 'score', 'clip_score_cosine': 'cosine', 'relevance_score': 'relevance'}
LIMIT = 200  # characters of a text or name
ANSWER = 2000  # of what a model says
IMAGES = 40  # of one drawing
PIXELS = 200_000_000  # that are decoded for one drawing


def name_of(document: Document, limit: int = LIMIT) -> str:
    """What a document was made of, in one line without control characters."""
    data = document._data  # the properties create empty containers as they are read
    if data.text:
        return printable(str(data.text), limit)
    if data.uri:
        uri = str(data.uri)
        return printable(shorten(uri) if ':' in uri else uri, limit)
    if data.tensor is not None:
        return f'array of shape {tuple(getattr(data.tensor, "shape", ()))}'
    return f'{len(data.blob):,} bytes' if data.blob else 'empty'


def words_of(document: Document) -> str:
    """What came of a document that is no ranking: an error, an answer, or what is to be said of its embedding."""
    tags = document._data.tags or {}
    if 'error' in tags:
        return printable(f'Error: {tags["error"]}', ANSWER)
    if isinstance(tags.get('response'), str):
        asked = f'{tags["prompt"]} ' if 'prompt' in tags else ''
        return printable(asked + tags['response'], ANSWER)
    if document._data.embedding is None:
        return ''
    vector = np.asarray(document._data.embedding)
    return f'{vector.dtype} {vector.shape}, norm {np.linalg.norm(vector):.3f}'


def ranking_of(document: Document) -> list[tuple[Document, dict[str, float]]]:
    """The matches in their order, each with its scores by name; nothing if one of them has none of ours."""
    found = [(match, match._data.scores or {}) for match in document._data.matches or ()]
    ranked = [(match, {name: _number(scores[name]) for name in LABELS if name in scores}) for match, scores in found]
    return ranked if all(scores for _, scores in ranked) else []


def leading(scores: dict[str, float]) -> float:
    """The score that a bar stands for: the first of `LABELS` that there is."""
    return next(iter(scores.values()))


def share(score: float) -> float:
    """How much of a bar a score fills, from 0 to 1."""
    return 0.0 if math.isnan(score) else min(max(score, 0.0), 1.0)


class Pictures:
    """Small copies of the images in documents, as long as there are not too many.

    Nothing is fetched. Of files, only those are read that the caller named: what a server calls the URI of an answer
    may be any file of this machine.

    Args:
        files: names of files that may be read, as the documents have them.
    """

    def __init__(self, files: Container[str] = ()) -> None:
        self._files = files
        self._images = IMAGES
        self._pixels = PIXELS

    def of(self, document: Document, side: int) -> Image.Image | None:
        """An RGB image with no side longer than `side`; None if there is none to be had."""
        if not self._images:
            return None
        try:
            content = self._content(document._data)
            if content is None:
                return None
            small, decoded = thumbnail(content, side, self._pixels)
        except InputError:  # no image, or the file is not there any more: its name is shown
            return None
        self._images -= 1
        self._pixels -= decoded
        return small

    def _content(self, data: Any) -> Any:
        if data.text:
            return None
        if data.tensor is not None:
            return pixels_of(data.tensor, self._pixels)
        if data.blob:
            return bytes(data.blob)
        return self._behind(str(data.uri)) if data.uri else None

    def _behind(self, uri: str) -> bytes | None:
        start = uri[:8].lower()
        if start.startswith('data:'):
            return load(uri)
        if uri not in self._files or start.startswith(('http://', 'https://')):
            return None
        return read_file(uri)


def _number(score: Any) -> float:
    value = score.value
    return float(value) if isinstance(value, (int, float)) else math.nan
