"""The browser login of the Jina SDK."""

from __future__ import annotations

import sys

from ._config import Settings, resolve
from .errors import AuthenticationError


def login_in_browser(settings: Settings) -> Settings | None:
    """Let a person log in, and give the settings with the new token; None where nobody is at a terminal.

    Raises:
        AuthenticationError: the login failed.
    """
    streams = (sys.stdin, sys.stdout)  # each is None where a process has no such stream
    if not (settings.trust_env and all(stream and stream.isatty() for stream in streams)):
        return None
    import hubble

    try:
        hubble.login()
    except Exception as error:
        raise AuthenticationError(
            f'the browser login failed ({type(error).__name__}): give Client(token=...) or set JINA_AUTH_TOKEN'
        ) from error
    found = resolve(None, settings.api_endpoint, settings.ca_file, settings.trust_env)
    return found if found.token else None
