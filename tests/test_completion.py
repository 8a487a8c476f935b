"""What shells complete: in real ones, and by what their scripts ask."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from isolated import write_distribution

click = pytest.importorskip('click')

from inference_client.cli import cli, completion  # noqa: E402 - they need click

SCRIPTS = Path(sys.executable).parent
TIMEOUT = 60  # seconds without a sign of life
BREAKS = ' \t\n"\'><=;|&(:'  # what bash breaks words at, unless told otherwise
LINES = {
    'enc': 'encode',
    'token rev': 'token revoke',
    'rank --pref': 'rank --prefetch',
    'demo --transport gr': 'demo --transport grpc',
    'encode --model emb': 'encode --model embedded',
    'encode --model local://emb': 'encode --model local://embedded',
    'caption holi': 'caption holiday.jpg',
    'encode --ca-file holi': 'encode --ca-file holiday.jpg',
    'export kubernetes dep': 'export kubernetes deploy',
    'completion z': 'completion zsh',
}


@pytest.fixture
def asked(monkeypatch, capsys):
    """What our script for bash is told of a line."""

    def ask(line, breaks=BREAKS):
        monkeypatch.setenv('COMP_LINE', line)
        monkeypatch.setenv(completion.BREAKS, breaks)
        assert completion.answer(cli, 'bash_complete') == 0
        return [line for line in capsys.readouterr().out.splitlines() if line]

    return ask


@pytest.mark.parametrize(
    ('line', 'offered'),
    [
        ('rank --protocol ', ['plain,grpc', 'plain,http', 'plain,websocket']),
        ('encode --model=local://emb', ['plain,//embedded']),
        ('encode --model local:', ['plain,//echo', 'plain,//embedded']),
        ("encode 'my photos/holi", ['file,my photos/holi']),
        ('serve embedded ec', ['plain,echo']),
        ('models --api-endpoint https://host/api/v1 em', ['plain,embedded']),
        ('export kubernetes deploy -- em', ['plain,embedded']),
        ('encode --timeout ', []),
    ],
)
def test_what_is_offered(asked, line, offered):
    assert asked(f'inference-client {line}') == offered


def test_every_command_is_offered(asked):
    assert asked('inference-client ') == [f'plain,{name}' for name in cli.list_commands(click.Context(cli))]


def test_a_variable_before_the_command(asked):
    assert asked('LANG=C inference-client enc') == ['plain,encode']


def test_where_bash_does_not_break_words_at_colons_the_whole_word_is_offered(asked):
    assert asked('inference-client encode --model local://emb', ' \t\n') == ['plain,local://embedded']


def shell(name, home):
    if shutil.which(name) is None:
        pytest.skip(f'needs {name}')
    (home / 'holiday.jpg').touch()
    (home / 'deploy').mkdir()
    return {'HOME': str(home), 'PATH': f'{SCRIPTS}{os.pathsep}{os.environ["PATH"]}', 'TERM': 'dumb', 'LANG': 'C.UTF-8'}


@contextlib.contextmanager
def terminal(command, home):
    """A shell that a person types into; gives a function that types, and waits for a pattern."""
    ours, theirs = pty.openpty()
    variables = shell(command[0], home)
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=str(home), env=variables, start_new_session=True
    )
    os.close(theirs)

    def typed(keys, pattern):
        os.write(ours, keys.encode())
        shown = ''
        while not re.search(pattern, shown):
            assert select.select([ours], [], [], TIMEOUT)[0], shown
            shown += os.read(ours, 4096).decode()
        return re.search(pattern, shown)[1]

    try:
        yield typed
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize(
    ('command', 'prepare'),
    [
        (['bash', '--norc', '--noprofile', '-i'], ''),
        (['zsh', '-f', '-i'], 'autoload -Uz compinit; compinit -u -D; bindkey -e; '),
    ],
    ids=['bash', 'zsh'],
)
@pytest.mark.once(reason='shells do the same with all of them')
def test_a_shell_completes_what_a_person_types(tmp_path, command, prepare):
    """Each line is typed with Tab; then, at its beginning, what shows its words in brackets."""
    with terminal(command, tmp_path) as typed:
        script = f'eval "$(inference-client completion {command[0]})"'
        typed(f"{prepare}{script}; shown() {{ printf '[%s]' \"$@\"; }}; echo re''ady\n", r'(?m)^(ready)')
        for line, completed in LINES.items():
            words = typed(f'inference-client {line}\t\x01shown \n', r'\r((?:\n?\[[^]\n]+\])+)')
            assert words.strip().replace('/]', ']') == ''.join(
                f'[{word}]' for word in ['inference-client', *completed.split()]
            )


@pytest.mark.once(reason='shells do the same with all of them')
def test_a_shim_that_is_a_bash_script_loses_nothing(tmp_path):
    """Such as those of pyenv: bash has variables that it neither keeps from its caller nor gives on."""
    shim = tmp_path / 'shims' / 'inference-client'
    shim.parent.mkdir()
    shim.write_text(f'#!/usr/bin/env bash\nexec {shlex.quote(str(SCRIPTS / shim.name))} "$@"\n')
    shim.chmod(0o755)
    with terminal(['bash', '--norc', '--noprofile', '-i'], tmp_path) as typed:
        typed('PATH="$HOME/shims:$PATH"; eval "$(inference-client completion bash)"; echo re\'\'ady\n', r'(?m)^(ready)')
        words = typed('inference-client encode --model local://emb\t\x01echo \n', r'\r\n?(inference-client .*?)\r')
        assert words.rstrip() == 'inference-client encode --model local://embedded'


@pytest.mark.once(reason='shells do the same with all of them')
def test_fish_completes_what_a_person_types(tmp_path):
    variables = shell('fish', tmp_path)
    lines = ''.join(f'complete -C "inference-client {line}"; echo\n' for line in LINES)
    code = f'inference-client completion fish | source\n{lines}'
    done = subprocess.run(
        ['fish', '--no-config', '-c', code],
        cwd=str(tmp_path),
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    offered = [line.partition('\t')[0].rstrip('/') for line in done.stdout.split('\n') if line]
    assert offered == [completed.split()[-1] for completed in LINES.values()]


def test_a_broken_plugin_says_nothing_in_the_middle_of_a_line(tmp_path):
    write_distribution(tmp_path, 'broken', {'broken': 'broken'}, broken='raise RuntimeError("boom")')
    variables = {**os.environ, 'PYTHONPATH': str(tmp_path), completion.VARIABLE: 'bash_complete'}
    variables.update({'COMP_LINE': 'inference-client enc', completion.BREAKS: BREAKS})
    done = subprocess.run(
        [sys.executable, '-m', 'inference_client'], env=variables, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ('plain,encode\n', '')
