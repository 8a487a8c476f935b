"""Engines by name, each loaded once a process."""

from __future__ import annotations

import os
import threading
from typing import Any, Callable

from .._plugins import plugins
from .._registered import missing_extra
from ..errors import InferenceError, ServerError
from .base import Engine

_loaded: dict[str, Engine] = {}
_locks: dict[str, Any] = {}  # one a name: an engine may use another
if hasattr(os, 'register_at_fork'):  # Windows has no fork
    os.register_at_fork(after_in_child=_locks.clear)  # the thread that loads in the parent is not in the child


def engine_class(name: str) -> type[Engine]:
    """The class of the engine that runs a model, by the model's name; nothing slow is imported for it.

    Raises:
        PluginError: no engine has this name or a pattern for it, or the engine is broken.
        MissingExtraError: it needs an optional dependency.
    """
    found: type[Engine] = plugins().get('engine', name)
    return found.for_name(name)


def load_engine(name: str) -> Engine:
    """The engine of this name; loading may take seconds, the next calls nothing.

    Raises:
        PluginError: no engine has this name, or it is broken.
        MissingExtraError: it needs an optional dependency.
        ServerError: it could not be loaded.
    """
    engine = _loaded.get(name)
    if engine is not None:
        return engine
    with _locks.setdefault(name, threading.RLock()):
        if name not in _loaded:
            _loaded[name] = _load(name)
        return _loaded[name]


def _load(name: str) -> Engine:
    try:
        found: Callable[..., Engine] = engine_class(name)
        return found(name) if plugins().find('engine', name).is_pattern else found()
    except InferenceError:
        raise
    except ImportError as error:
        raise missing_extra(f'the engine {name!r}', error) from error
    except Exception as error:  # the constructor is somebody's code
        kind = type(error).__name__
        raise ServerError(f'the engine {name!r} could not be loaded: {kind}: {error}', kind) from error
