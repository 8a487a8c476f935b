"""Encode: texts and images to embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._inputs import IMAGE_FORMS, documents, each, image_document, text_document
from ..errors import ProtocolError
from .base import Call, Task, not_answered, one_of

if TYPE_CHECKING:
    from docarray import Document


class EncodeTask(Task):
    """One embedding in `.embedding` for each text or image."""

    name = 'encode'

    def prepare(self, *, text: Any = None, image: Any = None, docs: Any = None, **parameters: Any) -> Call:
        given = one_of(text=text, image=image, docs=docs)
        if given == 'text':
            return Call(each(text, text_document, 'a str'), parameters)
        if given == 'image':
            return Call(each(image, image_document, IMAGE_FORMS), parameters)
        return Call(documents(docs), parameters)

    def accept(self, document: Document) -> Document:
        if document.embedding is None:
            raise not_answered('embedding')
        try:
            document.embedding = np.asarray(document.embedding, np.float32)
        except (TypeError, ValueError) as error:
            raise ProtocolError(f'the embedding is no array of numbers: {error}') from error
        return document
