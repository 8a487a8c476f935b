"""Completion in shells: the command that prints a shell's script, and the answers to what the script asks.

click has scripts for zsh and fish. Its script for bash loses what bash breaks words at, such as the colons of URLs and
of models' names, so that one is our own.
"""

from __future__ import annotations

import itertools
import os
import re
import warnings
from typing import Any, Callable

import click
from click import shell_completion
from click.shell_completion import CompletionItem

VARIABLE = '_INFERENCE_CLIENT_COMPLETE'
BREAKS = '_INFERENCE_CLIENT_WORDBREAKS'  # a wrapper that is a bash script would lose COMP_WORDBREAKS
PROGRAM = 'inference-client'
BASH = """\
%(complete_func)s() {
    local kind value
    COMPREPLY=()
    while IFS=, read -r kind value; do
        [[ $kind != plain ]] || COMPREPLY+=("$value")
    done < <(
        COMP_LINE="${COMP_LINE:0:COMP_POINT}" %(breaks)s="$COMP_WORDBREAKS" \\
            %(complete_var)s=bash_complete "$1" 2>/dev/null
    )
}

complete -o default -F %(complete_func)s %(prog_name)s
"""  # files and folders are what bash offers by itself where there is nothing else

Complete = Callable[[click.Context, click.Parameter, str], 'list[CompletionItem]']


class Bash(shell_completion.ShellComplete):
    """What our script for bash asks: the line up to the cursor, as it was typed."""

    name = 'bash'
    source_template = BASH

    def source_vars(self) -> Any:  # a mapping, whose type differs between versions of click
        return {**super().source_vars(), 'breaks': BREAKS}

    def get_completion_args(self) -> tuple[list[str], str]:
        typed = shell_completion.split_arg_string(os.environ['COMP_LINE'] + '.')  # so that there is a last word
        _, *words = itertools.dropwhile(re.compile('[A-Za-z_][A-Za-z0-9_]*=').match, typed)
        return words[:-1], words[-1][:-1]

    def format_completion(self, item: CompletionItem) -> str:
        """Leave out of a value what stands before the last character that bash breaks words at."""
        incomplete = self.get_completion_args()[1]
        if incomplete.startswith('-'):  # --option=value
            incomplete = incomplete.partition('=')[2]
        breaks = [at for at, one in enumerate(incomplete) if one in ':=' and one in os.environ[BREAKS]]
        return f'{item.type},{item.value[breaks[-1] + 1 if breaks else 0 :]}'


def answer(cli: click.Command, asked: str) -> int:
    """Print what a shell's script asked for. A plugin that is broken is not told of in the middle of a line."""
    warnings.simplefilter('ignore')
    shell_completion.add_completion_class(Bash)
    return shell_completion.shell_complete(cli, {}, PROGRAM, VARIABLE, asked)


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of files."""
    return [CompletionItem(incomplete, type='file')]


def one_of(*values: str) -> Complete:
    """These values, where others may be given as well."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(value) for value in values if value.startswith(incomplete)]

    return complete


def engines(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the models of this process, but for those that engines have too many of."""
    from .._plugins import plugins

    names = [one.name for one in plugins().listed('engine') if not one.is_pattern]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def models(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The same, and their URLs once something is typed."""
    urls = [f'local://{one.value}' for one in engines(context, parameter, '')] if incomplete else []
    return [*engines(context, parameter, incomplete), *one_of(*urls)(context, parameter, incomplete)]


@click.command()
@click.argument('shell', type=click.Choice(['bash', 'zsh', 'fish']))
def completion(shell: str) -> None:
    """Print the script with which a shell completes command lines.

    Tab then completes commands, options, names of models and files. A shell reads the script when it starts, if
    this line is in its file:

    \b
    bash  ~/.bashrc  eval "$(inference-client completion bash)"
    zsh   ~/.zshrc   eval "$(inference-client completion zsh)"
    fish  ~/.config/fish/completions/inference-client.fish
                     inference-client completion fish | source

    In .zshrc it stands after the line with compinit.

    \b
    Example: eval "$(inference-client completion bash)"
    """
    shell_completion.add_completion_class(Bash)
    kind = shell_completion.get_completion_class(shell)
    assert kind is not None  # the shells above are known
    click.echo(kind(click.Group(), {}, PROGRAM, VARIABLE).source())
