"""Tokens that `inference-client login` stored, each for one model directory, and which directory is the usual one.

`config.json` holds both: {"api_endpoint": URL, "logins": {URL: {"token": TOKEN} or {"keyring": true}}}. With
`keyring` installed the tokens are in the keyring of the system, else in that file, whose mode is 0600.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import _private_file
from .errors import ConfigurationError

SERVICE = 'inference-client'  # under which the keyring keeps tokens


def usual_endpoint() -> str | None:
    """The model directory that was logged in to last, if any.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    stored = _load(_file()).get('api_endpoint')
    return stored if isinstance(stored, str) else None


def token_for(endpoint: str) -> str | None:
    """The token that is stored for a model directory, if any.

    Raises:
        ConfigurationError: the file or the keyring cannot be read, or others may read the file.
    """
    file = _file()
    login = _logins(_load(file)).get(_key(endpoint))
    if not isinstance(login, dict):
        return None
    if login.get('keyring'):
        return _of_keyring(_key(endpoint))
    token = login.get('token')
    if not isinstance(token, str):
        return None
    if file is not None and _private_file.others_may(file, _private_file.OTHERS_MAY_READ):
        raise ConfigurationError(f'{file} holds a token and may be read by others: chmod 600 it')
    return token


def log_in(endpoint: str, token: str) -> str:
    """Store a token for a model directory, which is the usual one from now on.

    Returns:
        The keyring's name or the path of the file that now has the token.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    _load(_file())  # else what is broken would be found only when the keyring has the token
    keyring = _store_in_keyring(_key(endpoint), token)

    def change(stored: dict[str, Any]) -> None:
        stored['api_endpoint'] = endpoint
        stored['logins'] = {**_logins(stored), _key(endpoint): {'keyring': True} if keyring else {'token': token}}

    file = _change(change)
    return keyring or str(file)


def log_out(endpoint: str) -> bool:
    """Forget the token for a model directory; whether there was one.

    Raises:
        ConfigurationError: the file cannot be written, or the keyring cannot be used.
    """
    login = _logins(_load(_file())).get(_key(endpoint))
    if login is None:
        return False
    if isinstance(login, dict) and login.get('keyring'):
        _forget_in_keyring(_key(endpoint))

    def change(stored: dict[str, Any]) -> None:
        stored['logins'] = {url: one for url, one in _logins(stored).items() if url != _key(endpoint)}
        if _key(str(stored.get('api_endpoint'))) == _key(endpoint):
            del stored['api_endpoint']

    _change(change)
    return True


def _key(endpoint: str) -> str:
    """The directory's URL as it is kept: upper and lower case are one in the host's name."""
    parts = urlsplit(endpoint)
    return parts._replace(netloc=parts.netloc.lower()).geturl().rstrip('/')


def _file() -> Path | None:
    try:
        return _private_file.config_folder() / 'config.json'
    except (KeyError, RuntimeError):  # a user without a home; KeyError on Python 3.8
        return None


def _load(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        stored = json.loads(file.read_text(encoding='utf-8'))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f'the settings {file} cannot be read ({type(error).__name__}): '
            'delete the file and log in again, or give api_endpoint and a token'
        ) from error
    return stored if isinstance(stored, dict) else {}


def _logins(stored: dict[str, Any]) -> dict[str, Any]:
    logins = stored.get('logins')
    return logins if isinstance(logins, dict) else {}


def _change(change: Any) -> Path:
    file = _file()
    if file is None:
        raise ConfigurationError('the user has no home to keep a login in: set XDG_CONFIG_HOME, or JINA_AUTH_TOKEN')
    try:
        with _private_file.locked(file):
            stored = _load(file)
            change(stored)
            _private_file.write(file, json.dumps(stored, indent=1))
    except OSError as error:
        raise ConfigurationError(
            f'the settings {file} cannot be written ({error.strerror}): name another folder in XDG_CONFIG_HOME'
        ) from error
    return file


def _keyring() -> Any:
    """The module, or None where it is not installed or has nothing to keep passwords in."""
    try:
        import keyring
        from keyring.backends.fail import Keyring as Nothing
    except ImportError:
        return None
    return None if isinstance(keyring.get_keyring(), Nothing) else keyring


def _store_in_keyring(key: str, token: str) -> str | None:
    keyring = _keyring()
    if keyring is None:
        return None
    try:
        keyring.set_password(SERVICE, key, token)
    except Exception as error:
        raise ConfigurationError(
            f'the keyring took no token ({type(error).__name__}): unlock it, or set '
            'PYTHON_KEYRING_BACKEND=keyring.backends.fail.Keyring to store tokens in a file'
        ) from error
    kept = keyring.get_password(SERVICE, key) == token  # some backends keep nothing
    return f'the keyring ({keyring.get_keyring().name})' if kept else None


def _of_keyring(key: str) -> str | None:
    keyring = _keyring()
    if keyring is None:
        raise ConfigurationError(
            f'the token for {key} is in a keyring that is not there: install keyring, log in again, or give a token'
        )
    try:
        token = keyring.get_password(SERVICE, key)
    except Exception as error:
        raise ConfigurationError(
            f'the keyring gave no token for {key} ({type(error).__name__}): unlock it, or give a token'
        ) from error
    return token if isinstance(token, str) else None


def _forget_in_keyring(key: str) -> None:
    keyring = _keyring()
    if keyring is None or keyring.get_password(SERVICE, key) is None:
        return  # nothing that could be forgotten
    keyring.delete_password(SERVICE, key)
