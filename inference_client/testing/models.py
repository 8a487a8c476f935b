"""Engines for tests, which need no model."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np

from ..engines.base import Engine, MultimodalEngine, Parameters, read_image
from ..errors import InputError

if TYPE_CHECKING:
    from docarray import Document, DocumentArray
    from numpy.typing import NDArray

LONGEST = 60.0  # seconds; strangers may ask


class EchoEngine(Engine):
    """`local://echo`, and `inference-client serve echo`: documents come back as they arrived.

    Some parameters make it do more: `seconds` waits, `fail` raises a `RuntimeError` and `refuse` an `InputError` with
    that message. `seen` tells of each document what arrived: its text, the SHA-256 of its blob, and that of its pixels.
    All parameters of a request come back in `tags['parameters']` of its documents if there are any.
    """

    tasks = frozenset({'echo'})

    def run(self, task: str, documents: DocumentArray, parameters: Mapping[str, Any]) -> DocumentArray:
        seconds = parameters.get('seconds', 0)
        if not isinstance(seconds, (int, float)) or not 0 <= seconds <= LONGEST:
            raise InputError(f'seconds is {seconds!r}: expected a number from 0 to {LONGEST:g}')
        time.sleep(seconds)
        if 'refuse' in parameters:
            raise InputError(str(parameters['refuse']))
        if 'fail' in parameters:
            raise RuntimeError(str(parameters['fail']))
        for document in documents if parameters else ():
            if parameters.get('seen'):
                document.tags['seen'] = seen(document)
            document.tags['parameters'] = dict(parameters)
        return documents


def seen(document: Document) -> dict[str, str]:
    """What a document holds, for comparison; pixels may have travelled as an encoded image."""
    held = {'text': document.text, 'blob': hashlib.sha256(document.blob).hexdigest(), 'pixels': ''}
    try:
        pixels = read_image(document)
    except InputError:  # no image, so no pixels
        return held
    shape = repr(tuple(map(int, pixels.shape))).encode()
    return {**held, 'pixels': hashlib.sha256(shape + pixels.tobytes()).hexdigest()}


class FakeEngine(MultimodalEngine):
    """Encodes, ranks, captions and answers without a model: the same content always gives the same answer."""

    tasks = frozenset({'encode', 'rank', 'caption', 'vqa'})
    embedding_size = 8

    def encode_text(self, texts: Sequence[str], parameters: Parameters) -> NDArray[np.float32]:
        return self._embeddings([text.encode() for text in texts])

    def encode_image(self, images: Sequence[NDArray[np.uint8]], parameters: Parameters) -> NDArray[np.float32]:
        return self._embeddings([repr(image.shape).encode() + image.tobytes() for image in images])

    def caption_image(self, images: Sequence[NDArray[np.uint8]], parameters: Parameters) -> list[str]:
        return [f'an image of {image.shape[1]} x {image.shape[0]} pixels' for image in images]

    def answer(self, images: Sequence[NDArray[np.uint8]], prompts: Sequence[str], parameters: Parameters) -> list[str]:
        return [f'an answer to {prompt}' for prompt in prompts]

    def _embeddings(self, contents: list[bytes]) -> NDArray[np.float32]:
        rows = [
            np.frombuffer(hashlib.sha256(content).digest()[: self.embedding_size], np.uint8) for content in contents
        ]
        signed = np.stack(rows).astype(np.float32) - 127.5  # never 0
        unit: NDArray[np.float32] = signed / np.linalg.norm(signed, axis=1, keepdims=True)
        return unit
