"""The command that hosts models."""

from __future__ import annotations

from typing import Any, Callable

import click


def _port(name: str, default: int) -> Callable[[Any], Any]:
    return click.option(
        f'--{name}-port', type=click.IntRange(0, 65535), default=default, show_default=True,
        help=f'Port for {name}; 0 takes a free one.',
    )  # fmt: skip


@click.command()
@click.argument('models', metavar='[MODEL]...', nargs=-1)
@click.option('--replicas', type=click.IntRange(1), default=1, show_default=True, help='Processes a model.')
@click.option('--host', default='127.0.0.1', show_default=True, help='Address to listen on.')
@_port('grpc', 51000)
@_port('http', 51001)
@_port('ws', 51002)
@click.option(
    '--public-url', 'public_urls', multiple=True, metavar='URL',
    help='Where clients reach a protocol, for the model directory; once for each of grpc, http and ws.',
)  # fmt: skip
def serve(
    models: tuple[str, ...], replicas: int, host: str, grpc_port: int, http_port: int, ws_port: int,
    public_urls: tuple[str, ...],
) -> None:  # fmt: skip
    """Host models over gRPC, HTTP and WebSocket until SIGINT or SIGTERM. Without MODEL, the embedded one.

    Each is at the path /models/MODEL; without a path, the first one answers. There are no tokens yet: anyone who
    reaches the address can use the models.

    \b
    Example: inference-client serve embedded echo --grpc-port 51000
    """
    from ..server.service import ModelSettings, Settings
    from ..server.service import serve as run

    run(
        Settings(
            models=[ModelSettings(name, name, replicas) for name in dict.fromkeys(models or ('embedded',))],
            host=host,
            ports={'grpc': grpc_port, 'http': http_port, 'ws': ws_port},
            public=_by_scheme(public_urls),
        ),
        click.echo,
    )


def _by_scheme(urls: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for url in urls:
        scheme = url.partition('://')[0].lower()
        plain = {'grpcs': 'grpc', 'https': 'http', 'wss': 'ws'}.get(scheme, scheme)
        if plain not in ('grpc', 'http', 'ws'):
            raise click.BadParameter(f'{url!r}: expected a URL of grpc, http or ws, or of grpcs, https or wss')
        found[plain] = url
    return found
