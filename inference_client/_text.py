"""Answers as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator, Sequence

from ._shown import LABELS, leading, name_of, ranking_of, share, words_of

if TYPE_CHECKING:
    from docarray import Document

DOCUMENTS = 20  # that are shown
WIDTH = 80  # characters, where nobody says more
LEAST = 24  # characters of a name, if it has as many
BAR = 30  # characters at most
EIGHTHS = ' ▏▎▍▌▋▊▉'


def text_of(documents: Sequence[Document]) -> str:
    """The first documents with what came of each."""
    lines = [line for one in documents[:DOCUMENTS] for line in lines_of(one)]
    more = len(documents) - DOCUMENTS
    return '\n'.join([*lines, *([f'and {more:,} more'] if more > 0 else ())] or ['no documents'])


def lines_of(document: Document, width: int = WIDTH, blocks: bool = True) -> Iterator[str]:
    """One answer: a line of words, or a ranking with a bar for each score.

    Args:
        document: an answer of a task.
        width: characters in a line of a ranking.
        blocks: whether bars may be of block characters, else they are of #.
    """
    ranking = ranking_of(document)
    if not ranking:
        yield f'{name_of(document)}: {words_of(document)}'
        return
    names = list(ranking[0][1])
    numbers = len(names) * 9
    widest = max(_cells(name_of(match)) for match, _ in ranking)
    bar = max(4, min(BAR, width - numbers - 4 - min(widest, max(LEAST, width // 2))))
    room = min(widest, max(LEAST, width - numbers - bar - 4))
    head = ''.join(f'{LABELS[name]:>9}' for name in names)
    yield f'{_fitted(document, room + bar + 4)}{head}'
    for match, scores in ranking:
        drawn = _bar(share(leading(scores)), bar, blocks)
        values = ''.join(f'{scores[name]:>9.3f}' if name in scores else ' ' * 9 for name in names)
        yield f'  {_fitted(match, room)}  {drawn}{values}'


def _bar(part: float, width: int, blocks: bool) -> str:
    full, eighths = divmod(round(part * width * 8), 8)
    if not blocks:
        return ('#' * (full + (eighths >= 4))).ljust(width)
    return ('█' * full + EIGHTHS[eighths].strip()).ljust(width)


def _cells(text: str) -> int:
    """Columns that a text takes in a terminal, where some characters take two."""
    from rich.cells import cell_len

    return int(cell_len(text))


def _fitted(document: Document, width: int) -> str:
    """Its name in so many columns: the beginning of a text, the end of a path."""
    from rich.cells import set_cell_size

    name = name_of(document)
    if _cells(name) > width and document._data.text:
        name = set_cell_size(name, width - 3) + '...'
    while _cells(name) > width:
        name = f'...{name[4:]}'
    return str(set_cell_size(name, width))
