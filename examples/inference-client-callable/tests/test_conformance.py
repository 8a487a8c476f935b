"""An engine of functions keeps to what engines must."""

from __future__ import annotations

import numpy as np
from docarray import Document
from inference_client_callable import engine

from inference_client.testing import EngineConformance


def encode_text(texts):
    return np.array([[len(text), 1] for text in texts])


def encode_image(images):
    return np.array([[image.size, 2] for image in images])


def caption_image(images):
    return [f'{image.shape[1]} x {image.shape[0]} pixels' for image in images]


def answer(images, prompts):
    return [f'yes to {prompt}' for prompt in prompts]


class TestEngine(EngineConformance):
    engine_class = engine(
        encode_text=encode_text, encode_image=encode_image, caption_image=caption_image, answer=answer
    )

    def documents(self, task):
        images = [Document(tensor=np.full((3, width, 3), width, np.uint8)) for width in (4, 5, 6)]
        if task == 'encode':
            return [Document(text='one'), *images, Document(text='three four')]
        if task == 'rank':
            return [Document(text=text, matches=self.documents('encode')) for text in ('a', 'bc', 'def')]
        if task == 'vqa':
            for number, image in enumerate(images):
                image.tags['prompt'] = f'Question: is it {number}? Answer:'
        return images
