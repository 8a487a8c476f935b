"""CLIP in ONNX files, by onnxruntime: on the CPU, and without PyTorch.

onnx:/models/clip                    a directory with the two sides of a model, its tokenizer and its preprocessing
onnx:Xenova/clip-vit-base-patch32    a repository of the Hugging Face hub with these
onnx:/models/clip?variant=quantized  text_model_quantized.onnx and vision_model_quantized.onnx of them
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

import numpy as np

from ..errors import ConfigurationError
from ._names import require
from ._onnx_files import CONFIGURATION, TOKENIZER, TOKENIZER_SETTINGS, Files, read
from ._preprocessing import FILE as PREPROCESSING
from ._preprocessing import Preprocessing
from ._sessions import session
from ._texts import cut
from .base import MultimodalEngine, Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TYPES = {
    'tensor(int64)': np.int64,
    'tensor(int32)': np.int32,
    'tensor(float)': np.float32,
    'tensor(float16)': np.float16,
}
_CONTEXT = 77  # tokens that CLIP reads, where no file says it
_MOST_TOKENS = 10_000
_IN_OTHER_FILES = re.compile(r'external (data|initializer)', re.I)
_END = '<|endoftext|>'  # CLIP's padding, where the tokenizer does not say
_AT_ONCE = 16  # more need more memory, and no less time each


class OnnxClipEngine(MultimodalEngine):
    """Encodes texts and images, and ranks. May be shared by threads.

    Embeddings are the outputs `text_embeds` and `image_embeds`, not normalised.

    Args:
        name: of the model, with the option `variant` after `?`.

    Raises:
        ImportError: a package of the extra `local` is missing.
        ConfigurationError: there is no such model, or it is of another kind.
    """

    tasks = frozenset({'encode', 'rank'})

    def __init__(self, name: str) -> None:
        import tokenizers

        files = Files(name)
        self._prepare = Preprocessing(read(files.path(PREPROCESSING)))
        self._tokenizer = tokenizers.Tokenizer.from_file(str(files.path(TOKENIZER)))
        self._text = _Side(files.path(files.text), ('input_ids', 'attention_mask'), 'text_embeds')
        self._image = _Side(files.path(files.image), ('pixel_values',), 'image_embeds')
        self.max_tokens: int = self._set_tokens(files)
        self.embedding_size = self._text.width or self._image.width
        self._check_sizes()

    @classmethod
    def for_name(cls, name: str) -> type[OnnxClipEngine]:
        require(name, 'local', ('onnxruntime', 'tokenizers'))
        return cls

    def encode_text(self, texts: Sequence[str], parameters: Parameters) -> NDArray[np.float32]:
        """Embed texts, each cut at the model's context length (of CLIP: 77 tokens)."""
        short = [cut(text, self.max_tokens) for text in texts]
        return self._text.rows(short, self._tokens)

    def encode_image(self, images: Sequence[NDArray[np.uint8]], parameters: Parameters) -> NDArray[np.float32]:
        """Embed RGB images, prepared as the model's `preprocessor_config.json` says."""
        return self._image.rows(images, lambda some: {'pixel_values': self._prepare(some)})

    def _tokens(self, texts: Sequence[str]) -> dict[str, Any]:
        encodings = self._tokenizer.encode_batch(texts)
        return {
            'input_ids': np.array([one.ids for one in encodings]),
            'attention_mask': np.array([one.attention_mask for one in encodings]),
        }

    def _check_sizes(self) -> None:
        """See that images are prepared as large as the model takes them, and that both sides embed in one space."""
        prepared = (self._prepare.height, self._prepare.width)
        taken = self._image.shape('pixel_values')[-2:]
        if any(isinstance(its, int) and its != own for its, own in zip(taken, prepared)):
            raise ConfigurationError(
                f'the model takes images of {" x ".join(map(str, taken))} pixels and {PREPROCESSING} makes them '
                f'{" x ".join(map(str, prepared))}: expected both of one model'
            )
        if self._text.width and self._image.width and self._text.width != self._image.width:
            raise ConfigurationError(
                f'embeddings of texts have {self._text.width} numbers and those of images {self._image.width}: '
                'expected both sides of one model'
            )

    def _set_tokens(self, files: Files) -> int:
        """Have texts cut and padded as the model wants them; returns how many tokens it reads."""
        settings = read(files.path(TOKENIZER_SETTINGS))
        length = self._text.shape('input_ids')[1]
        fixed = length if isinstance(length, int) else None
        longest = fixed or _length(settings.get('model_max_length')) or _positions(files.find(CONFIGURATION))
        stated = settings.get('pad_token') or _END
        padding = stated.get('content') if isinstance(stated, Mapping) else stated
        number = self._tokenizer.token_to_id(padding) if isinstance(padding, str) else None
        if number is None:
            raise ConfigurationError(f'{TOKENIZER} has no {stated!r}, with which {TOKENIZER_SETTINGS} pads texts')
        self._tokenizer.enable_truncation(longest)
        self._tokenizer.enable_padding(pad_id=number, pad_token=padding, length=fixed)
        return longest


class _Side:
    """One side of a model: a file with inputs that are known, and an embedding among its outputs."""

    def __init__(self, path: Path, inputs: Sequence[str], output: str) -> None:
        self._session = _session(path)
        self._inputs = {one.name: one for one in self._session.get_inputs()}
        self._output = output
        outputs = {one.name: one for one in self._session.get_outputs()}
        unknown = sorted(self._inputs.keys() - set(inputs))
        if unknown or inputs[0] not in self._inputs or output not in outputs:
            raise ConfigurationError(
                f'{path.name} takes {_listed(self._inputs)} and gives {_listed(outputs)}: expected one side of CLIP '
                f'with its projection, which takes {" and ".join(inputs)} and gives {output}'
            )
        for name, one in self._inputs.items():
            if one.type not in _TYPES:
                raise ConfigurationError(f'{path.name} takes {name} as {one.type}: known are {", ".join(_TYPES)}')
        width = outputs[output].shape[-1]
        self.width: int | None = width if isinstance(width, int) else None
        batch = self.shape(inputs[0])[0]
        if isinstance(batch, int) and batch != 1:
            raise ConfigurationError(f'{path.name} takes {batch} inputs at once, no more and no fewer: export it anew')
        self._at_once = 1 if batch == 1 else _AT_ONCE

    def shape(self, name: str) -> Sequence[int | str | None]:
        """Of an input; a dimension that may be anything is no int."""
        shape: Sequence[int | str | None] = self._inputs[name].shape
        return shape

    def rows(self, values: Sequence[Any], make: Callable[[Sequence[Any]], Mapping[str, Any]]) -> NDArray[np.float32]:
        """Embed values, some at a time; `make` gives the inputs for some."""
        parts = []
        for start in range(0, len(values), self._at_once):
            made = make(values[start : start + self._at_once])
            fed = {name: made[name].astype(_TYPES[one.type], copy=False) for name, one in self._inputs.items()}
            parts.append(self._session.run([self._output], fed)[0].astype(np.float32))
        return np.concatenate(parts)


def _session(path: Path) -> Any:
    try:
        return session(path)
    except Exception as error:  # of a class that onnxruntime does not publish
        if not _IN_OTHER_FILES.search(str(error)):
            raise
        raise ConfigurationError(
            f'{path.name} keeps weights in another file, not found beside it nor fetched from the model hub: '
            f'put all files of the model into one directory and ask for that ({error})'
        ) from error


def _length(value: Any) -> int | None:
    """A number of tokens, unless it is none or too many: transformers writes 1e30 where it knows of no limit."""
    return value if isinstance(value, int) and 0 < value <= _MOST_TOKENS else None


def _positions(configuration: Path | None) -> int:
    """How many tokens a model reads by its `config.json`, if it has one."""
    found = read(configuration) if configuration else {}
    text = found.get('text_config', found)
    return (_length(text.get('max_position_embeddings')) if isinstance(text, Mapping) else None) or _CONTEXT


def _listed(names: Mapping[str, Any]) -> str:
    return ', '.join(names) or 'nothing'
