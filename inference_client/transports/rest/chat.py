"""Chat completions about one image, as OpenAI's API has them."""

from __future__ import annotations

from typing import Any, Mapping

from docarray import Document

from ...errors import InputError, ProtocolError
from ...tasks.vqa import END, START
from .content import data_uri
from .reading import told

READ_BY_ALL = frozenset({'image/jpeg', 'image/png'})
"""Images that all servers with OpenAI's API read: llama.cpp reads no WebP, and Ollama no GIF."""

CAPTION = 'Describe this image in one short sentence.'
"""What a model is asked for a caption, without a parameter `prompt`."""


def caption_prompt(parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What to ask for a caption, and the other parameters."""
    rest = dict(parameters)
    prompt = rest.pop('prompt', CAPTION)
    if not isinstance(prompt, str):
        raise InputError(f'prompt is a {type(prompt).__name__}: expected a str')
    return prompt, rest


def question_of(document: Document) -> str:
    """The question of a document, without 'Question:' and 'Answer:', which are for models that complete a text."""
    prompt = document.tags.get('prompt')
    if not isinstance(prompt, str):
        raise InputError(f"document {document.id} has no question: put it in tags['prompt']")
    if prompt.startswith(START) and prompt.endswith(END):
        return prompt[len(START) : -len(END)].strip()
    return prompt


def message_with(document: Document, *more: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A conversation that is one image, with what else is said."""
    image = {'type': 'image_url', 'image_url': {'url': data_uri(document, READ_BY_ALL)}}
    return [{'role': 'user', 'content': [image, *more]}]


def text_of(answer: Any) -> str:
    """What the model said."""
    choice = next(iter(told(answer, list, 'choices') or ()), None)
    text = (told(choice, str, 'message', 'content') or '').strip()
    if text:
        return text
    reason = told(choice, str, 'finish_reason')
    if reason == 'length':
        raise ProtocolError(
            "the answer has no text (finish_reason 'length'): the model used up its tokens before it said anything, "
            'as those that think first do; give a larger max_tokens'
        )
    ended = f' (finish_reason {reason!r})' if reason else ''
    raise ProtocolError(
        f'the answer has no text in choices[0].message.content{ended}: the model declined, or cannot chat'
    )
