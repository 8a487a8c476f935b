"""The commands that store a token for a model directory, and forget it."""

from __future__ import annotations

import sys
from typing import Any

import click

from .options import TRUST, with_options

ENDPOINT = click.option('--api-endpoint', metavar='URL', help='Model directory; else INFERENCE_API_ENDPOINT.')


@click.command()
@ENDPOINT
@click.option(
    '--browser', is_flag=True, help='Log in by the Jina SDK in a browser instead; the SDK keeps its own token.'
)
@with_options(TRUST)
def login(api_endpoint: str | None, browser: bool, **trust: Any) -> None:
    """Store the token for a model directory.

    That directory is used from now on where no other is given. The token is asked for, or read from standard input
    where that is no terminal; it is never an argument. It is kept in the keyring of the system, with the Python
    package keyring, else in a file that only you may read: config.json in $XDG_CONFIG_HOME/inference-client or
    ~/.config/inference-client. It goes to this directory and the models that it names, and to no other server.

    \b
    Example: inference-client login --api-endpoint https://host/api/v1
    Example: inference-client login --api-endpoint https://host/api/v1 < token.txt
    """
    if browser:
        from .._login import browser_login

        browser_login()
        return
    from .._config import checked_token
    from .._logins import log_in

    endpoint = _endpoint(api_endpoint)
    token = checked_token(_asked())
    if token is None:
        raise click.ClickException('the token is empty: paste it at the prompt, or send it to standard input')
    _try(token, endpoint, trust)
    click.echo(f'stored the token for {endpoint} in {log_in(endpoint, token)}', err=True)


@click.command()
@ENDPOINT
def logout(api_endpoint: str | None) -> None:
    """Forget the stored token for a model directory.

    On the server it stays good until it is revoked there.

    \b
    Example: inference-client logout --api-endpoint https://host/api/v1
    """
    from .._logins import log_out

    endpoint = _endpoint(api_endpoint)
    if not log_out(endpoint):
        raise click.ClickException(f'no token is stored for {endpoint}')
    click.echo(f'forgot the token for {endpoint}', err=True)


def _endpoint(given: str | None) -> str:
    from .._config import usual_endpoint

    endpoint = usual_endpoint(given)
    if endpoint is None:
        raise click.UsageError('which model directory? Give --api-endpoint URL, or set INFERENCE_API_ENDPOINT')
    return endpoint


def _asked() -> str:
    if sys.stdin is not None and sys.stdin.isatty():
        asked: str = click.prompt('Token', hide_input=True, err=True)
        return asked
    return sys.stdin.readline() if sys.stdin is not None else ''


def _try(token: str, endpoint: str, trust: dict[str, Any]) -> None:
    """Ask the directory for its list with the token, so that a refused one is not stored."""
    from .._policies import RetryPolicy
    from ..client import Client
    from ..errors import AuthenticationError, ConfigurationError, InferenceError

    once = RetryPolicy(attempts=1)
    try:
        Client(token, api_endpoint=endpoint, retry=once, **trust).list_models()
    except (AuthenticationError, ConfigurationError):
        raise
    except InferenceError as error:
        click.echo(f'Warning: the token could not be tried: {error}', err=True)
