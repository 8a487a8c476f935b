"""The commands for tokens of a server."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..server.tokens import Token

UNITS = {'m': 'minutes', 'h': 'hours', 'd': 'days', 'w': 'weeks'}
FILE = click.option(
    '--file',
    type=click.Path(dir_okay=False),
    help='The token file; else tokens.json in $XDG_CONFIG_HOME/inference-client or ~/.config/inference-client.',
)


def _duration(_: click.Context, __: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    found = re.fullmatch(r'([0-9]{1,6})([mhdw])', value)
    if not found:
        raise click.BadParameter(f'expected a number of minutes, hours, days or weeks, such as 30d: got {value!r}')
    return timedelta(**{UNITS[found[2]]: int(found[1])})


@click.group()
def token() -> None:
    """Create, list and revoke the tokens of your server.

    The file holds hashes, no tokens. A running server notices what changes in it.

    \b
    Example: inference-client token create alice --expires 30d
    """


@token.command()
@click.argument('name')
@click.option(
    '--expires', callback=_duration, metavar='30d', help='How long it is good: m, h, d or w; else until revoked.'
)
@FILE
def create(name: str, expires: timedelta | None, file: str | None) -> None:
    """Make a token called NAME, and print it.

    It is shown this once: keep it.

    \b
    Example: inference-client token create alice --expires 30d
    """
    from ..server.tokens import TokenStore

    store = TokenStore(file)
    click.echo(store.create(name, expires))
    click.echo(f'That is the token {name!r}: keep it, for {store.path} has only its hash.', err=True)


@token.command('list')
@FILE
def list_(file: str | None) -> None:
    """Show the tokens, a line of JSON for each.

    It has the id, the name, and when the token was made and expires; never the token itself.

    \b
    Example: inference-client token list
    """
    from ..server.tokens import TokenStore

    for one in TokenStore(file).list():
        click.echo(json.dumps(_shown(one), ensure_ascii=False))


@token.command()
@click.argument('name_or_id')
@FILE
def revoke(name_or_id: str, file: str | None) -> None:
    """Make a token worthless, at once.

    NAME_OR_ID is what `inference-client token list` shows.

    \b
    Example: inference-client token revoke alice
    """
    from ..server.tokens import TokenStore

    revoked = TokenStore(file).revoke(name_or_id)
    click.echo(f'revoked {revoked.name} ({revoked.id})', err=True)


def _shown(one: Token) -> dict[str, Any]:
    return {
        'id': one.id,
        'name': one.name,
        'created': one.created.isoformat(),
        'expires': one.expires.isoformat() if one.expires else None,
        'expired': one.expired,
    }
