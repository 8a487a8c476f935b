"""Keeps Jina from reading pickles: whoever may send one may run any code on the server."""

from __future__ import annotations

from typing import Any

from docarray.array.mixins.io.binary import BinaryIOMixin

from ..errors import InputError


def refuse_pickles() -> None:
    """Make documents that come as `docs_bytes` an error, in this process and those that it forks.

    Jina hands them to `DocumentArray.from_bytes`, which unpickles, and has no setting that forbids it.
    """
    BinaryIOMixin.from_bytes = classmethod(_refuse)
    BinaryIOMixin.load_binary = classmethod(_refuse)


def _refuse(*_: Any, **__: Any) -> Any:
    raise InputError('the documents came pickled, which are never read: send them as "docs"')
