"""Finds tasks, transports, engines and commands by name, in this package and in installed plugins.

Built-in names resolve without loading any plugin: what replaces one says so in its metadata (`_installed.py`).
A look-up imports only what it returns. Plugins are loaded one by one, when a name is asked for that nobody has yet:
one that fails is named in a warning and left out. A name comes before all patterns that it matches.
"""

from __future__ import annotations

import functools
import re
import threading
import warnings
from typing import Any, Callable, Mapping

import pluggy

from . import _builtins, hookspecs
from ._installed import DISABLE_VARIABLE, KINDS, REPLACING, Announced, Installed, read_installed
from ._registered import PATTERNED, Registered, matches, narrowness, nearest, reason
from ._version import __version__
from .errors import PluginError, UnknownSchemeError

OWN = 'inference-client'


class Plugins:
    """The registry; `plugins()` gives the one of this process.

    Attributes:
        failed: what is left out, and why.
        disabled: what the environment blocks.
    """

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.GROUP)
        self.manager.add_hookspecs(hookspecs)
        self.failed: list[tuple[str, str]] = []
        self.disabled: list[str] = []
        self._names: dict[tuple[str, str], list[Registered]] = {}
        self._lock = threading.RLock()
        self._installed: Installed | None = None
        self._complete = False
        self._register(_builtins, OWN, functools.partial(Registered, distribution=OWN, version=__version__))

    def get(self, kind: str, name: str) -> Any:
        """The class (or command) that is registered under a name, or under a pattern that it matches.

        Raises:
            PluginError: there is none, two plugins claim it, or it is broken.
            UnknownSchemeError: there is no transport of that scheme.
            MissingExtraError: it needs an optional dependency.
        """
        return self.find(kind, name).load()

    def find(self, kind: str, name: str) -> Registered:
        """What a name leads to, without importing it.

        Raises:
            PluginError: there is nothing, or two plugins claim it.
            UnknownSchemeError: there is no transport of that scheme.
        """
        found = self._claims(kind, name)
        if not found:
            raise self._unknown(kind, name)
        best = _best(found)
        if len(best) > 1:
            raise PluginError(_conflict(found))
        return best[0]

    def has(self, kind: str, name: str) -> bool:
        """Whether a name is registered, in this package or a plugin."""
        return bool(self._claims(kind, name))

    def listed(self, kind: str) -> list[Registered]:
        """What each name of one kind leads to, sorted by name; nothing for a name that plugins contend for."""
        self.load_all()
        with self._lock:
            best = [_best(found) for (its_kind, _), found in self._names.items() if its_kind == kind]
        return sorted((ones[0] for ones in best if len(ones) == 1), key=lambda one: one.name)

    def replaced(self) -> list[tuple[Registered, Registered]]:
        """What is not used since something replaces it, and that."""
        self.load_all()
        with self._lock:
            best = [(found, _best(found)) for found in self._names.values()]
        return [
            (one, ones[0])
            for found, ones in best
            if len(ones) == 1 and ones[0].replaces
            for one in found
            if one is not ones[0]
        ]

    def load_all(self) -> None:
        """Load the installed plugins, if that was not done before."""
        with self._lock:
            if self._complete:
                return
            installed = self._read()  # its warning may raise, and then all is still to be loaded
            self._complete = True
            for one in installed.plugins:
                self._load(one)
            self._note_clashes()
            for what, why in self.failed:  # at the end: a warning that raises leaves nothing unloaded
                warnings.warn(f'plugin {what} is left out: {why}', stacklevel=3)

    def _claims(self, kind: str, name: str) -> list[Registered]:
        with self._lock:
            self._read()
            if (kind, name) not in self._names:
                self.load_all()
            return self._names.get((kind, name)) or self._matching(kind, name)

    def _matching(self, kind: str, name: str) -> list[Registered]:
        """Those who claim the narrowest pattern that a name matches."""
        found = [
            pattern for its_kind, pattern in self._names if its_kind == kind == PATTERNED and matches(pattern, name)
        ]
        narrowest = max(map(narrowness, found), default=None)
        return [one for pattern in found if narrowness(pattern) == narrowest for one in self._names[kind, pattern]]

    def _read(self) -> Installed:
        """What is installed; at the first call, what replaces names is registered by its metadata alone."""
        if self._installed is not None:
            return self._installed
        self._installed = installed = read_installed()
        self.failed += installed.failed
        self.disabled = installed.disabled
        for one in installed.replacing:
            try:
                self._add([_registered(one, REPLACING[one.entry.group], one.entry.name, one.entry, replaces=True)])
            except ValueError as error:
                self.failed.append((str(one), str(error)))
        if installed.unknown:
            known = ', '.join([*map(str, [*installed.plugins, *installed.replacing]), *installed.disabled])
            names = ', '.join(installed.unknown)
            warnings.warn(
                f'{DISABLE_VARIABLE} names {names}, but the installed plugins are {known or "none"}', stacklevel=4
            )
        return installed

    def _load(self, one: Announced) -> None:
        try:
            plugin_name = f'{one.distribution}:{one.entry.name}'
            self._register(one.entry.load(), plugin_name, functools.partial(_registered, one))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin does, the others go on
            self.failed.append((str(one), reason(error)))

    def _register(self, plugin: Any, plugin_name: str, registered: Callable[..., Registered]) -> None:
        try:
            self.manager.register(plugin, plugin_name)
            self.manager.check_pending()  # catches hooks whose names are misspelt
            self._add(
                [
                    registered(kind=kind, name=name, target=target)
                    for kind in KINDS
                    for name, target in self._offered(plugin, kind).items()
                ]
            )
        except BaseException:
            if self.manager.has_plugin(plugin_name):  # also when `register` failed halfway
                self.manager.unregister(name=plugin_name)
            raise

    def _add(self, offered: list[Registered]) -> None:
        for one in offered:
            if one.kind == 'transport' and not re.fullmatch(r'[a-z][a-z0-9+.-]*', one.name):
                raise ValueError(f'{one.name!r} is no URL scheme: expected lower-case letters, digits, + . or -')
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
        for (_, name), found in self._names.items():
            best = _best(found)
            losers = best if len(best) > 1 else [] if best[0].replaces else found[1:]
            if losers:
                sources = ', '.join(sorted({f'{one.distribution} {one.version}' for one in losers}))
                self.failed.append((f'{name} ({sources})', _conflict(found)))

    def _unknown(self, kind: str, name: str) -> PluginError | UnknownSchemeError:
        known = [one.name for one in self.listed(kind)]
        guess = nearest(name, known)
        label = 'URL scheme' if kind == 'transport' else kind
        error = UnknownSchemeError if kind == 'transport' else PluginError
        blocked = f'; {DISABLE_VARIABLE} blocks {", ".join(self.disabled)}' if self.disabled else ''
        return error(f'unknown {label} {name!r}: known are {", ".join(known)}{blocked}{guess and "; "}{guess}')


@functools.lru_cache(maxsize=None)
def plugins() -> Plugins:
    """The registry of this process."""
    return Plugins()


def _registered(one: Announced, kind: str, name: str, target: Any, replaces: bool = False) -> Registered:
    return Registered(kind, name, target, one.distribution, one.version, one.entry.name, replaces)


def _best(found: list[Registered]) -> list[Registered]:
    """Which of those that claim a name have it: one, or some that contend for it."""
    replacing = [one for one in found if one.replaces]
    own = [one for one in found if not one.plugin]
    return replacing or own or found


def _conflict(found: list[Registered]) -> str:
    best = _best(found)
    kind, name = found[0].kind, found[0].name
    if len(best) == 1:
        others = ' and '.join(str(one) for one in found if one is not best[0])
        return (
            f'the {kind} {name!r} is claimed by {best[0]}, which keeps it, and by {others}: a plugin that '
            f'means to replace it announces that in the group {hookspecs.GROUP}.replace.{kind}s'
        )
    verb = 'replaced' if best[0].replaces else 'claimed'
    names = ' and '.join(map(str, best))
    return f'the {kind} {name!r} is {verb} by {names}: uninstall one of them, or block it with {DISABLE_VARIABLE}'
