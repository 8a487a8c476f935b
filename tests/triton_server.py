"""A stand-in for Triton: the Open Inference Protocol v2 with its extensions for bytes and for configurations.

It is made from the protocol's specification and Triton's pages on the extensions; `tests/servers` runs MLServer.
"""

from __future__ import annotations

import base64
import json
import math
import re
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from rest_servers import FAKE, KIT, Refused, RestServer, relevances

from inference_client._images import decode_image
from inference_client.transports.rest.tensor_images import NORMALIZATIONS
from inference_client.transports.rest.tensors import TYPES

HEAD = 'Inference-Header-Content-Length'


class Model(NamedTuple):
    """Tensors by name, each with its datatype and shape, and the largest batch; 0 is none at all."""

    inputs: dict
    outputs: dict
    most: int = 8
    roles: dict = {}  # of tensors that are called otherwise
    normalize: str = 'none'  # what its pixels are expected to be


CLIP = Model(
    {'TEXT': ('BYTES', [-1, 1]), 'IMAGE': ('BYTES', [-1, 1])},
    {'EMBEDDING': ('FP32', [-1, 8])},
)


class Behind(NamedTuple):
    """An answer with bytes behind its JSON."""

    head: dict
    data: bytes


@dataclass
class TritonServer(RestServer):
    """Triton.

    Attributes:
        models: by name.
        binary: whether it has the extension for bytes; without, and without configurations, it is another server.
    """

    specification = 'triton'
    models: dict = field(default_factory=lambda: {'clip': CLIP})
    binary: bool = True

    def routes(self):
        extensions = ['classification', 'binary_tensor_data', 'model_configuration'] if self.binary else []
        routes = {('GET', '/v2'): lambda _: {'name': 'triton', 'version': '2.50.0', 'extensions': extensions}}
        for name, model in self.models.items():
            at = f'/v2/models/{name}'
            routes['GET', at] = lambda _, name=name, model=model: {
                'name': name, 'versions': ['1'], 'platform': 'ensemble',
                'inputs': listed(model.inputs), 'outputs': listed(model.outputs),
            }  # fmt: skip
            routes['GET', f'{at}/ready'] = lambda _: {}
            routes['POST', f'{at}/infer'] = lambda body, name=name, model=model: self.infer(name, model, body)
            if self.binary:
                routes['GET', f'{at}/config'] = lambda _, name=name, model=model: {
                    'name': name,
                    'max_batch_size': model.most,
                }
        return routes

    def error(self, message):
        return {'error': message}

    def unknown(self, asked):
        found = re.match('/v2/models/([^/]+)$', asked.path)
        if found:
            return 400, {}, self.error(f"Request for unknown model: '{found[1]}' is not found")
        return 404, {}, b''

    def answer(self, asked):
        status, headers, answer = super().answer(asked)
        if not isinstance(answer, Behind):
            return status, headers, answer
        head = json.dumps(answer.head).encode()
        headers = {**headers, HEAD: str(len(head)), 'Content-Type': 'application/octet-stream'}
        return status, headers, head + answer.data

    def visible(self, body):
        body = body.head if isinstance(body, Behind) else body
        return {name: value for name, value in body.items() if name != 'bytes'} if isinstance(body, dict) else body

    def controlled(self, body):
        parameters = (body or {}).get('parameters', {})
        if not self.lenient or not KIT & set(parameters):
            return body
        time.sleep(parameters.get('seconds', 0))
        if 'refuse' in parameters:
            raise Refused(400, self.error(parameters['refuse']))
        if 'fail' in parameters:
            raise Refused(500, self.error(parameters['fail']))
        return body

    def infer(self, name, model, body):
        data = body.pop('bytes', b'')
        values = {}
        for one in body['inputs']:
            datatype, shape = model.inputs[one['name']]
            assert (one['datatype'], len(one['shape'])) == (datatype, len(shape)), one
            assert all(want in (-1, got) for want, got in zip(shape, one['shape'])), one['shape']
            if model.most and one['shape'][0] > model.most:
                message = f"inference request batch-size must be <= {model.most} for '{name}'"
                raise Refused(400, self.error(f'[request id: <id_unknown>] {message}'))
            one['values'], data = self.values(one, data)
            role = model.roles.get(one['name'], one['name'].lower())
            values[role] = self.meant(role, one, shape, model.normalize)
        assert not data, 'bytes are left over'
        (wanted,) = body['outputs']
        role = model.roles.get(wanted['name'], wanted['name'].lower())
        return self.said(name, wanted, model.outputs[wanted['name']], RESULTS[role](values))

    def values(self, one, data):
        """The values of an input, and the bytes that are left."""
        size = one.get('parameters', {}).get('binary_data_size')
        if size is None:
            assert len(one['data']) == math.prod(one['shape'])
            return one['data'], data
        assert self.binary
        mine, data = data[:size], data[size:]
        if one['datatype'] != 'BYTES':
            return np.frombuffer(mine, TYPES[one['datatype']]), data
        values = []
        while mine:
            length = int.from_bytes(mine[:4], 'little')
            values.append(mine[4 : 4 + length])
            mine = mine[4 + length :]
        assert len(values) == math.prod(one['shape'])
        return values, data

    def meant(self, role, one, shape, normalize):
        """The texts, or the pixels of the images, that an input holds."""
        values = one['values']
        if role != 'image':
            return [value.decode() if isinstance(value, bytes) else self.text(value) for value in values]
        if one['datatype'] == 'BYTES':
            if not self.binary:
                assert one['parameters'] == {'content_type': 'base64'}
                values = [base64.b64decode(value, validate=True) for value in values]
            return [decode_image(value) for value in values]
        pixels = np.asarray(values, TYPES[one['datatype']]).reshape(one['shape'])
        if len(shape) < 3:
            return [decode_image(pixels.tobytes())]
        pixels = pixels if len(shape) == 4 else pixels[np.newaxis]
        pixels = pixels.transpose(0, 2, 3, 1) if shape[-3] == 3 else pixels
        if one['datatype'] != 'UINT8':
            mean, deviation = NORMALIZATIONS[normalize]
            pixels = np.rint((pixels.astype(np.float64) * deviation + mean) * 255)
            assert pixels.min() >= 0
            assert pixels.max() <= 255
        return list(pixels.astype(np.uint8))

    def said(self, name, wanted, output, result):
        datatype, shape = output
        head = {'name': wanted['name'], 'datatype': datatype}
        if datatype == 'BYTES':
            head.update(shape=[len(result)] + [1] * (len(shape) - 1), data=result)
        else:
            rows = np.asarray(result, TYPES[datatype])
            head['shape'] = list(rows.shape)
            if wanted.get('parameters') == {'binary_data': True}:
                assert self.binary
                data = rows.tobytes()
                head['parameters'] = {'binary_data_size': len(data)}
                return Behind({'model_name': name, 'model_version': '1', 'outputs': [head]}, data)
            head['data'] = rows.ravel().tolist()
        return {'model_name': name, 'model_version': '1', 'outputs': [head]}


def listed(tensors):
    return [{'name': name, 'datatype': datatype, 'shape': shape} for name, (datatype, shape) in tensors.items()]


def embedded(values):
    if 'text' in values:
        return FAKE.encode_text(values['text'], {})
    return FAKE.encode_image(values['image'], {})


def responded(values):
    captions = FAKE.caption_image(values['image'], {})
    prompts = values.get('prompt', ['nothing'])
    return [f'{caption} <- {prompt}' for caption, prompt in zip(captions, prompts)]


def scored(values):
    return [relevances([query, text])[0:1] for query, text in zip(values['query'], values['text'])]


RESULTS = {
    'embedding': embedded,
    'text_embedding': embedded,
    'image_embedding': embedded,
    'response': responded,
    'score': scored,
}
