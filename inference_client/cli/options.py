"""Options that several commands share, and how a model is found from them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Callable, Collection, TypeVar

import click

from .completion import files, models, one_of

if TYPE_CHECKING:
    from ..client import Client
    from ..model import Model

F = TypeVar('F', bound=Callable[..., Any])

TRUST = (
    click.option(
        '--ca-file', metavar='PEM', shell_complete=files, help="Certificates to trust in place of the system's."
    ),
    click.option(
        '--client-cert', metavar='PEM', shell_complete=files, help='Certificate to show to servers that ask for one.'
    ),
    click.option(
        '--client-key', metavar='PEM', shell_complete=files, help='Its private key, unless that is in the same file.'
    ),
    click.option('--allow-insecure-token', is_flag=True, help='Send the token to other machines in plain text, too.'),
)
CLIENT = (
    click.option(
        '--token',
        'ask_token',
        is_flag=True,
        help='Ask for the token; else JINA_AUTH_TOKEN or the stored login.',
    ),
    click.option(
        '--api-endpoint', metavar='URL', help='Model directory; else INFERENCE_API_ENDPOINT, or that of the last login.'
    ),
    *TRUST,
)
CLIENT_NAMES = ('ask_token', 'api_endpoint', 'ca_file', 'client_cert', 'client_key', 'allow_insecure_token')
MODEL = (
    click.option(
        '--model',
        default='local://embedded',
        show_default=True,
        metavar='NAME_OR_URL',
        shell_complete=models,
        help='Which model: a name, or a URL such as grpc://host:port, openai+http://host/v1?model=M or jinaai://M.',
    ),
    click.option(
        '--protocol',
        metavar='NAME',
        shell_complete=one_of('grpc', 'http', 'websocket'),
        help="Which of a named model's endpoints: grpc, http or websocket.",
    ),
    *CLIENT,
    click.option(
        '--batch-size', type=click.IntRange(1), metavar='N', default=32, show_default=True, help='Items in a request.'
    ),
    click.option(
        '--prefetch',
        type=click.IntRange(1),
        metavar='N',
        default=4,
        show_default=True,
        help='Requests under way at once.',
    ),
    click.option(
        '--timeout',
        type=float,
        metavar='SECONDS',
        default=120,
        show_default=True,
        help='How long a request may take, with all its attempts.',
    ),
    click.option(
        '--retries',
        type=click.IntRange(0),
        metavar='N',
        default=2,
        show_default=True,
        help='How often a request is sent again after what may pass, such as a lost connection.',
    ),
    click.option(
        '--on-item-error',
        type=click.Choice(['raise', 'return']),
        default='raise',
        show_default=True,
        help='Whether an item that fails ends the command, or is a line with "error" (and exit code 1 at the end).',
    ),
    click.option(
        '--journal',
        type=click.Path(dir_okay=False),
        help='Keep the answers there, too: the same command, given again, sends only what has none.',
    ),
    click.option(
        '--progress/--no-progress',
        'show_progress',
        default=None,
        help='Show on standard error how far it is; else only for long work with a file as output, on a terminal.',
    ),
    click.option(
        '--wait',
        type=click.FloatRange(0, min_open=True),
        metavar='SECONDS',
        help='How long to wait until the model is ready.',
    ),
    click.option('--strict', is_flag=True, help='Fail where a task would fall back to encode.'),
    click.option(
        '--parameter',
        'parameters',
        multiple=True,
        metavar='KEY=VALUE',
        help='For the model; VALUE is JSON or text.',
    ),
)


def with_options(options: tuple[Callable[[Any], Any], ...]) -> Callable[[F], F]:
    """Add options to a command, in their order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def make_client(ask_token: bool, **settings: Any) -> Client:
    """A client from the options; the token comes from the environment or a prompt, never from an argument."""
    from ..client import Client

    token = click.prompt('Token', hide_input=True, err=True) if ask_token else None
    return Client(token, **settings)


def take_client(options: dict[str, Any]) -> Client:
    """A client from the options that `CLIENT` adds to a command, which are taken out of its options."""
    return make_client(**{name: options.pop(name) for name in CLIENT_NAMES})


def find_model(model: str, protocol: str | None, **settings: Any) -> Model:
    """The model that the options name."""
    return make_client(**settings).get_model(model, protocol=protocol)


def one_line(message: Any) -> str:
    """A message without its line breaks."""
    return ' '.join(str(message).split())


def parse_parameters(parameters: tuple[str, ...]) -> dict[str, Any]:
    """`KEY=VALUE` pairs as a dict."""
    parsed = {}
    for pair in parameters:
        key, separator, value = pair.partition('=')
        if not separator or not key:
            raise click.BadParameter(f'expected KEY=VALUE: got {pair!r}', param_hint="'--parameter'")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
            parsed[key] = value
    return parsed


def refuse_parameters(parameters: Collection[str], taken: Collection[str]) -> None:
    """See that no parameter has the name of an argument of the call."""
    for name in sorted(set(parameters) & set(taken)):
        raise click.BadParameter(
            f'{name!r} is no parameter of the model: use the option or argument of that name, see --help',
            param_hint="'--parameter'",
        )
