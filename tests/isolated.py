"""Fresh interpreters, and installed distributions for them or for this one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import inference_client

PACKAGE = Path(inference_client.__file__).resolve().parent
NOT_PASSED_ON = (
    'JINA_AUTH_TOKEN',
    'INFERENCE_API_ENDPOINT',
    'INFERENCE_CLIENT_DISABLE_PLUGINS',
    'PYTHONSTARTUP',
    'PYTHONWARNINGS',
)


def run_python(code, *paths, arguments=(), **environment):
    """Run code in a new interpreter that finds this package and what is in `paths`."""
    variables = {key: value for key, value in os.environ.items() if key not in NOT_PASSED_ON}
    variables.update(environment)
    variables['PYTHONPATH'] = os.pathsep.join(str(path) for path in (*paths, PACKAGE.parent))
    variables['PYTHONIOENCODING'] = 'utf-8'
    return subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code), *arguments],
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding='utf-8',
        timeout=120,
    )


def output_of(code, *paths, **environment):
    """What the code prints; it must end well."""
    done = run_python(code, *paths, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write_distribution(site, name, entry_points, *, version='1.0', group='inference_client', **modules):
    """Put modules and the metadata of their distribution into a directory, as pip would.

    Args:
        site: a directory that is, or will be, on `sys.path`.
        name: of the distribution.
        entry_points: `{name: 'module:object'}` of the group, `{group: {name: 'module:object'}}`, or the text
            of the file.
        version: of the distribution.
        group: of the entry points.
        modules: source by module name.

    Returns:
        The directory of the metadata.
    """
    for module, source in modules.items():
        (site / f'{module}.py').write_text(textwrap.dedent(source), encoding='utf-8')
    information = site / f'{name.replace("-", "_")}-{version}.dist-info'
    information.mkdir()
    (information / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n', 'utf-8')
    if isinstance(entry_points, dict):
        nested = any(isinstance(value, dict) for value in entry_points.values())
        groups = entry_points if nested else {group: entry_points}
        entry_points = ''.join(
            f'[{group}]\n' + ''.join(f'{key} = {value}\n' for key, value in entries.items())
            for group, entries in groups.items()
        )
    (information / 'entry_points.txt').write_text(entry_points + '\n', 'utf-8')
    return information
