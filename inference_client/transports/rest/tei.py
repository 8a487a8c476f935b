"""Text Embeddings Inference (TEI) by Hugging Face: texts only, each server with one model of one kind.

Sources: its `docs/openapi.json` (`/embed`, `/rerank`, `/info`, `/health`) and, for what a status means, the router's
`ErrorType`: 413 is an answer to inputs that are too many or too long, 424 one to a model that failed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from docarray import Document

from ..._scores import score_by_relevance
from ..._spec import Capabilities
from ...errors import InferenceError, InputError, ProtocolError
from .address import Address
from .content import candidates
from .dialect import Dialect, Parameters
from .http import HttpAnswer, HttpCall, Steps, body_of, get, post
from .reading import by_index, entries, number, vectors
from .transport import RestTransport

if TYPE_CHECKING:
    from .reading import Row

TASKS: Mapping[str, frozenset[str]] = {
    'embedding': frozenset({'encode', 'rank'}),
    'reranker': frozenset({'rank'}),
    'classifier': frozenset(),
}
"""What a model of each type does."""

TOO_LONG = re.compile(r'\btokens\b', re.I)


class TeiDialect(Dialect):
    """`tei+http(s)://host:port`: what `/info` says of the model's type and of limits is obeyed."""

    server = 'Text Embeddings Inference'
    tasks = frozenset({'encode', 'rank'})
    modalities = frozenset({'text'})
    ready_path = '/health'

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._type: str | None = None  # of the model, once it is known

    def at(self, path: str) -> str:
        """A path; only its twin of OpenAI's API has a version."""
        return path

    def prepare(self) -> Steps[None]:
        """Ask for the model's type and for limits, once."""
        if self._type is not None:
            return
        found = yield from self.ask(get('/info'))
        kinds = found.get('model_type') if isinstance(found, dict) else None
        kind = str(next(iter(kinds), None) if isinstance(kinds, dict) else kinds)
        if kind not in TASKS:
            raise ProtocolError(f'/info tells of a model of type {kind}: expected {", ".join(sorted(TASKS))}')
        self.limits.inputs['text'] = _limit(found, 'max_client_batch_size')
        self.limits.tokens = _limit(found, 'max_input_length')
        self.tasks = TASKS[kind]
        self._type = kind

    def rank(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        """By `/rerank`, if the model is a reranker; else by the cosines of embeddings."""
        if self._type != 'reranker':
            yield from super().rank(documents, parameters)
            return
        (document,) = documents

        def make(part: Sequence[Document]) -> HttpCall:
            body = body_of(parameters, query=document.text, texts=[one.text for one in part])
            return post('/rerank', body, len(part))

        found = yield from self.in_parts('text', candidates(document), make, _ranks)
        score_by_relevance(document, found)

    def embed_call(self, kind: str, documents: Sequence[Document], parameters: Parameters) -> HttpCall:
        return post('/embed', body_of(parameters, inputs=[one.text for one in documents]), len(documents))

    def read_embeddings(self, call: HttpCall, answer: Any) -> list[Row]:
        return vectors(entries(answer, None, call.inputs))

    def capabilities(self) -> Steps[Capabilities]:
        yield from self.prepare()
        return self.known()

    def failure(self, call: HttpCall, answer: HttpAnswer) -> InferenceError:
        said = answer.said()
        if answer.status == 413 and TOO_LONG.search(said):
            return InputError(f'a text is too long ({said}): shorten it, or have it cut with truncate=True')
        return super().failure(call, answer)


def _ranks(call: HttpCall, answer: Any) -> list[float]:
    return [number(entry, 'score') for entry in by_index(entries(answer, None, call.inputs))]


def _limit(info: Mapping[str, Any], name: str) -> int:
    found = info.get(name)
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise ProtocolError(f'/info tells of {name} {found!r}: expected a number')
    return found


class TeiTransport(RestTransport):
    """`tei+http://` and `tei+https://`."""

    dialect_class = TeiDialect
