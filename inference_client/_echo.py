"""What is sent of a document, and how what comes back becomes the caller's again."""

from __future__ import annotations

from typing import Any, Iterable, Sequence

import numpy as np
from docarray import Document

from ._documents import Loaded, copy_with
from .errors import InferenceError, ProtocolError

NESTED = ('chunks', 'matches')


def outgoing(document: Document, inner: bool = False) -> Document:
    """What is sent: content, never the name of a file of this machine that it was loaded from."""
    data = document._data  # the properties create empty containers as they are read
    changes: dict[str, Any] = {}
    if data.uri and (inner or data.text or data.blob or data.tensor is not None):
        changes['uri'] = None
    for name in NESTED:
        if getattr(data, name):
            changes[name] = [outgoing(one, inner=True) for one in getattr(data, name)]
    return copy_with(document, **changes) if changes else document


def paired(sent: list[Document], received: Sequence[Document]) -> Iterable[tuple[Document, Document]]:
    """What was sent with what came back for it, which has the caller's own content and URI again.

    They are paired by id where the ids allow it, else by position.

    Raises:
        ProtocolError: more or fewer came back.
    """
    answers = list(received)
    if len(sent) != len(answers):
        raise ProtocolError(f'{len(sent)} documents were sent and {len(answers)} came back: expected one answer each')
    if any(one._data.id != answer._data.id for one, answer in zip(sent, answers)):
        by_id = {answer._data.id: answer for answer in answers}
        if len(by_id) == len(sent) and all(one._data.id in by_id for one in sent):
            answers = [by_id[one._data.id] for one in sent]
    return [(one, restored(one, answer)) for one, answer in zip(sent, answers)]


def restored(sent: Document, received: Document) -> Document:
    """Give the caller's own content and URI back in place of its echo; content of the server's stays."""
    if received is sent:  # a model in this process works in place
        return received
    if _is_echo(sent, received):
        _restore(sent, received)
    for name in NESTED:
        if getattr(sent._data, name):
            originals = {inner.id: inner for inner in getattr(sent._data, name)}
            for inner in getattr(received, name):
                if inner.id in originals:
                    restored(originals[inner.id], inner)
    return received


def _restore(sent: Document, received: Document) -> None:
    data, own = received._data, sent._data
    if own.text:
        if data.text != own.text:
            received.text = own.text
    elif own.tensor is not None:
        received.tensor = own.tensor
    elif isinstance(own.blob, Loaded):
        if data.blob:
            received.blob = None
    elif own.blob:
        received.blob = own.blob
    if own.uri:
        received.uri = own.uri


def _is_echo(sent: Document, received: Document) -> bool:
    """Whether an answer brings no content of its own."""
    data, own = received._data, sent._data
    if data.tensor is not None:
        return own.tensor is not None and np.array_equal(data.tensor, own.tensor)
    if data.blob:
        return bool(data.blob == own.blob)
    return not data.text or bool(data.text == own.text)


def with_error(document: Document, error: InferenceError) -> Document:
    """The document as the answer to itself, which failed."""
    document.tags['error'] = error.message
    return document
