"""The four tasks as commands: inputs as arguments, JSON lines out."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any, Iterable, Iterator

import click

from .._options import NAMES as OPTIONS
from .._plugins import plugins
from .options import MODEL, find_model, parse_parameters, with_options

ALLOW_PRIVATE = click.option(
    '--allow-private', is_flag=True, help='Fetch images from private addresses too, such as http://127.0.0.1.'
)
OUTPUT = click.option('--output', type=click.Path(dir_okay=False), help='Write there in place of standard output.')


@click.command()
@click.argument('inputs', nargs=-1)
@click.option('--text', 'texts', multiple=True, help='A text, whatever it looks like. May be repeated.')
@click.option('--image', 'images', multiple=True, help='An image: path, URL or data URI. May be repeated.')
@click.option(
    '--output',
    type=click.Path(dir_okay=False),
    help='Write there: an array if it ends in .npy, else JSON lines.',
)
@ALLOW_PRIVATE
@with_options(MODEL)
def encode(
    inputs: tuple[str, ...],
    texts: tuple[str, ...],
    images: tuple[str, ...],
    output: str | None,
    allow_private: bool,
    **options: Any,
) -> None:
    """Embed texts and images.

    INPUTS are texts, or images where they have the file name of one; - reads a text from each line of
    standard input.

    \b
    Example: inference-client encode 'hello world' photo.jpg --output embeddings.npy
    """
    if not (inputs or texts or images):
        raise click.UsageError('nothing to encode: give texts or images')
    from .._inputs import any_document, image_document, text_document

    def documents() -> Iterator[Any]:
        yield from map(any_document, _texts_and_images(_lines(inputs), allow_private))
        yield from map(text_document, texts)
        yield from map(image_document, _images(images, allow_private))

    answered = _run('encode', options, docs=documents())
    if output and output.endswith('.npy'):
        import numpy as np

        array = np.stack([document.embedding for document in answered])
        with _writing(output):
            np.save(output, array)
        click.echo(f'wrote {array.dtype} of shape {array.shape} to {output}', err=True)
    else:
        _write(({'input': _shown(d), 'embedding': d.embedding.tolist()} for d in answered), output)


@click.command()
@click.argument('reference')
@click.argument('candidates', nargs=-1, required=True)
@OUTPUT
@ALLOW_PRIVATE
@with_options(MODEL)
def rank(reference: str, candidates: tuple[str, ...], output: str | None, allow_private: bool, **options: Any) -> None:
    """Order CANDIDATES by how well they go with REFERENCE, best first.

    Each is a text, or an image where it has the file name of one.

    \b
    Example: inference-client rank photo.jpg 'a photo of a cat' 'a photo of a rocket'
    """
    first, *others = _texts_and_images((reference, *candidates), allow_private)
    answered = _run('rank', options, reference=first, candidates=others)
    _write(
        (
            {
                'input': _shown(match),
                **{name: score.value for name, score in sorted(match.scores.items())},
            }
            for match in answered[0].matches
        ),
        output,
    )


@click.command()
@click.argument('images', nargs=-1, required=True)
@OUTPUT
@ALLOW_PRIVATE
@with_options(MODEL)
def caption(images: tuple[str, ...], output: str | None, allow_private: bool, **options: Any) -> None:
    """Describe IMAGES.

    \b
    Example: inference-client caption photo.jpg
    """
    _write(map(_answer, _run('caption', options, image=_images(images, allow_private))), output)


@click.command()
@click.argument('question')
@click.argument('images', nargs=-1, required=True)
@OUTPUT
@ALLOW_PRIVATE
@with_options(MODEL)
def vqa(question: str, images: tuple[str, ...], output: str | None, allow_private: bool, **options: Any) -> None:
    """Answer QUESTION about each of IMAGES.

    \b
    Example: inference-client vqa 'Is it a cat or a dog?' photo.jpg
    """
    _write(map(_answer, _run('vqa', options, image=_images(images, allow_private), question=question)), output)


def _run(task: str, options: dict[str, Any], **inputs: Any) -> Any:
    settings = {name: options.pop(name) for name in ('batch_size', 'timeout', 'strict')}
    parameters = parse_parameters(options.pop('parameters'))
    taken = sorted(_argument_names(task) & parameters.keys())
    if taken:
        raise click.BadParameter(f'{taken[0]!r} has an option or argument of its own', param_hint="'--parameter'")
    with find_model(**options) as model:
        return model.run(task, **inputs, **settings, **parameters)


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


def _images(values: Iterable[str], allow_private: bool) -> list[Any]:
    from .._inputs import Image

    return [Image(value, allow_private) for value in values]


def _shown(document: Any) -> str | None:
    return document.uri or document.text or None


def _answer(document: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {'input': _shown(document)}
    if 'prompt' in document.tags:
        shown['question'] = document.tags['prompt']
    if document.embedding is not None:  # the fallback
        return {**shown, 'embedding': document.embedding.tolist()}
    return {**shown, 'response': document.tags['response']}


def _write(rows: Iterable[dict[str, Any]], output: str | None) -> None:
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    if output is None:
        for line in lines:
            click.echo(line)
        return
    with _writing(output):
        Path(output).write_text(''.join(line + '\n' for line in lines), encoding='utf-8')


@contextlib.contextmanager
def _writing(output: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.FileError(output, error.strerror or str(error)) from error
