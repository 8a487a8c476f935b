"""Names of models, from two places.

An installed distribution announces one in its `pyproject.toml`:

    [project.entry-points.inference_client_callable]
    my-engine = "my_model"

and for what is not installed, there is the environment variable
`INFERENCE_CLIENT_CALLABLE='my-engine=my_model,other=module:object'`, which goes before. What is named is a module or an
object in it; it is imported when its model is asked for.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from importlib.metadata import distributions
from typing import Any

from inference_client import ConfigurationError, MultimodalEngine

from .engine import TASKS, engine

GROUP = 'inference_client_callable'
VARIABLE = 'INFERENCE_CLIENT_CALLABLE'
_PAIR = re.compile(r'\s*([^\s=,]+)\s*=\s*([\w.]+(?::[\w.]+)?)\s*')


def registered() -> dict[str, list[str]]:
    """Import strings by name; several where distributions claim one name.

    Raises:
        ConfigurationError: the environment variable cannot be read.
    """
    found: dict[str, list[str]] = {}
    for distribution in distributions():
        for entry in distribution.entry_points:
            if entry.group == GROUP and entry.value not in found.setdefault(entry.name, []):
                found[entry.name].append(entry.value)
    for pair in filter(str.strip, os.environ.get(VARIABLE, '').split(',')):
        match = _PAIR.fullmatch(pair)
        if not match:
            raise ConfigurationError(f'{VARIABLE} holds {pair!r}: expected name=module or name=module:object')
        found[match.group(1)] = [match.group(2)]
    return found


def engine_named(name: str) -> type[MultimodalEngine]:
    """The engine class of a registered name.

    Raises:
        ConfigurationError: two distributions claim it.
        ValueError: what it names has no function of a known name.
    """
    targets = registered()[name]
    if len(targets) > 1:
        raise ConfigurationError(f'{name!r} is claimed by {" and ".join(sorted(targets))}: uninstall one of them')
    module, _, attributes = targets[0].partition(':')
    named: Any = import_module(module)
    for attribute in filter(None, attributes.split('.')):
        named = getattr(named, attribute)
    return engine(**{function: getattr(named, function) for function in TASKS if hasattr(named, function)})
