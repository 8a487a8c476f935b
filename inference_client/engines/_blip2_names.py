"""What the names of BLIP-2 models lead to: files, what kind of model they are, and which one embeds for another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping, Sequence
from urllib.parse import urlencode

from ..errors import ConfigurationError
from . import _hub

PREFIX = 'blip2:'
RETRIEVAL = 'Blip2ForImageTextRetrieval'
GENERATION = 'Blip2ForConditionalGeneration'
COMPANION = 'retrieval'  # the option that names the model for embeddings
PUBLISHED = 'Salesforce/blip2-itm-vit-g'
_PAIRED = frozenset(
    f'Salesforce/blip2-{name}'
    for name in (
        'opt-2.7b', 'opt-2.7b-coco', 'opt-6.7b', 'opt-6.7b-coco', 'flan-t5-xl', 'flan-t5-xl-coco', 'flan-t5-xxl',
    )
)  # fmt: skip
"""Models that generate, published beside the one for retrieval; they have its vision model."""

_WEIGHTS = ('model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin', 'pytorch_model.bin.index.json')


def companion(model: str, options: Mapping[str, str]) -> str | None:
    """The name of the model that embeds for one that generates, with its options; None if there is none.

    Args:
        model: the one that generates.
        options: of its name; an empty `retrieval` asks for none.
    """
    wanted = options.get(COMPANION, PUBLISHED if model in _PAIRED else '')
    if not wanted:
        return None
    passed_on = {name: value for name, value in options.items() if name != COMPANION}
    prefix = PREFIX if wanted[0] in '/~.' else ''
    return f'{prefix}{wanted}?{urlencode(passed_on)}' if passed_on else f'{prefix}{wanted}'


def embedding_size(model: str) -> int | None:
    """Numbers in an embedding of a model for retrieval, if its configuration is here and says so."""
    size = _configuration(model).get('image_text_hidden_size')
    return size if isinstance(size, int) else None


def source(name: str, model: str) -> tuple[str, bool]:
    """Where transformers finds the model, and whether it must not ask the hub."""
    if model.startswith(PREFIX):
        path = Path(model[len(PREFIX) :]).expanduser()
        if not (path / 'config.json').is_file():
            raise ConfigurationError(
                f'{name!r} names no model of this machine: expected config.json, the weights and the files of the '
                f'processor in the directory {str(path)!r}'
            )
        return str(path), True
    if _hub.reachable():
        return model, False
    if not _hub.cached(model, ['config.json']) or not _hub.cached(model, _WEIGHTS):
        raise _hub.out_of_reach(name, model, [], "'blip2:/directory'")
    return model, True


def architectures(model: str) -> Sequence[str]:
    """What the model's configuration says that it is, if it is here; else what its name tells."""
    found = _configuration(model).get('architectures')
    if not found:
        return [RETRIEVAL] if 'itm' in model.lower() else [GENERATION]
    return [str(one) for one in found]


def _configuration(model: str) -> Mapping[str, Any]:
    """What stands in the model's `config.json`; nothing if that is not here."""
    if model.startswith(PREFIX):
        path = str(Path(model[len(PREFIX) :]).expanduser() / 'config.json')
    else:
        path = _hub.cached(model, ['config.json'])
    try:
        found = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
