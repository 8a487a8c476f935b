"""Settings of a client: the argument, then the environment, then what is stored, then the default."""

from __future__ import annotations

import json
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from .errors import ConfigurationError

TOKEN_VARIABLE = 'JINA_AUTH_TOKEN'
ENDPOINT_VARIABLE = 'INFERENCE_API_ENDPOINT'
STORED_VARIABLE = 'JINA_HUB_ROOT'  # where the Jina SDK puts its files, if not in ~/.jina


@dataclass(frozen=True)
class Settings:
    """What a client was told, resolved once. The token is in no `repr`."""

    token: str | None = field(default=None, repr=False)
    api_endpoint: str | None = None
    ca_file: str | None = None
    trust_env: bool = True


def resolve(token: str | None, api_endpoint: str | None, ca_file: str | None, trust_env: bool) -> Settings:
    """Settings from the arguments of a client.

    Raises:
        ConfigurationError: a value is of no use.
    """
    if trust_env:
        token = token or os.environ.get(TOKEN_VARIABLE) or stored_token()
        api_endpoint = api_endpoint or os.environ.get(ENDPOINT_VARIABLE)
    if ca_file is not None:
        trusted(ca_file)
    return Settings(_checked_token(token), _checked_endpoint(api_endpoint), ca_file, trust_env)


def stored_token() -> str | None:
    """The token of the Jina SDK's login (`jina auth login`), if there is one."""
    try:
        file = Path(os.environ.get(STORED_VARIABLE) or Path.home() / '.jina') / 'config.json'
    except (KeyError, RuntimeError):  # a user without a home; KeyError on Python 3.8
        return None
    try:
        stored = json.loads(file.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f'the stored login {file} cannot be read ({type(error).__name__}): delete it, or give a token'
        ) from error
    token = stored.get('auth_token') if isinstance(stored, dict) else None
    return token if isinstance(token, str) else None


def _checked_token(token: str | None) -> str | None:
    if token is None:
        return None
    if not isinstance(token, str):
        raise ConfigurationError(f'token is a {type(token).__name__}: expected a str')
    token = token.strip()
    if not token.isprintable() or not token.isascii():
        raise ConfigurationError('the token has characters that no header can hold: expected printable ASCII')
    return token or None


def _checked_endpoint(endpoint: str | None) -> str | None:
    if not endpoint:
        return None
    try:
        endpoint = endpoint.strip()
        parts = urlsplit(endpoint)
        valid = parts.scheme in ('http', 'https') and bool(parts.hostname) and parts.port != 0
    except (AttributeError, TypeError, ValueError):  # not a str, or a host or port that is none
        valid = False
    if valid and '@' in parts.netloc:
        raise ConfigurationError('api_endpoint holds a user name or password: leave it out, and give Client(token=...)')
    if not valid:
        raise ConfigurationError(f'api_endpoint is {endpoint!r}: expected an http(s) URL such as https://host/api/v1')
    return endpoint.rstrip('/')


def trusted(ca_file: str | None) -> str | None:
    """The file of certificates to trust: the client's own, else the system's, else None.

    Raises:
        ConfigurationError: the client's own cannot be used.
    """
    if ca_file is None:
        return ssl.get_default_verify_paths().cafile
    try:
        ssl.create_default_context(cafile=ca_file)
    except (OSError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f'ca_file {ca_file!r} cannot be used ({error}): expected the path of certificates in PEM'
        ) from error
    return ca_file
