"""The request handler: what `local://` and the server do with a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sized

from ..errors import InferenceError, ServerError, UnsupportedTaskError

if TYPE_CHECKING:
    from docarray import DocumentArray

    from .._messages import Request
    from .base import Engine


def handle(engine: Engine, request: Request) -> DocumentArray:
    """Run a request on an engine.

    Raises:
        UnsupportedTaskError: the engine has no task for the endpoint.
        InputError: the engine cannot use a document.
        ServerError: the engine failed.
    """
    task = request.endpoint.lstrip('/')
    if task not in engine.tasks:
        offered = ', '.join(sorted(engine.tasks))
        raise UnsupportedTaskError(f'the model has no task {task!r}: it offers {offered}')
    count = len(request.documents)  # the engine may change them
    try:
        documents = engine.run(task, request.documents, request.parameters)
    except InferenceError:
        raise
    except NotImplementedError as error:
        raise UnsupportedTaskError(f'the model cannot {task} this: {error or "its engine lacks the code"}') from error
    except Exception as error:  # an engine is somebody's code; its failure is the model's, as over a wire
        name = type(error).__name__
        raise ServerError(f'the model raised {name}: {error}', name) from error
    if not isinstance(documents, Sized):
        kind = type(documents).__name__
        raise ServerError(f'the model answered {count} documents with a {kind}: expected a DocumentArray')
    if len(documents) != count:
        raise ServerError(f'the model answered {count} documents with {len(documents)}')
    return documents
