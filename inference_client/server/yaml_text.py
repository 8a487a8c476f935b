"""Plain values as YAML, which is little enough to do without a library."""

from __future__ import annotations

import json
import re
from typing import Any, Iterator, Mapping, Sequence

PLAIN = re.compile(r'[A-Za-z/][A-Za-z0-9._/-]*')
RESERVED = {'null', 'true', 'false', 'yes', 'no', 'on', 'off', 'y', 'n'}
INDENT = 2


def dump(*documents: Mapping[str, Any]) -> str:
    """Mappings, sequences, strings, whole numbers and truth values as a stream of documents.

    A text of several lines is written as they are, where YAML gives them back so.
    """
    return '---\n'.join(''.join(f'{line}\n' for line in _lines(document)) for document in documents)


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _after(f'{_scalar(key)}:', item)
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        for item in value:
            first, *rest = _lines(item)
            yield f'- {first}'
            yield from (' ' * INDENT + line for line in rest)
    elif isinstance(value, str) and _is_block(value):
        yield '|'
        yield from (' ' * INDENT + line if line else '' for line in value.split('\n')[:-1])
    else:
        yield _scalar(value)


def _after(start: str, value: Any) -> Iterator[str]:
    lines = list(_lines(value))
    if value and not isinstance(value, (str, int)):
        yield start
        yield from (' ' * INDENT + line for line in lines)
    else:
        yield f'{start} {lines[0]}'
        yield from lines[1:]


def _is_block(text: str) -> bool:
    """Whether a block gives the text back: whole lines, the first one not indented, nothing that must be escaped."""
    lines = text.split('\n')
    return (
        len(lines) > 2
        and not lines[-1]
        and bool(lines[0] and lines[-2])
        and all(line.isascii() and line.isprintable() for line in lines)
        and not lines[0].startswith(' ')
    )


def _scalar(value: Any) -> str:
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in RESERVED:
        return value
    text = json.dumps(
        value, ensure_ascii=False
    )  # whose strings, numbers, truth values and empty collections are YAML's
    return ''.join(letter if letter.isprintable() else f'\\U{ord(letter):08x}' for letter in text)
