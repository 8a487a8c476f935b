"""The registered models as attributes, for import strings: each is made when it is asked for."""

from __future__ import annotations

from typing import Any

from .register import engine_named, registered


def __getattr__(name: str) -> Any:
    if name not in registered():
        raise AttributeError(f'no callable is registered as {name!r}')
    return engine_named(name)
