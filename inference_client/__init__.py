"""Embeddings, rankings, captions and answers from images and text.

`Client` finds a `Model` by name or URL; `model.encode`, `rank`, `caption` and `vqa` run on it over gRPC, HTTP
or WebSocket, or in this process. Importing this package imports nothing else: each name is loaded at its
first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._inputs import Image, Text
    from ._messages import Request, Response, Route
    from ._policies import RetryPolicy, Timeouts
    from ._profile import Part, Profile
    from ._spec import Capabilities, ModelSpec
    from ._version import __version__
    from .aio import AsyncClient, AsyncModel
    from .client import Client
    from .engines.base import Engine, MultimodalEngine
    from .errors import (
        AuthenticationError,
        ConfigurationError,
        ConnectionFailedError,
        InferenceError,
        InputError,
        MissingExtraError,
        ModelNotFoundError,
        PluginError,
        ProtocolError,
        RateLimitError,
        RequestTimeoutError,
        RequestTooLargeError,
        ServerError,
        TaskFallbackWarning,
        TransportError,
        UnknownSchemeError,
        UnsupportedTaskError,
    )
    from .hookspecs import hookimpl
    from .model import Model
    from .results import Results
    from .tasks.base import Call, Task
    from .transports.base import AsyncTransport, ThreadedTransport, Transport, TransportOptions

__all__ = [
    'AsyncClient',
    'AsyncModel',
    'AsyncTransport',
    'AuthenticationError',
    'Call',
    'Capabilities',
    'Client',
    'ConfigurationError',
    'ConnectionFailedError',
    'Engine',
    'Image',
    'InferenceError',
    'InputError',
    'MissingExtraError',
    'Model',
    'ModelNotFoundError',
    'ModelSpec',
    'MultimodalEngine',
    'Part',
    'PluginError',
    'Profile',
    'ProtocolError',
    'RateLimitError',
    'Request',
    'RequestTimeoutError',
    'RequestTooLargeError',
    'Response',
    'Results',
    'RetryPolicy',
    'Route',
    'ServerError',
    'Task',
    'TaskFallbackWarning',
    'Text',
    'ThreadedTransport',
    'Timeouts',
    'Transport',
    'TransportError',
    'TransportOptions',
    'UnknownSchemeError',
    'UnsupportedTaskError',
    '__version__',
    'hookimpl',
]

_MODULES = {
    'AsyncClient': 'aio',
    'AsyncModel': 'aio',
    'AsyncTransport': 'transports.base',
    'Call': 'tasks.base',
    'Capabilities': '_spec',
    'Client': 'client',
    'Engine': 'engines.base',
    'Image': '_inputs',
    'Model': 'model',
    'ModelSpec': '_spec',
    'MultimodalEngine': 'engines.base',
    'Part': '_profile',
    'Profile': '_profile',
    'Request': '_messages',
    'Response': '_messages',
    'Results': 'results',
    'RetryPolicy': '_policies',
    'Route': '_messages',
    'Task': 'tasks.base',
    'Text': '_inputs',
    'ThreadedTransport': 'transports.base',
    'Timeouts': '_policies',
    'Transport': 'transports.base',
    'TransportOptions': 'transports.base',
    '__version__': '_version',
    'hookimpl': 'hookspecs',
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == 'plot':  # a module of functions
        return import_module('.plot', __name__)
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(f'.{_MODULES.get(name, "errors")}', __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
