"""Engines by name, each loaded once a process."""

from __future__ import annotations

import threading

from .._plugins import missing_extra, plugins
from .base import Engine

_loaded: dict[str, Engine] = {}
_lock = threading.Lock()


def engine_class(name: str) -> type[Engine]:
    """The class of an engine, by its registered name."""
    found: type[Engine] = plugins().get('engine', name)
    return found


def load_engine(name: str) -> Engine:
    """The engine of this name; loading may take seconds, the next calls nothing."""
    with _lock:
        if name not in _loaded:
            try:
                _loaded[name] = engine_class(name)()
            except ImportError as error:
                raise missing_extra(f'the engine {name!r}', error) from error
        return _loaded[name]
