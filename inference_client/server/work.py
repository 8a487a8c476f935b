"""What the process of a replica does with a request: bytes come in, the model runs, bytes go out.

Messages are read field by field by this package's own code: no pickle (`docs_bytes`) is read, and no URI loaded.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
from dataclasses import replace
from typing import Any, Iterable, Sequence

from docarray import Document, DocumentArray

from .._messages import Request
from .._wire.documents import read_document, read_struct, write_document
from .._wire.jina_pb2 import DataRequestProto, StatusProto
from ..engines.base import Engine
from ..engines.handler import handle
from ..errors import InferenceError, InputError, ServerError, UnsupportedTaskError
from .link import Answer

logger = logging.getLogger('inference_client.server')

PATH = re.compile(r'(?:(?<![\w.:/])|(?<=:)(?!//))(?:[A-Za-z]:|~)?[\\/][^\s\'"<>|:;,()]+')
"""Absolute paths of this machine, which libraries put into their messages, and names of models: `clip:/models/x.pt`."""


def answers(engine: Engine, model: str, messages: Sequence[Any]) -> list[Answer]:
    """The answers of a model to requests of one endpoint with equal parameters.

    They run as one batch. If that fails, each runs by itself, so that nobody's request fails for somebody else's.

    Args:
        engine: the model.
        model: its name, for the log.
        messages: a `DataRequestProto` each.
    """
    if len(messages) > 1:
        with contextlib.suppress(Exception):
            return _together(engine, messages)
    return [_alone(engine, model, message) for message in messages]


def _together(engine: Engine, messages: Sequence[Any]) -> list[Answer]:
    requests = [request_of(message) for message in messages]
    everything = DocumentArray([document for request in requests for document in request.documents])
    answered = iter(_run(engine, replace(requests[0], documents=everything)))
    return [
        _succeeded(message.header, list(itertools.islice(answered, len(request.documents))))
        for message, request in zip(messages, requests)
    ]


def _alone(engine: Engine, model: str, message: Any) -> Answer:
    try:
        return _succeeded(message.header, _run(engine, request_of(message)))
    except InferenceError as error:
        return failed(message.header, model, error)
    except Exception as error:  # noqa: BLE001 - it costs this request, not the process with all that wait
        name = type(error).__name__
        broken = ServerError(f'the model raised {name}: {error}', name)
        broken.__cause__ = error
        return failed(message.header, model, broken)


def _run(engine: Engine, request: Request) -> Iterable[Document]:
    """The answered documents. Without any no model is asked, nor at `/`, where they come back as they came.

    So it was with Jina, and `profile` of `clip_client` asks there how long the way takes.
    """
    asked = request.documents and request.endpoint not in ('', '/')
    answered: Iterable[Document] = handle(engine, request) if asked else request.documents
    return answered


def request_of(message: DataRequestProto) -> Request:
    """A message as a request.

    Raises:
        InputError: a document in it cannot be read.
    """
    header, documents = message.header, message.data.docs.docs
    _refuse_sparse(documents)
    try:
        read = DocumentArray([read_document(document) for document in documents])
    except Exception as error:  # whatever a stranger's bytes lead numpy to
        raise InputError(f'a document of the request cannot be read: {error}') from error
    return Request(header.exec_endpoint, read, read_struct(message.parameters), header.request_id)


def _refuse_sparse(documents: Any) -> None:
    """Keep matrices out that are small in a message, and may fill the memory."""
    for document in documents:
        for name in ('tensor', 'embedding'):
            if document.HasField(name) and getattr(document, name).HasField('sparse'):
                raise InputError(f'the {name} of a document is a sparse array: send a dense one')
        _refuse_sparse(document.matches)
        _refuse_sparse(document.chunks)


def _succeeded(header: Any, documents: Iterable[Document]) -> Answer:
    message = _reply(header)
    message.data.docs.SetInParent()
    try:
        for document in documents:
            write_document(message.data.docs.docs.add(), document)
        return Answer(message.SerializeToString(), failed=False)
    except Exception as error:  # an engine is somebody's code, and puts anything into its documents
        name = type(error).__name__
        raise ServerError(f'the answer of the model cannot be sent: {name}: {error}', name) from error


def failed(header: Any, model: str, error: InferenceError) -> Answer:
    """The answer that tells of a failure; what was the engine's own fault is logged as it was.

    Args:
        header: of the request.
        model: its name, for the log.
        error: what happened.
    """
    text = error.message
    if not isinstance(error, (InputError, UnsupportedTaskError)):  # its author wants to see all, and clients must not
        logger.error('the model %s failed at %s', model, header.exec_endpoint, exc_info=error.__cause__ or error)
        text = PATH.sub('(a path)', text)
    message = _reply(header)
    status = message.header.status
    status.code = StatusProto.ERROR
    status.exception.name = type(error).__name__
    status.exception.args.append(text)
    status.description = f'{type(error).__name__}({text!r})'
    return Answer(message.SerializeToString(), failed=True)


def _reply(header: Any) -> DataRequestProto:
    message = DataRequestProto()
    message.header.request_id, message.header.exec_endpoint = header.request_id, header.exec_endpoint
    message.header.status.SetInParent()
    return message
