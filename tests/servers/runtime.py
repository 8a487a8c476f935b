"""An MLServer runtime with `FakeEngine` as its model, which does what parameters of the conformance kit ask for."""

from __future__ import annotations

import asyncio

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.errors import MLServerError
from mlserver.types import InferenceResponse

from inference_client._images import decode_image
from inference_client.testing import FakeEngine
from inference_client.testing.transports import PARAMETERS

FAKE = FakeEngine()


class Runtime(MLModel):
    async def predict(self, payload):
        given = payload.parameters.model_dump() if payload.parameters else {}
        await asyncio.sleep(given.get('seconds', 0))
        for name, status in (('refuse', 400), ('fail', 500)):
            if name in given:
                raise MLServerError(given[name], status)
        inputs = {
            one.name: self.decode(one, StringCodec if one.datatype == 'BYTES' else NumpyCodec) for one in payload.inputs
        }
        output = self.outputs[0].name
        if output == 'response':
            found = [f'{one} {decode_image(image).shape}' for one, image in zip(inputs['prompt'], inputs['image'])]
            return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output(output, found)])
        if 'query' in inputs:
            rows = np.array([[len(a) - len(b)] for a, b in zip(inputs['query'], inputs['text'])], np.float32)
        elif 'text' in inputs:
            rows = FAKE.encode_text(inputs['text'], {})
        else:
            images = [image if isinstance(image, np.ndarray) else decode_image(image) for image in inputs['image']]
            rows = FAKE.encode_image(images, {})
        if {**PARAMETERS, 'nothing': None}.items() <= {'nothing': None, **given}.items():
            rows = np.full_like(rows, 7)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output(output, rows)])
