"""Copies of documents."""

from __future__ import annotations

from typing import Any

from docarray import Document


def copy_with(document: Document, **changes: Any) -> Document:
    """A copy that shares content; a field that is changed to None is left out."""
    fields = {name: getattr(document, name) for name in document.non_empty_fields if name != 'content'}
    fields.update(changes)
    return Document(**{name: value for name, value in fields.items() if value is not None})


def copy_tree(document: Document, **changes: Any) -> Document:
    """A copy that shares content but no container; earlier embeddings and scores are left out."""
    nested = {
        name: [copy_tree(inner) for inner in getattr(document, name)]
        for name in ('chunks', 'matches')
        if getattr(document, name)
    }
    tags = dict(document.tags) if document.tags else None
    left_out = {'embedding': None, 'scores': None, 'evaluations': None}
    return copy_with(document, **{**nested, **left_out, 'tags': tags, **changes})
