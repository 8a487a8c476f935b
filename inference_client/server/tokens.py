"""The tokens of a server, in a file that holds their hashes.

A token is 256 random bits, so its SHA-256 tells nothing of it: there is no dictionary of such tokens that could be
tried, which is what slow hashes are for. They would cost the server a tenth of a second at each request.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Iterator, List

from .. import _private_file
from ..errors import ConfigurationError

PREFIX = 'ict_'  # people, and scanners of leaked secrets, know it by that
BYTES = 32  # of randomness
LONGEST = 512  # characters that are looked at
ID = re.compile('[0-9a-f]{12}')

logger = logging.getLogger('inference_client.server.tokens')


@dataclass(frozen=True)
class Token:
    """What is kept of a token.

    Attributes:
        id: the start of its hash, by which logs name it.
        name: what its owner calls it.
        created: when, in UTC.
        expires: when it ends, in UTC; None if never.
        sha256: of the token, in hexadecimal.
    """

    id: str
    name: str
    created: datetime
    expires: datetime | None = None
    sha256: str = field(default='', repr=False)

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and _now() >= self.expires


class TokenStore:
    """The tokens in a file, which any number of processes may read and change.

    Args:
        path: of the file, which need not be there; without one, `default_path()`.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path) if path is not None else default_path()
        self._state: Any = None  # of the file when it was read last
        self._read: tuple[Token, ...] = ()
        self._lock = threading.Lock()

    def create(self, name: str, expires: timedelta | None = None) -> str:
        """Make a token, which cannot be had again later.

        Args:
            name: one that no other has.
            expires: how long it is good for; without it, until it is revoked.

        Raises:
            ConfigurationError: the name is taken or cannot be used, or the file cannot be used.
        """
        _check_name(name)
        presented = PREFIX + secrets.token_hex(BYTES)
        digest, now = _digest(presented), _now()
        token = Token(digest[:12], name, now, _end(now, expires), digest)
        with self._changed() as tokens:
            if any(one.name == name for one in tokens):
                raise ConfigurationError(f'there is a token {name!r}: choose another name, or revoke that one first')
            tokens.append(token)
        return presented

    def list(self) -> tuple[Token, ...]:
        """All that were not revoked, expired ones too, the oldest first.

        Raises:
            ConfigurationError: the file cannot be used.
        """
        return _load(self.path)

    def revoke(self, name_or_id: str) -> Token:
        """Make a token worthless, for running servers too.

        Raises:
            ConfigurationError: there is none of that name or id, or the file cannot be used.
        """
        if name_or_id.startswith(PREFIX):
            raise ConfigurationError('that is a token, which belongs on no command line: give its name or id')
        with self._changed() as tokens:
            for one in tokens:
                if name_or_id in (one.id, one.name):
                    tokens.remove(one)
                    return one
            raise ConfigurationError(f'there is no token {name_or_id!r}: list shows their names and ids')

    def check(self, presented: str | None) -> Token | None:
        """The token that a client presents, if it is good.

        Args:
            presented: the token, or 'Bearer ' and the token.
        """
        scheme, _, rest = (presented or '').strip().partition(' ')
        value = rest.strip() if scheme.lower() == 'bearer' else scheme if not rest else ''
        if not value or len(value) > LONGEST:
            return None
        digest, found = _digest(value), None
        for one in self._current():  # all of them, so that time tells nothing
            if hmac.compare_digest(one.sha256, digest):
                found = one
        return None if found is None or found.expired else found

    def _current(self) -> tuple[Token, ...]:
        """The tokens of the file as it is now; none if it cannot be read, which is logged once for each change."""
        state = _state(self.path)
        with self._lock:
            if state != self._state:
                self._state = state
                try:
                    self._read = _load(self.path)
                except ConfigurationError as error:
                    self._read = ()
                    logger.error('no token is good: %s', error)
            return self._read

    @contextlib.contextmanager
    def _changed(self) -> Iterator[List[Token]]:  # noqa: UP006 - here `list` is the method
        """The tokens as a list; what is done to it is written, unless an error is raised."""
        try:
            with _private_file.locked(self.path):
                tokens = list(_load(self.path))
                yield tokens
                text = json.dumps({'tokens': [_as_json(one) for one in tokens]}, indent=1)
                _private_file.write(self.path, text, _private_file.OTHERS_MAY_WRITE)
        except OSError as error:
            raise ConfigurationError(
                f'the token file {self.path} cannot be written ({error.strerror}): name another with --file'
            ) from error


def default_path() -> Path:
    """`tokens.json` in the folder of the user's settings.

    Raises:
        ConfigurationError: the user has no home.
    """
    try:
        return _private_file.config_folder() / 'tokens.json'
    except (KeyError, RuntimeError) as error:
        raise ConfigurationError('the user has no home for a token file: name one with --file') from error


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def _digest(presented: str) -> str:
    return hashlib.sha256(presented.encode('utf-8', 'replace')).hexdigest()


def _check_name(name: str) -> None:
    if not (0 < len(name) <= 64 and name.isprintable() and name == name.strip()):
        raise ConfigurationError(f'a token cannot be named {name!r}: expected 1 to 64 printable characters')
    if ID.fullmatch(name) or name.startswith(PREFIX):
        raise ConfigurationError('a token cannot have a name that looks like an id or a token: choose another')


def _end(now: datetime, expires: timedelta | None) -> datetime | None:
    if expires is None:
        return None
    try:
        if expires > timedelta(0):
            return now + expires
    except OverflowError:
        pass
    raise ConfigurationError(f'a token cannot expire in {expires}: expected a time after now, before the year 10000')


def _state(path: Path) -> Any:
    """What changes when the file does, for it is always replaced, or when it gets another owner or mode."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def _load(path: Path) -> tuple[Token, ...]:
    try:
        text = path.read_text(encoding='utf-8')
        if _private_file.others_may(path, _private_file.OTHERS_MAY_WRITE):
            raise ConfigurationError(
                f'the token file {path} may be written by others, who could let themselves in: chmod 600 it'
            )
        return tuple(_of_json(one) for one in json.loads(text)['tokens'])
    except FileNotFoundError:
        return ()
    except ConfigurationError:
        raise
    except PermissionError as error:
        raise ConfigurationError(
            f'the token file {path} may not be read by the user who runs this: run it as its owner, or give it to '
            'that user with chown'
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f'the token file {path} cannot be read ({type(error).__name__}): '
            'restore it, or delete it and create tokens anew'
        ) from error


def _as_json(token: Token) -> dict[str, Any]:
    return {
        'name': token.name,
        'sha256': token.sha256,
        'created': token.created.isoformat(),
        'expires': token.expires.isoformat() if token.expires else None,
    }


def _of_json(kept: Any) -> Token:
    digest, expires = kept['sha256'], kept['expires']
    if not re.fullmatch('[0-9a-f]{64}', digest):
        raise ValueError('no SHA-256')
    return Token(digest[:12], str(kept['name']), _time(kept['created']), _time(expires) if expires else None, digest)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError('a time without a zone')
    return time
