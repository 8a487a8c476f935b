"""The task and the engine keep to what these must."""

from __future__ import annotations

import io

import numpy as np
from docarray import Document, DocumentArray
from inference_client_upscale.engine import UpscaleEngine
from inference_client_upscale.task import UpscaleTask
from PIL import Image

from inference_client.testing import EngineConformance, TaskConformance

SCALED = {'scale': '10:-1', 'image_format': 'png'}


def pixels(width):
    return np.arange(4 * width * 3, dtype=np.uint8).reshape(4, width, 3)


def png(width):
    file = io.BytesIO()
    Image.fromarray(pixels(width)).save(file, 'PNG')
    return file.getvalue()


class TestTask(TaskConformance):
    task = UpscaleTask
    bad_arguments = ({}, {'image': png(5)}, {'image': b'', 'scale': '2:2'}, {'image': png(5), 'scale': 'large'})
    stream_arguments = SCALED

    def arguments(self):
        return [
            {'image': png(5), **SCALED},
            {'image': [pixels(5), png(6)], **SCALED},
            {'docs': DocumentArray([Document(blob=png(7), tags={'mine': 'too'})]), **SCALED},
        ]

    def inputs(self):
        return [png(5), png(6)]

    def answer(self, document):
        return UpscaleEngine().run('upscale', DocumentArray([document]), SCALED)[0]


class TestEngine(EngineConformance):
    engine_class = UpscaleEngine
    parameters = SCALED

    def documents(self, task):
        return [Document(blob=png(5)), Document(tensor=pixels(6)), Document(blob=png(7))]
