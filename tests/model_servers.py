"""Stand-ins for Infinity and Text Embeddings Inference, as `rest_servers` has them for others.

Infinity answers as infinity-emb 0.0.78 did, which `tests/servers` runs; TEI is made from its `docs/openapi.json`
and the router's error types.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from rest_servers import FAKE, Refused, RestServer, from_data_uri, relevances

from inference_client._images import decode_image


@dataclass
class InfinityServer(RestServer):
    """`infinity_emb v2`, with one or more models.

    Attributes:
        models: what each can do, or None where that is not told.
        heeds: whether it knows `modality`; without, it embeds all as text.
    """

    specification = 'infinity'
    models: dict = field(default_factory=lambda: {'clip': ['embed', 'image_embed']})
    heeds: bool = True
    prefix: str = ''

    def routes(self):
        return {
            ('GET', f'{self.prefix}/models'): self.listed,
            ('POST', f'{self.prefix}/embeddings'): self.embeddings,
            ('POST', f'{self.prefix}/rerank'): self.rerank,
        }

    def hold(self, asked, part, body):
        if part != 'request' or body is None or body.get('input') != ['no image']:  # which is sent to be refused
            super().hold(asked, part, body)

    def specified(self, path):
        return path[len(self.prefix) :]

    def unknown(self, asked):
        return 404, {}, {'detail': 'Not Found'}

    def error(self, message):
        return {'error': {'message': message, 'type': None, 'param': None, 'code': 400}}

    def listed(self, _):
        stats = {'queue_fraction': 0.0, 'queue_absolute': 0, 'results_pending': 0, 'batch_size': 32}
        data = []
        for name, abilities in self.models.items():
            entry = {'id': name, 'stats': stats, 'object': 'model', 'owned_by': 'infinity', 'backend': 'torch'}
            data.append(entry if abilities is None else {**entry, 'capabilities': abilities})
        return {'data': data, 'object': 'list'}

    def abilities(self, body):
        if len(self.models) == 1:  # then any name will do
            return next(iter(self.models.values())) or ['embed']
        if body['model'] not in self.models:
            raise Refused(400, self.error(f'Invalid model: {body["model"]} not found'))
        return self.models[body['model']]

    def embeddings(self, body):
        if not self.heeds or body['modality'] == 'text':
            self.limited_to(2048, body['input'])
            rows = FAKE.encode_text(body['input'] if not self.heeds else list(map(self.text, body['input'])), {})
        else:
            assert body['modality'] == 'image'
            if not all(one.startswith('data:') for one in body['input']):
                fault = {'type': 'value_error', 'loc': ['body', 'image', 'input'], 'msg': 'Not a valid data URI'}
                raise Refused(422, {'detail': [fault]})
            self.limited_to(32, body['input'])
            if 'image_embed' not in self.abilities(body):
                raise Refused(400, self.error('ModelNotDeployedError: the loaded moded cannot fullyfill `image_embed`'))
            rows = FAKE.encode_image([decode_image(from_data_uri(one)) for one in body['input']], {})
        data = [{'object': 'embedding', 'embedding': row.tolist(), 'index': i} for i, row in enumerate(rows)]
        return {'object': 'list', 'data': data, 'model': 'clip', 'usage': {'prompt_tokens': 3, 'total_tokens': 3}}

    def limited_to(self, most, inputs):
        if len(inputs) > most:
            message = f'List should have at most {most} items after validation, not {len(inputs)}'
            raise Refused(422, {'detail': [{'type': 'too_long', 'loc': ['body', 'input'], 'msg': message}]})

    def rerank(self, body):
        if 'rerank' not in self.abilities(body):
            raise Refused(400, self.error('ModelNotDeployedError: the loaded moded cannot fullyfill `rerank`.'))
        self.limited_to(2048, body['documents'])
        scores = relevances([body['query'], *map(self.text, body['documents'])])
        best = np.argsort(-np.array(scores))[: body['top_n']].tolist()
        results = [{'relevance_score': scores[index], 'index': index, 'document': None} for index in best]
        return {'object': 'rerank', 'results': results, 'model': 'r', 'usage': {'prompt_tokens': 3, 'total_tokens': 3}}


@dataclass
class TeiServer(RestServer):
    """`text-embeddings-router`, with one model.

    Attributes:
        kind: of the model: `embedding`, `reranker` or `classifier`.
        longest: tokens, here words, of a text.
    """

    specification = 'tei'
    kind: str = 'embedding'
    most: int = 32
    longest: int = 10000

    def routes(self):
        return {
            ('GET', '/info'): self.info,
            ('GET', '/health'): lambda _: {},
            ('POST', '/embed'): self.embed,
            ('POST', '/rerank'): self.rerank,
        }

    def unknown(self, asked):
        return 404, {}, b''

    def error(self, message, kind='Validation'):
        return {'error': message, 'error_type': kind}

    def info(self, _):
        about = {'pooling': 'cls'} if self.kind == 'embedding' else {'id2label': {'0': 'a'}, 'label2id': {'a': 0}}
        return {
            'model_id': 'thenlper/gte-base', 'model_sha': None, 'model_dtype': 'float16',
            'model_type': {self.kind: about}, 'max_concurrent_requests': 128, 'max_input_length': self.longest,
            'max_batch_tokens': 2048, 'max_batch_requests': None, 'max_client_batch_size': self.most,
            'auto_truncate': False, 'tokenization_workers': 4, 'version': '1.7.1', 'sha': None, 'docker_label': None,
        }  # fmt: skip

    def embed(self, body):
        if self.kind != 'embedding':
            raise Refused(424, self.error('Model is not an embedding model', 'Backend'))
        return FAKE.encode_text(self.taken(body, body['inputs']), {}).tolist()

    def rerank(self, body):
        if self.kind != 'reranker':
            raise Refused(424, self.error('model is not a re-ranker model', 'Backend'))
        scores = relevances([body['query'], *self.taken(body, body['texts'])])
        return [{'index': index, 'score': scores[index]} for index in np.argsort(-np.array(scores)).tolist()]

    def taken(self, body, texts):
        if len(texts) > self.most:
            raise Refused(413, self.error(f'batch size {len(texts)} > maximum allowed batch size {self.most}'))
        for one in texts:
            count = len(self.text(one).split())
            if count > self.longest and not body.get('truncate'):
                message = f'`inputs` must have less than {self.longest} tokens. Given: {count}'
                raise Refused(413, self.error(message))
        return texts
