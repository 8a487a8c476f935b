"""VQA, visual question answering: a short answer to a question about an image."""

from __future__ import annotations

from itertools import repeat
from typing import Any, Iterable

from docarray import Document, DocumentArray

from .._inputs import IMAGE_FORMS, checked_text, documents, image_document, image_from_document, items, noting
from ..errors import InputError
from .base import Call, Task, accept_response, one_of, parameters_of_stream, without_response

START, END = 'Question:', 'Answer:'


class VqaTask(Task[DocumentArray]):
    """The answer in `tags['response']`. Models other than BLIP-2 encode the image instead."""

    name = 'vqa'
    requires = frozenset({'blip2'})
    fallback = 'encode'

    def prepare(self, *, image: Any = None, question: Any = None, docs: Any = None, **parameters: Any) -> Call:
        if one_of(image=image, docs=docs) == 'docs':
            if question is not None:
                raise InputError("question= goes with image=: documents in docs= bring theirs in tags['prompt']")
            return Call(documents(docs, _with_prompt), parameters)
        if question is None:
            raise InputError('question= is missing: ask something about the image')
        images = items(image, IMAGE_FORMS)
        if not isinstance(question, (list, tuple)):
            return Call(map(noting(_asked), images, repeat(prompt(question))), parameters)
        prompts = [prompt(one) for one in question]
        if not isinstance(image, (list, tuple)) or len(image) != len(prompts):
            raise InputError(f'{len(prompts)} questions: expected a list of as many images, or one question for all')
        return Call(map(noting(_asked), images, prompts), parameters)

    def prepare_stream(self, inputs: Iterable[Any], /, *, question: Any = None, **arguments: Any) -> Call:
        """Each input is an image for `question=`, a pair of an image and its question, or a document with a prompt."""
        parameters = parameters_of_stream(arguments, 'image', 'docs')
        if question is not None:
            return Call(map(noting(_asked), inputs, repeat(prompt(question))), parameters)
        return Call(map(noting(_paired), inputs), parameters)

    def accept(self, document: Document) -> Document:
        return accept_response(document)


def prompt(question: Any) -> str:
    """The question as the model takes it: from 'Question:' to 'Answer:', put around a plain one.

    Raises:
        InputError: it is no text, is empty, or has only one of the two.
    """
    if not isinstance(question, str):
        raise InputError(f'the question is a {type(question).__name__}: expected a str')
    text = checked_text(question).strip()
    starts, ends = text.startswith(START), text.endswith(END)
    inner = text[len(START) if starts else 0 : -len(END) if ends else None].strip()
    if not inner:
        raise InputError(f'the question is empty: expected e.g. {START} What is this? {END}')
    if starts != ends:
        raise InputError(
            f"the question must start with '{START}' and end with '{END}', or have neither: got {text[:80]!r}"
        )
    return text if starts else f'{START} {text} {END}'


def _asked(image: Any, text: str) -> Document:
    document = without_response(image_document(image))
    document.tags['prompt'] = text
    return document


def _with_prompt(asked: Any) -> Document:
    document = without_response(image_from_document(asked))
    if 'prompt' not in document.tags:
        raise InputError(f"document {document.id} has no question: put it in tags['prompt']")
    document.tags['prompt'] = prompt(document.tags['prompt'])
    return document


def _paired(value: Any) -> Document:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return _asked(value[0], prompt(value[1]))
    if isinstance(value, Document):
        return _with_prompt(value)
    raise InputError(f'got a {type(value).__name__}: expected (image, question), or give question= for all images')
