"""The core without I/O: cuts batches, keeps the window, puts answers back in input order.

    documents ──batch──▶ next_request() ──▶ [driver: transport.send] ──▶ receive() ──▶ take()

At most `window` requests are out or wait for an earlier one, so memory does not grow with the input.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any, Callable, Iterable, Iterator, Mapping

import numpy as np
from docarray import Document, DocumentArray

from ._documents import copy_with
from ._messages import Request, Response
from .errors import InferenceError, ProtocolError


class Exchange:
    """One task call. Not thread-safe: one driver runs it.

    Args:
        documents: pulled one document ahead of what may be sent, never more.
        endpoint: where the requests go, such as `/encode`.
        parameters: sent with each request.
        batch_size: documents in a request.
        window: requests that may be out at the same time.
        accept: checks an answered document and gives what the caller gets for it.
    """

    def __init__(
        self,
        documents: Iterable[Document],
        endpoint: str,
        parameters: Mapping[str, Any],
        batch_size: int,
        window: int,
        accept: Callable[[Document], Document] = lambda document: document,
    ) -> None:
        self._documents = iter(documents)
        self._endpoint = endpoint
        self._parameters = parameters
        self._batch_size = batch_size
        self._window = window
        self._accept = accept
        self._broken: Exception | None = None
        self._ahead = self._pull(1)  # tells whether there is more
        self._sent = 0
        self._order: deque[str] = deque()
        self._out: dict[str, list[Document]] = {}
        self._spans: dict[str, tuple[int, int]] = {}
        self._answers: dict[str, list[Document]] = {}

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left to send."""
        return not self._ahead and self._broken is None

    def next_request(self) -> Request | None:
        """The next request to send, or None while the window is full and once the input has ended.

        Raises:
            Exception: what the input raised, once all that came before is answered.
        """
        if self._broken is not None and not self._ahead and not self._order:
            if isinstance(self._broken, InferenceError):
                self._broken.span = (self._sent, self._sent + 1)
            raise self._broken
        if not self._ahead or len(self._order) >= self._window:
            return None
        batch = self._ahead + self._pull(self._batch_size - 1)
        request = Request(self._endpoint, DocumentArray([_outgoing(d) for d in batch]), self._parameters)
        self._order.append(request.id)
        self._out[request.id] = batch
        self._spans[request.id] = (self._sent, self._sent + len(batch))
        self._sent += len(batch)
        self._ahead = self._pull(1)
        return request

    def receive(self, response: Response) -> None:
        """Take the answer to one request.

        Raises:
            ProtocolError: nobody asked for it, or it has more or fewer documents than were sent.
            InferenceError: an answered document was not accepted.
        """
        batch = self._out.pop(response.id, None)
        if batch is None:
            raise ProtocolError('an answer came to a request that is not open: the server mixes up requests')
        pairs = _pairs(batch, response.documents)
        self._answers[response.id] = [self._accept(_incoming(*pair)) for pair in pairs]

    def take(self) -> Iterator[Document]:
        """Answered documents in input order, up to the first that still waits for its answer."""
        while self._order and self._order[0] in self._answers:
            request_id = self._order.popleft()
            del self._spans[request_id]
            yield from self._answers.pop(request_id)

    def take_rest(self) -> Iterator[Document]:
        """After a failure: all that was answered, in input order, without the batches that were not."""
        while self._order:
            yield from self._answers.pop(self._order.popleft(), [])

    def span(self, request: Request) -> tuple[int, int]:
        """Positions (first, one past the last) of a request's documents in the input."""
        return self._spans[request.id]

    def _pull(self, count: int) -> list[Document]:
        batch: list[Document] = []
        if self._broken is None:
            try:
                batch.extend(islice(self._documents, count))
            except Exception as error:  # noqa: BLE001 - raised by `next_request` in its turn
                self._broken = error
        return batch


def _outgoing(document: Document, inner: bool = False) -> Document:
    """What is sent: content, never the name of a file of this machine that it was loaded from."""
    changes: dict[str, Any] = {}
    if document.uri and (inner or document.text or document.blob or document.tensor is not None):
        changes['uri'] = None
    for name in ('chunks', 'matches'):
        if getattr(document, name):
            changes[name] = [_outgoing(one, inner=True) for one in getattr(document, name)]
    return copy_with(document, **changes) if changes else document


def _pairs(sent: list[Document], received: DocumentArray) -> Iterator[tuple[Document, Document]]:
    """Pair by id where the ids allow it, else by position."""
    if len(sent) != len(received):
        raise ProtocolError(f'{len(sent)} documents were sent and {len(received)} came back: expected one answer each')
    answers = {document.id: document for document in received}
    if len(answers) == len(sent) and all(document.id in answers for document in sent):
        return ((document, answers[document.id]) for document in sent)
    return zip(sent, received)


def _incoming(sent: Document, received: Document) -> Document:
    """Give the caller's own content and URI back in place of its echo; content of the server's stays."""
    if received is sent:  # a model in this process works in place
        return received
    if _is_echo(sent, received):
        _restore(sent, received)
    for name in ('chunks', 'matches'):
        originals = {inner.id: inner for inner in getattr(sent, name)}
        for inner in getattr(received, name) if originals else ():
            if inner.id in originals:
                _incoming(originals[inner.id], inner)
    return received


def _restore(sent: Document, received: Document) -> None:
    if sent.text:
        received.text = sent.text
    elif sent.tensor is not None:
        received.tensor = sent.tensor
    else:  # what we loaded from a URI goes: the caller gave the URI
        received.blob = sent.blob if sent.blob and not sent.uri else None
    if sent.uri:
        received.uri = sent.uri


def _is_echo(sent: Document, received: Document) -> bool:
    """Whether an answer brings no content of its own."""
    if received.tensor is not None:
        return sent.tensor is not None and np.array_equal(received.tensor, sent.tensor)
    if received.blob:
        return bool(received.blob == sent.blob)
    return not received.text or bool(received.text == sent.text)
