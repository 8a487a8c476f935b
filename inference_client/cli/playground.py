"""The command that shows a page to try models on."""

from __future__ import annotations

from typing import Any

import click

from .completion import models as completed
from .options import CLIENT, make_client, with_options


@click.command()
@click.argument('model', required=False, metavar='[NAME_OR_URL]', shell_complete=completed)
@click.option(
    '--port', type=click.IntRange(0, 65535), metavar='PORT', default=7860, show_default=True, help='0 takes a free one.'
)
@with_options(CLIENT)
def playground(model: str | None, port: int, **options: Any) -> None:
    """Show a page on this machine to try a model on.

    It runs the four tasks on the model, or on the embedded one, until Ctrl-C. Results come with the Python and the
    shell command that do the same. The page listens on 127.0.0.1 alone, asks no other host for anything, and tells
    nobody what it was used for. It needs the extra [playground].

    \b
    Example: inference-client playground
    Example: inference-client playground grpc://127.0.0.1:51000 --port 8000
    """
    from ..playground.page import serve
    from ..playground.session import Playground

    with make_client(**options) as client:
        serve(Playground(client, model, options['api_endpoint']), port, lambda url: click.echo(f'Playground at {url}'))
