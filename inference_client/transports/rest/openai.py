"""Servers with OpenAI's API: OpenAI, vLLM, Ollama, llama.cpp, LM Studio and others.

Texts are embedded at `/embeddings` and ranked at `/rerank`, where there is one; images are described and asked about
at `/chat/completions`. The API has no embeddings of images: two kinds of servers add them, each in its own way.

Sources: OpenAI's API reference (`/embeddings`, `/chat/completions`, `/models`); vLLM's pages "Embedding Usages"
(`/v2/embed`, and `messages` at `/v1/embeddings`) and "Scoring Usages" (`/rerank`); the README of llama.cpp's server
(`/embeddings` without `/v1`, `multimodal_data`, `/props`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Sequence

from docarray import Document

from ..._scores import score_by_relevance
from ..._spec import Capabilities
from ...errors import ConfigurationError, InferenceError, InputError, ProtocolError, UnsupportedTaskError
from .address import Address
from .chat import READ_BY_ALL, caption_prompt, message_with, question_of, text_of
from .content import base64_image, candidates, data_uri, modality
from .dialect import Dialect, Parameters
from .http import HttpAnswer, HttpCall, Steps, body_of, get, post
from .reading import by_index, embeddings, entries, relevances, told, vectors
from .transport import RestTransport

if TYPE_CHECKING:
    from .reading import Row

OWNERS: Mapping[str, str] = {'vllm': 'vllm', 'llamacpp': 'llamacpp'}
"""Kinds of servers by the `owned_by` of their models."""

COHERE = '/v2/embed'  # of vLLM, in the form of Cohere's API
OWN = '/embeddings'  # of llama.cpp, whose answer is a list alone
MARKER = '<__media__>'  # of a llama.cpp server that names none in /props


class OpenAIDialect(Dialect):
    """`openai+http(s)://host:port/v1?model=M&dialect=D`.

    Without `?model=` it is the only one that the server has. `?dialect=` says how images are embedded: `vllm` or
    `llamacpp`; without it, the first image has the server's `/models` looked at, which both of these can be told by.
    """

    server = 'an OpenAI-style server'
    tasks = frozenset({'encode', 'rank', 'caption', 'vqa'})
    url_options = ('model', 'dialect')

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.model = address.options.get('model')
        self.kind = address.options.get('dialect')
        if self.kind is not None and self.kind not in OWNERS.values():
            raise ConfigurationError(f'?dialect={self.kind} is unknown: expected {" or ".join(OWNERS.values())}')
        self._entry: Mapping[str, Any] | None = None  # of the model in `/models`, once that was asked
        self._sees: bool | None = None  # whether the model takes images, where the server tells
        self._marker = MARKER
        self._known = False  # whether the server was looked at
        self._reranks = True
        self._cohere = True  # whether a vLLM has /v2/embed, which takes several images

    def prepare(self) -> Steps[None]:
        if not self.model:
            models = _listed((yield from self.ask(get(self.at(self.ready_path)))))
            if models is None:
                raise ProtocolError('the answer has no "data" with models: is this an OpenAI-style server?')
            self._learn(models)
            if not self.model:
                offered = self.shown(entry.get('id') for entry in models)
                raise ConfigurationError(f'the URL names no model, and the server has {offered}: add ?model=')

    def rank(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        """By `/rerank` if all is text, else, and where there is none, by the cosines of embeddings."""
        (document,) = documents
        everything = [document, *candidates(document)]
        if self._reranks and all(modality(one) == 'text' for one in everything):
            try:
                found = yield from self._relevances([one.text for one in everything], parameters)
                score_by_relevance(document, found)
                return
            except UnsupportedTaskError:
                self._reranks = False
        yield from super().rank(documents, parameters)

    def caption(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        prompt, rest = caption_prompt(parameters)
        yield from self._chat(documents, rest, prompt)

    def vqa(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        yield from self._chat(documents, parameters, question_of(documents[0]))

    def prepare_to_embed(self, kind: str) -> Steps[None]:
        if kind == 'image':
            yield from self._look_for_vision()
            if self.kind is None:
                raise UnsupportedTaskError(
                    'this server embeds texts only, as far as it tells: if it is a vLLM or llama.cpp with a model '
                    'for images, say so in its URL with ?dialect=vllm or ?dialect=llamacpp'
                )
            if self.kind == 'llamacpp' or not self._cohere:
                self.limits.inputs['image'] = 1

    def embed_call(self, kind: str, documents: Sequence[Document], parameters: Parameters) -> HttpCall:
        count = len(documents)
        if kind == 'text':
            texts = [document.text for document in documents]
            body = body_of(parameters, model=self.model, input=texts, encoding_format='float')
            return post(self.at('/embeddings'), body, count)
        if self.kind == 'llamacpp':
            files = [base64_image(one, READ_BY_ALL) for one in documents]
            prompts = [{'prompt_string': self._marker, 'multimodal_data': [file]} for file in files]
            return post(OWN, body_of(parameters, model=self.model, content=prompts), count)
        if self._cohere:
            images = [data_uri(document, READ_BY_ALL) for document in documents]
            body = body_of(parameters, model=self.model, images=images, embedding_types=['float'])
            return post(COHERE, body, count)
        messages = message_with(documents[0])  # with another one it would be one prompt of both
        body = body_of(parameters, model=self.model, messages=messages, encoding_format='float')
        return post(self.at('/embeddings'), body)

    def read_embeddings(self, call: HttpCall, answer: Any) -> list[Row]:
        if call.path == COHERE:
            return vectors(entries(told(answer, dict, 'embeddings'), 'float', call.inputs))
        if call.path == OWN and isinstance(answer, list):
            return vectors([_only_row(entry) for entry in by_index(entries(answer, None, call.inputs))])
        return embeddings(call, answer)

    def failure(self, call: HttpCall, answer: HttpAnswer) -> InferenceError:
        error = super().failure(call, answer)
        if answer.status == 200 and 'unexpected endpoint' in error.message.lower():
            error = UnsupportedTaskError(f'the server has no {call.path}')  # so LM Studio says 404
        if call.path == COHERE and isinstance(error, UnsupportedTaskError):
            self.limits.inputs['image'] = 1
            self._cohere = False
        return error

    def ready(self) -> Steps[bool]:
        """By `/models`; a llama.cpp server has that while it loads, too, so it is asked for its health besides."""
        answer = yield from self.knock()
        if answer.status == 200:
            self._learn(_listed(answer.json()) or ())
        if self.kind == 'llamacpp':
            yield from self._seen('/health')
        return True

    def capabilities(self) -> Steps[Capabilities]:
        yield from self.ready()
        yield from self.prepare()
        yield from self._look()
        return self.known()

    def known(self) -> Capabilities:
        known = self.kind is None or self._sees is not None  # a vLLM does not tell
        modalities = frozenset({'text', 'image'} if self._sees else {'text'}) if known else None
        return Capabilities(None, modalities, self.size, self.limits.inputs.get('text'), self.limits.tokens)

    def embed(self, kind: str, documents: Sequence[Document], parameters: Parameters) -> Steps[list[Row]]:
        cohere = self._cohere
        try:
            return (yield from super().embed(kind, documents, parameters))
        except UnsupportedTaskError:
            if kind == 'text' or self._cohere == cohere:
                raise
            return (yield from super().embed(kind, documents, parameters))

    def _learn(self, models: Sequence[Mapping[str, Any]]) -> None:
        """Keep what `/models` says of the model, which is the only one unless the URL names it."""
        if not self.model and len(models) == 1:
            self.model = str(models[0].get('id'))
        self._entry = next((one for one in models if one.get('id') == self.model), {})
        self.kind = self.kind or OWNERS.get(str(self._entry.get('owned_by')))

    def _seen(self, path: str) -> Steps[Any]:
        """What the server tells at a path; None where it has none, or a key of few rights may not see it."""
        try:
            return (yield from self.ask(get(path)))
        except InferenceError as error:
            if error.transient:  # another time it may tell
                raise
            return None

    def _look(self) -> Steps[None]:
        """See what kind of server it is and whether its model takes images, once."""
        if self._known:
            return
        if self._entry is None:
            found = yield from self._seen(self.at(self.ready_path))
            self._learn(_listed(found) or ())  # without any, what the model cannot do will show
        self.limits.tokens = told(self._entry, int, 'max_model_len')
        if self.kind == 'llamacpp':
            yield from self._look_closer()
        self._known = True

    def _look_for_vision(self) -> Steps[None]:
        """Look at the server before an image is sent."""
        yield from self._look()
        if self._sees is False:
            raise UnsupportedTaskError(f'model {self.model!r} takes no images: it has no vision part (mmproj)')

    def _look_closer(self) -> Steps[None]:
        """Read what only a llama.cpp server tells: in its entry of the model, and in its properties."""
        found = yield from self._seen('/props')
        self._sees = told(found, bool, 'modalities', 'vision')
        self._marker = told(found, str, 'media_marker') or MARKER
        self.limits.tokens = told(found, int, 'default_generation_settings', 'n_ctx')
        self.size = self.size or told(self._entry, int, 'meta', 'n_embd')

    def _relevances(self, texts: Sequence[str], parameters: Parameters) -> Steps[list[float]]:
        """How relevant the texts are to the first one."""

        def make(part: Sequence[str]) -> HttpCall:
            count = len(part)
            body = body_of(parameters, model=self.model, query=texts[0], documents=list(part), top_n=count)
            return post(self.at('/rerank'), body, count)

        found = yield from self.in_parts('text', texts[1:], make, relevances)
        return found

    def _chat(self, documents: Sequence[Document], parameters: Parameters, prompt: str) -> Steps[None]:
        (document,) = documents
        messages = message_with(document, {'type': 'text', 'text': prompt})
        yield from self._look_for_vision()
        if parameters.get('stream'):
            raise InputError('stream cannot be a parameter here: the answer is wanted as a whole')
        call = post(self.at('/chat/completions'), body_of(parameters, model=self.model, messages=messages))
        answer = yield from self.ask(call)
        document.tags['response'] = text_of(answer)


def _listed(answer: Any) -> list[dict[str, Any]] | None:
    """The models in an answer of `/models`, if that is what it is."""
    found = answer.get('data') if isinstance(answer, dict) else answer  # some send the list alone
    return found if isinstance(found, list) and all(isinstance(entry, dict) for entry in found) else None


def _only_row(entry: Mapping[str, Any]) -> Any:
    """The embedding of an entry; a server that does not pool gives one for each token."""
    rows = entry.get('embedding')
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], list):
        return rows
    if len(rows) > 1:
        raise ProtocolError(f'{len(rows)} embeddings came for one input: start the server with --pooling mean or last')
    return rows[0]


class OpenAITransport(RestTransport):
    """`openai+http://` and `openai+https://`."""

    dialect_class = OpenAIDialect
