"""Builds wheel and sdist, then both again from the sdist, elsewhere and later, and compares them byte for byte.

Needs hatchling. What is the same goes to `dist/`, or to the folder that is given.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def build(source: Path, output: Path, umask: str) -> dict[str, str]:
    """Build both from a folder; gives the SHA-256 of each by its file's name."""
    variables = {name: value for name, value in os.environ.items() if name != 'SOURCE_DATE_EPOCH'}
    command = f'umask {umask} && exec "$0" -m hatchling build -d "$1"'
    done = subprocess.run(
        ['sh', '-c', command, sys.executable, str(output)],
        cwd=str(source),
        env=variables,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(output.iterdir())}


def unpack(sdist: Path, folder: Path) -> Path:
    """The root of an sdist's files, all of them as old as 2001."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter='data')
    for file in folder.rglob('*'):
        os.utime(file, (1e9, 1e9))
    (root,) = folder.iterdir()
    return root


def compare(first: dict[str, str], second: dict[str, str]) -> None:
    """End with what differs, unless nothing does."""
    differ = [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]
    if differ:
        sys.exit(
            f'not reproducible: {", ".join(differ)} came out otherwise the second time; compare them with diffoscope'
        )


def main() -> None:
    """Build twice, and keep what is the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('output', type=Path, nargs='?', default=ROOT / 'dist', help='an empty folder, or none yet')
    output = parser.parse_args().output.resolve()
    if output.exists() and any(output.iterdir()):
        sys.exit(f'{output} is not empty: remove what is in it')
    built = build(ROOT, output, '022')
    with tempfile.TemporaryDirectory() as scratch:
        (sdist,) = output.glob('*.tar.gz')
        compare(built, build(unpack(sdist, Path(scratch, 'source')), Path(scratch, 'dist'), '077'))
    for name, digest in built.items():
        print(f'{digest}  {name}')


if __name__ == '__main__':
    main()
