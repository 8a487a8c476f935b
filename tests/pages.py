"""The code in the README and in pages of `docs/`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from isolated import output_of, write_distribution

ROOT = Path(__file__).resolve().parents[1]


def blocks(page, language):
    """The code blocks of one language, in their order."""
    return re.findall(rf'```{language}\n(.*?)```', page, re.DOTALL)


def run_program(page, folder, name):
    """Install the files of a page as a plugin, run the rest of its Python as one program, and give what it prints.

    A block is a file if it begins with a comment that is nothing but a file's name.

    Args:
        page: its text.
        folder: an empty one.
        name: of the distribution.
    """
    modules, program = {}, []
    for code in blocks(page, 'python'):
        file = re.match(r'# (\w+)\.py\n', code)
        if file:
            modules[file[1]] = code
        else:
            program.append(code)
    assert modules, f'{name} has no file'
    assert program, f'{name} does not use its files'
    hooks = {module: module for module, code in modules.items() if '@hookimpl' in code}
    write_distribution(folder, name, hooks, **modules)
    return output_of('\n'.join(program), folder) + '\n'


def run_tests(file):
    """Run the tests of a page's file with pytest, where warnings are errors; gives how many there were by outcome."""
    code = f"import pytest\npytest.main(['-q', '-p', 'no:cacheprovider', '-W', 'error', {str(file)!r}])"
    told = output_of(code, file.parent)
    counts = {outcome: int(count) for count, outcome in re.findall(r'(\d+) (\w+)', told.splitlines()[-1])}
    assert not counts.keys() & {'failed', 'error', 'errors'}, told
    return counts


def check_commands(text):
    """See that the command line takes each `inference-client ...` in a text, and give how many; none is run."""
    import click

    from inference_client.cli import cli

    text = re.sub(r'\\\n| # .*', ' ', text)
    lines = re.findall(r"inference-client ((?:'[^']*'|[^|<>)\n])*)", text)
    for line in lines:
        called, arguments = cli, shlex.split(line)
        while isinstance(called, click.Group):
            name, *arguments = arguments
            called = called.get_command(None, name)
        called.make_context(name, arguments).close()
    return len(lines)
