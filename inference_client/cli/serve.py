"""The command that hosts models."""

from __future__ import annotations

from typing import Any, Callable

import click


def _port(name: str, default: int) -> Callable[[Any], Any]:
    return click.option(
        f'--{name}-port', type=click.IntRange(0, 65535), default=default, show_default=True,
        help=f'Port for {name}; 0 takes a free one.',
    )  # fmt: skip


def _limit(name: str, default: float, help_: str, least: float = 1) -> Callable[[Any], Any]:
    kind = click.FloatRange(least) if name == 'rate' else click.IntRange(int(least))
    return click.option(f'--{name}', type=kind, default=default, show_default=True, help=help_)


def _file(name: str, help_: str) -> Callable[[Any], Any]:
    return click.option(f'--{name}', type=click.Path(dir_okay=False), metavar='FILE', help=help_)


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
@_file('token-file', 'Whose tokens are taken; else the file of `inference-client token`.')
@click.option('--no-auth', is_flag=True, help='Ask for no tokens, and listen on this machine alone.')
@_file('tls-cert', 'Certificate (PEM), with those between it and its authority: TLS on all protocols.')
@_file('tls-key', 'The key (PEM) of the certificate.')
@_limit('max-body', 64 << 20, 'Bytes of a request.')
@_limit('max-items', 4096, 'Documents of a request, candidates included.')
@_limit('max-pixels', 80_000_000, 'Pixels of an image.')
@_limit('rate', 500, 'Requests a second of each token, on average; 0: any number.', 0)
@_limit('burst', 1000, 'Requests of a token at once, after a pause.')
def serve(models: tuple[str, ...], replicas: int, public_urls: tuple[str, ...], **options: Any) -> None:
    """Host models over gRPC, HTTP and WebSocket until SIGINT or SIGTERM. Without MODEL, the embedded one.

    Each is at the path /models/MODEL; without a path, the first one answers. Clients need a token, see
    `inference-client token`.

    \b
    Example: inference-client serve embedded echo --no-auth --grpc-port 51000
    """
    from ..server.service import serve as run
    from ..server.settings import Limits, ModelSettings, Settings

    run(
        Settings(
            models=[ModelSettings(name, name, replicas) for name in dict.fromkeys(models or ('embedded',))],
            host=options['host'],
            ports={scheme: options[f'{scheme}_port'] for scheme in ('grpc', 'http', 'ws')},
            public=_by_scheme(public_urls),
            auth=not options['no_auth'],
            token_file=options['token_file'],
            tls_cert=options['tls_cert'],
            tls_key=options['tls_key'],
            limits=Limits(
                body=options['max_body'],
                items=options['max_items'],
                pixels=options['max_pixels'],
                per_second=options['rate'],
                burst=options['burst'],
            ),
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
