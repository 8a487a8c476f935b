"""What there is: models, plugins, the version."""

from __future__ import annotations

import json
import platform
from typing import Any

import click

from .._plugins import plugins
from .._version import __version__
from .options import CLIENT, make_client, with_options


@click.command()
@click.argument('name', required=False)
@with_options(CLIENT)
def models(name: str | None, **options: Any) -> None:
    """Show the models of this process, or the model NAME as the model directory describes it.

    \b
    Example: inference-client models --api-endpoint https://host/api/v1 ViT-B-32::openai
    """
    client = make_client(**options)
    if name:
        _show(client.get_model(name).spec)
        return
    for engine in plugins().listed('engine'):
        _show(client.get_model(f'local://{engine.name}').spec)


@click.command('plugins')
def plugins_() -> None:
    """Show tasks, transports, engines and commands, and which distribution brings each.

    \b
    Example: inference-client plugins
    """
    for kind in ('task', 'transport', 'engine', 'command'):
        for one in plugins().listed(kind):
            click.echo(f'{kind:<10} {one.name:<12} {one.distribution} {one.version}')
    for what, reason in plugins().failed:
        click.echo(f'{"failed":<10} {what}: {reason}')


@click.command()
def version() -> None:
    """Show the version of this package and of Python.

    \b
    Example: inference-client version
    """
    click.echo(f'inference-client {__version__}, Python {platform.python_version()}')


def _show(spec: Any) -> None:
    shown = {
        'name': spec.name,
        'tasks': sorted(spec.tasks) if spec.tasks is not None else None,
        'status': spec.status,
        'endpoints': dict(spec.endpoints),
    }
    click.echo(json.dumps(shown, ensure_ascii=False))
