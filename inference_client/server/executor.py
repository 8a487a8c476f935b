"""A Jina Executor that answers as `local://` does: through the same request handler."""

# Jina reads the annotations of endpoints as objects, so they are not postponed here.
import logging
import sys
from typing import Any, Dict

from docarray import DocumentArray
from jina import Executor, requests

from .._messages import Request
from ..engines.handler import handle
from ..engines.loader import engine_class, load_engine
from ..errors import ServerError

logger = logging.getLogger('inference_client.server')


def executor_class(model: str) -> Any:
    """An Executor class with an endpoint for each task of the engine."""
    methods: Dict[str, Any] = {task: _endpoint(model, task) for task in engine_class(model).tasks}

    def __init__(self: Any, **kwargs: Any) -> None:
        Executor.__init__(self, **kwargs)
        try:
            self.engine = load_engine(model)  # ready means loaded
        except Exception as error:
            print(f'model {model}: {type(error).__name__}: {error}', file=sys.stderr)  # noqa: T201
            raise  # to Jina, which tells the parent process only that it failed

    return type('ModelExecutor', (Executor,), {'__init__': __init__, **methods})


def _endpoint(model: str, task: str) -> Any:
    def endpoint(self: Any, docs: DocumentArray, parameters: Dict[str, Any], **kwargs: Any) -> DocumentArray:
        if not docs:
            return docs
        try:
            return handle(self.engine, Request(f'/{task}', docs, parameters))
        except ServerError as error:  # the engine's own fault, which its author wants to see
            logger.error('the model %s failed at %s', model, task, exc_info=error.__cause__)
            raise

    endpoint.__name__ = task
    return requests(endpoint, on=f'/{task}')
