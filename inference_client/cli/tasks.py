"""The four tasks as commands: inputs as arguments, lines or rows; JSON lines, words or Parquet out, as they come."""

from __future__ import annotations

import itertools
from typing import Any, Iterator

import click

from .completion import files
from .inputs import (
    NO_CANDIDATES,
    ONE_SOURCE,
    TABLE,
    TEXT_COLUMN,
    counted,
    images_of,
    images_or_rows,
    is_several,
    lines,
    names_file,
    table_from,
    texts_and_images,
)
from .job import begun
from .options import MODEL, with_options
from .output import shown

ALLOW_PRIVATE = click.option(
    '--allow-private', is_flag=True, help='Fetch images from private addresses too, such as http://127.0.0.1.'
)
OUTPUT = click.option(
    '--output',
    type=click.Path(dir_okay=False),
    help='Write there in place of standard output: Parquet if it ends in .parquet, else JSON lines.',
)
JSON = click.option('--json', 'as_json', is_flag=True, help='JSON lines on a terminal, too, as in files and pipes.')


@click.command()
@click.argument('inputs', nargs=-1, shell_complete=files)
@click.option('--text', 'texts', multiple=True, help='A text, whatever it looks like. May be repeated.')
@click.option(
    '--image',
    'images',
    multiple=True,
    shell_complete=files,
    help='An image: path, pattern, URL or data URI. May be repeated.',
)
@with_options((*TABLE, TEXT_COLUMN))
@click.option(
    '--output',
    type=click.Path(dir_okay=False),
    help='Write there: Parquet if it ends in .parquet, an array if in .npy, else JSON lines.',
)
@JSON
@ALLOW_PRIVATE
@with_options(MODEL)
def encode(
    inputs: tuple[str, ...],
    texts: tuple[str, ...],
    images: tuple[str, ...],
    output: str | None,
    as_json: bool,
    allow_private: bool,
    **options: Any,
) -> int:
    """Embed texts and images. A terminal shows sizes and norms of the embeddings, --json the embeddings.

    INPUTS are texts, or images where they have the file name of one, with * and ? for several files; - reads a
    text from each line of standard input.

    \b
    Example: inference-client encode 'hello world' photo.jpg --output embeddings.npy
    Example: inference-client encode - --journal run.journal --progress --output embeddings.jsonl < texts.txt
    Example: inference-client encode 's3://bucket/photos/*.jpg' --output photos.parquet --on-item-error return
    Example: inference-client encode --input posts.parquet --text-column body --keep id --output vectors.parquet
    """
    from .._inputs import Text

    if options['keep'] and output and output.endswith('.npy'):
        raise click.UsageError('--keep goes with Parquet or JSON lines: an array has no place for other columns')
    items: Any = table_from(options, allow_private)
    if (items is None) == (not (inputs or texts or images)):
        raise click.UsageError('nothing to encode: give texts or images' if items is None else ONE_SOURCE)
    if items is None:
        given = itertools.chain(
            texts_and_images(lines(inputs), allow_private), map(Text, texts), images_of(images, allow_private)
        )
        items = counted(given, inputs)
    return begun('encode', items, options, output, as_json).write(_embedding)


@click.command()
@click.argument('values', nargs=-1, metavar='REFERENCE CANDIDATES...', shell_complete=files)
@with_options((*TABLE, TEXT_COLUMN))
@click.option('--candidates-column', metavar='NAME', help='Its column with lists of texts, in place of CANDIDATES.')
@OUTPUT
@JSON
@ALLOW_PRIVATE
@with_options(MODEL)
def rank(
    values: tuple[str, ...],
    candidates_column: str | None,
    output: str | None,
    as_json: bool,
    allow_private: bool,
    **options: Any,
) -> int:
    """Order CANDIDATES by how well they go with REFERENCE.

    The best comes first; a terminal shows bars. Each is a text, or an image where it has the file name of one. A
    reference such as '*.jpg' is each of the files. With --input, its rows are the references, and all arguments are
    candidates.

    \b
    Example: inference-client rank photo.jpg 'a photo of a cat' 'a photo of a rocket'
    Example: inference-client rank 'photos/*.jpg' 'a cat' 'a dog' --output ranked.parquet
    """
    if options['table'] is None:
        table_from(options, allow_private, candidates=candidates_column)
        if len(values) < 2:
            raise click.UsageError(NO_CANDIDATES)
        references = texts_and_images(lines(values[:1]), allow_private)
        items: Any = [(one, list(texts_and_images(values[1:], allow_private))) for one in references]
        several = is_several(values[0])
    else:
        if bool(values) == bool(candidates_column):
            raise click.UsageError('give CANDIDATES for all rows, or --candidates-column')
        candidates = candidates_column or list(texts_and_images(values, allow_private))
        items = table_from(options, allow_private, candidates=candidates)
        several = True
    return begun('rank', items, options, output, as_json).write(_ranking_of_several if several else _ranking)


@click.command()
@click.argument('images', nargs=-1, shell_complete=files)
@with_options(TABLE)
@OUTPUT
@JSON
@ALLOW_PRIVATE
@with_options(MODEL)
def caption(images: tuple[str, ...], output: str | None, as_json: bool, allow_private: bool, **options: Any) -> int:
    """Describe IMAGES.

    Each is a path, a pattern such as '*.jpg', a URL or a data URI; - reads one from each line of standard input.

    \b
    Example: inference-client caption photo.jpg
    Example: find . -name '*.jpg' | inference-client caption - --journal run.journal --on-item-error return
    Example: inference-client caption --input photos.parquet --image-column image --output captions.parquet
    """
    items = images_or_rows(images, allow_private, options)
    return begun('caption', items, options, output, as_json).write(_answer)


@click.command()
@click.argument('question', required=False)
@click.argument('images', nargs=-1, shell_complete=files)
@with_options(TABLE)
@click.option('--question-column', metavar='NAME', help='Its column with questions, in place of QUESTION.')
@OUTPUT
@JSON
@ALLOW_PRIVATE
@with_options(MODEL)
def vqa(
    question: str | None,
    images: tuple[str, ...],
    question_column: str | None,
    output: str | None,
    as_json: bool,
    allow_private: bool,
    **options: Any,
) -> int:
    """Answer QUESTION about each of IMAGES.

    Each is a path, a pattern such as '*.jpg', a URL or a data URI; - reads one from each line of standard input.

    \b
    Example: inference-client vqa 'Is it a cat or a dog?' photo.jpg
    Example: inference-client vqa 'What is it?' --input photos.parquet --image-column image --output answers.parquet
    """
    if question is not None and names_file(question):
        raise click.UsageError(f'{question!r} is the name of a file: give QUESTION first, then IMAGES')
    items = images_or_rows(images, allow_private, options, question=question_column)
    if (question is None) == (question_column is None):
        raise click.UsageError('give one QUESTION, or --question-column')
    asked = {} if question is None else {'question': question}
    return begun('vqa', items, options, output, as_json, **asked).write(_answer)


def _embedding(document: Any) -> Iterator[dict[str, Any]]:
    yield {'input': shown(document), 'embedding': document.embedding.tolist()}


def _ranking(document: Any) -> Iterator[dict[str, Any]]:
    for match in document.matches:
        yield {'input': shown(match), **{name: score.value for name, score in sorted(match.scores.items())}}


def _ranking_of_several(document: Any) -> Iterator[dict[str, Any]]:
    return ({'reference': shown(document), **row} for row in _ranking(document))


def _answer(document: Any) -> Iterator[dict[str, Any]]:
    row: dict[str, Any] = {'input': shown(document)}
    if 'prompt' in document.tags:
        row['question'] = document.tags['prompt']
    if document.embedding is not None:  # the fallback
        yield {**row, 'embedding': document.embedding.tolist()}
    else:
        yield {**row, 'response': document.tags['response']}
