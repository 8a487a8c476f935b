"""The browser login of the Jina SDK."""

from __future__ import annotations

import dataclasses
import sys

from ._config import Settings, stored_token


def login_in_browser(settings: Settings) -> Settings | None:
    """Let a person log in, and give the settings with the new token; None where nobody is at a terminal."""
    if not (settings.trust_env and sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    import hubble

    hubble.login()
    token = stored_token()
    return dataclasses.replace(settings, token=token) if token else None
