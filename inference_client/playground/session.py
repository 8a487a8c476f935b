"""What the playground does, without the page: inputs in, HTML and code out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Sequence

import numpy as np
from docarray import Document

from .._base_client import EMBEDDED
from .._documents import copy_with, new_document
from .._html import html_of
from .._images import MAX_PIXELS, check_encoded, thumbnail
from .._inputs import Image, Text
from .._scores import unit_rows
from ..errors import InferenceError, InputError, UnsupportedTaskError
from .snippets import Ask, Value, python, shell

if TYPE_CHECKING:
    from ..client import Client
    from ..model import Model

TASKS = ('encode', 'rank', 'caption', 'vqa')
INPUTS = 100  # of one run
KEPT = 200  # embeddings of a session
SIDE = 112  # pixels of an image that is kept
ASKING = 10.0  # seconds to wait until a model tells what it can do


@dataclass(frozen=True)
class Answer:
    """What a run came to.

    Attributes:
        html: the results, or one sentence on what was wrong.
        python: a program that does the same.
        shell: a command that does the same.
        kept: what the session has encoded so far, with the model that did it.
    """

    html: str
    python: str = ''
    shell: str = ''
    kept: tuple[str, tuple[Document, ...]] = ('', ())


class Playground:
    """Runs tasks on models by name or URL.

    Args:
        client: finds the models; its token is in no answer.
        model: name or URL of the one that is meant where none is named; else the embedded one.
        api_endpoint: the model directory that the code names, if it was given.
    """

    def __init__(self, client: Client, model: str | None = None, api_endpoint: str | None = None) -> None:
        self.default = model or EMBEDDED
        self._client = client
        self._api_endpoint = api_endpoint

    def describe(self, name: str) -> str:
        """What a model can do, as HTML, or why that is not known."""
        try:
            model = self._model(name)
            found = model.capabilities(ASKING)
        except InferenceError as error:
            return said(error)
        if found.tasks is None:
            return _paragraph(f'{model.url} does not tell what it can do: each task is tried.')
        lacks = [task for task in TASKS if task not in found.tasks]
        size = f'; embeddings have {found.embedding_size} numbers' if found.embedding_size else ''
        does = ', '.join(task for task in TASKS if task in found.tasks) or 'none of these tasks'
        return _paragraph(f'{model.url} does {does}{size}.' + (f' It lacks {", ".join(lacks)}.' if lacks else ''))

    def encode(self, name: str, image: str | None, texts: str, kept: Any) -> Answer:
        """Embed an image and texts, one a line, and find what is nearest to the first of them."""
        try:
            inputs = [*_images([image]), *_texts(texts)]
            ask, model, answered = self._run(name, 'encode', inputs)
        except InferenceError as error:
            return Answer(said(error), kept=kept)
        before = _others(kept[1], answered) if kept[0] == model.url else ()
        first, *others = answered
        html = html_of(answered) + _neighbours(first, [*others, *before])
        now = (model.url, (*before, *map(_small, answered))[-KEPT:])
        return replace(self._answer(html, ask, model, name), kept=now)

    def rank(self, name: str, image: str | None, text: str, candidates: str, images: Sequence[str] | None) -> Answer:
        """Order candidates, texts one a line and images, by an image, or else by a text."""
        try:
            reference = [*_images([image]), *([Text(text.strip())] if text.strip() else [])][:1]
            if not reference:
                raise InputError('there is no reference: give an image or a text')
            others = [*_texts(candidates), *_images(images or ())]
            if not others:
                raise InputError('there are no candidates: give texts, one a line, or images')
            ask, model, answered = self._run(name, 'rank', reference, others)
        except InferenceError as error:
            return Answer(said(error))
        return self._answer(html_of(answered), ask, model, name)

    def caption(self, name: str, image: str | None) -> Answer:
        """Describe an image."""
        return self._of_image(name, 'caption', image)

    def vqa(self, name: str, image: str | None, question: str) -> Answer:
        """Answer a question about an image."""
        return self._of_image(name, 'vqa', image, question)

    def _of_image(self, name: str, task: str, image: str | None, question: str = '') -> Answer:
        try:
            if image is None:
                raise InputError('there is no image: drop one, or choose a file')
            ask, model, answered = self._run(name, task, _images([image]), question=question)
        except InferenceError as error:
            return Answer(said(error))
        return self._answer(html_of(answered), ask, model, name)

    def _model(self, name: str) -> Model:
        return self._client.get_model(name.strip() or self.default)

    def _run(
        self, name: str, task: str, inputs: Sequence[Value], candidates: Sequence[Value] = (), question: str = ''
    ) -> tuple[Ask, Model, Any]:
        if not inputs:
            raise InputError('there is nothing to encode: give an image, or texts, one a line')
        if len(inputs) + len(candidates) > INPUTS:
            raise InputError(f'there are {len(inputs) + len(candidates)} inputs: expected {INPUTS} at most')
        model = self._model(name)
        tasks = model.capabilities(ASKING).tasks
        if tasks is not None and task not in tasks:
            raise UnsupportedTaskError(f'{model.url} lacks {task}: it offers {", ".join(sorted(tasks)) or "nothing"}')
        documents = list(map(_document, inputs))
        if candidates:
            documents[0].matches = list(map(_document, candidates))
        if question or task == 'vqa':
            documents[0].tags['prompt'] = question
        answered = model.run(task, docs=documents, strict=True)
        return Ask(task, _named(inputs), _named(candidates), question), model, answered

    def _answer(self, html: str, ask: Ask, model: Model, name: str) -> Answer:
        asked = name.strip() or self.default
        url = model.spec.endpoints.get('http', model.url)
        code = python(ask, asked, self._api_endpoint)
        return Answer(html, code, shell(ask, asked, url, bool(model._options.token), self._api_endpoint))


def said(error: Exception) -> str:
    """An error as one sentence of HTML."""
    return f'<p role="alert">{escape(" ".join(str(error).split()))}</p>'


def _paragraph(text: str) -> str:
    return f'<p>{escape(text)}</p>'


def _texts(lines: str) -> list[Value]:
    return [Text(line.strip()) for line in lines.splitlines() if line.strip()]


def _images(paths: Iterable[str | None]) -> list[Value]:
    return [Image(path) for path in paths if path]


def _document(value: Value) -> Document:
    """With an image's content and no more of its path than its name."""
    if isinstance(value, Text):
        return new_document(text=value.value)
    path = Path(value.value)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f'{path.name!r} is no longer there: uploads are kept for an hour; drop it again') from error
    check_encoded(content, repr(path.name))
    return new_document(blob=content, uri=path.name)


def _named(values: Sequence[Value]) -> list[Value]:
    return [Image(Path(one.value).name) if isinstance(one, Image) else one for one in values]


def _others(kept: Iterable[Document], answered: Sequence[Document]) -> list[Document]:
    """Without what was encoded again, which would be its own nearest neighbour, or by another model at the same URL."""
    size = answered[0].embedding.shape
    alike = [one for one in kept if one.embedding.shape == size]
    return [one for one in alike if not any(np.array_equal(one.embedding, new.embedding) for new in answered)]


def _small(document: Document) -> Document:
    """What is kept of an answer: its embedding, and a small copy of its image."""
    if document._data.text:
        return document
    picture, _ = thumbnail(document._data.blob, SIDE, MAX_PIXELS)
    return copy_with(document, blob=None, tensor=np.asarray(picture))


def _neighbours(document: Document, others: Sequence[Document]) -> str:
    """Others by the cosines of their embeddings with that of one, best first."""
    if not others:
        return _paragraph('Encode more: what is nearest among all of this session is shown here.')
    unit = unit_rows(np.stack([one.embedding for one in (document, *others)]))
    cosines = unit[1:] @ unit[0]
    matches = [copy_with(others[place], embedding=None) for place in np.argsort(-cosines, kind='stable')]
    for match, cosine in zip(matches, sorted(cosines, reverse=True)):
        match.scores['clip_score_cosine'].value = float(cosine)
    return '<h3>Nearest</h3>' + html_of([copy_with(document, embedding=None, matches=matches)])
