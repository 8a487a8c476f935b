"""Infinity: embeddings of texts and images, and rerankers, with the modality said in each call.

Sources: the schemas of its `/openapi.json` (infinity-emb 0.0.78), which the tests run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence

from docarray import Document

from ..._scores import score_by_relevance
from ..._spec import Capabilities
from ...errors import ConfigurationError, ModelNotFoundError, ProtocolError, UnsupportedTaskError
from .address import Address
from .content import candidates, data_uri
from .dialect import Dialect, Parameters
from .http import HttpCall, Steps, body_of, get, post
from .reading import embeddings, relevances
from .transport import RestTransport

if TYPE_CHECKING:
    from .reading import Row

EMBEDS = {'embed': 'text', 'image_embed': 'image'}
"""Modalities, by what `/models` calls the capability."""

MOST = {'text': 2048, 'image': 32}
"""Inputs in a call, of which it tells nothing."""


class InfinityDialect(Dialect):
    """`infinity+http(s)://host:port?model=M`; without `?model=`, the only one that the server has.

    A server that does not know `modality` answers 200 to an image with an embedding of its data URI as a text, so
    before the first image it is asked to embed what is no image, and has to refuse.
    """

    server = 'Infinity'
    tasks = frozenset({'encode', 'rank'})
    url_options = ('model',)

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.model = address.options.get('model') or None
        self.limits.inputs.update(MOST)
        self._known = False  # whether the server was looked at
        self._reranks = False
        self._minds = False  # whether it was seen to refuse what is not of the modality that is said

    def prepare(self) -> Steps[None]:
        """See which models there are, and what this one can do, once."""
        if self._known:
            return
        answer = yield from self.ask(get(self.at('/models')))
        found = answer.get('data') if isinstance(answer, dict) else None
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise ProtocolError('the answer has no "data" with models: is this an Infinity server?')
        abilities = {str(entry.get('id')): entry.get('capabilities') for entry in found}
        if self.model is None and len(abilities) == 1:
            (self.model,) = abilities
        offered = self.shown(sorted(abilities))
        if self.model is None:
            raise ConfigurationError(f'the URL names no model, and the server has {offered}: add ?model=')
        if self.model not in abilities:  # a server with one model would answer with that
            raise ModelNotFoundError(f'the server has no model {self.model!r} but {offered}')
        self._learn(abilities[self.model])
        self._known = True

    def rank(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        """By `/rerank`, if the model is a reranker; else by the cosines of embeddings."""
        if not self._reranks:
            yield from super().rank(documents, parameters)
            return
        (document,) = documents

        def make(part: Sequence[Document]) -> HttpCall:
            texts = [one.text for one in part]
            body = body_of(parameters, model=self.model, query=document.text, documents=texts, top_n=len(part))
            return post(self.at('/rerank'), body, len(part))

        found = yield from self.in_parts('text', candidates(document), make, relevances)
        score_by_relevance(document, found)

    def prepare_to_embed(self, kind: str) -> Steps[None]:
        if kind == 'text' or self._minds:
            return
        call = self._call('image', ['no image'], {})
        answer = yield call
        if answer.status == 200:
            raise UnsupportedTaskError(
                'this Infinity would embed an image as a text, for it does not heed "modality": update it'
            )
        if answer.status not in (400, 422):
            raise self.failure(call, answer)
        self._minds = True

    def embed_call(self, kind: str, documents: Sequence[Document], parameters: Parameters) -> HttpCall:
        inputs = [data_uri(one) if kind == 'image' else one.text for one in documents]
        return self._call(kind, inputs, parameters)

    def read_embeddings(self, call: HttpCall, answer: Any) -> list[Row]:
        return embeddings(call, answer)

    def capabilities(self) -> Steps[Capabilities]:
        yield from self.prepare()
        return self.known()

    def _call(self, kind: str, inputs: Sequence[str], parameters: Parameters) -> HttpCall:
        body = body_of(parameters, model=self.model, input=inputs, modality=kind, encoding_format='float')
        return post(self.at('/embeddings'), body, len(inputs))

    def _learn(self, abilities: Any) -> None:
        """What the model can do; one that does not say (an old release) embeds texts."""
        abilities = abilities if isinstance(abilities, list) else ['embed']
        embeds = frozenset(EMBEDS[name] for name in abilities if name in EMBEDS)
        self._reranks = 'rerank' in abilities and not embeds
        if self._reranks:
            self.tasks, self.modalities = frozenset({'rank'}), frozenset({'text'})
        else:
            self.tasks = frozenset({'encode', 'rank'} if embeds else ())
            self.modalities = embeds


class InfinityTransport(RestTransport):
    """`infinity+http://` and `infinity+https://`."""

    dialect_class = InfinityDialect
