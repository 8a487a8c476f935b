"""Stand-ins for hosted REST APIs and for servers that do not run here, with `FakeEngine` as their model.

They are no such servers: they have the shapes of requests and answers that the public specifications in `specs/` give.
Each request and each answer is held to those (see `contracts`); to a request that does not fit, they answer 400, and
they note it in `problems`, which ends the test. What a test has them say in `faults` is not held to anything.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
from contracts import contract
from PIL import Image

from inference_client._images import decode_image
from inference_client.testing import FakeEngine

HOST = '127.0.0.1'
KIT = {'seconds', 'fail', 'refuse'}  # parameters of the conformance kit, which an echo server obeys
FAKE = FakeEngine()


class Refused(Exception):
    """What the server answers in place of a result: a status, and a body."""

    def __init__(self, status, body, headers=None):
        super().__init__(status, body)
        self.status, self.body, self.headers = status, body, headers or {}


@dataclass
class Asked:
    """One call that arrived."""

    method: str
    path: str
    headers: dict
    body: dict


@dataclass
class RestServer:
    """What a server is told, and what it was asked.

    Attributes:
        specification: its name in `specs/`.
        url: `http://host:port`.
        asked: the calls, in order.
        problems: what did not fit the documented shapes.
        faults: an answer (status, headers, body) for each next call, or None for one that goes well.
        token: what a call must bring as `Bearer`, or None for anything.
        lenient: whether bodies may hold more than is documented, as the parameters of the kit.
        most: inputs in a call.
        at_once: calls at the same time, beyond which the answer is 429.
        busiest: how many there were at the same time.
    """

    specification: ClassVar[str]
    url: str = ''
    asked: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    faults: deque = field(default_factory=deque)
    token: str | None = None
    lenient: bool = False
    most: int = 2048
    at_once: int = 1000
    busiest: int = 0
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    busy: int = 0

    def routes(self):
        """Functions from a body to an answer, by method and path."""
        raise NotImplementedError

    def answer(self, asked):
        with self.lock:
            self.asked.append(asked)
            fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            return fault
        if self.token is not None and asked.headers.get('authorization') != f'Bearer {self.token}':
            return 401, {}, self.error('Incorrect API key provided')
        route = self.routes().get((asked.method, asked.path))
        if route is None:
            return self.unknown(asked)
        status, headers, answer = self.reply(route, asked)
        try:
            self.hold(asked, 'answer' if status == 200 else 'refusal', self.visible(answer))
        except AssertionError as error:
            self.problems.append(f'{asked.method} {asked.path}: {type(error).__name__}: {error}')
        return status, headers, answer

    def reply(self, route, asked):
        try:
            return 200, {}, self.limited(route, asked)
        except Refused as refused:
            return refused.status, refused.headers, refused.body
        except Exception as error:  # noqa: BLE001 - a request that does not fit may raise anything
            self.problems.append(f'{asked.method} {asked.path}: {type(error).__name__}: {error}')
            return 400, {}, self.error(f'{error!r}')

    def hold(self, asked, part, body):
        """See that a part of a call, its `request`, `answer` or `refusal`, is as the specification says."""
        terms = contract(self.specification)
        route = terms.route(asked.method, self.specified(asked.path))
        name = 'Refusal' if part == 'refusal' else route.get(part)
        if part == 'request' and name and self.lenient:
            body = {key: value for key, value in body.items() if key in terms.fields(name)}
        terms.check(name, body)

    def specified(self, path):
        """A path as the specification has it."""
        return path

    def visible(self, body):
        """What the specification tells of a body."""
        return body

    def limited(self, route, asked):
        with self.lock:
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
            free = self.busy <= self.at_once
        try:
            if not free:
                raise Refused(429, self.error('Rate limit reached'))
            time.sleep(self.seconds)
            body = self.controlled(asked.body)
            self.hold(asked, 'request', self.visible(body))
            return route(body)
        finally:
            with self.lock:
                self.busy -= 1

    def controlled(self, body):
        """The body without what the kit has servers do, which is done."""
        if not self.lenient or not body:
            return body
        time.sleep(body.get('seconds', 0))
        if 'refuse' in body:
            raise Refused(400, self.error(body['refuse']))
        if 'fail' in body:
            raise Refused(500, self.error(body['fail']))
        return {name: value for name, value in body.items() if name not in KIT}

    def text(self, value):
        """A text; one that was an image is a mistake of the client."""
        assert isinstance(value, str) and value, f'no text: {value!r}'
        assert not value.startswith('data:'), 'an image was sent as text'
        return value

    def error(self, message):
        return {'error': {'message': message, 'type': 'invalid_request_error', 'param': None, 'code': None}}

    def unknown(self, asked):
        return 404, {}, self.error(f'Invalid URL ({asked.method} {asked.path})')

    def counted(self, inputs):
        if len(inputs) > self.most:
            raise Refused(400, self.error(f'batch size {len(inputs)} > maximum allowed batch size {self.most}'))
        return inputs


@dataclass
class OpenAIServer(RestServer):
    """OpenAI's API: https://platform.openai.com/docs/api-reference, `/embeddings`, `/chat/completions`, `/models`."""

    specification = 'openai'
    models: tuple = ('text-embedding-3-small',)
    owner: str = 'openai'
    reads: tuple = ('JPEG', 'PNG', 'WEBP', 'GIF')  # kinds of images
    reverse: bool = False  # whether results come in another order

    def routes(self):
        return {
            ('GET', '/v1/models'): lambda _: {'object': 'list', 'data': [self.model(name) for name in self.models]},
            ('POST', '/v1/embeddings'): self.embeddings,
            ('POST', '/v1/chat/completions'): self.chat,
        }

    def model(self, name):
        return {'id': name, 'object': 'model', 'created': 1686935002, 'owned_by': self.owner}

    def known(self, body):
        if body['model'] not in self.models:
            raise Refused(
                404, self.error(f'The model `{body["model"]}` does not exist or you do not have access to it.')
            )

    def pixels(self, data):
        """What an encoded image shows, if it is of a kind that the server reads."""
        kind = Image.open(io.BytesIO(data)).format
        if kind not in self.reads:
            raise Refused(400, self.error(f'Failed to load image: {kind}'))
        return decode_image(data)

    def image_of(self, part):
        assert part['type'] == 'image_url', part
        return self.pixels(from_data_uri(part['image_url']['url']))

    def embeddings(self, body):
        self.known(body)
        assert body['encoding_format'] == 'float'
        rows = FAKE.encode_text([self.text(one) for one in self.counted(body['input'])], {})
        return self.listed(rows)

    def listed(self, rows):
        data = [{'object': 'embedding', 'index': i, 'embedding': row.tolist()} for i, row in enumerate(rows)]
        usage = {'prompt_tokens': 8, 'total_tokens': 8}
        return {'object': 'list', 'data': data[::-1] if self.reverse else data, 'model': self.models[0], 'usage': usage}

    def chat(self, body):
        self.known(body)
        (message,) = body['messages']
        assert message['role'] == 'user'
        image, text = message['content']
        assert text['type'] == 'text'
        (caption,) = FAKE.caption_image([self.image_of(image)], {})
        message = {'role': 'assistant', 'content': f' {caption} <- {self.text(text["text"])}\n', 'refusal': None}
        choice = {'index': 0, 'message': message, 'logprobs': None, 'finish_reason': 'stop'}
        usage = {'prompt_tokens': 9, 'completion_tokens': 9, 'total_tokens': 18}
        return {
            'id': 'chatcmpl-1', 'object': 'chat.completion', 'created': 1741570283,
            'model': self.models[0], 'choices': [choice], 'usage': usage,
        }  # fmt: skip


@dataclass
class VllmServer(OpenAIServer):
    """vLLM's pooling and chat APIs: https://docs.vllm.ai, "Embedding Usages" and "Scoring Usages"."""

    specification = 'vllm'
    models: tuple = ('openai/clip-vit-base-patch32',)
    owner: str = 'vllm'
    cohere: bool = True  # releases before 0.17 or so have no /v2/embed
    reranks: bool = True

    def routes(self):
        routes = {**super().routes(), ('GET', '/version'): lambda _: {'version': '0.20.0'}}
        if self.cohere:
            routes['POST', '/v2/embed'] = self.embed
        if self.reranks:
            routes['POST', '/v1/rerank'] = self.rerank
        return routes

    def unknown(self, asked):
        return 404, {}, {'detail': 'Not Found'}

    def error(self, message):
        return {'error': {'message': message, 'type': 'BadRequestError', 'param': None, 'code': 400}}

    def model(self, name):
        return {**super().model(name), 'root': name, 'parent': None, 'max_model_len': 77, 'permission': []}

    def embeddings(self, body):
        if 'messages' not in body:
            return super().embeddings(body)
        self.known(body)
        (message,) = body['messages']
        (image,) = message['content']
        return self.listed(FAKE.encode_image([self.image_of(image)], {}))

    def embed(self, body):
        self.known(body)
        images = [self.pixels(from_data_uri(one)) for one in self.counted(body['images'])]
        rows = FAKE.encode_image(images, {})
        meta = {'api_version': {'version': '2'}, 'billed_units': {'input_tokens': 12}}
        return {'id': 'embd-1', 'embeddings': {'float': [row.tolist() for row in rows]}, 'texts': None, 'meta': meta}

    def rerank(self, body):
        self.known(body)
        scores = relevances([body['query'], *map(self.text, self.counted(body['documents']))])
        results = [
            {'index': index, 'document': {'text': body['documents'][index]}, 'relevance_score': scores[index]}
            for index in np.argsort(-np.array(scores)).tolist()
        ]
        return {
            'id': 'rerank-1',
            'model': body['model'],
            'usage': {'prompt_tokens': 9, 'total_tokens': 9},
            'results': results[: body['top_n']],
        }


@dataclass
class LlamaCppServer(OpenAIServer):
    """llama.cpp's server: the README of its `tools/server`.

    While it loads its model, it answers 503 to all but `/v1/models`.

    Attributes:
        most_tokens: in a text, which are its letters here (`--ubatch-size`).
    """

    specification = 'llamacpp'
    models: tuple = ('model.gguf',)
    owner: str = 'llamacpp'
    reads: tuple = ('JPEG', 'PNG', 'GIF', 'BMP')  # of stb_image
    loading: bool = False
    vision: bool = True
    reranks: bool = False
    marker: str = '<__media_YoNhud46VdDqbuFmKYEO9PY7A4ARzRfg__>'
    most_tokens: int = 4096

    def routes(self):
        return {
            **super().routes(),
            ('GET', '/health'): lambda _: {'status': 'ok'},
            ('GET', '/props'): lambda _: {
                'default_generation_settings': {'n_ctx': 4096},
                'modalities': {'vision': self.vision},
                'media_marker': self.marker,
            },
            ('POST', '/embeddings'): self.own_embeddings,
            ('POST', '/v1/rerank'): self.rerank,
        }

    def reply(self, route, asked):
        if self.loading and asked.path != '/v1/models':
            return 503, {}, {'error': {'code': 503, 'message': 'Loading model', 'type': 'unavailable_error'}}
        return super().reply(route, asked)

    def model(self, name):
        meta = None if self.loading else {'n_ctx_train': 131072, 'n_embd': 8}
        return {**super().model(name), 'meta': meta}

    def known(self, body):
        """It has one model, whatever it is called."""

    def error(self, message):
        return {'error': {'code': 400, 'message': message, 'type': 'invalid_request_error'}}

    def text(self, value):
        if len(value) > self.most_tokens:
            most = f'increase the physical batch size (current batch size: {self.most_tokens})'
            raise self.failed(f'input ({len(value)} tokens) is too large to process. {most}')
        return super().text(value)

    def pixels(self, data):
        if not self.vision:
            raise self.failed(
                'image input is not supported - hint: if this is unexpected, you may need to provide the mmproj'
            )
        return super().pixels(data)

    def failed(self, message):
        return Refused(500, {'error': {'code': 500, 'message': message, 'type': 'server_error'}})

    def rerank(self, body):
        if self.reranks:
            scores = relevances([self.text(one) for one in (body['query'], *body['documents'])])
            return {'results': [{'index': index, 'relevance_score': score} for index, score in enumerate(scores)]}
        message = 'This server does not support reranking. Start it with `--reranking`'
        raise Refused(501, {'error': {'code': 501, 'message': message, 'type': 'not_supported_error'}})

    def own_embeddings(self, body):
        if 'input' in body:
            rows = FAKE.encode_text([self.text(one) for one in body['input']], {})
        else:
            rows = FAKE.encode_image([self.prompted(prompt) for prompt in body['content']], {})
        return [{'index': index, 'embedding': [row.tolist()]} for index, row in enumerate(rows)]

    def prompted(self, prompt):
        assert prompt['prompt_string'].count(self.marker) == 1
        (data,) = prompt['multimodal_data']
        return self.pixels(base64.b64decode(data, validate=True))


@dataclass
class OllamaServer(OpenAIServer):
    """Ollama's OpenAI-compatible API; what it lacks, Go's HTTP server answers for it."""

    models: tuple = ('all-minilm:latest', 'llava:latest')
    owner: str = 'library'
    reads: tuple = ('JPEG', 'PNG', 'WEBP')

    def unknown(self, asked):
        return 404, {'Content-Type': 'text/plain'}, b'404 page not found'

    def known(self, body):
        if body['model'] not in self.models:
            raise Refused(404, self.error(f'model "{body["model"]}" not found, try pulling it first'))


@dataclass
class LMStudioServer(OpenAIServer):
    """LM Studio's OpenAI-compatible API, which answers 200 to what it lacks."""

    models: tuple = ('text-embedding-nomic-embed-text-v1.5',)
    owner: str = 'organization_owner'

    def unknown(self, asked):
        return 200, {}, {'error': f'Unexpected endpoint or method. ({asked.method} {asked.path})'}


@dataclass
class JinaAIServer(RestServer):
    """The API of Jina AI: https://api.jina.ai/redoc.

    Attributes:
        models: those that can be looked up, with what they take; without any, there is no such path.
        refusal: what it answers instead: a status, a code, and words.
    """

    specification = 'jinaai'
    token: str | None = 'a-key'
    models: dict = field(
        default_factory=lambda: {
            'jina-clip-v2': ['text', 'image'],
            'jina-embeddings-v3': ['text'],
            'jina-embeddings-v5-omni-small': ['text', 'image', 'audio', 'video'],
            'jina-reranker-m0': ['text', 'image'],
        }
    )
    refusal: tuple | None = None

    def routes(self):
        routes = {('POST', '/v1/embeddings'): self.embeddings, ('POST', '/v1/rerank'): self.rerank}
        for name, modalities in self.models.items():
            routes['GET', f'/v1/models/{name}'] = lambda _, name=name, modalities=modalities: {
                'id': f'jina-ai/{name}', 'hugging_face_id': f'jinaai/{name}', 'name': name, 'created': 1725840000,
                'input_modalities': modalities, 'output_modalities': ['embeddings'], 'quantization': '',
                'context_length': 8192, 'max_output_length': 8, 'pricing': {}, 'supported_sampling_parameters': [],
                'supported_features': [], 'description': '', 'datacenters': [],
            }  # fmt: skip
        return routes

    def error(self, message):
        return {'detail': message}

    def unknown(self, asked):
        if self.models and asked.path.startswith('/v1/models/'):
            return 404, {}, {'detail': "Model 'm' not found or access denied.", 'code': 'RESOURCE_NOT_FOUND'}
        return 404, {}, {'detail': 'Not Found'}

    def limited(self, route, asked):
        if self.refusal is not None:
            status, code, words = self.refusal
            raise Refused(status, {'detail': words, 'code': code, 'request_id': 'a1'})
        return super().limited(route, asked)

    def embeddings(self, body):
        assert body['embedding_type'] == 'float'
        rows = [self.embedding(one) for one in self.counted(body['input'])]
        data = [{'object': 'embedding', 'index': i, 'embedding': row.tolist()} for i, row in enumerate(rows)]
        return {'model': body['model'], 'object': 'list', 'usage': {'total_tokens': 9}, 'data': data}

    def embedding(self, one):
        ((kind, value),) = one.items()
        if kind == 'text':
            return FAKE.encode_text([self.text(value)], {})[0]
        assert kind == 'image', kind
        return FAKE.encode_image([decode_image(base64.b64decode(value, validate=True))], {})[0]

    def rerank(self, body):
        query = {'text': body['query']} if isinstance(body['query'], str) else body['query']
        rows = np.stack([self.embedding(one) for one in (query, *body['documents'])])
        scores = [float(score) for score in (rows[1:] @ rows[0] + 1) / 2]
        best = np.argsort(-np.array(scores))[: body['top_n']].tolist()
        results = [{'index': index, 'relevance_score': scores[index]} for index in best]
        return {'model': body['model'], 'usage': {'total_tokens': 9}, 'results': results}


def from_data_uri(uri):
    head, _, data = uri.partition(',')
    assert head.startswith('data:image/') and head.endswith(';base64'), head
    return base64.b64decode(data, validate=True)


def relevances(texts):
    """From 0 to 1, of each text but the first."""
    rows = FAKE.encode_text(texts, {})
    return [float(score) for score in (rows[1:] @ rows[0] + 1) / 2]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def do_GET(self):
        self.reply(None)

    def do_POST(self):
        data = self.rfile.read(int(self.headers['Content-Length']))
        head = self.headers['Inference-Header-Content-Length']
        if head is None:
            assert self.headers['Content-Type'] == 'application/json'
            self.reply(json.loads(data))
        else:  # Triton's way to send bytes behind JSON
            self.reply({**json.loads(data[: int(head)]), 'bytes': data[int(head) :]})

    def reply(self, body):
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, more, answer = self.server.rest.answer(Asked(self.command, self.path, headers, body))
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {'Content-Type': 'application/json', 'Content-Length': str(len(data)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A client that hangs up is no failure of the server."""


@contextlib.contextmanager
def serving(rest):
    """Serve a `RestServer` while the context is open; at its end, see that every request did fit."""
    with _Server((HOST, 0), _Handler) as server:
        server.rest = rest
        rest.url = f'http://{HOST}:{server.server_port}'
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield rest
        finally:
            server.shutdown()
            thread.join()
    assert not rest.problems, '\n'.join(rest.problems)
