"""What a real transport answered, to be replayed by a `FakeTransport`.

A file holds a line of JSON for each document: endpoint, parameters, and the document as it was sent and as it came
back, both as base64 of a `DocumentProto`; or, in place of the answer, the error.
"""

from __future__ import annotations

import base64
import os
import threading
from pathlib import Path
from typing import Any, Mapping

import orjson
from docarray import Document
from docarray.proto.docarray_pb2 import DocumentProto

from .. import errors
from .._documents import copy_tree
from .._echo import NESTED
from .._messages import Request, Response
from .._policies import Timeouts
from .._spec import Capabilities
from .._wire.documents import read_document, write_document
from ..errors import ConfigurationError, InferenceError, ServerError, secret_of
from ..transports.base import Transport
from ._hiding import hide, hide_in_message

SHORTEST = 8  # characters of a token
HEADER = b'{"inference_client_recording":1}'
KINDS: Mapping[str, type[InferenceError]] = {
    name: getattr(errors, name) for name in errors.__all__ if name.endswith('Error')
}
FLAGS = ('transient', 'busy', 'exception', 'retry_after')


class Recording:
    """Answers by endpoint, parameters and content: ids and batches may differ when it is replayed.

    Give it to `FakeTransport`. The last answer to the same content counts. May be used by threads.
    """

    def __init__(self) -> None:
        self._lines: dict[bytes, bytes] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._lines)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read a file.

        Raises:
            ConfigurationError: it is not there, or no recording.
        """
        try:
            header, *lines = Path(path).read_bytes().splitlines()
            if header != HEADER:
                raise ValueError('its first line is another')
            recording = cls()
            for line in lines:
                key, _ = _parsed(line)
                recording._lines[key] = line
        except Exception as error:  # whatever a damaged line leads the parsers to
            raise ConfigurationError(f'{os.fspath(path)!r} is no recording ({error}): record it anew') from error
        return recording

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file, in place of an earlier one."""
        with self._lock:
            lines = [HEADER, *self._lines.values()]
        Path(path).write_bytes(b'\n'.join(lines) + b'\n')

    def add(self, request: Request, outcome: Response | InferenceError, secret: str | None = None) -> None:
        """Keep what a request came to.

        Args:
            request: as it was before it was sent.
            outcome: its answer or error.
            secret: taken out of all that is kept.
        """
        for index, sent in enumerate(request.documents):
            message, names = _canonical(sent)
            told = _told(outcome, secret) if isinstance(outcome, InferenceError) else {}
            if isinstance(outcome, Response):
                by_id = {answer.id: answer for answer in outcome.documents}
                answer = _message(by_id[sent.id] if sent.id in by_id else outcome.documents[index])
                _rename(answer, names)
                told = {'answer': _base64(answer, secret)}
            scope = {'endpoint': request.endpoint, 'parameters': hide(_plain(dict(request.parameters)), secret)}
            line = {**scope, 'sent': _base64(message, secret), **told}
            data = orjson.dumps(line, option=orjson.OPT_SORT_KEYS)
            with self._lock:
                self._lines[_parsed(data)[0]] = data

    def __call__(self, request: Request) -> list[Document]:
        """The answer to a request.

        Raises:
            InferenceError: the one that was recorded.
            ConfigurationError: there is neither answer nor error for one of the documents.
        """
        return [self._replayed(request, document) for document in request.documents]

    def _replayed(self, request: Request, document: Document) -> Document:
        message, names = _canonical(document)
        line = self._lines.get(_key(request.endpoint, request.parameters, message))
        if line is None:
            raise ConfigurationError(
                f'the recording has no answer at {request.endpoint} to such a document with these parameters: '
                'record it anew'
            )
        _, outcome = _parsed(line)
        if isinstance(outcome, InferenceError):
            raise outcome
        _rename(outcome, {canonical: own for own, canonical in names.items()})
        return read_document(outcome)


class RecordingTransport(Transport):
    """Sends through another transport, and keeps what is answered; its token is never kept.

    Args:
        transport: a real one.
        recording: to add to; a new one without it.

    Raises:
        ConfigurationError: the token is too short to be found in what is kept.

    Attributes:
        recording: what was answered so far.
    """

    def __init__(self, transport: Transport, recording: Recording | None = None) -> None:
        super().__init__(transport.url, transport.options)
        if len(secret_of(transport.options.token or '*' * SHORTEST)) < SHORTEST:
            raise ConfigurationError(f'the token has under {SHORTEST} characters: it cannot be told from content')
        self.recording = Recording() if recording is None else recording
        self._real = transport

    def send(self, request: Request, timeouts: Timeouts) -> Response:
        secret = secret_of(self.options.token) if self.options.token else None
        kept = Request(request.endpoint, _copies(request), request.parameters, request.id)  # before it is changed
        try:
            response = self._real.send(request, timeouts)
        except InferenceError as error:
            self.recording.add(kept, error, secret)
            raise
        self.recording.add(kept, response, secret)
        return response

    def is_ready(self, timeouts: Timeouts) -> bool:
        return self._real.is_ready(timeouts)

    def capabilities(self, timeouts: Timeouts) -> Capabilities:
        return self._real.capabilities(timeouts)

    def close(self) -> None:
        self._real.close()


def _copies(request: Request) -> Any:
    return type(request.documents)([copy_tree(document) for document in request.documents])


def _message(document: Document) -> Any:
    message = DocumentProto()
    write_document(message, document)
    return message


def _canonical(document: Document) -> tuple[Any, dict[str, str]]:
    """A document as a message whose ids say where each stands, and those by the document's own."""
    message = _message(document)
    names: dict[str, str] = {}
    _number(message, names)
    _rename(message, names)
    return message, names


def _number(message: Any, names: dict[str, str]) -> None:
    names.setdefault(message.id, f'#{len(names)}')
    for name in NESTED:
        for inner in getattr(message, name):
            _number(inner, names)


def _rename(message: Any, names: Mapping[str, str]) -> None:
    message.id = names.get(message.id, message.id)
    if message.parent_id:
        message.parent_id = names.get(message.parent_id, message.parent_id)
    for name in NESTED:
        for inner in getattr(message, name):
            _rename(inner, names)


def _key(endpoint: str, parameters: Mapping[str, Any], message: Any) -> bytes:
    scope = orjson.dumps([endpoint, _plain(dict(parameters))], option=orjson.OPT_SORT_KEYS)
    sent: bytes = message.SerializeToString(deterministic=True)
    return scope + b'\0' + sent


def _plain(value: Any) -> Any:
    """Parameters as they are over a wire, where numbers are floats."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _parsed(line: bytes) -> tuple[bytes, Any]:
    """The key of a line, and its answer or error."""
    data = orjson.loads(line)
    message = DocumentProto.FromString(base64.b64decode(data['sent'], validate=True))
    key = _key(data['endpoint'], data['parameters'], message)
    if 'error' in data:
        return key, _error(data['error'])
    answer = DocumentProto.FromString(base64.b64decode(data['answer'], validate=True))
    read_document(answer)
    return key, answer


def _told(error: InferenceError, secret: str | None) -> dict[str, Any]:
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in KINDS)
    flags = {flag: hide(getattr(error, flag), secret) for flag in FLAGS if getattr(error, flag, None)}
    return {'error': {'kind': name, 'message': hide(error.message, secret), **flags}}


def _error(data: Mapping[str, Any]) -> InferenceError:
    kind = KINDS[data['kind']]
    error = kind(str(data['message']))
    for flag in FLAGS if isinstance(error, ServerError) else FLAGS[-1:]:
        if flag in data:
            setattr(error, flag, data[flag])
    return error


def _base64(message: Any, secret: str | None) -> str:
    hide_in_message(message, secret)
    return base64.b64encode(message.SerializeToString(deterministic=True)).decode()
