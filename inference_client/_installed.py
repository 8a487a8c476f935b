"""What installed distributions announce, read from their metadata alone: nothing of theirs is imported."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distributions
from typing import Iterator

from .hookspecs import GROUP

KINDS = ('task', 'transport', 'engine', 'command')
REPLACING = {f'{GROUP}.replace.{kind}s': kind for kind in KINDS}  # group: kind of what its entry points replace
DISABLE_VARIABLE = 'INFERENCE_CLIENT_DISABLE_PLUGINS'


@dataclass(frozen=True)
class Announced:
    """One entry point, and the distribution that has it."""

    entry: EntryPoint
    distribution: str
    version: str

    def __str__(self) -> str:
        return f'{self.entry.name} ({self.distribution} {self.version})'


@dataclass
class Installed:
    """What was found.

    Attributes:
        plugins: modules or objects with hooks.
        replacing: classes or commands that take the place of a name.
        disabled: what the environment blocks.
        failed: what could not be read, and why.
        unknown: names in the environment that block nothing.
    """

    plugins: list[Announced] = field(default_factory=list)
    replacing: list[Announced] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def read_installed() -> Installed:
    """Read the metadata of what is installed, and what the environment blocks of it."""
    found, blocked = Installed(), _Blocked()
    for distribution in _first_of_each():
        name, version = _field(distribution, 'Name'), _field(distribution, 'Version')
        try:
            entries = list(distribution.entry_points)
        except Exception as error:  # noqa: BLE001 - each Python has another error for an unreadable file
            if blocked.has(name):
                found.disabled.append(f'{name} {version}')
            else:
                found.failed.append((f'{name} {version}', f'its entry_points.txt cannot be read: {error}'))
            continue
        for entry in entries:
            if entry.group == GROUP or entry.group.startswith(f'{GROUP}.'):
                _sort_in(found, Announced(entry, name, version), blocked)
    found.unknown = blocked.unused()
    return found


class _Blocked:
    """The names in the environment, compared as indexes compare names."""

    def __init__(self) -> None:
        names = filter(None, map(str.strip, os.environ.get(DISABLE_VARIABLE, '').split(',')))
        self._spelt = {_normal(name): name for name in names}
        self._used: set[str] = set()

    def has(self, *names: str) -> bool:
        """Whether one of the names is blocked."""
        hits = self._spelt.keys() & set(map(_normal, names))
        self._used |= hits
        return bool(hits)

    def unused(self) -> list[str]:
        """Those that were never asked for."""
        return [spelt for normal, spelt in self._spelt.items() if normal not in self._used]


def _sort_in(found: Installed, one: Announced, blocked: _Blocked) -> None:
    group = one.entry.group
    if blocked.has(one.distribution, one.entry.name):
        found.disabled.append(str(one))
    elif group == GROUP:
        found.plugins.append(one)
    elif group in REPLACING:
        found.replacing.append(one)
    else:
        found.failed.append((str(one), f'unknown group {group!r}: known are {", ".join([GROUP, *REPLACING])}'))


def _first_of_each() -> Iterator[Distribution]:
    """Distributions that may have plugins; of several with one name, that which is first on the path."""
    seen = set()
    for candidate in filter(_may_have_plugins, distributions()):
        name = _name(candidate)
        if name and _normal(name) not in seen:
            seen.add(_normal(name))
            yield _first(candidate, name)


def _may_have_plugins(distribution: Distribution) -> bool:
    """Spares the other distributions the reading of their names, which is slow."""
    try:
        text = distribution.read_text('entry_points.txt') or ''
    except Exception:  # noqa: BLE001 - not readable: reading its entry points tells why
        return True
    return f'[{GROUP}]' in text or f'[{GROUP}.' in text


def _first(candidate: Distribution, name: str) -> Distribution:
    try:
        first = Distribution.from_name(name)
    except PackageNotFoundError:  # Python 3.8 does not find every spelling
        return candidate
    found = _name(first)
    return first if found and _normal(found) == _normal(name) else candidate


def _name(distribution: Distribution) -> str | None:
    """None for what an uninstallation left, or is not readable."""
    try:
        return _field(distribution, 'Name') or None
    except Exception:  # noqa: BLE001 - importlib_metadata, where it is installed, raises errors of its own
        return None


def _field(distribution: Distribution, key: str) -> str:
    metadata = distribution.metadata
    return metadata[key] if metadata and key in metadata else ''


def _normal(name: str) -> str:
    """A name as indexes compare names."""
    return re.sub(r'[-_.]+', '-', name).lower()
