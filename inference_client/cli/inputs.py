"""What a task's command is given to work on: arguments, lines of standard input, files by pattern, rows of Parquet."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Iterable, Iterator

import click

if TYPE_CHECKING:
    from ..parquet import Table

TABLE = (
    click.option(
        '--input', 'table', metavar='PARQUET', help='Work on the rows of Parquet files: path, pattern or URL.'
    ),
    click.option('--image-column', metavar='NAME', help='Its column with images: bytes, paths or URLs.'),
    click.option(
        '--keep',
        multiple=True,
        metavar='NAME',
        help='A column to carry along to Parquet or JSON lines. May be repeated.',
    ),
)
TEXT_COLUMN = click.option('--text-column', metavar='NAME', help='Its column with texts.')
NO_CANDIDATES = 'give REFERENCE and CANDIDATES: what to rank by, and at least one to rank'
ONE_SOURCE = '--input is all that is worked on: leave the arguments out'
TABLE_NAMES = ('table', 'image_column', 'text_column', 'keep')


def table_from(options: dict[str, Any], allow_private: bool, **more: Any) -> Table | None:
    """The table that the options of `TABLE` name, which are taken out of all options; None without `--input`."""
    path, image, text, keep = (options.pop(name, None) for name in TABLE_NAMES)
    if path is None:
        if image or text or keep or any(isinstance(one, str) for one in more.values()):
            raise click.UsageError('a column is one of --input: give a Parquet file')
        return None
    if (text is None) == (image is None):
        raise click.UsageError('--input needs the name of one column to work on, such as --image-column')
    from ..parquet import Table

    return Table(path, text=text, image=image, keep=keep, allow_private=allow_private, **more)


def lines(inputs: Iterable[str]) -> Iterator[str]:
    """The arguments, with lines of standard input in place of `-`, and files in place of patterns of images."""
    from .._fetch import looks_like_image
    from .._files import files

    for value in inputs:
        if value == '-':
            yield from (line.rstrip('\r\n') for line in sys.stdin)
        elif looks_like_image(value):
            yield from files(value)
        else:
            yield value


def is_several(value: str) -> bool:
    """Whether an argument may stand for several inputs; how many there are does not matter."""
    from .._fetch import looks_like_image
    from .._files import is_pattern

    return value == '-' or (looks_like_image(value) and is_pattern(value))


def texts_and_images(values: Iterable[str], allow_private: bool) -> Iterator[Any]:
    """Images of what has the file name of one; all else is text."""
    from .._fetch import looks_like_image
    from .._inputs import Image

    for value in values:
        yield Image(value, allow_private) if looks_like_image(value) else value


def images_of(values: Iterable[str], allow_private: bool) -> Iterator[Any]:
    """Images of names, patterns and lines of standard input."""
    from .._files import files
    from .._inputs import Image

    for value in values:
        for name in lines((value,)) if value == '-' else files(value):
            yield Image(name, allow_private)


def images_or_rows(images: tuple[str, ...], allow_private: bool, options: dict[str, Any], **columns: Any) -> Any:
    """What a task on images works on: the images that are named, or rows."""
    items = table_from(options, allow_private, **columns)
    if (items is None) == (not images):
        raise click.UsageError('give IMAGES' if items is None else ONE_SOURCE)
    return counted(images_of(images, allow_private), images) if items is None else items


def names_file(value: str) -> bool:
    """Whether it can be no question: a file, or a word that ends as names of images do."""
    from .._fetch import looks_like_image

    # Not Path.is_file(), for which a long question is an OSError.
    return os.path.isfile(value) or (looks_like_image(value) and not any(map(str.isspace, value)))  # noqa: PTH113


def counted(items: Iterable[Any], given: Iterable[str]) -> Iterable[Any]:
    """The items as a list, whose length a progress bar can tell, unless some are still to be read."""
    return items if '-' in given else list(items)
