"""Plays the pages of `docs/`: their blocks of code run one after the other, as a reader would run them."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys

from ports import free_ports

BLOCK = re.compile(
    r'(?P<skipped><!-- not run: [^\n]+ -->\n+)?^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```', re.S | re.M
)
COMMANDS = re.compile(r'(inference-client [^\n$`|&;<>\\]*\n)+')  # nothing that needs a shell
PRINTED = ('text', 'json')
FILES = ('toml', 'ini', 'yaml')  # somebody else's to try
SCHEMES = ('grpc', 'http', 'ws')
PORTS = ('51000', '51001', '51002')
TIMEOUT = 60  # seconds


class Player:
    """Runs the blocks of one page.

    `python` blocks share their names, in this process, and `bash` blocks what they export. A `text` or `json` block
    must be what was printed since the last one, `...` standing for anything; nothing may be printed that no block
    shows. An exception ends its block and is printed as its class and message. `inference-client serve` goes on until
    the next one, or the end, on free ports. What follows a comment `not run: why` is left out. A `py` block is a
    program for another client, which its first line names; what it prints must be what ours does.

    Args:
        folder: the working directory.
        monkeypatch: pytest's.
        urls: of a running server, by scheme; else those of a server of the page are on free ports.
        replaced: what stands in for parts of the page.
        others: clients whose programs are run, too, and the interpreter that has them.
    """

    def __init__(self, folder, monkeypatch, urls=None, replaced=None, others=((), None)):
        self.names = {'__name__': '__main__'}
        self._folder, self._monkeypatch = folder, monkeypatch
        ports = [urls[scheme].rpartition(':')[2] for scheme in SCHEMES] if urls else free_ports(len(PORTS))
        self._ports = dict(zip(SCHEMES, map(str, ports)))
        self._replaced = {**dict(zip(PORTS, self._ports.values())), **(replaced or {})}
        self._others, self._python_of_others = others
        self._server = None
        commands = folder / '.commands'
        commands.mkdir()
        (commands / 'inference-client').write_text(f'#!/bin/sh\nexec {sys.executable} -m inference_client "$@"\n')
        (commands / 'inference-client').chmod(0o755)
        monkeypatch.setenv('PATH', os.pathsep.join([str(commands), os.environ['PATH']]))
        monkeypatch.chdir(folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop()

    def play(self, text):
        """Run a page from its beginning to its end."""
        printed, also = '', []
        for block in BLOCK.finditer(text):
            language, code = block['language'], self._filled(block['code'])
            if (block['skipped'] and language != 'py') or language in FILES:
                continue
            if language in PRINTED:
                for one in (printed, *also):
                    compare(code, one)
                printed, also = '', []
            elif language == 'py':
                also += self._other(code)
            else:
                printed += {'python': self._python, 'bash': self._bash}[language](code)
        assert not printed, f'no block shows what was printed: {printed}'

    def _filled(self, code):
        for old, new in self._replaced.items():
            code = code.replace(old, new)
        return code

    def _python(self, code):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            try:
                exec(compile(code, '<page>', 'exec'), self.names)
            except Exception as error:  # noqa: BLE001 - whatever a page shows
                out.write(f'{type(error).__name__}: {error}\n')
        return out.getvalue()

    def _other(self, code):
        """What the program of another client prints, in a list; an empty one if that client is not here."""
        if not code.startswith(tuple(f'# {client}\n' for client in self._others)):
            return []
        command = [self._python_of_others, '-c', code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        assert done.returncode == 0, done.stderr
        return [done.stdout]

    def _bash(self, code):
        if code.startswith('inference-client serve '):
            return self._serve(code)
        if COMMANDS.fullmatch(code):
            return ''.join(map(_command, code.splitlines()))
        exported = self._folder / '.exported'
        script = f"trap 'env -0 > {exported}' EXIT\n{code}"
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', script], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        assert done.returncode == 0, done.stderr
        for variable in filter(None, exported.read_text().split('\0')):
            name, _, value = variable.partition('=')
            if os.environ.get(name) != value and name not in ('_', 'SHLVL', 'OLDPWD', 'PWD'):
                self._monkeypatch.setenv(name, value)
        return done.stdout

    def _serve(self, code):
        self._stop()
        arguments = shlex.split(code, comments=True)[1:]
        ports = [f'--{scheme}-port={port}' for scheme, port in self._ports.items()]
        command = [sys.executable, '-m', 'inference_client', *arguments, *ports]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        printed = ''
        for line in self._server.stdout:
            printed += line
            if '://' not in line:
                break
        return printed

    def _stop(self):
        if self._server is not None:
            with self._server as server:
                server.terminate()
                server.wait(TIMEOUT)
            self._server = None


def _command(line):
    """What a command line of ours prints, run in this process, where models are loaded already."""
    from inference_client.cli import cli

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert not cli.main(shlex.split(line, comments=True)[1:], standalone_mode=False), line
    return out.getvalue()


def played(page, folder, monkeypatch, photos=(), **options):
    """Play a page in a folder that has these photos."""
    for photo in photos:
        shutil.copy(photo, folder)
    with Player(folder, monkeypatch, **options) as player:
        player.play(page)


def compare(expected, printed):
    """See that a page says what was printed; `...` in it stands for anything."""
    pattern = '.*?'.join(map(re.escape, expected.split('...')))
    if not re.fullmatch(pattern, printed, re.DOTALL):
        lines = difflib.ndiff(expected.splitlines(), printed.splitlines())
        raise AssertionError('not what the page says:\n' + '\n'.join(lines))
