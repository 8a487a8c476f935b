"""Rankings and similarities as plots, with matplotlib (extra `[plot]`).

Each function draws on the axes that it is given, else on those of a new figure, and returns them; none shows or saves
anything. Images stand in place of their names where they can be had, see `Results`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Sequence

import numpy as np
from docarray import Document

from ._registered import missing_extra
from ._scores import unit_rows
from ._shown import LABELS, Pictures, leading, name_of, ranking_of, share
from .errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

NAME = 32  # characters of a label
SIDE = 64  # pixels of an image's longer side
LABELLED = 40  # rows or columns with labels
NUMBERED = 12  # with numbers in the cells
BAR, TALL, WIDE = 0.5, 1.2, 7.0  # inches: of one bar, of what is around them, and of all
CHARACTER = 0.06  # inches of height of a slanted one


def ranking(response: Document | Iterable[Document], *, ax: Axes | None = None, limit: int = 20) -> Axes:
    """Draw a ranking as bars, the best on top.

    Args:
        response: what `rank` gave, with one reference; of several, a part such as `response[1:2]`.
        ax: where to draw; else on a new figure.
        limit: bars at most.

    Returns:
        The axes, with a bar for each candidate, `scores['clip_score']` from 0 to 1, and its number at the end.

    Raises:
        InputError: there is nothing ranked, or more than one reference.
        MissingExtraError: matplotlib is not installed.
    """
    documents = _documents(response, 'response')
    if len(documents) != 1:
        raise InputError(f'response has {len(documents)} rankings: expected one, such as response[1:2]')
    ranked = ranking_of(documents[0])[:limit]
    if not ranked:
        raise InputError('response has nothing ranked: expected what rank gave, with scores in its matches')
    axes = _axes(ax, BAR * len(ranked) + TALL)
    pictures = Pictures(_files(response))
    places = list(range(len(ranked)))
    bars = axes.barh(places, [share(leading(scores)) for _, scores in ranked])
    axes.bar_label(bars, [f'{leading(scores):.3f}' for _, scores in ranked], padding=3)
    axes.set(xlim=(0, 1.18), xlabel=LABELS[next(iter(ranked[0][1]))])
    axes.invert_yaxis()
    _label(axes, [match for match, _ in ranked], pictures)
    _title(axes, documents[0], pictures)
    return axes


def similarity(
    a: Document | Iterable[Document], b: Document | Iterable[Document] | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw the cosines of two sets of embeddings as a map of colours.

    Args:
        a: n documents with embeddings, such as `encode` gives: the rows.
        b: m of them: the columns; else those of `a`.
        ax: where to draw; else on a new figure.

    Returns:
        The axes, with an image of shape (n, m) of cosines from -1 to 1, as numbers too where they fit.

    Raises:
        InputError: there are no documents, one has no embedding, or they have different lengths.
        MissingExtraError: matplotlib is not installed.
    """
    rows = _documents(a, 'a')
    columns = rows if b is None else _documents(b, 'b')
    cosines = _cosines(_unit(rows, 'a'), _unit(columns, 'b'))
    slanted = CHARACTER * max(len(name_of(one, NAME)) for one in columns)
    axes = _axes(ax, BAR * min(len(rows), LABELLED) + TALL + slanted)
    drawn = axes.imshow(cosines, vmin=min(0.0, float(cosines.min())), vmax=1.0, aspect='auto', cmap='viridis')
    axes.figure.colorbar(drawn, ax=axes, label='cosine')
    if max(cosines.shape) <= NUMBERED:
        _number(axes, cosines, drawn)
    pictures = Pictures(_files(a) | _files(b))
    _label(axes, rows, pictures)
    _label(axes, columns, pictures, across=True)
    return axes


def _documents(value: Any, name: str) -> list[Document]:
    if isinstance(value, Document):
        return [value]
    documents = list(value) if isinstance(value, Iterable) else [value]
    if not documents or not all(isinstance(one, Document) for one in documents):
        got = type(documents[0]).__name__ if documents else 'no documents'
        raise InputError(f'{name} is or holds {got}: expected the documents that a task gave')
    return documents


def _files(value: Any) -> frozenset[str]:
    found: frozenset[str] = getattr(value, 'files', frozenset())
    return found


def _unit(documents: Sequence[Document], name: str) -> NDArray[np.float64]:
    for one in documents:
        if one._data.embedding is None:
            raise InputError(f'{name_of(one, NAME)!r} in {name} has no embedding: expected what encode gave')
    vectors = [np.asarray(one._data.embedding, np.float64).ravel() for one in documents]
    lengths = sorted({len(vector) for vector in vectors})
    if len(lengths) > 1:
        raise InputError(f'{name} has embeddings of {lengths[0]} and {lengths[1]} numbers: expected those of one model')
    return unit_rows(np.stack(vectors))


def _cosines(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    if a.shape[1] != b.shape[1]:
        raise InputError(
            f'the embeddings of a have {a.shape[1]} numbers and those of b {b.shape[1]}: expected those of one model'
        )
    return np.asarray(np.clip(a @ b.T, -1, 1), np.float64)


def _axes(ax: Axes | None, height: float) -> Axes:
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise missing_extra('a plot', error) from error
    return plt.subplots(figsize=(WIDE, height), layout='constrained')[1] if ax is None else ax


def _label(axes: Axes, documents: Sequence[Document], pictures: Pictures, across: bool = False) -> None:
    """Put names at the ticks, and images in place of those of images."""
    if len(documents) > LABELLED:
        return
    shown = [pictures.of(one, SIDE) for one in documents]
    names = ['' if picture else name_of(one, NAME) for one, picture in zip(documents, shown)]
    places = list(range(len(documents)))
    if across:
        axes.set_xticks(places, _plain(names), rotation=45, ha='right', rotation_mode='anchor')
    else:
        axes.set_yticks(places, _plain(names))
    for place, picture in zip(places, shown):
        if picture is not None and across:
            _put(axes, picture, (place, 0), ('data', 'axes fraction'), (0, -8), (0.5, 1))
        elif picture is not None:
            _put(axes, picture, (0, place), ('axes fraction', 'data'), (-8, 0), (1, 0.5))


def _title(axes: Axes, document: Document, pictures: Pictures) -> None:
    picture = pictures.of(document, 2 * SIDE)
    if picture is None:
        axes.set_title(_plain([name_of(document, NAME)])[0])
    else:
        _put(axes, picture, (0.5, 1), ('axes fraction', 'axes fraction'), (0, 6), (0.5, 0))


def _put(axes: Axes, picture: Any, place: Any, coordinates: Any, offset: Any, alignment: Any) -> None:
    """Put an image beside the axes, so many points from a place, with the point of its own that `alignment` says."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    axes.add_artist(
        AnnotationBbox(
            OffsetImage(np.asarray(picture), zoom=0.5),
            place,
            xycoords=coordinates,
            xybox=offset,
            boxcoords='offset points',
            box_alignment=alignment,
            frameon=False,
            annotation_clip=False,
        )
    )


def _number(axes: Axes, cosines: NDArray[np.float64], drawn: Any) -> None:
    for (row, column), cosine in np.ndenumerate(cosines):
        colour = 'black' if drawn.norm(cosine) > 0.6 else 'white'  # on viridis
        axes.text(column, row, f'{cosine:.2f}', ha='center', va='center', color=colour)


def _plain(names: Sequence[str]) -> list[str]:
    """Names with nothing that matplotlib takes for a formula."""
    return [name.replace('$', r'\$') for name in names]
