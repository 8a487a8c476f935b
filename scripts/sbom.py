"""Lists what an installation consists of, and under which licences: as CycloneDX SBOM, and in docs/licences.md.

Needs cyclonedx-bom, and a wheel that was built before: `tox -e sbom` has both. Reads what each distribution declares.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'licences.md'
SBOM = ROOT / 'sbom' / 'inference-client.cdx.json'
OWN = 'inference-client'
EXTRAS = ('', 'cli', 'local', 'server')  # one after the other into one environment
NAMED_OTHERWISE = {  # what metadata calls a licence, in place of its SPDX identifier
    '3-Clause BSD License': 'BSD-3-Clause',
    'Apache 2.0': 'Apache-2.0',
    'License :: OSI Approved :: Apache Software License': 'Apache-2.0',
    'License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)': 'MPL-2.0',
}


def sbom_of(python: Path, output: Path, check: bool) -> list[dict[str, Any]]:
    """Write the SBOM of an environment, and give its components; to check it takes long."""
    command = [sys.executable, '-m', 'cyclonedx_py', 'environment', '--output-reproducible', '--of', 'JSON']
    command.append('--validate' if check else '--no-validate')
    output.parent.mkdir(exist_ok=True)
    subprocess.run([*command, '-o', str(output), str(python)], check=True)
    components: list[dict[str, Any]] = json.loads(output.read_text(encoding='utf-8'))['components']
    return components


def licence(component: dict[str, Any], site: Path) -> str:
    """The licences that a distribution declares: SPDX where it has that, else as it calls them."""
    listed = component.get('licenses', ())
    found = {one.get('expression') or one['license'].get('id') for one in listed} - {None}
    if not found:
        (metadata,) = (one.metadata for one in distributions(path=[str(site)]) if one.name == component['name'])
        named = [one['license']['name'] for one in listed] or [metadata['License'] or '']
        found = {NAMED_OTHERWISE.get(name, name) for name in named}
    return ', '.join(sorted(found))


def rows(wheel: Path) -> list[tuple[str, str, str, str]]:
    """Name, what brings it, version and licence of every distribution; the SBOM is written meanwhile."""
    found: dict[str, tuple[str, str, str, str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, '-m', 'venv', '--without-pip', scratch], check=True)
        python = Path(scratch) / 'bin' / 'python'
        (site,) = Path(scratch).glob('lib/python*/site-packages')
        for extra in EXTRAS:
            what = f'{wheel}[{extra}]' if extra else str(wheel)
            pip = [sys.executable, '-m', 'pip', '--python', str(python), 'install', '--quiet']
            subprocess.run([*pip, '--only-binary=:all:', '--no-binary=docarray', what], check=True)
            for one in sbom_of(python, SBOM, check=extra == EXTRAS[-1]):
                row = (one['name'], f'`[{extra}]`' if extra else 'core', one['version'], licence(one, site))
                found.setdefault(one['name'].lower(), row)
    del found[OWN]
    return [found[name] for name in sorted(found)]


def table(found: list[tuple[str, str, str, str]]) -> str:
    """The rows as Markdown."""
    lines = ['| distribution | brought by | version | licence |', '| --- | --- | --- | --- |']
    return '\n'.join([*lines, *(f'| {" | ".join(row)} |' for row in found)])


def main() -> None:
    """Write the SBOM, and the table if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path, help='where the wheel is')
    parser.add_argument('--table', action='store_true', help=f'write {PAGE.relative_to(ROOT)}, too')
    arguments = parser.parse_args()
    (wheel,) = arguments.folder.resolve().glob('*.whl')
    made = table(rows(wheel))
    print(f'{made}\nwrote {SBOM.relative_to(ROOT)}')
    if arguments.table:
        mark = r'(<!-- results -->\n).*(<!-- end of results -->)'
        page = PAGE.read_text(encoding='utf-8')
        PAGE.write_text(re.sub(mark, lambda one: f'{one[1]}{made}\n{one[2]}', page, flags=re.DOTALL), encoding='utf-8')


if __name__ == '__main__':
    main()
