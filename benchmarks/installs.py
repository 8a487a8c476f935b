"""Installs the built wheel on each Python, runs it there, and tells what the installation weighs, also beside others.

Wheels only, but for docarray, whose releases before 0.30 are pure Python without wheels. Each installation has an
environment of its own. `installs.json` gets the sizes, and `docs/install.md` the table; `--check` writes nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from report import DOCS, between_marks

HERE = Path(__file__).resolve().parent
PAGE = DOCS / 'install.md'
RESULTS = HERE / 'installs.json'
PYTHONS = ('3.8', '3.9', '3.10', '3.11', '3.12', '3.13')
EXTRAS = {'core': '', 'local': '[local]'}
WITHOUT_MODEL = '3.8'
PEER_PYTHON = '3.11'  # the newest that jina installs on
PEERS = {
    'jina 3.33.1': ('jina==3.33.1',),
    'inference-client 0.0.8': ('inference-client==0.0.8', 'jina==3.33.1'),  # without a jina, pip searches for minutes
}
WHEELS_ONLY = ('--only-binary=:all:', '--no-binary=docarray')
NOT_OURS = ('pip', 'setuptools', 'pkg_resources', '_distutils_hack', 'distutils-precedence')  # what venv brings
SMOKE = """
import inference_client
from inference_client._plugins import plugins
from inference_client.testing import FakeTransport, client_for

for one in plugins().listed('transport'):
    one.load()
for name in inference_client.__all__:
    getattr(inference_client, name)
assert client_for(FakeTransport()).get_model('any').encode(text='hello')[0].embedding.shape == (8,)
"""
COUNT = """
import importlib.metadata, sys
print(len({one.metadata['Name'].lower() for one in importlib.metadata.distributions()} - set(sys.argv[1:])))
"""


def run(*command: Any) -> str:
    """What a command prints; where it fails, so does this, with all that it said."""
    variables = {name: value for name, value in os.environ.items() if name not in ('PYTHONPATH', 'PIP_NO_BINARY')}
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env=variables, cwd=tempfile.gettempdir()
    )
    if done.returncode:
        sys.exit(f'{" ".join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout


def interpreter(version: str) -> str:
    """The interpreter of a version."""
    found = shutil.which(f'python{version}')
    if found is None:
        sys.exit(f'python{version} is not on PATH: put it there, or name others with --pythons')
    return found


@contextmanager
def installed(version: str, folder: Path, *arguments: str) -> Iterator[Path]:
    """The interpreter of a new environment in which something is installed; the environment is removed at the end."""
    run(interpreter(version), '-m', 'venv', folder)
    python = folder / 'bin' / 'python'
    try:
        run(python, '-m', 'pip', 'install', '--quiet', '--upgrade', 'pip')
        run(python, '-m', 'pip', 'install', '--quiet', '--no-compile', *arguments)
        run(python, '-m', 'pip', 'check')
        yield python
    finally:
        shutil.rmtree(folder)


def size(python: Path) -> dict[str, float]:
    """Packages and megabytes in an environment, but for what every environment has."""
    (site,) = (python.parents[1] / 'lib').glob('python*/site-packages')
    ours = (one for one in site.iterdir() if not one.name.startswith((*NOT_OURS, '__pycache__')))
    files = (file for one in ours for file in (one.rglob('*') if one.is_dir() else [one]))
    megabytes = sum(file.stat().st_size for file in files if file.is_file() and file.suffix != '.pyc') / 1e6
    return {'packages': int(run(python, '-c', COUNT, *NOT_OURS)), 'megabytes': round(megabytes)}


def tried(wheel: Path, version: str, folder: Path) -> dict[str, dict[str, float]]:
    """The sizes of the wheel with each extra on one Python, after it was seen to work there."""
    sizes = {}
    for name, extra in EXTRAS.items():
        if extra and version == WITHOUT_MODEL:
            continue
        with installed(version, folder, *WHEELS_ONLY, f'{wheel}{extra}') as python:
            sizes[name] = size(python)
            run(python, '-c', SMOKE)
            if extra:
                run(python.with_name('inference-client'), 'demo')
        print(
            f'Python {version}, {name}: {sizes[name]["packages"]} packages, {sizes[name]["megabytes"]} MB', flush=True
        )
    return sizes


def table(results: dict[str, Any]) -> str:
    """The sizes as Markdown."""
    lines = ['| Python | installed | packages | MB |', '| --- | --- | --- | --- |']
    for version in PYTHONS:
        lines += [_row(version, f'inference-client{EXTRAS[name]}', one) for name, one in results[version].items()]
    lines += [_row(PEER_PYTHON, what, results['peers'][what]) for what in PEERS]
    return '\n'.join(lines)


def _row(version: str, what: str, one: dict[str, float]) -> str:
    return f'| {version} | `{what}` | {one["packages"]} | {one["megabytes"]} |'


def main() -> None:
    """Try the wheel on each Python, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--pythons', nargs='*', default=PYTHONS, metavar='3.x', help='which Pythons; else all')
    parser.add_argument('--check', action='store_true', help='only try: leave out the others, and write nothing')
    arguments = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding='utf-8')) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        run(sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '-w', scratch, HERE.parent)
        (wheel,) = Path(scratch).glob('*.whl')
        folder = Path(scratch, 'environment')
        results.update({version: tried(wheel, version, folder) for version in arguments.pythons})
        if arguments.check:
            return
        results['peers'] = {}
        for what, needed in PEERS.items():
            with installed(PEER_PYTHON, folder, *needed) as python:
                results['peers'][what] = size(python)
    RESULTS.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    PAGE.write_text(between_marks(PAGE.read_text(encoding='utf-8'), table(results)), encoding='utf-8')


if __name__ == '__main__':
    main()
