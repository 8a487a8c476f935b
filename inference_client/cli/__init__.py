"""The command line: a group whose commands come from the plugin registry, each imported when it is run."""

from __future__ import annotations

import itertools
import logging
import os
import traceback
import warnings
from typing import Any, Sequence

import click

from .._plugins import plugins
from .._version import __version__
from ..errors import InferenceError
from . import completion
from .options import one_line

FAILED = 1  # exit code; 2 is for usage, which click sets


class Commands(click.Group):
    """The commands of this package and of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in sorted({one.name for one in plugins().listed('command')}) if _loads(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if not plugins().has('command', cmd_name):
            return None
        command: click.Command = plugins().get('command', cmd_name)
        return command


def _loads(name: str) -> bool:
    try:
        plugins().get('command', name)
    except InferenceError as error:  # a plugin's fault must not take the help of the others away
        warnings.warn(f'the command {name!r} is left out: {error}', stacklevel=2)
        return False
    return True


@click.group(cls=Commands, context_settings={'help_option_names': ['-h', '--help']})
@click.version_option(__version__, message='%(prog)s %(version)s')
@click.option('--debug', is_flag=True, help='Show the traceback of an error.')
def cli(debug: bool) -> None:
    """Embeddings, rankings, captions and answers from images and text.

    \b
    Example: inference-client rank photo.jpg 'a cat' 'a dog'
    """


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its exit code: 0, 1 (failed) or 2 (usage)."""
    if completion.VARIABLE in os.environ:  # a shell's script asks what may come next
        return completion.answer(cli, os.environ[completion.VARIABLE])
    warnings.showwarning = _show_warning
    logging.getLogger('inference_client').addHandler(_Warnings(logging.WARNING))
    try:
        code = cli.main(list(arguments), prog_name='inference-client', standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo('Aborted.', err=True)
        return FAILED
    except BrokenPipeError:
        return FAILED
    except Exception as error:  # noqa: BLE001 - the last resort: no traceback unless it is asked for
        if '--debug' in itertools.takewhile(lambda one: one.startswith('-'), arguments):  # not a command's input
            traceback.print_exc()
        else:
            click.echo(f'Error: {one_line(_message(error))}', err=True)
        return FAILED


def _message(error: Exception) -> str:
    if isinstance(error, InferenceError):
        return str(error)
    return f'unexpected {type(error).__name__}: {error}; run it again with --debug before the command'


class _Warnings(logging.Handler):
    """What the package logs, such as that it tries again, as lines like those of warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        _show_warning(record.getMessage())


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    click.echo(f'Warning: {one_line(message)}', err=True)
