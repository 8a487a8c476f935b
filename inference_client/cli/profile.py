"""The command that shows where a round trip's time goes."""

from __future__ import annotations

import json
from typing import Any

import click

from .completion import files, models, one_of
from .inputs import NO_CANDIDATES, names_file
from .options import CLIENT, find_model, parse_parameters, refuse_parameters, with_options


@click.command()
@click.argument('model', metavar='NAME_OR_URL', shell_complete=models)
@click.argument('inputs', nargs=-1, shell_complete=files)
@click.option('--task', default='encode', show_default=True, metavar='NAME', help='What is asked.')
@click.option(
    '--rounds', type=click.IntRange(1), metavar='N', default=5, show_default=True, help='Round trips after the first.'
)
@click.option('--json', 'as_json', is_flag=True, help='Print one line of JSON, with times in seconds.')
@click.option(
    '--timeout',
    type=float,
    metavar='SECONDS',
    default=120,
    show_default=True,
    help='How long each round trip may take.',
)
@click.option(
    '--protocol',
    metavar='NAME',
    shell_complete=one_of('grpc', 'http', 'websocket'),
    help="Which of a named model's endpoints: grpc, http or websocket.",
)
@click.option('--parameter', 'parameters', multiple=True, metavar='KEY=VALUE', help='For the task or the model.')
@with_options(CLIENT)
def profile(
    model: str,
    inputs: tuple[str, ...],
    task: str,
    rounds: int,
    as_json: bool,
    timeout: float,
    parameters: tuple[str, ...],
    **options: Any,
) -> None:
    """Show where the time of a round trip to a model goes.

    That is connecting, sending, the server, and receiving. The round trip is one request with all INPUTS, texts or
    images; without any, a short text is encoded. Those of rank are a reference and its candidates, those of vqa a
    question and images, as in the commands of these names. It is made once to connect, and then --rounds times. What
    happens in the server is known from what it writes into its answers.

    \b
    Example: inference-client profile grpc://127.0.0.1:51000
    Example: inference-client profile https://host:443 photo.jpg --task caption --rounds 20 --json
    Example: inference-client profile https://host:443 photo.jpg 'a cat' 'a dog' --task rank
    Example: inference-client profile https://host:443 'Is it a cat?' photo.jpg --task vqa
    """
    arguments = parse_parameters(parameters)
    refuse_parameters(arguments, ('rounds', 'timeout'))
    items = _items(task, inputs, arguments)
    with find_model(model, **options) as found:
        result = found.profile(task, items, rounds=rounds, timeout=timeout, **arguments)
    if as_json:
        click.echo(json.dumps(result.to_dict(), ensure_ascii=False))
        return
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(result)
    else:
        click.echo(str(result))


def _items(task: str, inputs: tuple[str, ...], arguments: dict[str, Any]) -> Any:
    """What is worked on: the first input may have a part of its own, as in the task's own command."""
    if task == 'rank':
        if len(inputs) < 2:
            raise click.UsageError(NO_CANDIDATES)
        return [(inputs[0], list(inputs[1:]))]
    if task == 'vqa' and 'question' not in arguments:
        if len(inputs) < 2 or names_file(inputs[0]):
            raise click.UsageError('give QUESTION first, then IMAGES')
        arguments['question'] = inputs[0]
        return inputs[1:]
    return inputs or None
