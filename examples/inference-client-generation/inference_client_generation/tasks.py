"""The tasks: a prompt goes in `tags['prompt']`; a text comes back in the tags, images in the matches."""

from __future__ import annotations

import copy
from typing import Any, Iterable, Mapping

from docarray import Document, DocumentArray

from inference_client import Call, InputError, Task
from inference_client.inputs import documents, each, image_document, image_from_document, text_document
from inference_client.tasks.base import not_answered, one_of

ANSWERS = ('generated_text', 'response')  # where servers put a text
AN_IMAGE = 'an image in any form that model.encode takes'


class GenerateTask(Task[DocumentArray]):
    """A text for each prompt, in `tags['response']`."""

    name = 'generate'

    def prepare(
        self,
        *,
        prompt: Any = None,
        prompts: Any = None,
        docs: Any = None,
        parameters: Any = None,
        **more: Any,
    ) -> Call:
        given = one_of(prompt=prompt, prompts=prompts, docs=docs)
        if given == 'docs':
            return Call(documents(docs, _with_prompt), _merged(parameters, more))
        return Call(each(prompt if given == 'prompt' else prompts, _prompted, 'a str'), _merged(parameters, more))

    def prepare_stream(self, inputs: Iterable[Any], /, *, parameters: Any = None, **more: Any) -> Call:
        """Each input is a prompt, or a document with one."""
        return Call(each(iter(inputs), _prompted, 'a str'), _merged(parameters, more))

    def accept(self, document: Document) -> Document:
        texts = [document.tags[name] for name in ANSWERS if isinstance(document.tags.get(name), str)]
        if not texts:
            raise not_answered("text in tags['generated_text'] or tags['response']")
        document.tags['response'] = next(filter(None, texts), '')  # a model may end at once
        return document


class TextToImageTask(Task[DocumentArray]):
    """Images for each prompt, in the `.blob` or `.tensor` of its matches."""

    name = 'text_to_image'

    @property
    def endpoint(self) -> str:
        return '/text-to-image'

    def prepare(self, *, prompt: Any = None, docs: Any = None, parameters: Any = None, **more: Any) -> Call:
        if one_of(prompt=prompt, docs=docs) == 'docs':
            return Call(documents(docs, _with_prompt), _merged(parameters, more))
        return Call(each(prompt, _prompted, 'a str'), _merged(parameters, more))

    def prepare_stream(self, inputs: Iterable[Any], /, *, parameters: Any = None, **more: Any) -> Call:
        """Each input is a prompt, or a document with one."""
        return Call(each(iter(inputs), _prompted, 'a str'), _merged(parameters, more))

    def accept(self, document: Document) -> Document:
        return _accept_images(document)


class ImageToImageTask(Task[DocumentArray]):
    """Images made of an image and a prompt, in the `.blob` or `.tensor` of its matches."""

    name = 'image_to_image'

    @property
    def endpoint(self) -> str:
        return '/image-to-image'

    def prepare(
        self,
        *,
        image: Any = None,
        prompt: Any = None,
        negative_prompt: Any = None,
        docs: Any = None,
        parameters: Any = None,
        **more: Any,
    ) -> Call:
        if one_of(image=image, docs=docs) == 'docs':
            if prompt is not None or negative_prompt is not None:
                raise InputError("prompt= goes with image=: documents in docs= bring theirs in tags['prompt']")
            return Call(documents(docs, _image_with_prompt), _merged(parameters, more))
        if prompt is None:
            raise InputError('prompt= is missing: say what is to become of the image')
        tags = _tags(prompt, negative_prompt)
        return Call(each(image, lambda one: _tagged(image_document(one), tags), AN_IMAGE), _merged(parameters, more))

    def prepare_stream(
        self,
        inputs: Iterable[Any],
        /,
        *,
        prompt: Any = None,
        negative_prompt: Any = None,
        parameters: Any = None,
        **more: Any,
    ) -> Call:
        """Each input is an image for `prompt=`, a pair of an image and its prompt, or a document with a prompt."""
        if prompt is not None:
            return self.prepare(
                image=iter(inputs), prompt=prompt, negative_prompt=negative_prompt, parameters=parameters, **more
            )

        def paired(value: Any) -> Document:
            if isinstance(value, (tuple, list)) and len(value) == 2:
                return _tagged(image_document(value[0]), _tags(value[1], negative_prompt))
            if isinstance(value, Document):
                return _image_with_prompt(value)
            raise InputError(f'got a {type(value).__name__}: expected (image, prompt), or give prompt= for all images')

        return Call(each(iter(inputs), paired, AN_IMAGE), _merged(parameters, more))

    def accept(self, document: Document) -> Document:
        return _accept_images(document)


def _merged(parameters: Any, more: dict[str, Any]) -> dict[str, Any]:
    """The parameters for the model: other keywords, and those in `parameters=`, as the original took them."""
    if parameters is not None and not isinstance(parameters, Mapping):
        raise InputError(f'parameters= is a {type(parameters).__name__}: expected a dict')
    return {**(parameters or {}), **more}


def _prompted(value: Any) -> Document:
    if isinstance(value, Document):
        return _with_prompt(value)
    return Document(tags={'prompt': text_document(value).text})


def _with_prompt(value: Any) -> Document:
    """A copy of a document with the prompt in its tags, which may be its text, and without an earlier answer."""
    if not isinstance(value, Document):
        raise InputError(f'docs holds a {type(value).__name__}: expected Document objects')
    return _asked(copy.deepcopy(value))


def _image_with_prompt(value: Any) -> Document:
    return _asked(image_from_document(value))


def _asked(document: Document) -> Document:
    prompt = document.tags.get('prompt') or document.text
    if not prompt:
        raise InputError(f"document {document.id} has no prompt: put it in tags['prompt']")
    return _tagged(document, _tags(prompt, document.tags.get('negative_prompt')))


def _tags(prompt: Any, negative_prompt: Any) -> dict[str, str]:
    tags = {'prompt': text_document(prompt).text}
    if negative_prompt is not None:
        tags['negative_prompt'] = text_document(negative_prompt).text
    return tags


def _tagged(document: Document, tags: Mapping[str, str]) -> Document:
    for name in ANSWERS:
        document.tags.pop(name, None)
    document.tags.update(tags)
    document.matches = []
    return document


def _accept_images(document: Document) -> Document:
    images = document.matches
    if not images or not all(one.blob or one.tensor is not None for one in images):
        raise not_answered('images in its matches')
    return document
