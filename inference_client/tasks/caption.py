"""Caption: a sentence about each image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._inputs import IMAGE_FORMS, documents, each, image_document, image_from_document
from .base import Call, Task, accept_response, one_of, without_response

if TYPE_CHECKING:
    from docarray import Document


class CaptionTask(Task):
    """A description of each image in `tags['response']`. Models other than BLIP-2 encode instead."""

    name = 'caption'
    requires = frozenset({'blip2'})
    fallback = 'encode'

    def prepare(self, *, image: Any = None, docs: Any = None, **parameters: Any) -> Call:
        if one_of(image=image, docs=docs) == 'image':
            return Call(each(image, image_document, IMAGE_FORMS), parameters)
        return Call(without_response(documents(docs, image_from_document)), parameters)

    def accept(self, document: Document) -> Document:
        return accept_response(document)
