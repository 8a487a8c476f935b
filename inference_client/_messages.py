"""What passes between the exchange and a transport."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Mapping, Sequence

if TYPE_CHECKING:
    from docarray import Document, DocumentArray


@dataclass(frozen=True)
class Request:
    """One batch for one endpoint of a model.

    Attributes:
        endpoint: the task's, such as `/encode`.
        documents: with text, an encoded image in `.blob` or pixels in `.tensor`.
        parameters: strings, finite numbers, booleans, None, and lists and dicts of these.
        id: what the response must carry.
    """

    endpoint: str
    documents: DocumentArray
    parameters: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Response:
    """The answer to the request of the same id: as many documents, which may come in another order."""

    id: str
    documents: Sequence[Document]
