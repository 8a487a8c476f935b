"""What the embedded model makes of a question: a choice, a claim to judge, or neither."""

from __future__ import annotations

import re
from typing import NamedTuple

_AUXILIARY = r'(?:is|are|was|were|am|do|does|did|has|have|can|could|will|would|might|isn\'t|aren\'t)'
_POINTER = r'(?:(?:the|this|that) (?:photo|picture|image|scene)|this|that|it|these|those|there|they|he|she|you|we)'
_SHOWING = r'(?:show|showing|contain|containing|depict|depicting|have|see|look like|include|of)'
_PICTURE_OF = r'(?:an?|the) (?:photo|picture|image) (?:of|showing|with)'
_OPENING = re.compile(rf'{_AUXILIARY}(?: {_POINTER})?(?: {_SHOWING})?(?: {_PICTURE_OF})?\b ?', re.I)
_SUBJECT = re.compile(r'the \w+ (?=.)', re.I)
_ARTICLE = re.compile(r'\ban? ', re.I)
_PLACE = re.compile(r' (?:(?:in|on) (?:the|this|that) (?:photo|picture|image|scene)|here|shown|visible)$', re.I)
_WORDY = re.compile(r'(?:what|which|who|whose|whom|where|when|why|how)\b', re.I)
_YES_OR_NO = re.compile(r'[,:;]? ?\b(?:answer )?yes or no\b[,:;]?', re.I)
_COUNTING = re.compile(
    r'\b(?:how many|how much|number of|count|more than|less than|fewer|only one|exactly one|'
    r'two|three|four|five|six|seven|eight|nine|ten|dozen|\d+)\b',
    re.I,
)
_MOST_OPTIONS = 20  # a longer list is prose, and each option costs an embedding


class Question(NamedTuple):
    """Either `options` to choose from, or a `claim` that is true or false, or neither."""

    options: tuple[str, ...] = ()
    claim: str = ''


def parse(prompt: str) -> Question:
    """Read a prompt such as 'Question: Is this a cat or a dog? Answer:'; never raises.

    'Question:' and 'Answer:' are optional. Questions that count are neither, as the model cannot count.
    """
    text = ' '.join(prompt.split())
    text = re.sub(r'^question ?: ?', '', text, flags=re.I)
    text = re.sub(r' ?\banswer ?:$', '', text, flags=re.I)
    if _COUNTING.search(text):
        return Question()
    text = re.sub(r',? or not$', '', _last_sentence(_YES_OR_NO.sub(' ', text)), flags=re.I)
    options = _options(text)
    return Question(options=options) if options else Question(claim=_claim(text))


def _last_sentence(text: str) -> str:
    sentences = [' '.join(part.split()) for part in re.split(r'[?!]|\. ', text)]
    return next((s.strip(' .,;:') for s in reversed(sentences) if s.strip(' .,;:')), '')


def _options(text: str) -> tuple[str, ...]:
    if ' or ' not in text.lower():
        return ()
    after = text.rpartition(': ')[2]
    listed = _place_cut(after if ' or ' in after.lower() else text)
    pieces = re.split(r', or |, | or ', listed, flags=re.I)
    pieces = [piece for piece in pieces if not _WORDY.match(piece)]
    if not 2 <= len(pieces) <= _MOST_OPTIONS:
        return ()
    pieces[0] = _first_option(pieces[0], pieces[1])
    bare = [_place_cut(piece).strip(' .,;:"\'') for piece in pieces]
    options = tuple(dict.fromkeys(option for option in bare if option))
    return options if len(options) > 1 else ()


def _first_option(first: str, second: str) -> str:
    """Cut the question off its first option: 'is the animal a cat' -> 'a cat'."""
    rest = _OPENING.sub('', first, count=1) if _OPENING.match(first) else first
    if _ARTICLE.match(second):
        articles = list(_ARTICLE.finditer(rest))
        return rest if _ARTICLE.match(rest) or not articles else rest[articles[-1].start() :]
    return _SUBJECT.sub('', rest, count=1) if rest != first else rest


def _claim(text: str) -> str:
    opening = _OPENING.match(text)
    return _place_cut(text[opening.end() :]) if opening else ''


def _place_cut(text: str) -> str:
    return _PLACE.sub('', text)
