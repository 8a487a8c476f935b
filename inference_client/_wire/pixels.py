"""RGB pixels as PNG, for JSON: a list of numbers takes a Jina gateway seconds an image."""

from __future__ import annotations

import io
from typing import Any, Iterable

import numpy as np
from docarray import Document, DocumentArray
from PIL import Image

from .._documents import copy_with

FAST = 1  # zlib's level; higher ones take several times as long for a few per cent


def pack(documents: Iterable[Document]) -> DocumentArray:
    """The documents, those with RGB pixels in `.tensor` replaced by copies with a PNG in `.blob`."""
    return DocumentArray([_packed(document) for document in documents])


def unpack(answered: Iterable[Document], sent: Iterable[Document]) -> None:
    """Drop each PNG that came back as it was sent."""
    for original, document in _pairs(list(sent), list(answered)):
        if document.blob and document.blob == original.blob:
            document.blob = None
        if original.matches and document.matches:
            unpack(document.matches, original.matches)


def _pairs(sent: list[Document], answered: list[Document]) -> Iterable[tuple[Document, Document]]:
    """As `_exchange` pairs them: by id where the ids are unique and all there, else by position."""
    originals = {document.id: document for document in sent}
    if len(originals) == len(sent) and {document.id for document in answered} <= originals.keys():
        return [(originals[document.id], document) for document in answered]
    return zip(sent, answered)


def _packed(document: Document) -> Document:
    changes: dict[str, Any] = {}
    if _is_rgb(document.tensor):
        changes.update(tensor=None, blob=png(document.tensor))
    if document.matches:
        changes['matches'] = [_packed(match) for match in document.matches]
    return copy_with(document, **changes) if changes else document


def _is_rgb(tensor: Any) -> bool:
    return isinstance(tensor, np.ndarray) and tensor.dtype == np.uint8 and tensor.shape[2:] == (3,)


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    """RGB pixels as an encoded image."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'PNG', compress_level=FAST)
    return file.getvalue()
