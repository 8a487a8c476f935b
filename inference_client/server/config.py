"""The configuration file of a service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Collection, Mapping

from .._registered import missing_extra, nearest
from ..errors import ConfigurationError
from .settings import ModelSettings

MODELS = 'models'
TEXTS = ('name', 'engine')
NUMBERS = {
    'replicas': 1,
    'max-batch': 1,
    'batch-wait-ms': 0,
    'max-seconds': 1,
}  # of a model, and the least that each may be


def read_config(path: str, options: Collection[str]) -> dict[str, Any]:
    """The values in a file, by the names of options of the command line, and `models` as they stand.

    Args:
        path: of a TOML file.
        options: names that it may have, with hyphens.

    Raises:
        ConfigurationError: the file cannot be read, or has a name that nothing has.
        MissingExtraError: Python before 3.11 needs a package to read TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise missing_extra('a configuration file', error) from error
    try:
        found: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:  # what TOML does not allow is a ValueError
        why = getattr(error, 'strerror', None) or error
        raise ConfigurationError(f'the configuration {path} cannot be read ({why}): expected a file in TOML') from error
    _check_names(found, [*options, MODELS], path)
    return found


def models_of(entries: Any, defaults: Mapping[str, int]) -> list[ModelSettings]:
    """The models of a configuration.

    Args:
        entries: what stands under `models`.
        defaults: the `NUMBERS` of those that do not say.

    Raises:
        ConfigurationError: something is missing, or is not what it should be.
    """
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigurationError('models is not what was expected: a table [[models]] for each of them')
    found = [_model(entry, defaults) for entry in entries]
    names = [model.name for model in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f'there are two models {name!r}: give each a name of its own, with name =')
    return found


def _model(entry: Mapping[str, Any], defaults: Mapping[str, int]) -> ModelSettings:
    _check_names(entry, (*TEXTS, *NUMBERS), '[[models]]')
    for name, value in entry.items():
        least = NUMBERS.get(name)
        if least is None and (type(value) is not str or not value):
            raise ConfigurationError(f'{name} of a model is {value!r}: expected a text')
        if least is not None and (type(value) is not int or value < least):
            raise ConfigurationError(f'{name} of a model is {value!r}: expected a whole number of {least} or more')
    engine = entry.get('engine', entry.get('name'))
    if engine is None:
        raise ConfigurationError('a table [[models]] says nothing of what to load: give its engine')
    numbers = {name.replace('-', '_'): entry.get(name, defaults[name]) for name in NUMBERS}
    return ModelSettings(entry.get('name', engine), engine, **numbers)


def _check_names(found: Collection[str], known: Collection[str], where: str) -> None:
    for name in found:
        if name not in known:
            guess = nearest(name, list(known))
            more = f'; {guess}' if guess else f': known are {", ".join(known)}'
            raise ConfigurationError(f'{where} has {name!r}, which is no setting{more}')
