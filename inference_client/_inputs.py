"""Coercion: any supported value becomes one `Document` of the caller's own, ready to send.

A sent document holds text, an encoded image in `.blob` or RGB pixels in `.tensor`. Its `.uri`, if it had
one, is kept for the caller and never sent (see `_exchange`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable as IterableABC
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator
from urllib.parse import urlsplit

import numpy as np
from docarray import Document, DocumentArray

from ._documents import copy_tree, new_document
from ._fetch import load, shorten
from ._images import check_encoded, rgb_from_array, rgb_from_pil
from .errors import InputError

IMAGE_FORMS = (
    'a path, an http(s) URL, a data URI, bytes, a binary file, a PIL image, '
    'a uint8 array or tensor of shape (height, width, channels), or a Document'
)

# Those of image/* types. A list of our own, for what `mimetypes` knows differs from machine to machine.
_IMAGE_NAME = re.compile(
    r'[^/]\.(apng|avif|bmp|gif|hei[cf]|ico|jfif|jp2|jpe|jpe?g|p[bgnp]m|png|svg|tiff?|webp)\Z', re.ASCII | re.I
)


@dataclass(frozen=True)
class Text:
    """Says that a string is text, where one that looks like an image's name would be read as an image."""

    value: str


@dataclass(frozen=True)
class Image:
    """Says that a value is an image, where a string that does not look like one would be text."""

    value: Any


def text_document(value: Any) -> Document:
    """One document from a string, `Text` or a `Document` with text."""
    if isinstance(value, Document):
        if not _present(value.text):
            raise InputError(f'document {value.id} has no text: expected one with .text')
        return copy_tree(value, text=checked_text(value.text))
    return new_document(text=checked_text(value.value if isinstance(value, Text) else value))


def image_document(value: Any) -> Document:
    """One document from an image in any of the forms of `IMAGE_FORMS`."""
    if isinstance(value, Image):
        value = value.value
    if isinstance(value, Document):
        return image_from_document(value)
    if isinstance(value, os.PathLike):
        value = os.fsdecode(value)
    if isinstance(value, str):
        return Document(uri=value, blob=_load_image(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Document(blob=_checked_blob(value, 'image data'))
    if hasattr(value, 'read') and not isinstance(value, type):
        return Document(blob=_checked_blob(_read(value), 'the image file'))
    return Document(tensor=_pixels(value))


def any_document(value: Any) -> Document:
    """One document from text or an image; a string is an image when its name or MIME type says so."""
    if isinstance(value, Text) or (isinstance(value, str) and not looks_like_image(value)):
        return text_document(value)
    if isinstance(value, Document):
        return from_document(value)
    return image_document(value)


def from_document(document: Any) -> Document:
    """A copy of a document, checked, with the content behind its URI loaded."""
    if not isinstance(document, Document):
        raise InputError(f'docs holds a {type(document).__name__}: expected Document objects')
    if _present(document.text):
        return copy_tree(document, text=checked_text(document.text))
    if _present(document.blob):
        return copy_tree(document, blob=_checked_blob(document.blob, f'the blob of document {document.id}'))
    if document.tensor is not None:
        return copy_tree(document, tensor=_pixels(document.tensor))
    if _present(document.uri):
        return copy_tree(document, blob=_load_image(document.uri))
    raise InputError(f'document {document.id} is empty: expected text, blob, tensor or uri')


def each(value: Any, convert: Callable[[Any], Document], forms: str) -> Iterator[Document]:
    """Documents from one value, or lazily from a list or another iterable of values."""
    if isinstance(value, (list, tuple, DocumentArray)) or _is_lazy(value):
        for item in value:
            yield convert(item)
    elif isinstance(value, (dict, set, frozenset)):
        raise InputError(f'got a {type(value).__name__}: expected {forms}, or a list of such')
    else:
        yield convert(value)


def image_from_document(document: Any) -> Document:
    """As `from_document`, of a document that holds an image."""
    if isinstance(document, Document) and _present(document.text):
        raise InputError(f'document {document.id} has text: expected an image')
    return from_document(document)


def documents(
    value: Document | Iterable[Document], convert: Callable[[Any], Document] = from_document
) -> Iterator[Document]:
    """Copies of the documents in `docs=`, pulled lazily and checked by `convert`."""
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, (Document, IterableABC)):
        raise InputError(f'docs is a {type(value).__name__}: expected a DocumentArray or an iterable of Document')
    return each(value, convert, 'Document objects')


def looks_like_image(text: str) -> bool:
    """Whether a string is a data URI of an image, or has a file name with an image's ending."""
    if text[:5].lower() == 'data:':
        return text[5:11].lower() == 'image/' and ',' in text
    if text[:8].lower().startswith(('http://', 'https://', 'file://')):
        try:
            text = urlsplit(text).path
        except ValueError:  # not an URL, though it starts like one
            return False
    return _IMAGE_NAME.search(text) is not None


def _is_lazy(value: Any) -> bool:
    """Whether a value is an iterator or other plain iterable, rather than one image or text."""
    if isinstance(value, (str, bytes, bytearray, memoryview, dict, set, frozenset, Document, Text, Image)):
        return False
    single = any(hasattr(value, name) for name in ('read', '__array__', '__array_interface__', '__fspath__'))
    return isinstance(value, IterableABC) and not single


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


def _load_image(source: Any) -> bytes:
    if isinstance(source, os.PathLike):
        source = os.fsdecode(source)
    if not isinstance(source, str):
        raise InputError(f'got a {type(source).__name__} as uri: expected a str')
    if not source:
        raise InputError(f'the image name is empty: expected {IMAGE_FORMS}')
    return _checked_blob(load(source), shorten(source))


def _checked_blob(data: Any, source: str) -> bytes:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputError(f'{source} is a {type(data).__name__}: expected bytes')
    encoded = bytes(data)
    check_encoded(encoded, source)
    return encoded


def _read(file: Any) -> bytes:
    """Read a file from where it stands to its end, and put it back there if it can seek."""
    try:
        position = file.tell() if getattr(file, 'seekable', bool)() else None
        try:
            data = file.read()
        finally:
            if position is not None:
                file.seek(position)
    except UnicodeDecodeError:  # as a text file it is no text
        data = ''
    except (OSError, ValueError) as error:
        raise InputError(f'the image file cannot be read: {error}') from error
    if not isinstance(data, bytes):
        raise InputError(f'the image file gave {type(data).__name__}: open it in binary mode ("rb")')
    return data


def _pixels(value: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    from PIL import Image as PIL

    if isinstance(value, PIL.Image):
        return rgb_from_pil(value)
    arrays = ('__array__', '__array_interface__')
    if isinstance(value, type) or not any(hasattr(value, name) for name in arrays):
        raise InputError(f'got a {type(value).__name__} as image: expected {IMAGE_FORMS}')
    if hasattr(value, 'detach'):  # a torch tensor, which may need gradients or live on a device
        value = value.detach().cpu()
    return rgb_from_array(np.asarray(value))


def as_list(value: Any) -> list[Any]:
    """A value, or the values of a list or iterable, as a list."""
    return list(value) if isinstance(value, (list, tuple, DocumentArray)) or _is_lazy(value) else [value]
