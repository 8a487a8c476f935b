"""The command that hosts models."""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Collection, Mapping, Sequence

import click

from .._addresses import names_host
from ..server.settings import PORTS, Limits, ModelSettings, Settings
from .completion import engines

CONFIGURED = f'{__name__}.models'
LIMITS = Limits()  # the defaults
PUBLIC = 'public-urls'  # in the configuration, where it is a list
KINDS: Sequence[tuple[type, Collection[type], str]] = (
    (click.types.BoolParamType, (bool,), 'true or false'),
    (click.IntRange, (int,), 'a whole number'),
    (click.FloatRange, (int, float), 'a number'),
    (click.ParamType, (str,), 'a text'),
)
"""Of options: types of values in TOML, and how these are called."""


def _port(name: str) -> Callable[[Any], Any]:
    return click.option(
        f'--{name}-port', type=click.IntRange(0, 65535), metavar='PORT', default=PORTS[name], show_default=True,
        help=f'Port for {name}; 0 takes a free one.',
    )  # fmt: skip


def _number(name: str, default: float, help_: str, least: float = 1) -> Callable[[Any], Any]:
    kind = click.FloatRange(least) if name == 'rate' else click.IntRange(int(least))
    return click.option(f'--{name}', type=kind, metavar='N', default=default, show_default=True, help=help_)


def _file(name: str, help_: str) -> Callable[[Any], Any]:
    return click.option(f'--{name}', type=click.Path(dir_okay=False), metavar='FILE', help=help_)


def _configured(context: click.Context, _: click.Parameter, path: str | None) -> str | None:
    """Make what a file says the defaults of the other options."""
    if path is not None:
        from ..server.config import MODELS, read_config

        options = {name[2:]: one.name for one in context.command.params for name in one.opts if name.startswith('--')}
        del options['config'], options['public-url']
        found = read_config(path, [*options, PUBLIC])
        context.meta[CONFIGURED] = found.pop(MODELS, None)
        public = found.pop(PUBLIC, [])
        if type(public) is not str and not (type(public) is list and all(type(url) is str for url in public)):
            raise click.BadParameter(f'{public!r} in the configuration: expected a list of URLs', param_hint=PUBLIC)
        parameters = {one.name: one for one in context.command.params}
        for name, value in found.items():
            _check_kind(value, parameters[options[name]])
        context.default_map = {options[name]: value for name, value in found.items()}
        context.default_map['public_urls'] = [public] if isinstance(public, str) else public
    return path


def _check_kind(value: Any, parameter: click.Parameter) -> None:
    """Raise unless a value of a file is of the kind that an option has: click would make one kind of another."""
    for known, kinds, what in KINDS:
        if isinstance(parameter.type, known):
            if type(value) not in kinds:
                raise click.BadParameter(f'{value!r} in the configuration: expected {what}', param=parameter)
            return


def _by_scheme(_: click.Context, __: click.Parameter, urls: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for url in urls:
        scheme = url.partition('://')[0].lower()
        plain = {'grpcs': 'grpc', 'https': 'http', 'wss': 'ws'}.get(scheme, scheme)
        if plain not in PORTS or not names_host(url):
            raise click.BadParameter(f'{url!r}: expected a URL of grpc, http or ws, or of grpcs, https or wss')
        found[plain] = url
    return found


@click.command()
@click.argument('models', metavar='[MODEL]...', nargs=-1, shell_complete=engines)
@click.option(
    '--config', type=click.Path(dir_okay=False), metavar='FILE', is_eager=True, callback=_configured,
    help='TOML with models, and any of the options below by its name; what stands on the command line wins.',
)  # fmt: skip
@_number('replicas', ModelSettings.replicas, 'Processes a model.')
@_number('max-batch', ModelSettings.max_batch, 'Most documents of several requests that run together; 1: none do.')
@_number('batch-wait-ms', ModelSettings.batch_wait_ms, 'Most milliseconds for a request to wait for others.', 0)
@_number(
    'max-seconds', ModelSettings.max_seconds, 'Most seconds of a model for what runs together; then it is restarted.'
)
@click.option('--host', metavar='ADDRESS', default='127.0.0.1', show_default=True, help='Address to listen on.')
@_port('grpc')
@_port('http')
@_port('ws')
@click.option(
    '--public-url', 'public_urls', multiple=True, metavar='URL', callback=_by_scheme,
    help='Where clients reach a protocol, for the model directory; once for each of grpc, http and ws.',
)  # fmt: skip
@_file('token-file', 'Whose tokens are taken; else the file of `inference-client token`.')
@click.option('--no-auth', is_flag=True, help='Ask for no tokens, and listen on this machine alone.')
@_file('tls-cert', 'Certificate (PEM), with those between it and its authority: TLS on all protocols.')
@_file('tls-key', 'The key (PEM) of the certificate.')
@_file('tls-client-ca', 'Authorities (PEM) of clients: each must show a certificate of theirs, besides its token.')
@_file('access-log', 'Append a JSON line about each request there, or with - to standard error; else there is none.')
@_number('drain', Settings.drain, 'Most seconds for answers under way, once it is told to stop.', 0)
@_number('max-body', LIMITS.body, 'Most bytes of a request.')
@_number('max-items', LIMITS.items, 'Most documents of a request, candidates included.')
@_number('max-pixels', LIMITS.pixels, 'Most pixels of an image.')
@_number('rate', LIMITS.per_second, 'Most requests a second of each token, on average; 0: any number.', 0)
@_number('burst', LIMITS.burst, 'Most requests of a token at once, after a pause.')
@click.pass_context
def serve(context: click.Context, /, models: tuple[str, ...], public_urls: Mapping[str, str], **options: Any) -> None:
    """Host models over gRPC, HTTP and WebSocket.

    Without MODEL, the embedded one. The service runs until Ctrl-C, or SIGTERM. Each model is at the path
    /models/MODEL; without a path, the first one answers. Clients need a token, see `inference-client token`.

    \b
    Example: inference-client serve embedded echo --no-auth --grpc-port 51000
    Example: inference-client serve --config service.toml
    """
    from ..server.service import serve as run

    run(
        Settings(
            models=models_to_host(models, context.meta.get(CONFIGURED), options),
            host=options['host'],
            ports={scheme: options[f'{scheme}_port'] for scheme in PORTS},
            public=public_urls,
            auth=not options['no_auth'],
            token_file=options['token_file'],
            tls_cert=options['tls_cert'],
            tls_key=options['tls_key'],
            tls_client_ca=options['tls_client_ca'],
            access_log=options['access_log'],
            drain=options['drain'],
            limits=limits_of(options),
        ),
        _say,
    )


def _say(line: str) -> None:
    """Print a line, if somebody reads it: where nobody does any more, as after `| head -1`, the service goes on."""
    try:
        click.echo(line)
    except BrokenPipeError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def limits_of(options: Mapping[str, Any]) -> Limits:
    """What the service takes."""
    return Limits(
        body=options['max_body'],
        items=options['max_items'],
        pixels=options['max_pixels'],
        per_second=options['rate'],
        burst=options['burst'],
    )


def models_to_host(named: tuple[str, ...], configured: Any, options: Mapping[str, Any]) -> list[ModelSettings]:
    """Those of the command line, else those of the configuration, else the embedded one."""
    from ..server.config import NUMBERS, models_of

    if named or configured is None:
        configured = [{'engine': name} for name in dict.fromkeys(named or ('embedded',))]
    return models_of(configured, {name: options[name.replace('-', '_')] for name in NUMBERS})
