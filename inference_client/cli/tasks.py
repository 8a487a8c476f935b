"""The four tasks as commands: inputs as arguments or lines, JSON lines out, as they come."""

from __future__ import annotations

import inspect
import itertools
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, Iterable, Iterator

import click

from .._options import NAMES as OPTIONS
from .._plugins import plugins
from .completion import files
from .options import MODEL, find_model, parse_parameters, with_options
from .output import shown, write_array, write_lines

if TYPE_CHECKING:
    from ..model import Model

SETTINGS = ('batch_size', 'prefetch', 'timeout', 'strict', 'on_item_error', 'journal', 'show_progress')
ALLOW_PRIVATE = click.option(
    '--allow-private', is_flag=True, help='Fetch images from private addresses too, such as http://127.0.0.1.'
)
OUTPUT = click.option('--output', type=click.Path(dir_okay=False), help='Write there in place of standard output.')
JSON = click.option('--json', 'as_json', is_flag=True, help='JSON lines on a terminal, too, as in files and pipes.')


@click.command()
@click.argument('inputs', nargs=-1, shell_complete=files)
@click.option('--text', 'texts', multiple=True, help='A text, whatever it looks like. May be repeated.')
@click.option(
    '--image', 'images', multiple=True, shell_complete=files, help='An image: path, URL or data URI. May be repeated.'
)
@click.option(
    '--output',
    type=click.Path(dir_okay=False),
    help='Write there: an array if it ends in .npy, else JSON lines.',
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

    INPUTS are texts, or images where they have the file name of one; - reads a text from each line of
    standard input.

    \b
    Example: inference-client encode 'hello world' photo.jpg --output embeddings.npy
    Example: inference-client encode - --journal run.journal --progress --output embeddings.jsonl < texts.txt
    """
    if not (inputs or texts or images):
        raise click.UsageError('nothing to encode: give texts or images')
    from .._inputs import Text

    items = itertools.chain(
        _texts_and_images(_lines(inputs), allow_private), map(Text, texts), _images(images, allow_private)
    )
    answers = _answers('encode', _counted(items, inputs), options, output)
    if output and output.endswith('.npy'):
        return write_array(answers, output)
    return write_lines(answers, _embedding, output, as_json)


@click.command()
@click.argument('reference', shell_complete=files)
@click.argument('candidates', nargs=-1, required=True, shell_complete=files)
@OUTPUT
@JSON
@ALLOW_PRIVATE
@with_options(MODEL)
def rank(
    reference: str,
    candidates: tuple[str, ...],
    output: str | None,
    as_json: bool,
    allow_private: bool,
    **options: Any,
) -> int:
    """Order CANDIDATES by how well they go with REFERENCE, best first. A terminal shows bars.

    Each is a text, or an image where it has the file name of one.

    \b
    Example: inference-client rank photo.jpg 'a photo of a cat' 'a photo of a rocket'
    """
    first, *others = _texts_and_images((reference, *candidates), allow_private)
    return write_lines(_answers('rank', [(first, others)], options, output), _ranking, output, as_json)


@click.command()
@click.argument('images', nargs=-1, required=True, shell_complete=files)
@OUTPUT
@JSON
@ALLOW_PRIVATE
@with_options(MODEL)
def caption(images: tuple[str, ...], output: str | None, as_json: bool, allow_private: bool, **options: Any) -> int:
    """Describe IMAGES: paths, URLs or data URIs; - reads one from each line of standard input.

    \b
    Example: inference-client caption photo.jpg
    Example: find . -name '*.jpg' | inference-client caption - --journal run.journal --on-item-error return
    """
    items = _counted(_images(_lines(images), allow_private), images)
    return write_lines(_answers('caption', items, options, output), _answer, output, as_json)


@click.command()
@click.argument('question')
@click.argument('images', nargs=-1, required=True, shell_complete=files)
@OUTPUT
@JSON
@ALLOW_PRIVATE
@with_options(MODEL)
def vqa(
    question: str, images: tuple[str, ...], output: str | None, as_json: bool, allow_private: bool, **options: Any
) -> int:
    """Answer QUESTION about each of IMAGES; - reads one from each line of standard input.

    \b
    Example: inference-client vqa 'Is it a cat or a dog?' photo.jpg
    """
    items = _counted(_images(_lines(images), allow_private), images)
    return write_lines(_answers('vqa', items, options, output, question=question), _answer, output, as_json)


def _answers(
    task: str, items: Iterable[Any], options: dict[str, Any], output: str | None, **inputs: Any
) -> Iterator[Any]:
    """The answers as they come. What is wrong with the options is found at once."""
    from .._policies import RetryPolicy

    wait = options.pop('wait')
    settings = {name: options.pop(name) for name in SETTINGS}
    if settings['show_progress'] is None:
        settings['show_progress'] = 'auto' if output or _is_file(sys.stdout) else False
    settings['retry'] = RetryPolicy(attempts=options.pop('retries') + 1)
    parameters = parse_parameters(options.pop('parameters'))
    taken = sorted(_argument_names(task) & parameters.keys())
    if taken:
        raise click.BadParameter(f'{taken[0]!r} has an option or argument of its own', param_hint="'--parameter'")
    model = find_model(**options)
    return _closing(model, model.stream(task, items, **inputs, **settings, **parameters), wait)


def _closing(model: Model, answers: Iterator[Any], wait: float | None) -> Iterator[Any]:
    with model:
        if wait is not None:
            model.wait_until_ready(wait)
        yield from answers


def _is_file(stream: Any) -> bool:
    """Whether it leads to a file. What goes to a terminal, or to a program that may write to one, mixes with a bar."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # it has been replaced by one without a file
        return False


def _argument_names(task: str) -> set[str]:
    """Keywords that cannot be parameters, since the call has arguments of these names."""
    arguments = inspect.signature(plugins().get('task', task).prepare).parameters.values()
    return {*OPTIONS, *(one.name for one in arguments if one.kind is not one.VAR_KEYWORD)}


def _lines(inputs: Iterable[str]) -> Iterator[str]:
    for value in inputs:
        if value == '-':
            yield from (line.rstrip('\r\n') for line in sys.stdin)
        else:
            yield value


def _texts_and_images(values: Iterable[str], allow_private: bool) -> Iterator[Any]:
    from .._fetch import looks_like_image
    from .._inputs import Image

    for value in values:
        yield Image(value, allow_private) if looks_like_image(value) else value


def _images(values: Iterable[str], allow_private: bool) -> Iterator[Any]:
    from .._inputs import Image

    return (Image(value, allow_private) for value in values)


def _counted(items: Iterable[Any], given: Iterable[str]) -> Iterable[Any]:
    """The items as a list, whose length a progress bar can tell, unless some are still to be read."""
    return items if '-' in given else list(items)


def _embedding(document: Any) -> Iterator[dict[str, Any]]:
    yield {'input': shown(document), 'embedding': document.embedding.tolist()}


def _ranking(document: Any) -> Iterator[dict[str, Any]]:
    for match in document.matches:
        yield {'input': shown(match), **{name: score.value for name, score in sorted(match.scores.items())}}


def _answer(document: Any) -> Iterator[dict[str, Any]]:
    row: dict[str, Any] = {'input': shown(document)}
    if 'prompt' in document.tags:
        row['question'] = document.tags['prompt']
    if document.embedding is not None:  # the fallback
        yield {**row, 'embedding': document.embedding.tolist()}
    else:
        yield {**row, 'response': document.tags['response']}
