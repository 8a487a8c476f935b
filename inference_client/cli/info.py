"""What there is: models, plugins, the version."""

from __future__ import annotations

import json
import platform
from typing import Any

import click

from .._installed import DISABLE_VARIABLE, KINDS
from .._plugins import plugins
from .._version import __version__
from ..errors import InferenceError
from .completion import models as completed
from .options import CLIENT, make_client, one_line, with_options


@click.command()
@click.argument('name', required=False, shell_complete=completed)
@with_options(CLIENT)
def models(name: str | None, **options: Any) -> None:
    """Show models, a line of JSON for each.

    They are those of the model directory and of this process, or only the model NAME. The directory is that of
    --api-endpoint, else of INFERENCE_API_ENDPOINT, else the one that was logged in to.

    \b
    Example: inference-client models --api-endpoint https://host/api/v1
    Example: inference-client models --api-endpoint https://host/api/v1 ViT-B-32::openai
    """
    client = make_client(**options)
    if name:
        _show(client.get_model(name).spec)
        return
    for spec in client.list_models():
        if spec.named:  # else there is no directory
            _show(spec)
    for engine in plugins().listed('engine'):
        if not engine.is_pattern:  # that stands for more models than can be shown
            _show(client.get_model(f'local://{engine.name}').spec)


@click.command('plugins')
def plugins_() -> None:
    """Show what plugins there are, and what does not work.

    There is a line for each task, transport, engine and command: its kind, name, distribution and version. Then
    lines that begin with

    \b
    replaced  what is not used since a plugin replaces it, and which
    failed    what does not work, and why
    disabled  what INFERENCE_CLIENT_DISABLE_PLUGINS (names with commas between) blocks

    Everything is imported to see whether it can be, but no model is loaded.

    \b
    Example: inference-client plugins | grep ^failed
    """
    found = plugins()
    failed = []
    for kind in KINDS:
        for one in found.listed(kind):
            try:
                one.load()
            except InferenceError as error:
                failed.append((f'{one.name} ({one.distribution} {one.version})', str(error)))
            else:
                click.echo(f'{kind:<10} {one.name:<12} {one.distribution} {one.version}')
    for loser, winner in found.replaced():
        click.echo(f'{"replaced":<10} {loser.kind} {loser.name} of {loser}: by {winner}')
    for what, reason in [*found.failed, *failed]:
        click.echo(f'{"failed":<10} {what}: {one_line(reason)}')
    for what in found.disabled:
        click.echo(f'{"disabled":<10} {what}: by {DISABLE_VARIABLE}')


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
