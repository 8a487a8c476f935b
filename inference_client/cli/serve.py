"""The command that hosts a model."""

from __future__ import annotations

from typing import Any, Callable

import click


def _port(name: str, default: int) -> Callable[[Any], Any]:
    return click.option(
        f'--{name}-port', type=click.IntRange(0, 65535), default=default, show_default=True,
        help=f'Port for {name}; 0 takes a free one.',
    )  # fmt: skip


@click.command()
@click.option('--model', default='embedded', show_default=True, help='Which engine.')
@click.option('--host', default='127.0.0.1', show_default=True, help='Address to listen on.')
@_port('grpc', 51000)
@_port('http', 51001)
@_port('ws', 51002)
def serve(model: str, host: str, grpc_port: int, http_port: int, ws_port: int) -> None:
    """Host a model over gRPC, HTTP and WebSocket until SIGINT or SIGTERM.

    There are no tokens yet: anyone who reaches the address can use the model.

    \b
    Example: inference-client serve --model embedded --grpc-port 51000
    """
    from ..server.service import serve as run

    run(model, host, {'grpc': grpc_port, 'http': http_port, 'ws': ws_port}, click.echo)
