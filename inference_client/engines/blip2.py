"""BLIP-2 models, by transformers: captions, answers and features of images.

    Salesforce/blip2-opt-2.7b    a repository on the model hub
    blip2:/models/mine           a directory, as `save_pretrained` of model and processor writes it

image ─▶ vision model ─▶ Q-Former, 32 queries ─┬─▶ language model, after the prompt ─▶ caption or answer
                                               └─▶ mean over the queries ─▶ embedding

Where a model for retrieval is beside it, that one makes the embeddings, of texts too.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Sequence

import numpy as np

from .._spec import Capabilities
from ..errors import ConfigurationError
from ._blip2_names import COMPANION, GENERATION, RETRIEVAL, architectures, companion, embedding_size, source
from ._generation import generation
from ._names import parse_name, require
from ._texts import cut
from ._torch import OPTIONS, device_of, dtype_of, precision_of, rows_of
from .base import MultimodalEngine, Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOOK_AGAIN = 60.0  # seconds after a companion could not be had: each try may wait for the network, and all else for it
_AT_ONCE = 16  # images; each goes through a billion weights, so more at once save nothing


class Blip2Engine(MultimodalEngine):
    """Captions images, answers questions about them, embeds and ranks them. May be shared by threads.

    This kind of model has no text side of the Q-Former. So a model for retrieval may be paired with it, which is loaded
    with the first request to embed or rank, and makes all embeddings, of texts and images, in one space. Without one,
    an image's embedding is the mean of the Q-Former's last hidden states over its queries, before any projection, and
    a text has none.

    Args:
        name: of the model, with options after `?`: `device`, `precision`, and `retrieval` for the other model.

    Raises:
        ImportError: torch or transformers is not installed.
        ConfigurationError: there is no such model, option or device, or its weights cannot be had.
    """

    tasks = frozenset({'encode', 'rank', 'caption', 'vqa'})
    architecture = GENERATION
    options: ClassVar[tuple[str, ...]] = (*OPTIONS, COMPANION)
    modalities: ClassVar[frozenset[str]] = frozenset({'image'})

    def __init__(self, name: str) -> None:
        import torch  # noqa: F401 - if it is missing, transformers says so in other words
        import transformers

        model, options = parse_name(name, self.options)
        self._companion_name = companion(model, options)
        self._missing: tuple[float, str] | None = None  # when the companion could not be had, and why
        files, local = source(name, model)
        config: Any = transformers.Blip2Config.from_pretrained(files, local_files_only=local)
        self._check(name, config)
        self._device = device_of(options)
        half = 'bf16' if config.text_config.model_type == 't5' else 'fp16'  # T5 overflows in fp16
        self._dtype = dtype_of(precision_of(options, self._device, half))
        loader = getattr(transformers, self.architecture)
        self._model = loader.from_pretrained(files, dtype=self._dtype, local_files_only=local).to(self._device).eval()
        self._processor: Any = transformers.Blip2Processor.from_pretrained(files, local_files_only=local)
        self._prepare(name, config)
        self._preparing = threading.Lock()  # tokenizers are not made for threads

    @classmethod
    def for_name(cls, name: str) -> type[Blip2Engine]:
        """The engine for retrieval, which embeds texts too, where the model is of that kind."""
        require(name, 'blip2', ('torch', 'transformers'))
        return Blip2RetrievalEngine if RETRIEVAL in architectures(name.partition('?')[0]) else Blip2Engine

    def capabilities(self) -> Capabilities:
        able = replace(super().capabilities(), modalities=self.modalities)
        if self._companion_name is None:
            return able
        size = embedding_size(self._companion_name.partition('?')[0])
        return replace(able, modalities=Blip2RetrievalEngine.modalities, embedding_size=size)

    def encode_text(self, texts: Sequence[str], parameters: Parameters) -> NDArray[np.float32]:
        """Embed texts, by the model for retrieval that is paired with it."""
        paired = self._companion()
        if paired is None:
            raise NotImplementedError(
                'it embeds images only; to embed texts, name a BLIP-2 model for retrieval beside it, as in '
                'NAME?retrieval=Salesforce/blip2-itm-vit-g'
            )
        return paired.encode_text(texts, parameters)

    def encode_image(self, images: Sequence[NDArray[np.uint8]], parameters: Parameters) -> NDArray[np.float32]:
        """Embed RGB images, by the model for retrieval that is paired with it, else by its own Q-Former.

        The latter gives float32 of shape (n, width of the Q-Former), 768 for the published models.
        """
        import torch

        paired = self._companion()
        if paired is not None:
            return paired.encode_image(images, parameters)
        rows = []
        for start in range(0, len(images), _AT_ONCE):
            inputs = self._inputs(images=images[start : start + _AT_ONCE])
            with torch.inference_mode():
                rows.append(rows_of(self._pooled(self._queried(inputs['pixel_values']))))
        return np.concatenate(rows)

    def caption_image(self, images: Sequence[NDArray[np.uint8]], parameters: Parameters) -> list[str]:
        """Describe each image, as the language model goes on after it."""
        return self._generate(images, [''] * len(images), parameters)

    def answer(self, images: Sequence[NDArray[np.uint8]], prompts: Sequence[str], parameters: Parameters) -> list[str]:
        """Answer one prompt ('Question: ... Answer:') about each image, as the language model goes on after it."""
        return self._generate(images, prompts, parameters)

    def _companion(self) -> Blip2RetrievalEngine | None:
        """The model that embeds for this one; it is loaded once."""
        from .loader import load_engine

        if self._companion_name is None:
            return None
        if self._missing is not None and time.monotonic() - self._missing[0] < _LOOK_AGAIN:
            raise ConfigurationError(self._missing[1])
        try:
            found = load_engine(self._companion_name)
        except ConfigurationError as error:
            other = 'or ask for the model with "?retrieval=", for embeddings of its own, of images alone'
            self._missing = time.monotonic(), f'{error.message}; {other}'
            raise ConfigurationError(self._missing[1]) from error
        if not isinstance(found, Blip2RetrievalEngine):
            raise ConfigurationError(
                f'the model {self._companion_name!r} cannot embed for another: expected {RETRIEVAL}'
            )
        return found

    def _generate(
        self, images: Sequence[NDArray[np.uint8]], prompts: Sequence[str], parameters: Parameters
    ) -> list[str]:
        settings = generation(parameters)
        texts: list[str] = []
        for start in range(0, len(images), _AT_ONCE):
            stop = start + _AT_ONCE
            inputs = self._inputs(images=images[start:stop], text=prompts[start:stop])
            texts += self._continued(inputs, settings)
        return texts

    def _continued(self, inputs: Any, settings: dict[str, Any]) -> list[str]:
        import torch

        with torch.inference_mode():
            tokens = self._model.generate(**inputs, **settings)
        prompt = inputs['input_ids']
        if torch.equal(tokens[:, : prompt.shape[1]], prompt):  # models of the decoder alone give the prompt back
            tokens = tokens[:, prompt.shape[1] :]
        texts = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _inputs(self, **content: Sequence[Any]) -> Any:
        """Tensors for the model from pixels and texts."""
        from PIL import Image

        given: dict[str, Any] = {}
        if 'images' in content:
            given['images'] = [Image.fromarray(image) for image in content['images']]
        if 'text' in content:
            read = self._processor.tokenizer
            given['text'] = [cut(text, read.model_max_length, read.truncation_side) for text in content['text']]
        with self._preparing:
            inputs = self._processor(**given, padding=True, truncation=True, return_tensors='pt')
        return inputs.to(self._device, self._dtype)

    def _queried(self, pixels: Any) -> Any:
        """The Q-Former's states, of shape (n, queries, width)."""
        states = self._model.vision_model(pixel_values=pixels).last_hidden_state
        queries = self._model.query_tokens.expand(len(pixels), -1, -1)
        states = states.to(queries.dtype)  # the Q-Former keeps float32 where the rest is half
        return self._model.qformer(query_embeds=queries, encoder_hidden_states=states).last_hidden_state

    def _pooled(self, states: Any) -> Any:
        return states.mean(dim=1)

    def _check(self, name: str, config: Any) -> None:
        found = config.architectures or []
        if self.architecture not in found:
            raise ConfigurationError(
                f'{name!r} is a {", ".join(found) or "model of no named architecture"}: expected {self.architecture}'
            )

    def _prepare(self, name: str, config: Any) -> None:
        tokenizer = self._processor.tokenizer
        if config.image_token_index is None:
            raise ConfigurationError(
                f'{name!r} is of before transformers 4.46, as its configuration has no image_token_index: fetch it anew'
            )
        if config.use_decoder_only_language_model:
            tokenizer.padding_side = 'left'  # so that the text goes on right after the prompt
        self.embedding_size = config.qformer_config.hidden_size
        if self._processor.num_query_tokens is None:
            self._processor.num_query_tokens = config.num_query_tokens
        longest = getattr(config.text_config, 'max_position_embeddings', 512)
        tokenizer.model_max_length = min(tokenizer.model_max_length, longest // 2)  # the rest is for image and answer


class Blip2RetrievalEngine(Blip2Engine):
    """Embeds and ranks images and texts in one space. May be shared by threads.

    An image's embedding is the mean over the Q-Former's queries of their projections, each of length 1; a text's is the
    projection of its first token, of length 1.
    """

    tasks = frozenset({'encode', 'rank'})
    architecture = RETRIEVAL
    options = OPTIONS
    modalities = frozenset({'image', 'text'})

    def encode_text(self, texts: Sequence[str], parameters: Parameters) -> NDArray[np.float32]:
        """Embed texts; returns float32 of shape (n, width of the projections), 256 for the published models."""
        import torch

        rows = []
        for start in range(0, len(texts), _AT_ONCE):
            inputs = self._inputs(text=texts[start : start + _AT_ONCE])
            with torch.inference_mode():
                rows.append(rows_of(self._read(inputs['input_ids'], inputs['attention_mask'])))
        return np.concatenate(rows)

    def _read(self, tokens: Any, mask: Any) -> Any:
        import torch

        model = self._model
        states = model.qformer(
            query_embeds=model.embeddings(input_ids=tokens), query_length=0, attention_mask=mask
        ).last_hidden_state
        first = states[:, 0].to(model.text_projection.weight.dtype)
        return torch.nn.functional.normalize(model.text_projection(first), dim=-1)

    def _pooled(self, states: Any) -> Any:
        import torch

        projected = self._model.vision_projection(states.to(self._model.vision_projection.weight.dtype))
        return torch.nn.functional.normalize(projected, dim=-1).mean(dim=1)

    def _prepare(self, name: str, config: Any) -> None:
        tokenizer = self._processor.tokenizer
        tokenizer.model_max_length = min(tokenizer.model_max_length, config.qformer_config.max_position_embeddings)
        self.embedding_size = config.image_text_hidden_size
