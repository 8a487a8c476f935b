"""Caption: a sentence about each image."""

from __future__ import annotations

from typing import Any, Iterable

from docarray import Document, DocumentArray

from .._inputs import IMAGE_FORMS, documents, each, image_document, image_from_document, noting
from .base import Call, Task, accept_response, one_of, parameters_of_stream, without_response


class CaptionTask(Task[DocumentArray]):
    """A description of each image in `tags['response']`. Models other than BLIP-2 encode instead."""

    name = 'caption'
    requires = frozenset({'blip2'})
    fallback = 'encode'

    def prepare(self, *, image: Any = None, docs: Any = None, **parameters: Any) -> Call:
        if one_of(image=image, docs=docs) == 'image':
            return Call(each(image, image_document, IMAGE_FORMS), parameters)
        return Call(documents(docs, lambda one: without_response(image_from_document(one))), parameters)

    def prepare_stream(self, inputs: Iterable[Any], /, **arguments: Any) -> Call:
        return Call(map(noting(_fresh), inputs), parameters_of_stream(arguments, 'image', 'docs'))

    def accept(self, document: Document) -> Document:
        return accept_response(document)


def _fresh(value: Any) -> Document:
    return without_response(image_document(value))
