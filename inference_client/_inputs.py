"""Coercion: any supported value becomes one `Document` of the caller's own, ready to send.

A sent document holds text, an encoded image in `.blob` or RGB pixels in `.tensor`. Its `.uri`, if it had
one, is kept for the caller and never sent (see `_echo`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable as IterableABC
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator

import numpy as np
from docarray import Document, DocumentArray

from ._documents import Loaded, copy_tree, new_document
from ._fetch import load, looks_like_image, shorten
from ._foreign import ARRAYS, foreign, given, has, path_of, pixels_of, read
from ._images import MAX_PIXELS, check_encoded
from .errors import InputError

IMAGE_FORMS = (
    'a path, an http(s) URL, a data URI, bytes, a binary file, a PIL image, '
    'a uint8 array or tensor of shape (height, width, channels), or a Document'
)


@dataclass(frozen=True)
class Text:
    """Says that a string is text, where one that looks like an image's name would be read as an image.

    Attributes:
        value: the text.
    """

    value: str


@dataclass(frozen=True)
class Image:
    """Says that a value is an image, where a string that does not look like one would be text; and how to take it.

    Attributes:
        value: an image in any of the forms that `image=` takes.
        allow_private: whether an URL may be at, or redirect to, an address that is not public, such as 127.0.0.1.
        max_pixels: larger images are refused, for a small file can hold a picture that fills the memory. What runs
            the model has a limit of its own, which this does not raise.

    Raises:
        InputError: max_pixels is no positive int.
    """

    value: Any
    allow_private: bool = False
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if not isinstance(self.max_pixels, int) or self.max_pixels < 1:
            raise InputError(f'max_pixels is {self.max_pixels!r}: expected a positive int')


ONE = (str, bytes, bytearray, memoryview, dict, Document, Text, Image)  # though some can be iterated
AS_IT_IS = Image(None)  # how an image is taken that came without an `Image` around it


def text_document(value: Any) -> Document:
    """One document from a string, `Text` or a `Document` with text."""
    if isinstance(value, Document):
        if not _present(value.text):
            raise InputError(f'document {value.id} has no text: expected one with .text')
        return copy_tree(value, text=checked_text(value.text))
    return new_document(text=checked_text(value.value if isinstance(value, Text) else value))


def image_document(value: Any) -> Document:
    """One document from an image in any of the forms of `IMAGE_FORMS`."""
    how = value if isinstance(value, Image) else Image(value)
    value = how.value
    if isinstance(value, Document):
        return image_from_document(value, how)
    if isinstance(value, os.PathLike):
        value = path_of(value)
    if isinstance(value, str):
        return Document(uri=value, blob=_load_image(value, how))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return new_document(blob=_checked_blob(value, 'image data', how))
    if has(value, 'read') and not isinstance(value, type):
        return new_document(blob=_checked_blob(read(value), 'the image file', how))
    return new_document(tensor=_pixels(value, how))


def any_document(value: Any) -> Document:
    """One document from text or an image; a string is an image when its name or MIME type says so."""
    if isinstance(value, Text) or (isinstance(value, str) and not looks_like_image(value)):
        return text_document(value)
    if isinstance(value, Document):
        return from_document(value)
    return image_document(value)


def from_document(document: Any, how: Image = AS_IT_IS) -> Document:
    """A copy of a document, checked, with the content behind its URI loaded."""
    if not isinstance(document, Document):
        raise InputError(f'docs holds a {type(document).__name__}: expected Document objects')
    held = document._data  # the properties create empty containers as they are read
    if _present(held.text):
        return copy_tree(document, text=checked_text(held.text))
    if _present(held.blob):
        return copy_tree(document, blob=_checked_blob(held.blob, f'the blob of document {held.id}', how))
    if held.tensor is not None:
        return copy_tree(document, tensor=_pixels(held.tensor, how))
    if _present(held.uri):
        return copy_tree(document, blob=_load_image(held.uri, how))
    raise InputError(f'document {held.id} is empty: expected text, blob, tensor or uri')


def each(value: Any, convert: Callable[[Any], Document], forms: str) -> Iterator[Document]:
    """Documents from one value, or lazily from a list or another iterable of values.

    The iterator goes on after an `InputError`, whose `item` is the value that was of no use.
    """
    return map(noting(convert), items(value, forms))


def items(value: Any, forms: str) -> Iterable[Any]:
    """The values of a list or another iterable of values, or the one value."""
    if isinstance(value, (list, tuple, DocumentArray)):
        return value
    if _is_lazy(value):
        return given(value)
    if isinstance(value, (dict, set, frozenset)):
        raise InputError(f'got a {type(value).__name__}: expected {forms}, or a list of such')
    return (value,)


def several(inputs: Any, instead: str = 'for one input, give a list of it') -> Iterable[Any]:
    """The inputs of a stream, unless they are a single one, which would be cut into characters or numbers.

    Args:
        inputs: what the caller gave.
        instead: says what to give in place of that.
    """
    if isinstance(inputs, ONE) or not has(inputs, '__iter__', '__getitem__'):
        raise InputError(f'the inputs are a {type(inputs).__name__}: expected an iterable of inputs; {instead}')
    return given(inputs)


def noting(convert: Callable[..., Document]) -> Callable[..., Document]:
    """The same function, whose `InputError` says which value (its first argument) it could not use."""

    def converted(value: Any, *more: Any) -> Document:
        try:
            return convert(value, *more)
        except InputError as error:
            error.item = value
            raise

    return converted


def image_from_document(document: Any, how: Image = AS_IT_IS) -> Document:
    """As `from_document`, of a document that holds an image."""
    if isinstance(document, Document) and _present(document.text):
        raise InputError(f'document {document.id} has text: expected an image')
    return from_document(document, how)


def documents(
    value: Document | Iterable[Document], convert: Callable[[Any], Document] = from_document
) -> Iterator[Document]:
    """Copies of the documents in `docs=`, pulled lazily and checked by `convert`."""
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, (Document, IterableABC)):
        raise InputError(f'docs is a {type(value).__name__}: expected a DocumentArray or an iterable of Document')
    return each(value, convert, 'Document objects')


def _is_lazy(value: Any) -> bool:
    """Whether a value is an iterator or other plain iterable, rather than one image or text."""
    if isinstance(value, (*ONE, set, frozenset)):
        return False
    return isinstance(value, IterableABC) and not has(value, 'read', '__fspath__', *ARRAYS)


def _present(value: Any) -> bool:
    """Whether a document's field is set. One of a wrong type counts, and is refused later."""
    return value is not None and not (isinstance(value, (str, bytes)) and not value)


def checked_text(text: Any) -> str:
    """The text, if it is one that can be sent."""
    if not isinstance(text, str):
        raise InputError(f'got a {type(text).__name__} as text: expected a str')
    if not text:
        raise InputError('the text is empty: expected at least one character')
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f'the text has a lone surrogate at {error.start}: it is not valid Unicode and cannot be sent; '
            'decode the source with errors="replace"'
        ) from error
    return text


def _load_image(source: Any, how: Image) -> Loaded:
    if isinstance(source, os.PathLike):
        source = path_of(source)
    if not isinstance(source, str):
        raise InputError(f'got a {type(source).__name__} as uri: expected a str')
    if not source:
        raise InputError(f'the image name is empty: expected {IMAGE_FORMS}')
    return Loaded(_checked_blob(load(source, how.allow_private), shorten(source), how))


def _checked_blob(data: Any, source: str, how: Image) -> bytes:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputError(f'{source} is a {type(data).__name__}: expected bytes')
    with foreign(source):  # a memoryview may have been released
        encoded = bytes(data)
    check_encoded(encoded, source, how.max_pixels)
    return encoded


def _pixels(value: Any, how: Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    pixels = pixels_of(value, how.max_pixels)
    if pixels is None:
        raise InputError(f'got a {type(value).__name__} as image: expected {IMAGE_FORMS}')
    return pixels


def as_list(value: Any) -> list[Any]:
    """A value, or the values of a list or iterable, as a list."""
    return list(value) if isinstance(value, (list, tuple, DocumentArray)) or _is_lazy(value) else [value]
