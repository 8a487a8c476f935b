"""The conformance kits, on what is built in."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from docarray import Document, DocumentArray
from PIL import Image

from inference_client import Request
from inference_client.engines.embedded import EmbeddedEngine
from inference_client.engines.handler import handle
from inference_client.engines.loader import load_engine
from inference_client.tasks.caption import CaptionTask
from inference_client.tasks.encode import EncodeTask
from inference_client.tasks.rank import RankTask
from inference_client.tasks.vqa import VqaTask
from inference_client.testing import (
    AsyncTransportConformance,
    EchoEngine,
    EngineConformance,
    FakeEngine,
    FakeTransport,
    TaskConformance,
    TransportConformance,
)

PHOTOS = Path(__file__).parent / 'photos'


def pixels(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)


def png(seed=0):
    file = io.BytesIO()
    Image.fromarray(pixels(seed)).save(file, 'PNG')
    return file.getvalue()


# -- transports


class OnServer:
    scheme = ''

    @pytest.fixture
    def url(self, echo_server):
        return echo_server[self.scheme]


class Grpc(OnServer):
    scheme = 'grpc'
    unreachable_url = 'grpc://127.0.0.1:9'


class Http(OnServer):
    scheme = 'http'
    unreachable_url = 'http://127.0.0.1:9'


class WebSocket(OnServer):
    scheme = 'ws'
    unreachable_url = 'ws://127.0.0.1:9'


class Local:
    slow = None  # a model in this process is not interrupted

    @pytest.fixture
    def url(self):
        return 'local://echo'


class Fake(Local):
    """A fake must be as good as what it stands for."""

    @pytest.fixture
    def url(self):
        return 'fake://model'


class EchoingFake(FakeTransport):
    def __init__(self, url, options):
        super().__init__(lambda request: handle(EchoEngine(), request), url=url, options=options)

    @classmethod
    def asynchronous(cls, url, options):
        return cls(url, options).as_async()


class TestGrpc(Grpc, TransportConformance):
    pass


class TestAsyncGrpc(Grpc, AsyncTransportConformance):
    pass


class TestHttp(Http, TransportConformance):
    pass


class TestAsyncHttp(Http, AsyncTransportConformance):
    pass


class TestWebSocket(WebSocket, TransportConformance):
    pass


class TestAsyncWebSocket(WebSocket, AsyncTransportConformance):
    pass


class TestLocal(Local, TransportConformance):
    pass


class TestAsyncLocal(Local, AsyncTransportConformance):
    pass


class TestFake(Fake, TransportConformance):
    transport_class = EchoingFake


class TestAsyncFake(Fake, AsyncTransportConformance):
    transport_class = EchoingFake


# -- tasks


class FakeAnswers:
    """Answers as a model would."""

    def answer(self, document):
        handle(FakeEngine(), Request(f'/{self.task.name}', DocumentArray([document])))
        return document


class TestEncode(FakeAnswers, TaskConformance):
    task = EncodeTask
    bad_arguments = ({}, {'text': 'a', 'image': 'b.png'}, {'text': ''}, {'image': b'no image'}, {'docs': [Document()]})

    def arguments(self):
        return [
            {'text': 'a'},
            {'text': ['a', 'b']},
            {'image': png()},
            {'image': [pixels(), pixels(1)]},
            {'docs': DocumentArray([Document(text='a', tags={'a': {'b': 1}}), Document(tensor=pixels())])},
        ]

    def inputs(self):
        return ['a', png(), pixels(1), Document(text='b', tags={'a': {'b': 1}})]


class TestRank(FakeAnswers, TaskConformance):
    task = RankTask
    bad_arguments = (
        {},
        {'reference': 'a'},
        {'reference': 'a', 'candidates': []},
        {'reference': ['a'], 'candidates': ['b']},
        {'docs': [Document(text='a')]},
    )

    def arguments(self):
        return [
            {'reference': 'a', 'candidates': ['b', png()]},
            {'docs': [Document(text='a', tags={'a': {}}, matches=[Document(text='b'), Document(tensor=pixels())])]},
        ]

    def inputs(self):
        return [('a', ['b', 'c']), Document(text='a', matches=[Document(text='b', tags={'c': {}})])]


class TestCaption(FakeAnswers, TaskConformance):
    task = CaptionTask
    bad_arguments = ({}, {'image': b'no image'}, {'docs': [Document(text='a')]})

    def arguments(self):
        return [{'image': str(PHOTOS / 'chelsea.png')}, {'docs': [Document(blob=png(), tags={'a': {'b': 1}})]}]

    def inputs(self):
        return [png(), pixels(1), Document(tensor=pixels(2), tags={'response': 'old'})]


class TestVqa(FakeAnswers, TaskConformance):
    task = VqaTask
    stream_arguments = {'question': 'What is it?'}
    bad_arguments = ({}, {'image': png()}, {'image': png(), 'question': ''}, {'docs': [Document(blob=png())]})

    def arguments(self):
        prompt = {'prompt': 'Question: what? Answer:', 'a': {'b': 1}}
        return [
            {'image': png(), 'question': 'What?'},
            {'image': [png(), pixels()], 'question': ['What?', 'Where?']},
            {'docs': [Document(blob=png(), tags=prompt)]},
        ]

    def inputs(self):
        return [png(), pixels(1), Document(tensor=pixels(2), tags={'response': 'old'})]


# -- engines


class Multimodal:
    def documents(self, task):
        if task == 'rank':
            return [Document(text=text, matches=[Document(text='a cat'), Document(blob=png())]) for text in 'abc']
        if task == 'encode':
            return [Document(text='a'), Document(blob=png()), Document(tensor=pixels(1)), Document(text='a dog')]
        tags = {'prompt': 'Question: is it a cat or a dog? Answer:'} if task == 'vqa' else {}
        return [Document(tensor=pixels(seed), tags=dict(tags)) for seed in range(3)]


class TestEmbedded(Multimodal, EngineConformance):
    engine_class = EmbeddedEngine

    @pytest.fixture
    def engine(self):
        pytest.importorskip('onnxruntime')
        return load_engine('embedded')


class TestFakeEngine(Multimodal, EngineConformance):
    engine_class = FakeEngine


class TestEcho(EngineConformance):
    engine_class = EchoEngine
    parameters = {'seconds': 0, 'seen': True}

    def documents(self, task):
        return [Document(text='a'), Document(blob=png()), Document(tensor=pixels())]

    def bad_documents(self, task):
        return []  # it takes all
