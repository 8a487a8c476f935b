"""The browser login of the Jina SDK."""

from __future__ import annotations

import sys
from dataclasses import replace

from ._config import Settings, checked_token, token_of_jina
from .errors import AuthenticationError


def browser_login() -> None:
    """Let a person log in; the SDK keeps the token.

    Raises:
        AuthenticationError: the login failed.
    """
    import hubble

    try:
        hubble.login()
    except Exception as error:
        raise AuthenticationError(
            f'the browser login failed ({type(error).__name__}): give Client(token=...) or set JINA_AUTH_TOKEN'
        ) from error


def login_in_browser(settings: Settings) -> Settings | None:
    """Let a person log in, and give the settings with the new token; None where nobody is at a terminal.

    Raises:
        AuthenticationError: the login failed.
    """
    streams = (sys.stdin, sys.stdout)  # each is None where a process has no such stream
    if not (settings.trust_env and all(stream and stream.isatty() for stream in streams)):
        return None
    browser_login()
    token = checked_token(token_of_jina())
    return replace(settings, token=token, stored=True) if token else None
