"""CLIP models, by open_clip: one space for texts and images.

ViT-B-32::openai                    an architecture and its weights, of those that open_clip lists
clip:/models/mine.pt?arch=ViT-B-32  weights in a file; with `&tag=openai` for images prepared as those weights want
clip:/models/mine                   a directory with open_clip_config.json and weights, as open_clip saves it
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np

from .._images import core
from .._registered import nearest
from ..errors import ConfigurationError
from . import _hub
from ._names import parse_name, require
from ._texts import cut
from ._torch import OPTIONS, device_of, dtype_of, precision_of, rows_of
from .base import MultimodalEngine, Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREFIX = 'clip:'
_FILES = ('open_clip_model.safetensors', 'open_clip_pytorch_model.bin')  # of a repository, unless it says otherwise
_DIRECTORY = 'local-dir:'  # what open_clip puts before one
_AT_ONCE = 64  # more need more memory, and no less time each
_MOST_WORDS = 100_000  # that open_clip's tokenizer remembers, some 16 MB; it would keep each that it ever saw


class ClipEngine(MultimodalEngine):
    """Encodes texts and images, and ranks. May be shared by threads.

    Embeddings are those of open_clip's `encode_text` and `encode_image`, not normalised.

    Args:
        name: of the model, with options after `?`: `device`, `precision`, and for a file `arch` and `tag`.

    Raises:
        ImportError: open_clip is not installed.
        ConfigurationError: there is no such model, option or device, or its weights cannot be had.
    """

    tasks = frozenset({'encode', 'rank'})

    def __init__(self, name: str) -> None:
        import open_clip

        model, options = parse_name(name, [*OPTIONS, *(('arch', 'tag') if name.startswith(PREFIX) else ())])
        self._device = device_of(options)
        precision = precision_of(options, self._device)
        self._dtype = dtype_of(precision)
        architecture, settings = _named(name, model, options)
        if not architecture.startswith(_DIRECTORY):
            _check_text_side(name, architecture)
        self._model, self._prepare = open_clip.create_model_from_pretrained(
            architecture, precision=precision, device=self._device, **settings
        )
        self._model.eval()
        self._aspect = _aspect(self._model.visual.preprocess_cfg)
        self._tokenizer = open_clip.get_tokenizer(architecture)
        self._tokenizing = threading.Lock()  # some tokenizers are not made for threads
        self._words: dict[str, str] = getattr(self._tokenizer, 'cache', {})  # which those of other libraries lack
        self._special = dict(self._words)
        self.max_tokens: int = self._tokenizer.context_length
        self.embedding_size = open_clip.get_model_config(architecture)['embed_dim']
        self.logit_scale = float(self._model.logit_scale.detach().exp())

    @classmethod
    def for_name(cls, name: str) -> type[ClipEngine]:
        require(name, 'clip', ('torch', 'open_clip'))
        return cls

    def encode_text(self, texts: Sequence[str], parameters: Parameters) -> NDArray[np.float32]:
        """Embed texts, each cut at the model's context length (of CLIP: 77 tokens)."""
        import torch

        short = [cut(text, self.max_tokens) for text in texts]
        rows = []
        for start in range(0, len(short), _AT_ONCE):
            with self._tokenizing:
                tokens = self._tokenizer(short[start : start + _AT_ONCE])
                self._forget_words()
            with torch.inference_mode():
                rows.append(rows_of(self._model.encode_text(tokens.to(self._device))))
        return np.concatenate(rows)

    def _forget_words(self) -> None:
        if len(self._words) > _MOST_WORDS:
            self._words.clear()
            self._words.update(self._special)

    def encode_image(self, images: Sequence[NDArray[np.uint8]], parameters: Parameters) -> NDArray[np.float32]:
        """Embed RGB images, prepared as open_clip does for these weights."""
        import torch
        from PIL import Image

        rows = []
        for start in range(0, len(images), _AT_ONCE):
            some = images[start : start + _AT_ONCE]
            cores = some if self._aspect is None else [core(image, self._aspect) for image in some]
            pixels = torch.stack([self._prepare(Image.fromarray(image)) for image in cores])
            with torch.inference_mode():
                rows.append(rows_of(self._model.encode_image(pixels.to(self._device, self._dtype))))
        return np.concatenate(rows)


def _aspect(preprocessing: Mapping[str, Any]) -> float | None:
    """Width by height of what is cut out of an image, after it was scaled to fill it; None where none of it is cut."""
    if preprocessing['resize_mode'] != 'shortest':
        return None
    size = preprocessing['size']
    height, width = (size, size) if isinstance(size, int) else size
    return float(width / height)


def _named(name: str, model: str, options: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """What open_clip calls the architecture, and what else its loader must be told."""
    if not model.startswith(PREFIX):
        return _listed(name, *model.split('::', 1))
    path = Path(model[len(PREFIX) :]).expanduser()
    if path.is_dir():
        if not (path / 'open_clip_config.json').is_file():
            raise ConfigurationError(
                f'{str(path)!r} has no open_clip_config.json: expected a directory that open_clip saved, or the name '
                'of a file with weights'
            )
        return f'{_DIRECTORY}{path}', {}
    if not path.is_file():
        raise ConfigurationError(f'{name!r} names no file of this machine: expected weights at {str(path)!r}')
    if 'arch' not in options:
        raise ConfigurationError(f'{name!r} does not say which architecture its weights are for: add ?arch=ViT-B-32')
    architecture = options['arch']
    _check_architecture(architecture)
    settings = _settings(_weights(architecture, options['tag'])) if 'tag' in options else {}
    return architecture, {'pretrained': str(path), **settings}


def _listed(name: str, architecture: str, tag: str) -> tuple[str, dict[str, Any]]:
    _check_architecture(architecture)
    weights = _weights(architecture, tag)
    repository, _, file = weights['hf_hub'].rpartition('/')
    files = [f'{Path(file).stem}.safetensors', file] if file else list(_FILES)
    here = _hub.cached(repository, files)
    if not here and not _hub.reachable():
        instead = f"'{PREFIX}/directory/{file or files[0]}?arch={architecture}&tag={tag}'"
        raise _hub.out_of_reach(name, repository, [file or files[0]], instead)
    return architecture, {'pretrained': here or tag, **_settings(weights)}


def _check_text_side(name: str, architecture: str) -> None:
    """See that what some architectures take from the hub for texts can be had: the tokenizer, or its configuration."""
    import open_clip

    text = open_clip.get_model_config(architecture)['text_cfg']
    for repository in filter(None, (text.get('hf_tokenizer_name'), text.get('hf_model_name'))):
        if not _hub.cached(repository, ('tokenizer_config.json', 'config.json')) and not _hub.reachable():
            raise _hub.out_of_reach(
                name, repository, [], f"'{PREFIX}/directory', saved by open_clip with its tokenizer"
            )


def _check_architecture(architecture: str) -> None:
    import open_clip

    known = open_clip.list_models()
    if architecture not in known:
        raise ConfigurationError(f'open_clip has no architecture {architecture!r}{_nearest(architecture, known)}')


def _weights(architecture: str, tag: str) -> dict[str, Any]:
    """What open_clip knows of the weights: where they are, and how images are prepared for them."""
    import open_clip

    weights: dict[str, Any] = open_clip.get_pretrained_cfg(architecture, tag)
    if not weights:
        tags = [its for known, its in open_clip.list_pretrained() if known == architecture]
        raise ConfigurationError(
            f'open_clip has no weights {tag!r} of {architecture!r}: it lists {", ".join(tags) or "none"}'
        )
    return weights


def _settings(weights: Mapping[str, Any]) -> dict[str, Any]:
    images = {f'image_{key}': weights.get(key) for key in ('mean', 'std', 'interpolation', 'resize_mode')}
    return {**images, 'force_quick_gelu': bool(weights.get('quick_gelu'))}


def _nearest(architecture: str, known: Sequence[str]) -> str:
    return f': {nearest(architecture, known, 3) or "open_clip.list_models() lists those it has"}'
