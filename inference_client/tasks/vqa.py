"""VQA, visual question answering: a short answer to a question about an image."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, Iterable, Iterator

from .._inputs import IMAGE_FORMS, checked_text, documents, each, image_document, image_from_document
from ..errors import InputError
from .base import Call, Task, accept_response, one_of, without_response

if TYPE_CHECKING:
    from docarray import Document

START, END = 'Question:', 'Answer:'


class VqaTask(Task):
    """The answer in `tags['response']`. Models other than BLIP-2 encode the image instead."""

    name = 'vqa'
    requires = frozenset({'blip2'})
    fallback = 'encode'

    def prepare(self, *, image: Any = None, question: Any = None, docs: Any = None, **parameters: Any) -> Call:
        if one_of(image=image, docs=docs) == 'docs':
            if question is not None:
                raise InputError("question= goes with image=: documents in docs= bring theirs in tags['prompt']")
            return Call(_with_prompt(without_response(documents(docs, image_from_document))), parameters)
        if question is None:
            raise InputError('question= is missing: ask something about the image')
        images = each(image, image_document, IMAGE_FORMS)
        if not isinstance(question, (list, tuple)):
            return Call(_asked(images, repeat(prompt(question))), parameters)
        prompts = [prompt(one) for one in question]
        if not isinstance(image, (list, tuple)) or len(image) != len(prompts):
            raise InputError(f'{len(prompts)} questions: expected a list of as many images, or one question for all')
        return Call(_asked(images, prompts), parameters)

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


def _asked(images: Iterable[Document], prompts: Iterable[str]) -> Iterator[Document]:
    for document, text in zip(images, prompts):
        document.tags['prompt'] = text
        yield document


def _with_prompt(asked: Iterable[Document]) -> Iterator[Document]:
    for document in asked:
        if not document.tags or 'prompt' not in document.tags:
            raise InputError(f"document {document.id} has no question: put it in tags['prompt']")
        document.tags['prompt'] = prompt(document.tags['prompt'])
        yield document
