"""The tasks keep to what these must."""

from __future__ import annotations

import io

import numpy as np
from docarray import Document, DocumentArray
from inference_client_generation.tasks import GenerateTask, ImageToImageTask, TextToImageTask
from PIL import Image

from inference_client.testing import TaskConformance


def png(width):
    file = io.BytesIO()
    Image.fromarray(np.arange(4 * width * 3, dtype=np.uint8).reshape(4, width, 3)).save(file, 'PNG')
    return file.getvalue()


def with_images(document):
    document.matches = [Document(blob=b'image'), Document(tensor=np.zeros((2, 2, 3), np.uint8))]
    return document


class TestGenerate(TaskConformance):
    task = GenerateTask
    bad_arguments = ({}, {'prompt': 'a', 'docs': DocumentArray()}, {'prompt': ['a', 3]}, {'docs': [Document()]})

    def arguments(self):
        return [
            {'prompt': 'a', 'max_new_tokens': 5},
            {'prompts': ['a', 'b'], 'parameters': {'top_p': 0.5}},
            {'docs': [Document(tags={'prompt': 'a'}), Document(text='b', tags={'mine': 'too'})]},
        ]

    def inputs(self):
        return ['a', Document(tags={'prompt': 'b'})]

    def answer(self, document):
        document.tags['generated_text'] = f'{document.tags["prompt"]}, and so on'
        return document


class TestTextToImage(TaskConformance):
    task = TextToImageTask
    bad_arguments = ({}, {'prompt': 'a', 'parameters': 3}, {'docs': [Document(tags={'prompt': 5})]})

    def arguments(self):
        return [
            {'prompt': 'a', 'parameters': {'steps': 5}},
            {'prompt': ['a', 'b']},
            {'docs': [Document(tags={'prompt': 'a'}), Document(text='b')]},
        ]

    def inputs(self):
        return ['a', 'b']

    def answer(self, document):
        return with_images(document)


class TestImageToImage(TaskConformance):
    task = ImageToImageTask
    bad_arguments = ({}, {'image': png(5)}, {'prompt': 'a'}, {'docs': [Document(tags={'prompt': 'a'})]})

    def arguments(self):
        return [
            {'image': png(5), 'prompt': 'a'},
            {'image': [png(5), png(6)], 'prompt': 'a', 'negative_prompt': 'b', 'strength': 0.5},
            {'docs': DocumentArray([Document(blob=png(7), tags={'prompt': 'a', 'mine': 'too'})])},
        ]

    def inputs(self):
        return [(png(5), 'a'), Document(blob=png(6), tags={'prompt': 'b'})]

    def answer(self, document):
        return with_images(document)
