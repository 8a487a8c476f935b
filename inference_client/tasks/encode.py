"""Encode: texts and images to embeddings."""

from __future__ import annotations

from typing import Any, Iterable

import numpy as np
from docarray import Document, DocumentArray

from .._inputs import IMAGE_FORMS, any_document, documents, each, image_document, noting, text_document
from ..errors import ProtocolError
from .base import Call, Task, not_answered, one_of, parameters_of_stream


class EncodeTask(Task[DocumentArray]):
    """One embedding in `.embedding` for each text or image."""

    name = 'encode'

    def prepare(self, *, text: Any = None, image: Any = None, docs: Any = None, **parameters: Any) -> Call:
        given = one_of(text=text, image=image, docs=docs)
        if given == 'text':
            return Call(each(text, text_document, 'a str'), parameters, in_memory=isinstance(text, (str, list, tuple)))
        if given == 'image':
            return Call(each(image, image_document, IMAGE_FORMS), parameters)
        return Call(documents(docs), parameters)

    def prepare_stream(self, inputs: Iterable[Any], /, **arguments: Any) -> Call:
        return Call(map(noting(any_document), inputs), parameters_of_stream(arguments, 'text', 'image', 'docs'))

    def accept(self, document: Document) -> Document:
        data = document._data  # its properties are slow
        if data.embedding is None:
            raise not_answered('embedding')
        try:
            data.embedding = np.asarray(data.embedding, np.float32)
        except (TypeError, ValueError) as error:
            raise ProtocolError(f'the embedding is no array of numbers: {error}') from error
        return document
