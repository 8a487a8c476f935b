"""The Python and the shell command that do what the playground was asked. Neither ever holds a token."""

from __future__ import annotations

import json
import secrets
import shlex
from dataclasses import dataclass
from typing import Any, Iterator, Sequence, Union

from .._fetch import looks_like_image
from .._inputs import Image, Text
from ..tasks.vqa import prompt

Value = Union[Text, Image]
SHOWN = {
    'encode': ('document', 'response', 'document.embedding'),
    'rank': ('match', 'response[0].matches', "match.text or match.uri, match.scores['clip_score'].value"),
    'caption': ('document', 'response', "document.tags['response']"),
    'vqa': ('document', 'response', "document.tags['response']"),
}
"""By task: the name of a result, where results are, and what of one is printed."""

HEADER = ' 3<<END\nAuthorization: $TOKEN\nEND\n'
"""Gives curl the token where no list of processes shows it, as it would an argument."""


@dataclass(frozen=True)
class Ask:
    """What is asked of a model.

    Attributes:
        task: `encode`, `rank`, `caption` or `vqa`.
        inputs: what is encoded, or the one reference or image; an `Image` holds its file name.
        candidates: to `rank`.
        question: for `vqa`.
    """

    task: str
    inputs: Sequence[Value]
    candidates: Sequence[Value] = ()
    question: str = ''


def python(ask: Ask, model: str, api_endpoint: str | None = None) -> str:
    """A program in Python; a token comes from where `Client` finds it.

    Args:
        ask: the task and its inputs.
        model: name or URL.
        api_endpoint: the model directory, if a name needs one.
    """
    values = [*ask.inputs, *ask.candidates]
    names = ['Client', *(kind.__name__ for kind in (Image, Text) if any(_is_wrapped(one, kind) for one in values))]
    endpoint = f'api_endpoint={api_endpoint!r}' if api_endpoint else ''
    name, where, what = SHOWN[ask.task]
    return (
        f'from inference_client import {", ".join(names)}\n\n'
        f'model = Client({endpoint}).get_model({model!r})\n'
        f'response = {_call(ask)}\n'
        f'for {name} in {where}:\n'
        f'    print({what})\n'
    )


def shell(ask: Ask, model: str, url: str, token: bool = False, api_endpoint: str | None = None) -> str:
    """A command for a shell: curl where the model speaks HTTP as Jina does, else this package's own.

    Args:
        ask: the task and its inputs.
        model: name or URL.
        url: where the model is.
        token: whether the model wants a token, which the shell has in `$TOKEN`.
        api_endpoint: the model directory, if a name needs one.
    """
    if url.partition('://')[0].lower() in ('http', 'https'):
        return _curl(ask, url, token)
    return _command(ask, model, api_endpoint)


def _call(ask: Ask) -> str:
    values = [_value(one) for one in ask.inputs]
    if ask.task == 'encode':
        return f'model.stream({ask.task!r}, [{", ".join(values)}])'
    if ask.task == 'rank':
        candidates = ''.join(f'        {_value(one)},\n' for one in ask.candidates)
        return f'model.rank(\n    reference={values[0]},\n    candidates=[\n{candidates}    ],\n)'
    image = f'image={ask.inputs[0].value!r}'
    return f'model.vqa({image}, question={ask.question!r})' if ask.task == 'vqa' else f'model.caption({image})'


def _value(value: Value) -> str:
    """As an argument; it is wrapped where a string would be taken for the other kind."""
    kind = type(value)
    return f'{kind.__name__}({value.value!r})' if _is_wrapped(value, kind) else repr(value.value)


def _is_wrapped(value: Value, kind: type[Any]) -> bool:
    return isinstance(value, kind) and looks_like_image(value.value) != isinstance(value, Image)


def _curl(ask: Ask, url: str, token: bool) -> str:
    headers = ["-H 'Content-Type: application/json'", *(['-H @/dev/fd/3'] if token else [])]
    base = url.rstrip('/')
    asked = ' '.join(['curl', shlex.quote(base if base.endswith('/post') else f'{base}/post'), *headers])
    end = HEADER if token else '\n'
    first, *others = _pieces(ask)
    if not others:
        return f'{asked} -d {shlex.quote(first)}{end}'
    parts = [f'printf %s {shlex.quote(first)}']
    for name, text in others:
        parts += [f"base64 < {shlex.quote(name)} | tr -d '\\n'", f'printf %s {shlex.quote(text)}']
    return '{ ' + '\n  '.join(f'{part};' for part in parts) + ' } |\n  ' + f'{asked} -d @-{end}'


def _pieces(ask: Ask) -> Iterator[Any]:
    """The JSON of a request, cut where the content of an image goes: its beginning, then (file name, what follows)."""
    mark = secrets.token_hex(16)
    documents = [_document(one, mark) for one in ask.inputs]
    if ask.task == 'rank':
        documents[0]['matches'] = [_document(one, mark) for one in ask.candidates]
    if ask.task == 'vqa':
        documents[0]['tags'] = {'prompt': prompt(ask.question)}
    first, *others = json.dumps({'data': documents, 'exec_endpoint': f'/{ask.task}'}).split(mark)
    images = [one.value for one in (*ask.inputs, *ask.candidates) if isinstance(one, Image)]
    yield first
    yield from zip(images, others)


def _document(value: Value, mark: str) -> dict[str, Any]:
    return {'blob': mark} if isinstance(value, Image) else {'text': value.value}


def _command(ask: Ask, model: str, api_endpoint: str | None) -> str:
    arguments = [one.value for one in (*ask.inputs, *ask.candidates)]
    misread = ask.task == 'rank' and (
        arguments[0] == '-' or any(_is_wrapped(one, type(one)) for one in (*ask.inputs, *ask.candidates))
    )
    if misread or any('\0' in one for one in (*arguments, ask.question)):
        return '# the command line would take one of these for something else: see the Python\n'
    words = ['inference-client', ask.task, '--model', model]
    if api_endpoint:
        words += ['--api-endpoint', api_endpoint]
    if ask.task == 'encode':
        words += [f'--{type(one).__name__.lower()}={one.value}' for one in ask.inputs]
    else:
        words += ['--', *([ask.question] if ask.task == 'vqa' else []), *arguments]
    return f'{" ".join(map(shlex.quote, words))}\n'
