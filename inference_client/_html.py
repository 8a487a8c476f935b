"""Answers as HTML for notebooks: no style sheet or script, colours for light and dark, nothing of data unescaped."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING, Any, Container, Sequence

from ._shown import LABELS, Pictures, leading, name_of, ranking_of, share, words_of

if TYPE_CHECKING:
    from docarray import Document

DOCUMENTS, MATCHES = 20, 10  # that are shown
LARGE, SMALL = 112, 48  # pixels of an image's longer side
BOX = 'display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start;margin:8px 0;text-align:left;max-width:60em'
GRID = 'display:grid;grid-template-columns:auto minmax(0,1fr) auto;gap:6px 12px;align-items:center;margin-top:4px'
FITS = 'overflow-wrap:anywhere'
WORDS = f'flex:1 1 17em;min-width:0;{FITS}'
MUTED = 'opacity:.65'
NUMBERS = 'font-variant-numeric:tabular-nums;white-space:nowrap;text-align:right;font-size:90%'
IMAGE = 'max-width:none;margin:0;border-radius:4px'  # pages have rules of their own for images
TRACK = 'height:10px;border-radius:3px;background:rgba(128,128,128,.2)'
BAR = 'height:10px;border-radius:3px;background:#5b8def'


def html_of(documents: Sequence[Document], files: Container[str] = ()) -> str:
    """The first documents with what came of each.

    Args:
        documents: answers of a task.
        files: names of files that may be read to show images.
    """
    pictures = Pictures(files)
    shown = [_document(one, pictures) for one in documents[:DOCUMENTS]]
    return _element('div', ''.join([*shown, _more(len(documents) - DOCUMENTS)]) or 'no documents', 'line-height:1.4')


def _document(document: Document, pictures: Pictures) -> str:
    ranking = ranking_of(document)
    came_of_it = _ranking(ranking, pictures) if ranking else _element('div', escape(words_of(document)))
    name = _element('div', escape(name_of(document)), MUTED)
    return _element('div', _image(document, pictures, LARGE) + _element('div', name + came_of_it, WORDS), BOX)


def _ranking(ranking: Sequence[tuple[Document, dict[str, float]]], pictures: Pictures) -> str:
    rows = ''.join(_row(match, scores, pictures) for match, scores in ranking[:MATCHES])
    return _element('div', rows, GRID) + _more(len(ranking) - MATCHES)


def _row(match: Document, scores: dict[str, float], pictures: Pictures) -> str:
    bar = _element('div', '', f'{BAR};width:{100 * share(leading(scores)):.1f}%')
    numbers = ''.join(_element('div', f'{LABELS[name]} {value:.3f}') for name, value in scores.items())
    return (
        _element('div', _image(match, pictures, SMALL))
        + _element('div', _element('div', escape(name_of(match)), FITS) + _element('div', bar, TRACK))
        + _element('div', numbers, NUMBERS)
    )


def _image(document: Document, pictures: Pictures, side: int) -> str:
    picture = pictures.of(document, side)
    if picture is None:
        return ''
    file = io.BytesIO()
    picture.save(file, 'JPEG', quality=85)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{data}" style="{IMAGE}">'


def _more(count: int) -> str:
    return _element('div', f'and {count:,} more', MUTED) if count > 0 else ''


def _element(tag: str, inner: str, style: Any = None) -> str:
    styled = f' style="{style}"' if style else ''
    return f'<{tag}{styled}>{inner}</{tag}>'
