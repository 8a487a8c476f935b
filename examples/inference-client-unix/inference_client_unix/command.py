"""The command `unix-bridge`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from inference_client import ConfigurationError
from inference_client.transports.base import split_url


def _mode(_: click.Context, option: click.Parameter, value: str) -> int:
    try:
        mode = int(value, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise click.BadParameter(f'expected octal digits such as 660: got {value!r}', param=option)
    return mode


@click.command('unix-bridge')
@click.argument('socket', type=click.Path(path_type=Path))
@click.argument('url', metavar='grpc://HOST:PORT')
@click.option('--mode', callback=_mode, default='600', show_default=True, help='Permissions of the socket file.')
def unix_bridge(socket: Path, url: str, mode: int) -> None:
    """Listen on the file SOCKET and relay to a server, until SIGINT or SIGTERM.

    Whoever may write to the file can use the server: --mode 660 lets its group.

    \b
    Example: inference-client unix-bridge /run/user/1000/model.sock grpc://127.0.0.1:51000
    """
    from .bridge import Bridge

    parts = split_url(url)
    if parts.scheme != 'grpc':
        raise ConfigurationError(f'{url!r} is not grpc://host:port: the bridge does no TLS and no other protocol')
    path = socket.absolute()
    bridge = Bridge(path, str(parts.hostname), parts.port or 80, lambda line: click.echo(line, err=True))
    asyncio.run(bridge.run(mode, lambda: click.echo(f'{_url(path)} is ready; Ctrl-C stops it')))


def _url(path: Path) -> str:
    return path.as_uri().replace('file://', 'unix://', 1)
