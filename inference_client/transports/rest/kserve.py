"""The Open Inference Protocol v2 (KServe v2) of Triton, MLServer and others: texts and images as tensors.

The protocol says how tensors travel, and not what they mean: that is told by their names, which a URL can map.

Sources: the protocol's specification (`/v2`, `/v2/models/M`, `.../infer`, `.../ready`), and Triton's pages on its
extensions: binary tensor data, and model configuration (`.../config`), where the largest batch is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Mapping, Sequence
from urllib.parse import quote, unquote, urlsplit

from docarray import Document

from ..._scores import score_by_relevance
from ..._spec import Capabilities
from ...errors import ConfigurationError, InferenceError, ModelNotFoundError, ProtocolError, UnsupportedTaskError, bare
from ..base import TransportOptions
from .address import Address
from .chat import caption_prompt, question_of
from .content import candidates, modality
from .dialect import Dialect, Parameters
from .http import HttpAnswer, HttpCall, Steps, get
from .infer import HEAD, InferCall, infer_call, output_name
from .reading import vectors
from .served_model import INPUTS, OUTPUTS, ServedModel, served_model
from .tensor_images import NORMALIZATIONS, image_tensor, most_images
from .tensors import Tensor, numbers, text, text_tensor, unpacked
from .transport import RestTransport

if TYPE_CHECKING:
    from .reading import Row

BINARY = 'binary_tensor_data'  # what a server that takes that calls it
NO_SUCH_MODEL = re.compile(r'unknown model|model .*not found', re.I)


class KServeDialect(Dialect):
    """`kserve+http(s)://host:port/MODEL?ROLE=TENSOR`: roles are those of `INPUTS` and `OUTPUTS`.

    A tensor has the role that it is called after, case aside, unless the URL says otherwise; so has the only output
    of a model that embeds. What has no tensor cannot be done. `?image_model=` names another model for
    images, `?version=` a version, `?normalize=` how pixels become numbers.
    """

    server = 'the KServe server'
    tasks = frozenset({'encode', 'rank', 'caption', 'vqa'})
    url_options = (*INPUTS, *OUTPUTS, 'image_model', 'version', 'normalize')

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.model = address.options['model']
        self._normalize = address.options.get('normalize')
        if self._normalize not in (None, *NORMALIZATIONS):
            kinds = ', '.join(sorted(NORMALIZATIONS))
            raise ConfigurationError(f'?normalize={self._normalize} is unknown: expected one of {kinds}')
        self._binary = False
        self._models: Mapping[str, ServedModel] = {}  # by modality, once they are known

    def prepare(self) -> Steps[None]:
        """Read the metadata, once."""
        if self._models:
            return
        self._binary = yield from self._takes_bytes()
        model = yield from self._look(self.model)
        name = self.address.options.get('image_model')
        seeing = (yield from self._look(name)) if name else model
        self._check_names((model, seeing))
        self._learn(model, seeing)
        self._models = {'text': model, 'image': seeing}

    def rank(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        """By the output `score`, if there is one and all is text; else by the cosines of embeddings."""
        (document,) = documents
        model = self._models['text']
        if not model.reranks or {modality(one) for one in (document, *candidates(document))} != {'text'}:
            yield from super().rank(documents, parameters)
            return
        model.check_score()

        def make(part: Sequence[Document]) -> HttpCall:
            query = text_tensor(model.inputs['query'], [document.text] * len(part))
            texts = text_tensor(model.inputs['text'], [one.text for one in part])
            return self._infer(model, [query, texts], 'score', len(part), parameters)

        found = yield from self.in_parts('text', candidates(document), make, _scores)
        score_by_relevance(document, found)

    def caption(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        if 'prompt' not in self._models['image'].inputs:
            yield from self._respond(documents, None, parameters)
        else:
            prompt, rest = caption_prompt(parameters)
            yield from self._respond(documents, prompt, rest)

    def vqa(self, documents: Sequence[Document], parameters: Parameters) -> Steps[None]:
        yield from self._respond(documents, question_of(documents[0]), parameters)

    def embed_call(self, kind: str, documents: Sequence[Document], parameters: Parameters) -> HttpCall:
        model = self._models[kind]
        if kind == 'text':
            tensor = text_tensor(model.inputs['text'], [one.text for one in documents])
        else:
            tensor = self._image(model, documents)
        role = 'embedding' if f'{kind}_embedding' not in model.outputs else f'{kind}_embedding'
        return self._infer(model, [tensor], role, len(documents), parameters)

    def read_embeddings(self, call: HttpCall, answer: Any) -> list[Row]:
        return vectors(list(numbers(answer, output_name(call), call.inputs)))

    def ready(self) -> Steps[bool]:
        call = get(f'{self._path(self.model)}/ready')
        answer = yield call
        if answer.status not in (200, 400):  # Triton: 400 where it is not
            raise self.failure(call, answer)
        return answer.status == 200

    def capabilities(self) -> Steps[Capabilities]:
        yield from self.prepare()
        return self.known()

    def failure(self, call: HttpCall, answer: HttpAnswer) -> InferenceError:
        said = answer.said()
        if answer.status in (400, 404) and NO_SUCH_MODEL.search(said):
            return ModelNotFoundError(f'the server has no such model ({said}): check the name in the URL')
        return super().failure(call, answer)

    def ask(self, call: HttpCall) -> Steps[Any]:
        if not isinstance(call, InferCall):
            return (yield from super().ask(call))
        answer = yield call
        if answer.status != 200:
            raise self.failure(call, answer)
        return unpacked(answer.content, answer.headers.get(HEAD))

    def checked(self, document: Document) -> str:
        try:
            return super().checked(document)
        except UnsupportedTaskError as error:
            kind = modality(document)
            raise UnsupportedTaskError(
                f'{error}; a model that does is told by ?{kind}=INPUT and ?{kind}_embedding=OUTPUT'
            ) from error

    def _path(self, model: str) -> str:
        version = self.address.options.get('version')
        return f'/v2/models/{quote(model, safe="")}' + (f'/versions/{quote(version, safe="")}' if version else '')

    def _takes_bytes(self) -> Steps[bool]:
        """Whether the server takes values of tensors as bytes."""
        found = yield from self._told('/v2')
        extensions = found.get('extensions')
        return isinstance(extensions, list) and BINARY in extensions

    def _told(self, path: str) -> Steps[dict[str, Any]]:
        """What a server says at a path that it need not have."""
        call = get(path)
        answer = yield call
        if answer.status in (400, 404, 405, 501):
            return {}
        if answer.status != 200:  # another time it may be there
            raise self.failure(call, answer)
        found = answer.json()
        return found if isinstance(found, dict) else {}

    def _look(self, name: str) -> Steps[ServedModel]:
        path = self._path(name)
        metadata = yield from self.ask(get(path))
        config = yield from self._told(f'{path}/config')  # Triton's
        return served_model(path, metadata, config, self.address.options)

    def _check_names(self, models: Sequence[ServedModel]) -> None:
        """See that what the URL maps is there."""
        for role in (*INPUTS, *OUTPUTS):
            name = self.address.options.get(role)
            if name and not any(role in one.inputs or role in one.outputs for one in models):
                raise ConfigurationError(f'?{role}={name} names no tensor of the model: see its metadata')

    def _learn(self, model: ServedModel, seeing: ServedModel) -> None:
        """What the models can do, and how much at once."""
        outputs = {'text': model.embedding('text'), 'image': seeing.embedding('image')}
        embeds = {kind: spec.shape[-1] for kind, spec in outputs.items() if spec is not None and spec.shape}
        tasks = {*(('encode', 'rank') if embeds else ()), *(('rank',) if model.reranks else ()), *seeing.responds}
        if not tasks:
            raise ConfigurationError(
                f'model {self.model!r} has no tensors that are known by their names: say which is which in the URL, '
                'as in ?text=INPUT&embedding=OUTPUT'
            )
        texts = [model.inputs[role] for role in ('text', 'query') if role in model.inputs]
        self._limit('text', model, None if all(spec.batched for spec in texts) else 1)
        self._limit('image', seeing, most_images(seeing.inputs['image']) if 'image' in seeing.inputs else None)
        self.size = self.size or next((size for size in embeds.values() if size > 0), None)
        self.tasks = frozenset(tasks)
        self.modalities = frozenset(embeds) or frozenset({'text'})

    def _limit(self, kind: str, model: ServedModel, most: int | None) -> None:
        known = [limit for limit in (model.most, most) if limit is not None]
        if known:
            self.limits.inputs[kind] = min(known)

    def _image(self, model: ServedModel, documents: Sequence[Document]) -> Tensor:
        return image_tensor(model.inputs['image'], documents, self._binary, self._normalize)

    def _infer(
        self, model: ServedModel, tensors: Sequence[Tensor], role: str, inputs: int, parameters: Parameters
    ) -> HttpCall:
        return infer_call(f'{model.path}/infer', model.outputs[role], tensors, self._binary, inputs, parameters)

    def _respond(self, documents: Sequence[Document], prompt: str | None, parameters: Parameters) -> Steps[None]:
        (document,) = documents
        model = self._models['image']
        tensors = [self._image(model, documents)]
        if prompt is not None:
            tensors.append(text_tensor(model.inputs['prompt'], [prompt]))
        call = self._infer(model, tensors, 'response', 1, parameters)
        answer = yield from self.ask(call)
        document.tags['response'] = text(answer, output_name(call))


def _scores(call: HttpCall, answer: Any) -> list[float]:
    name = output_name(call)
    found = numbers(answer, name, call.inputs)
    if found.shape[1] > 1:
        raise ProtocolError(f'the output {name!r} has {found.shape[1]} numbers for each candidate: expected one')
    return [float(value) for value in found[:, 0]]


class KServeTransport(RestTransport):
    """`kserve+http://` and `kserve+https://`."""

    dialect_class = KServeDialect

    @classmethod
    def located(cls, url: str, options: TransportOptions) -> tuple[Address, TransportOptions]:
        address, options = super().located(url, options)
        whole = address.base + address.version
        base, _, model = whole.rpartition('/')
        if not urlsplit(whole).path or not model:
            raise ConfigurationError(f'{bare(url)!r} names no model: expected kserve+http://host:port/MODEL')
        address.base, address.version = base, ''
        address.options = {**address.options, 'model': unquote(model)}
        return address, options
