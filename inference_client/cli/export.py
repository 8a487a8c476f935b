"""The commands that write what runs the service in containers."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

import click

from ..server.settings import PORTS
from .completion import engines
from .serve import CONFIGURED, limits_of, models_to_host, serve

if TYPE_CHECKING:
    from ..server.manifests import Hosting
    from ..server.settings import ModelSettings

QUANTITY = re.compile('[0-9]+([.][0-9]+)?(m|[KMGT]i?)?')
NAME = re.compile('[a-z]([-a-z0-9]{0,61}[a-z0-9])?')
LEFT_OUT = {
    'host': 'a container listens on all its addresses',
    'no_auth': 'a container asks for tokens',
    'token_file': 'the tokens come from the volume of the container',
    'tls_cert': 'TLS is what stands before the container speaks',
    'tls_key': 'TLS is what stands before the container speaks',
    'tls_client_ca': 'TLS is what stands before the container speaks',
}
"""Options of serve that are not taken, and why."""

ENGINES = {
    'inference_client.engines.embedded': 'local',
    'inference_client.engines.onnx': 'local',
    'inference_client.engines.clip': 'clip',
    'inference_client.engines.blip2': 'blip2',
}
"""The extra of this package that each module of engines needs."""

REPLACED = ('host', 'token_file')  # of these, what a configuration says is of no account in the container

ALL_ADDRESSES = '0.0.0.0'  # in a container, where the manifests say who reaches it
OPTIONS = (
    click.argument(
        'arguments', metavar='[SERVE ARGUMENT]...', nargs=-1, type=click.UNPROCESSED, shell_complete=engines
    ),
    click.option('--name', metavar='NAME', default='inference-client', show_default=True, help='Name of the service.'),
    click.option(
        '--image',
        metavar='IMAGE',
        help="Image of the container; else the service's name with the version of this package.",
    ),
    click.option(
        '--extra', 'extras', multiple=True, metavar='EXTRA',
        help='Extra of this package that the image has, once for each; else those that the models need.',
    ),
    click.option('--force', is_flag=True, help='Replace files that are there.'),
)  # fmt: skip


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def _quantity(_: click.Context, __: click.Parameter, value: str) -> str:
    if not QUANTITY.fullmatch(value):
        raise click.BadParameter(f'{value!r}: expected a quantity as in Kubernetes, such as 500m or 2Gi')
    return value


@click.group()
def export() -> None:
    """Write what runs the service in containers.

    Nothing is started, and nothing is fetched. The arguments after -- are those of serve. No token is written: the
    service reads them from a volume. The manifests let only the cluster, and the file for Docker Compose only this
    machine, reach the service.

    \b
    Example: inference-client export kubernetes deploy -- embedded --replicas 2
    """


@export.command()
@click.argument('folder', type=click.Path(file_okay=False, path_type=Path))
@click.option(
    '--pods', type=click.IntRange(1), metavar='N', default=2, show_default=True, help='Pods, with all models in each.'
)
@click.option(
    '--cpu', callback=_quantity, metavar='QUANTITY', default='1', show_default=True, help='Cores that a pod asks for.'
)
@click.option(
    '--memory',
    callback=_quantity,
    metavar='QUANTITY',
    default='1Gi',
    show_default=True,
    help='What a pod asks for and may have.',
)
@_options
def kubernetes(folder: Path, force: bool, **options: Any) -> None:
    """Write manifests for Kubernetes and a Dockerfile to FOLDER.

    \b
    Example: inference-client export kubernetes deploy --pods 3 -- embedded --replicas 2
    """
    from ..server.manifests import dockerfile
    from ..server.manifests import kubernetes as manifests
    from ..server.yaml_text import dump

    hosting = _hosting(**options)
    files = {name: dump(*objects) for name, objects in manifests(hosting).items()}
    _write(folder, {'Dockerfile': dockerfile(hosting), **files}, force)


@export.command('docker-compose')
@click.argument('file', metavar='FILE|DIR', type=click.Path(path_type=Path))
@_options
def docker_compose(file: Path, force: bool, **options: Any) -> None:
    """Write a file for Docker Compose, and a Dockerfile.

    In a folder it is called compose.yaml.

    \b
    Example: inference-client export docker-compose deploy -- embedded --replicas 2
    """
    from ..server.manifests import CONFIG_NAME, compose, dockerfile
    from ..server.yaml_text import dump

    hosting = _hosting(**options)
    configuration = {} if hosting.config is None else {CONFIG_NAME: hosting.config}
    folder, name = (file.parent, file.name) if file.suffix in ('.yaml', '.yml') else (file, 'compose.yaml')
    _write(folder, {'Dockerfile': dockerfile(hosting), name: dump(compose(hosting)), **configuration}, force)


def _hosting(arguments: Sequence[str], name: str, image: str | None, extras: Sequence[str], **sizes: Any) -> Hosting:
    from .._version import __version__
    from ..server.manifests import CONFIG_FILE, TOKEN_FILE, Hosting

    if not NAME.fullmatch(name):
        raise click.BadParameter(f'{name!r}: expected small letters, digits and hyphens', param_hint="'--name'")
    with serve.make_context('serve', list(arguments)) as context:  # which checks them
        config = _text(context.params['config'])
        limits_of(context.params)
        models = models_to_host(context.params['models'], context.meta.get(CONFIGURED), context.params)
        extras = extras or _extras_of(models)
        for option, why in LEFT_OUT.items():
            source = context.get_parameter_source(option)
            if source is click.core.ParameterSource.DEFAULT_MAP and (option in REPLACED or not context.params[option]):
                continue
            if source is not click.core.ParameterSource.DEFAULT:
                raise click.UsageError(f'{why}: leave --{option.replace("_", "-")} out')
        ports = {scheme: context.params[f'{scheme}_port'] for scheme in PORTS}
        drain = context.params['drain']
    if len({*ports.values(), 0}) < len(ports) + 1:
        raise click.UsageError(
            'a container needs three different ports, none of them 0: give --grpc-port, --http-port and --ws-port'
        )
    configured = ['--config', CONFIG_FILE] if config is not None else []
    arguments = ['--host', ALL_ADDRESSES, '--token-file', TOKEN_FILE, *configured, *_without_config(arguments)]
    return Hosting(name, image or f'{name}:{__version__}', arguments, ports, extras, drain, config=config, **sizes)


def _extras_of(models: Sequence[ModelSettings]) -> Sequence[str]:
    """The extras that the models need; raises if there is no such model."""
    from .._plugins import plugins
    from ..engines.loader import engine_class
    from ..errors import MissingExtraError

    found = []
    for model in models:
        with contextlib.suppress(MissingExtraError):  # here; the image has it
            engine_class(model.engine)
        target = str(plugins().find('engine', model.engine).target)
        found += [extra for module, extra in ENGINES.items() if target.startswith(f'{module}:')]
    return found


def _text(path: str | None) -> str | None:
    return None if path is None else Path(path).read_text(encoding='utf-8')


def _without_config(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments of serve but for the configuration, which is elsewhere in the container."""
    kept, rest = [], iter(arguments)
    for one in rest:
        if one == '--config':
            next(rest)
        elif not one.startswith('--config='):
            kept.append(one)
    return kept


def _differs(path: Path, text: str) -> bool:
    return path.exists() and path.read_bytes() != text.encode()


def _write(folder: Path, files: Mapping[str, str], force: bool) -> None:
    """Write all or none."""
    taken = [name for name, text in files.items() if _differs(folder / name, text)]
    if taken and not force:
        raise click.UsageError(f'{folder / taken[0]} is there already: --force replaces it')
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding='utf-8')
        click.echo(str(folder / name))
