"""Texts as tokenizers take them."""

from __future__ import annotations

import re

_A_TOKEN = 128  # characters, half of them spaces before it: the longest of CLIP has 32, and English has five
_WIDE_GAP = re.compile(r'(?<!\s)\s{65,}')


def sound(text: str) -> str:
    """A text without lone surrogates, which Python strings may hold and tokenizers refuse: `?` for each."""
    return text.encode('utf-8', 'replace').decode()


def cut(text: str, tokens: int, side: str = 'right') -> str:
    """A sound text that is no longer than so many tokens can be: tokenizers take in all of it before they cut it.

    Unless it is longer than 128 characters a token it is as it was; else wide gaps are one space, or one end of a line.
    CLIP's tokenizer mends letters of a wrong encoding by the whole line: of one that is cut it may mend others.

    Args:
        text: any.
        tokens: how many of it the model reads.
        side: where it is cut, `right` or `left`.
    """
    most = _A_TOKEN * tokens
    if len(text) > most:
        text = _WIDE_GAP.sub(lambda gap: '\n' if '\n' in gap[0] else ' ', text)
        text = text[-most:] if side == 'left' else text[:most]
    return sound(text)
