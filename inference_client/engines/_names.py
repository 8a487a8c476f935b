"""What the names of models say: which weights, and options for the engine after `?`."""

from __future__ import annotations

import importlib.util
import re
from typing import Collection, Mapping, NamedTuple
from urllib.parse import parse_qsl

from ..errors import ConfigurationError, MissingExtraError

_LIKE_CLIP = re.compile(r'((mobile|eva\d*-?)?(sig)?clip\d?|vit|eva\d+|coca|convnext\w*|(xlm-)?roberta)[-_]|RN\d+', re.I)
_LIKE_BLIP2 = re.compile(r'blip[-_]?2', re.I)
_LIKE_ADDRESS = re.compile(r'(?:(grpcs?|https?|wss?):/{0,2})?([\w.-]+:\d{1,5})/?', re.I | re.A)


class Name(NamedTuple):
    """A name, cut in two: `clip:/models/x.pt?arch=ViT-B-32` has the model `clip:/models/x.pt`."""

    model: str
    options: Mapping[str, str]


def parse_name(name: str, known: Collection[str]) -> Name:
    """Cut a name at its `?`.

    Args:
        name: of a model.
        known: names of the options that its engine has.

    Raises:
        ConfigurationError: it has another option, or one twice.
    """
    model, _, query = name.partition('?')
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    wrong = sorted(set(options) - set(known))
    if wrong or len(options) != len(pairs):
        what = f'the option {wrong[0]!r}' if wrong else 'an option twice'
        raise ConfigurationError(f'the name {name!r} has {what}: known are {", ".join(sorted(known))}, each once')
    return Name(model, options)


def require(name: str, extra: str, modules: Collection[str]) -> None:
    """See, without importing them, that the modules of an extra are installed.

    Raises:
        MissingExtraError: one is not.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            command = f"pip install 'inference-client[{extra}]'"
            raise MissingExtraError(f'{name!r} needs {module}, which is not installed: {command}')


def hint(name: str) -> str:
    """What a name of no engine may have meant, as the end of a sentence; empty for most."""
    address = _LIKE_ADDRESS.fullmatch(name)
    if address:
        scheme = (address.group(1) or 'grpc').lower()
        return f'; the URL of a server begins with its scheme, such as {scheme}://{address.group(2)}'
    if _LIKE_BLIP2.search(name):
        return "; BLIP-2 models (extra [blip2]) have names such as 'Salesforce/blip2-opt-2.7b', or blip2:/directory"
    if _LIKE_CLIP.match(name.rpartition('/')[2]):
        return (
            "; CLIP models (extra [clip]) have names such as 'ViT-B-32::openai', architecture and weights, or "
            'clip:/checkpoint?arch=ViT-B-32; without PyTorch, onnx:/directory (extra [local])'
        )
    return ''
