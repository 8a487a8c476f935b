"""The files of a CLIP in ONNX: in a directory of this machine, or in a repository of the model hub."""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Mapping, Sequence

from ..errors import ConfigurationError
from . import _hub
from ._names import parse_name
from ._preprocessing import FILE as PREPROCESSING

PREFIX = 'onnx:'
TOKENIZER = 'tokenizer.json'
TOKENIZER_SETTINGS = 'tokenizer_config.json'
CONFIGURATION = 'config.json'

_REPOSITORY = re.compile(r'[\w-][\w.-]*/[\w-][\w.-]*')
_VARIANT = re.compile(r'[\w-]+')


class Files:
    """Where the files of a model are; those of a repository are fetched when they are asked for.

    Args:
        name: of the model, with the option `variant` after `?`.

    Raises:
        ConfigurationError: there can be no such model.
    """

    def __init__(self, name: str) -> None:
        model, options = parse_name(name, ['variant'])
        variant = options.get('variant', '')
        if variant and not _VARIANT.fullmatch(variant):
            raise ConfigurationError(f'there is no variant {variant!r}: expected the end of a name, as in quantized')
        suffix = f'_{variant}.onnx' if variant else '.onnx'
        self.text, self.image = f'text_model{suffix}', f'vision_model{suffix}'
        self._name = name
        self._source = model[len(PREFIX) :]
        self._folder = Path(self._source).expanduser()
        self._is_repository = not self._folder.is_dir() and bool(_REPOSITORY.fullmatch(self._source))
        if self._is_repository:
            _hub.check_repository(name, self._source)

    def find(self, file: str) -> Path | None:
        """The path of a file; None if the model has none."""
        places = _places(file)
        if self._is_repository:
            path = self._fetched(places)
            return Path(path) if path else None
        return next((path for path in map(self._folder.joinpath, places) if path.is_file()), None)

    def path(self, file: str) -> Path:
        """The path of a file; a `ConfigurationError` if the model has none."""
        found = self.find(file)
        if found:
            return found
        if self._is_repository:
            raise _hub.absent(self._name, self._source, file)
        raise ConfigurationError(
            f'{self._name!r} has no {file}: expected it in {str(self._folder)!r}, beside {TOKENIZER}, {PREPROCESSING} '
            'and both sides of the model'
        )

    @cached_property
    def _hub_answers(self) -> bool:
        return _hub.reachable()

    def _fetched(self, places: Sequence[str]) -> str:
        here = _hub.cached(self._source, places)
        if here:
            return here
        if self._hub_answers:
            return _hub.fetched(self._name, self._source, places)
        if _hub.known_absent(self._source, places):
            return ''
        names = (PREPROCESSING, CONFIGURATION, TOKENIZER, TOKENIZER_SETTINGS, self.text, self.image)
        needed = [place for name in names for place in _places(name)]
        raise _hub.out_of_reach(self._name, self._source, needed, f"'{PREFIX}/directory'")


def _places(file: str) -> Sequence[str]:
    """Where a file may be; a side of the model in a folder or beside the others."""
    return (f'onnx/{file}', file) if file.endswith('.onnx') else (file,)


def read(path: Path) -> Mapping[str, Any]:
    """What stands in a JSON file, which must be an object."""
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ConfigurationError(f'{path} is no JSON ({error}): fetch it again') from error
    if not isinstance(found, dict):
        raise ConfigurationError(f'{path} holds a {type(found).__name__}: expected an object')
    return found
