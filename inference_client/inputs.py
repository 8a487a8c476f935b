"""What tasks make documents of: any supported value becomes a checked `Document` of the task's own.

For tasks of plugins; the built-in ones use the same code. `text_document`, `image_document` and
`any_document` take one value, `text_documents` and `image_documents` what a caller may give for one or
many, and `documents` what he gives as `docs=`; `each` does the same with a function of the
task's own. Those are lazy, so nothing is loaded before its batch is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator

from ._inputs import (
    IMAGE_FORMS,
    any_document,
    documents,
    each,
    from_document,
    image_document,
    image_from_document,
    text_document,
)

if TYPE_CHECKING:
    from docarray import Document

__all__ = [
    'any_document',
    'documents',
    'each',
    'from_document',
    'image_document',
    'image_documents',
    'image_from_document',
    'text_document',
    'text_documents',
]


def text_documents(texts: Any) -> Iterator[Document]:
    """Documents from a text, or lazily from an iterable of texts; `InputError` where one is none."""
    return each(texts, text_document, 'a str')


def image_documents(images: Any) -> Iterator[Document]:
    """Documents from an image in any form, or lazily from an iterable of images; `InputError` where one is none."""
    return each(images, image_document, IMAGE_FORMS)
