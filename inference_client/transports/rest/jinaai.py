"""The hosted API of Jina AI: embeddings and rerankers of texts and images.

Source: its OpenAPI, of which `tests/specs/jinaai.json` has what is used here. Inputs are `{"text"}` or `{"image"}` with
base64; a reranker is asked with a plain text, or, where it takes images, with `{"image"}`. `normalized`, `dimensions`
and `task` are parameters.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import TYPE_CHECKING, Any, ClassVar, Sequence
from urllib.parse import quote, urlsplit

from docarray import Document

from ..._config import checked_token
from ..._scores import score_by_relevance
from ..._spec import Capabilities
from ...errors import ConfigurationError, ProtocolError, UnsupportedTaskError
from ..base import TransportOptions
from .address import Address, address_of, options_of
from .content import base64_image, candidates
from .dialect import Dialect, Parameters
from .http import HttpAnswer, HttpCall, Steps, body_of, get, post
from .reading import embeddings, relevances, told
from .transport import RestTransport

if TYPE_CHECKING:
    from .reading import Row

BASE = 'https://api.jina.ai/v1'
KEY_VARIABLE = 'JINA_API_KEY'
RERANKER = re.compile('rerank|colbert', re.I)
TEXT_ONLY = re.compile(r'embeddings-v[123]\b|-text-|code|colbert|reranker-v', re.I)
"""Names of models that take no images; of others the API itself says so."""


class JinaAIDialect(Dialect):
    """`jinaai://MODEL`: a model whose name says that it reranks is asked at `/rerank`, any other at `/embeddings`."""

    server: ClassVar[str] = 'the API of Jina AI'
    tasks = frozenset({'encode', 'rank'})
    url_options = ('base',)

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.model = address.options['model']
        self._reranks = bool(RERANKER.search(self.model))
        if self._reranks:
            self.tasks = frozenset({'rank'})
        if TEXT_ONLY.search(self.model):
            self.modalities = frozenset({'text'})

    def rank(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        """By `/rerank`; with a model that embeds, by cosines."""
        if not self._reranks:
            yield from super().rank(documents, parameters)
            return
        (document,) = documents
        query = self._input(document)
        same = {'model': self.model, 'query': query.get('text', query), 'return_documents': False}

        def make(part: Sequence[Document]) -> HttpCall:
            inputs = [self._input(one) for one in part]
            return post(self.at('/rerank'), body_of(parameters, **same, documents=inputs, top_n=len(part)), len(part))

        found = yield from self.in_parts('text', candidates(document), make, relevances)
        score_by_relevance(document, found)

    def embed_call(self, kind: str, documents: Sequence[Document], parameters: Parameters) -> HttpCall:
        inputs = [self._input(document) for document in documents]
        return post(
            self.at('/embeddings'),
            body_of(parameters, model=self.model, input=inputs, embedding_type='float'),
            len(inputs),
        )

    def read_embeddings(self, call: HttpCall, answer: Any) -> list[Row]:
        return embeddings(call, answer)

    def capabilities(self) -> Steps[Capabilities]:
        """What the API tells of the model, else what its name does; asking this costs nothing."""
        answer = yield from self._look_up()
        if answer.status == 200:
            self._learn(answer.json())
        return self.known()

    def ready(self) -> Steps[bool]:
        """Whether the API knows the model; one without models to look up is taken to be."""
        yield from self._look_up()
        return True

    def _look_up(self) -> Steps[HttpAnswer]:
        """What the API says of the model: an answer with status 200, or one that there is no such path."""
        call = get(self.at(f'/models/{quote(self.model, safe="")}'))
        answer = yield call
        if answer.status != 200:
            error = self.failure(call, answer)
            if not isinstance(error, UnsupportedTaskError):
                raise error
        return answer

    def _learn(self, found: Any) -> None:
        if not isinstance(found, dict):
            raise ProtocolError('the answer tells of no model: is this the API of Jina AI?')
        taken = told(found, list, 'input_modalities') or ()
        self.modalities = frozenset(kind for kind in ('text', 'image') if kind in taken)
        self.limits.tokens = told(found, int, 'context_length')
        if not self._reranks:
            self.size = self.size or told(found, int, 'max_output_length')

    def _input(self, document: Document) -> dict[str, str]:
        if self.checked(document) == 'text':
            return {'text': document.text}
        return {'image': base64_image(document)}


class JinaAITransport(RestTransport):
    """`jinaai://MODEL`, with the token that the client was given, else the key in `JINA_API_KEY`, else any other token.

    `?base=` names another server.
    """

    dialect_class = JinaAIDialect

    @classmethod
    def located(cls, url: str, options: TransportOptions) -> tuple[Address, TransportOptions]:
        parts = urlsplit(url)
        model = parts.netloc + parts.path.rstrip('/')
        if not model or '@' in parts.netloc:
            raise ConfigurationError('the URL names no model: expected one such as jinaai://jina-clip-v2')
        named = options_of(parts.query, cls.dialect_class.url_options)
        if options.trust_env and not (options.token and options.token_given):
            key = checked_token(os.environ.get(KEY_VARIABLE), KEY_VARIABLE)
            options = dataclasses.replace(options, token=key or options.token)
        address = address_of(named.get('base') or BASE, options, ())
        address.options = {'model': model}
        return address, options
