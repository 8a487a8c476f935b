"""Draws `docs/demo.svg`: what `inference-client demo` prints, as a terminal shows it, with the times that it took.

`--check` runs the demo again and says whether the picture shows what it prints now, times aside.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
from html import escape, unescape
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).resolve().parents[1] / 'docs' / 'demo.svg'
COLUMNS = 100  # also where a time has more digits
COMMAND = ['inference-client', 'demo']
FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img"
  aria-labelledby="demo-title demo-text">
<title id="demo-title">{name}</title>
<desc id="demo-text">{text}</desc>
<style>
.{unique_id}-matrix {{
  font: {char_height}px/{line_height}px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace;
}}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""  # like rich's own, without fonts from another host, and with a text for those who do not see it
TIME = re.compile(r'\d+\.\d(?= │)')
NUMBER = re.compile(r'[+-]?\d+\.\d+')
FRAME = re.compile('[\u2500-\u257f]+')  # as wide as the times
NEAR = 0.02  # what another processor or library may add to a number


def printed(**environment: str) -> str:
    """What the demo prints, with the colours of a terminal."""
    variables = {name: value for name, value in os.environ.items() if name != 'NO_COLOR'}
    variables.update({'COLUMNS': str(COLUMNS), 'FORCE_COLOR': '1', 'TERM': 'xterm-256color', **environment})
    command = [sys.executable, '-m', 'inference_client', *COMMAND[1:]]
    return subprocess.run(command, check=True, capture_output=True, encoding='utf-8', env=variables).stdout


def drawn(output: str) -> str:
    """The picture of it."""
    text = Text.assemble(('$ ', 'bold green'), (' '.join(COMMAND), 'bold'), '\n', Text.from_ansi(output))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system='truecolor')
    console.print(text)
    made = FORMAT.replace('{name}', 'A terminal').replace('{text}', escape(text.plain).replace('{', '{{'))
    return console.export_svg(title='inference-client', theme=MONOKAI, code_format=made, unique_id='demo')


def differs(one: str, other: str) -> bool:
    """Whether two pictures show other texts, or other numbers, times aside."""
    first, second = (FRAME.sub('', TIME.sub('', description(picture))) for picture in (one, other))
    numbers = zip(NUMBER.findall(first), NUMBER.findall(second))
    apart = max((abs(float(a) - float(b)) for a, b in numbers), default=0)
    return NUMBER.sub('', first).split() != NUMBER.sub('', second).split() or apart > NEAR


def description(picture: str) -> str:
    """The text of a picture."""
    return unescape(picture.partition('<desc id="demo-text">')[2].partition('</desc>')[0])


def main() -> None:
    """Draw, or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing')
    check = parser.parse_args().check
    made = drawn(printed())
    if not check:
        PICTURE.write_text(made, encoding='utf-8')
    elif differs(made, PICTURE.read_text(encoding='utf-8')):
        sys.exit(f'{PICTURE.name} shows something else than the demo prints: draw it again with scripts/picture.py')


if __name__ == '__main__':
    main()
