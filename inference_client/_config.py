"""Settings of a client: the argument, then the environment, then what is stored, then the default."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from . import _logins
from ._tls import check_certificates
from .errors import ConfigurationError

TOKEN_VARIABLE = 'JINA_AUTH_TOKEN'
ENDPOINT_VARIABLE = 'INFERENCE_API_ENDPOINT'
STORED_VARIABLE = 'JINA_HUB_ROOT'  # where the Jina SDK puts its files, if not in ~/.jina
DEFAULT_PATH = '/api/v1'  # of a directory, where only its server is given


@dataclass(frozen=True)
class Settings:
    """What a client was told, resolved once. The token is in no `repr`.

    Attributes:
        token: for the directory and the models.
        api_endpoint: URL of the directory.
        ca_file: as `Certificates` has it.
        trust_env: whether the environment and what is stored count.
        client_cert: as `Certificates` has it.
        client_key: as `Certificates` has it.
        allow_insecure_token: whether the token may travel in plain text.
        stored: whether the token is that of a login: only the directory and the models that it names may have it.
        token_given: whether the token is the argument, and not of the environment or stored.
    """

    token: str | None = field(default=None, repr=False)
    api_endpoint: str | None = None
    ca_file: str | None = None
    trust_env: bool = True
    client_cert: str | None = None
    client_key: str | None = None
    allow_insecure_token: bool = False
    stored: bool = False
    token_given: bool = True


def resolve(
    token: str | None = None, api_endpoint: str | None = None, ca_file: str | None = None, trust_env: bool = True,
    client_cert: str | None = None, client_key: str | None = None, allow_insecure_token: bool = False,
) -> Settings:  # fmt: skip
    """Settings from the arguments of a client.

    Raises:
        ConfigurationError: a value is of no use.
    """
    given, token = bool(token), token or (os.environ.get(TOKEN_VARIABLE) if trust_env else None)
    endpoint = usual_endpoint(api_endpoint) if trust_env else checked_endpoint(api_endpoint)
    login = stored_token(endpoint) if trust_env and not token else None
    settings = Settings(
        token=checked_token(token or login),
        api_endpoint=endpoint,
        ca_file=ca_file,
        trust_env=trust_env,
        client_cert=client_cert,
        client_key=client_key,
        allow_insecure_token=allow_insecure_token,
        stored=bool(login),
        token_given=given,
    )
    check_certificates(settings)
    return settings


def usual_endpoint(given: str | None = None) -> str | None:
    """The directory that is given, else that of the environment, else the one that was logged in to last.

    Raises:
        ConfigurationError: it is no URL of one.
    """
    return checked_endpoint(given or os.environ.get(ENDPOINT_VARIABLE) or _logins.usual_endpoint())


def stored_token(endpoint: str | None) -> str | None:
    """The token of `inference-client login` for a directory, else that of the Jina SDK's login, if there is one."""
    return (_logins.token_for(endpoint) if endpoint else None) or token_of_jina()


def token_of_jina() -> str | None:
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


def checked_token(token: str | None, name: str = 'the token') -> str | None:
    """A token without what surrounds it; None for an empty one.

    Args:
        token: as it was given.
        name: what errors call it.

    Raises:
        ConfigurationError: no header can hold it.
    """
    if token is None:
        return None
    if not isinstance(token, str):
        raise ConfigurationError(f'token is a {type(token).__name__}: expected a str')
    token = token.strip()
    if not token.isprintable() or not token.isascii():
        raise ConfigurationError(f'{name} has characters that no header can hold: expected printable ASCII')
    return token or None


def checked_endpoint(endpoint: str | None) -> str | None:
    """The URL of a directory as it is used: of a server alone, that of its directory.

    Raises:
        ConfigurationError: it is none.
    """
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
    return endpoint.rstrip('/') + ('' if parts.path.strip('/') else DEFAULT_PATH)
