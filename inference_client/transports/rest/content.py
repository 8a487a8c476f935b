"""What documents hold, as it travels over REST."""

from __future__ import annotations

import base64
from typing import Container

from docarray import Document

from ..._images import decode_image, media_type
from ..._wire.pixels import png
from ...errors import InputError

AS_THEY_ARE = frozenset({'image/jpeg', 'image/png', 'image/webp', 'image/gif'})
"""Images that are sent as they are, where nothing else is said; the others become PNG."""


def modality(document: Document) -> str:
    """What a document holds: `text` or `image`.

    Raises:
        InputError: neither.
    """
    data = document._data  # its properties are slow
    if data.text:
        return 'text'
    if data.blob or data.tensor is not None:
        return 'image'
    raise InputError(f'document {data.id} is empty: expected text, or an image in .blob or .tensor')


def candidates(document: Document) -> list[Document]:
    """The matches of a document that is to be ranked.

    Raises:
        InputError: it has none.
    """
    matches = list(document.matches)
    if not matches:
        raise InputError(f'document {document.id} has nothing to rank: put the candidates in .matches')
    return matches


def encoded_image(document: Document, kinds: Container[str] = AS_THEY_ARE) -> tuple[str, bytes]:
    """Media type and bytes of an image.

    Args:
        document: which has it in `.blob` or `.tensor`.
        kinds: media types that the server reads; all else becomes PNG.

    Raises:
        InputError: it is no image.
    """
    data = document._data
    if not data.blob:
        return 'image/png', png(decode_image(data.tensor))
    kind = media_type(data.blob, f'the blob of document {data.id}')
    if kind in kinds:
        return kind, data.blob
    return 'image/png', png(decode_image(data.blob))


def data_uri(document: Document, kinds: Container[str] = AS_THEY_ARE) -> str:
    """An image as `data:image/...;base64,...`; `kinds` as for `encoded_image`."""
    kind, data = encoded_image(document, kinds)
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def base64_image(document: Document, kinds: Container[str] = AS_THEY_ARE) -> str:
    """An image as plain base64, for servers that want no data URI; `kinds` as for `encoded_image`."""
    return base64.b64encode(encoded_image(document, kinds)[1]).decode()
