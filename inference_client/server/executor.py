"""A Jina Executor that answers as `local://` does: through the same request handler."""

# Jina reads the annotations of endpoints as objects, so they are not postponed here.
import logging
import re
from typing import Any, Dict

from docarray import DocumentArray
from jina import Executor, requests

from .._messages import Request
from ..engines.handler import handle
from ..engines.loader import engine_class, load_engine
from ..errors import ServerError

logger = logging.getLogger('inference_client.server')

PATH = re.compile(r'(?<![\w.:/])(?:[A-Za-z]:|~)?[\\/][^\s\'"<>|:;,()]+')
"""Absolute paths of this machine, which libraries put into their messages."""


def executor_class(model: str) -> Any:
    """An Executor class with an endpoint for each task of the engine."""
    methods: Dict[str, Any] = {task: _endpoint(model, task) for task in engine_class(model).tasks}

    def __init__(self: Any, **kwargs: Any) -> None:
        Executor.__init__(self, **kwargs)
        self.engine = load_engine(model)  # ready means loaded

    return type('ModelExecutor', (Executor,), {'__init__': __init__, **methods})


def _endpoint(model: str, task: str) -> Any:
    def endpoint(self: Any, docs: DocumentArray, parameters: Dict[str, Any], **kwargs: Any) -> DocumentArray:
        if not docs:
            return docs
        try:
            return handle(self.engine, Request(f'/{task}', docs, parameters))
        except ServerError as error:  # the engine's own fault, which its author wants to see, and clients must not
            logger.error('the model %s failed at %s', model, task, exc_info=error.__cause__)
            raise ServerError(PATH.sub('(a path)', error.message), error.exception) from None

    endpoint.__name__ = task
    return requests(endpoint, on=f'/{task}')
