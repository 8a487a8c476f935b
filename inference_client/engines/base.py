"""What runs a model: the interface of engines, and most of one for multimodal models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import islice
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Iterable, Mapping, Sequence

import numpy as np

from .._images import decode_image, pixel_count
from .._scores import LOGIT_SCALE, score_by_cosine, unit_rows
from .._spec import Capabilities
from ..errors import InputError, ServerError, UnsupportedTaskError

if TYPE_CHECKING:
    from docarray import Document, DocumentArray
    from numpy.typing import NDArray

Parameters = Mapping[str, Any]

PIXELS_AT_ONCE = 80_000_000
"""Of images that are decoded together: 240 MB. A request may hold any number of large ones."""


class Engine(ABC):
    """A loaded model. The constructor loads it; `run` is all that must be written.

    An engine is shared by threads, so `run` must be safe to call at the same time. The constructor takes no
    arguments, or the model's name if the engine is registered under a pattern of names.
    """

    tasks: ClassVar[frozenset[str]]
    """Names of the tasks that `run` takes."""

    @classmethod
    def for_name(cls, name: str) -> type[Engine]:
        """The class that runs the model of a name; an engine for a pattern of names may have several.

        It is asked before any model is loaded, so it is quick, and imports nothing that is slow.

        Args:
            name: of the model, with its options.

        Raises:
            MissingExtraError: a package that it needs is not installed.
        """
        return cls

    @abstractmethod
    def run(self, task: str, documents: DocumentArray, parameters: Parameters) -> DocumentArray:
        """Run one batch.

        Args:
            task: one of `tasks`.
            documents: content in `.text`, `.blob` (an encoded image) or `.tensor` (uint8, HWC);
                they may be changed in place. On a server they may be those of several requests with equal parameters.
            parameters: the caller's other keywords; numbers are floats when they came over a wire.

        Returns:
            As many documents, in the same order.

        Raises:
            InputError: a document cannot be used; the message says why.
        """

    def capabilities(self) -> Capabilities:
        """What it can do and take, as far as is known without a try; without more ado, its tasks."""
        return Capabilities(tasks=frozenset(self.tasks))


class MultimodalEngine(Engine):
    """Encode, rank, caption and answer, from four methods on plain batches.

    A subclass lists in `tasks` what it can do and writes the methods for it: `encode_text` and
    `encode_image` make `encode` and `rank`.
    """

    logit_scale: float = LOGIT_SCALE
    """Factor on cosines before the softmax of `rank`."""

    embedding_size: int | None = None
    """Numbers in an embedding, where that is known."""

    max_tokens: int | None = None
    """Of the longest text that it embeds as a whole, where that is known."""

    def encode_text(self, texts: Sequence[str], parameters: Parameters) -> NDArray[np.float32]:
        """Embed texts; returns float32 of shape (n, d)."""
        raise NotImplementedError('it embeds no texts')

    def encode_image(self, images: Sequence[NDArray[np.uint8]], parameters: Parameters) -> NDArray[np.float32]:
        """Embed RGB images, each uint8 of shape (height, width, 3); returns float32 of shape (n, d)."""
        raise NotImplementedError('it embeds no images')

    def caption_image(self, images: Sequence[NDArray[np.uint8]], parameters: Parameters) -> list[str]:
        """Describe each image."""
        raise NotImplementedError('it describes no images')

    def answer(self, images: Sequence[NDArray[np.uint8]], prompts: Sequence[str], parameters: Parameters) -> list[str]:
        """Answer one prompt ('Question: ... Answer:') about each image."""
        raise NotImplementedError('it answers no questions')

    def capabilities(self) -> Capabilities:
        own, base = type(self), MultimodalEngine
        embeds = {
            'text': own.encode_text is not base.encode_text,
            'image': own.encode_image is not base.encode_image,
        }
        modalities = frozenset(name for name, written in embeds.items() if written)
        return Capabilities(frozenset(self.tasks), modalities, self.embedding_size, max_tokens=self.max_tokens)

    def run(self, task: str, documents: DocumentArray, parameters: Parameters) -> DocumentArray:
        runners: dict[str, Callable[[DocumentArray, Parameters], None]] = {
            'encode': self._encode,
            'rank': self._rank,
            'caption': self._caption,
            'vqa': self._vqa,
        }
        if task not in self.tasks or task not in runners:
            raise UnsupportedTaskError(f'the model has no task {task!r}; it has {", ".join(sorted(self.tasks))}')
        runners[task](documents, parameters)
        return documents

    def _encode(self, documents: DocumentArray, parameters: Parameters) -> None:
        for document, embedding in zip(documents, self._embed(documents, parameters)):
            document.embedding = embedding

    def _rank(self, documents: DocumentArray, parameters: Parameters) -> None:
        everything: list[Document] = []
        for document in documents:
            everything.append(document)
            everything.extend(document.matches)
        embeddings = unit_rows(self._embed(everything, parameters))
        start = 0
        for document in documents:
            stop = start + 1 + len(document.matches)
            self._score(document, embeddings[start + 1 : stop] @ embeddings[start])
            start = stop

    def _score(self, document: Document, cosines: NDArray[np.float32]) -> None:
        if not document.matches:
            raise InputError('nothing to rank: the document has no matches; put the candidates in .matches')
        score_by_cosine(document, cosines, self.logit_scale)

    def _caption(self, documents: DocumentArray, parameters: Parameters) -> None:
        for block in _blocks(documents):
            captions = self.caption_image([read_image(d) for d in block], parameters)
            _respond(block, captions, 'caption_image')

    def _vqa(self, documents: DocumentArray, parameters: Parameters) -> None:
        prompts = iter([_prompt(d) for d in documents])
        for block in _blocks(documents):
            asked = list(islice(prompts, len(block)))
            answers = self.answer([read_image(d) for d in block], asked, parameters)
            _respond(block, answers, 'answer')

    def _embed(self, documents: Sequence[Document], parameters: Parameters) -> NDArray[np.float32]:
        """Embed texts as one batch and images in blocks; rows come back in document order."""
        texts = [i for i, d in enumerate(documents) if d.text]
        images = [i for i, d in enumerate(documents) if not d.text]
        blocks = _blocks(documents[i] for i in images)
        parts = []
        if texts:
            embedded = self.encode_text([documents[i].text for i in texts], parameters)
            parts.append(_rows(embedded, len(texts), 'encode_text'))
        for block in blocks:
            embedded = self.encode_image([read_image(d) for d in block], parameters)
            parts.append(_rows(embedded, len(block), 'encode_image'))
        joined = np.concatenate(parts)
        rows = np.empty_like(joined)
        rows[texts + images] = joined
        return rows


def read_image(document: Document) -> NDArray[np.uint8]:
    """The image of a document: RGB pixels, uint8 of shape (height, width, 3).

    Raises:
        InputError: it has none, or one that cannot be decoded.
    """
    return decode_image(_content(document))


def _content(document: Document) -> Any:
    if document.blob:
        return document.blob
    if document.tensor is not None:
        return document.tensor
    raise InputError(
        f'document {document.id} has no content that this model reads: '
        'expected text, or an image in .blob (encoded) or .tensor (uint8, HWC); URIs are not loaded here'
    )


def _blocks(documents: Iterable[Document]) -> list[list[Document]]:
    """Documents in their order, those together whose images can be decoded together.

    Raises:
        InputError: one has no image, or too large a one; all are looked at before any is decoded.
    """
    blocks: list[list[Document]] = []
    pixels = 0
    for document in documents:
        own = pixel_count(_content(document))
        pixels += own
        if not blocks or pixels > PIXELS_AT_ONCE:
            blocks.append([])
            pixels = own
        blocks[-1].append(document)
    return blocks


def _respond(block: Sequence[Document], given: Any, method: str) -> None:
    """Put the texts that a method gave into the documents of its images; `ServerError` unless it gave one for each."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        texts, gave = [], f'a {type(given).__name__}'
    else:
        texts = list(given)
        gave = f'{len(texts)} {" and ".join(sorted({type(text).__name__ for text in texts}))}'.rstrip()
    count = len(block)
    if len(texts) != count or not all(isinstance(text, str) for text in texts):
        raise ServerError(f'{method} gave {gave} for {count} images: expected a list of {count} str')
    for document, text in zip(block, texts):
        document.tags['response'] = text


def _rows(given: Any, count: int, method: str) -> NDArray[np.float32]:
    """The embeddings that a method gave; `ServerError` unless they are as many rows of numbers."""
    rows = np.asarray(given)
    if rows.ndim != 2 or len(rows) != count or rows.dtype.kind not in 'fiu':
        raise ServerError(
            f'{method} gave {rows.dtype} of shape {rows.shape} for {count} inputs: '
            f'expected float32 of shape ({count}, d)'
        )
    return rows


def _prompt(document: Document) -> str:
    prompt = document.tags.get('prompt')
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f"document {document.id} has no question: put it in tags['prompt']")
    return prompt
