"""Engines that are not ours, as `local://` and the server run them."""

from __future__ import annotations

import asyncio
import io
import os
import tracemalloc

import numpy as np
import pytest
from docarray import Document, DocumentArray
from hypothesis import given
from hypothesis import strategies as st
from isolated import run_python, write_distribution
from PIL import Image

from inference_client import (
    AsyncModel,
    InferenceError,
    InputError,
    MultimodalEngine,
    ProtocolError,
    Response,
    RetryPolicy,
    ServerError,
    ThreadedTransport,
    Transport,
    TransportError,
    TransportOptions,
    UnsupportedTaskError,
    _images,
)
from inference_client._messages import Request
from inference_client._spec import ModelSpec
from inference_client._wire.jina_pb2 import DataRequestProto
from inference_client.engines import base
from inference_client.engines.handler import handle
from inference_client.model import Model
from inference_client.server import work


class TextOnly(MultimodalEngine):
    tasks = frozenset({'encode', 'rank'})

    def encode_text(self, texts, parameters):
        if 'divide' in texts:
            return 1 / 0
        return np.array([[len(text), 1.0] for text in texts], np.float32)


class Losing(TextOnly):
    def run(self, task, documents, parameters):
        return documents[1:]


class Idle(TextOnly):
    def run(self, task, documents, parameters):
        return None


class Emptying(TextOnly):
    def run(self, task, documents, parameters):
        documents.clear()
        return documents


class Seeing(MultimodalEngine):
    """Tells the width of an image, and keeps how many it saw at once."""

    tasks = frozenset({'encode', 'rank', 'caption', 'vqa'})

    def __init__(self):
        self.seen = []

    def encode_text(self, texts, parameters):
        return np.array([[len(text), 1.0] for text in texts], np.float32)

    def encode_image(self, images, parameters):
        self.seen.append(len(images))
        return np.array([[image.shape[1], 1.0] for image in images], np.float32)

    def caption_image(self, images, parameters):
        self.seen.append(len(images))
        return [str(image.shape[1]) for image in images]

    def answer(self, images, prompts, parameters):
        return [f'{prompt} {caption}' for prompt, caption in zip(prompts, self.caption_image(images, parameters))]


def ask(engine, endpoint='/encode', **content):
    return handle(engine, Request(endpoint, DocumentArray([Document(**content)])))


def test_what_an_engine_has_works():
    assert ask(TextOnly(), text='abc')[0].embedding.tolist() == [3, 1]
    matches = DocumentArray([Document(text='a' * 9), Document(text='abcd')])
    (ranked,) = ask(TextOnly(), '/rank', text='abc', matches=matches)
    assert [match.text for match in ranked.matches] == ['abcd', 'a' * 9]


@pytest.mark.parametrize(
    ('engine', 'endpoint', 'content', 'kind', 'words'),
    [
        (TextOnly, '/encode', {'tensor': np.zeros((2, 2, 3), np.uint8)}, UnsupportedTaskError, 'embeds no images'),
        (TextOnly, '/caption', {'text': 'a'}, UnsupportedTaskError, 'it offers encode, rank'),
        (TextOnly, '/encode', {'text': 'divide'}, ServerError, 'raised ZeroDivisionError: division by zero'),
        (Losing, '/encode', {'text': 'a'}, ServerError, 'answered 1 documents with 0'),
        (Emptying, '/encode', {'text': 'a'}, ServerError, 'answered 1 documents with 0'),
        (Idle, '/encode', {'text': 'a'}, ServerError, 'with a NoneType: expected a DocumentArray'),
    ],
)
def test_what_it_lacks_or_breaks_is_said(engine, endpoint, content, kind, words):
    with pytest.raises(kind, match=words):
        ask(engine(), endpoint, **content)


class Giving(Seeing):
    """Gives what it was made with."""

    def __init__(self, given):
        self.encode_text = self.encode_image = self.caption_image = self.answer = lambda *_: given


TWO = 'for 2 images: expected a list of 2 str$'
SHAPE = r'for 2 inputs: expected float32 of shape \(2, d\)$'


@pytest.mark.parametrize(
    ('task', 'given', 'words'),
    [
        ('caption', ['a'], f'^caption_image gave 1 str {TWO}'),
        ('caption', ['a', 'b', 'c'], f'^caption_image gave 3 str {TWO}'),
        ('caption', 'ab', f'^caption_image gave a str {TWO}'),
        ('caption', None, f'^caption_image gave a NoneType {TWO}'),
        ('caption', [], f'^caption_image gave 0 {TWO}'),
        ('vqa', ['a', 5], f'^answer gave 2 int and str {TWO}'),
        ('vqa', ['a'], f'^answer gave 1 str {TWO}'),
        ('encode', np.zeros((1, 4), np.float32), rf'^encode_image gave float32 of shape \(1, 4\) {SHAPE}'),
        ('encode', np.zeros((3, 4), np.float32), rf'^encode_image gave float32 of shape \(3, 4\) {SHAPE}'),
        ('encode', np.zeros(2, np.float32), rf'^encode_image gave float32 of shape \(2,\) {SHAPE}'),
        ('encode', [['a'], ['b']], rf'^encode_image gave <U1 of shape \(2, 1\) {SHAPE}'),
        ('rank', np.zeros((3, 4), np.float32), rf'^encode_text gave float32 of shape \(3, 4\) {SHAPE}'),
    ],
)
def test_what_a_method_gives_is_counted(task, given, words):
    images = [Document(tensor=np.zeros((2, 2, 3), np.uint8), tags={'prompt': 'q'}) for _ in range(2)]
    documents = [Document(text='a', matches=[Document(text='b')])] if task == 'rank' else images
    with pytest.raises(ServerError, match=words):
        handle(Giving(given), Request(f'/{task}', DocumentArray(documents)))


# -- images in blocks


def bilevel(width, height):
    """A PNG of next to no bytes that has many pixels."""
    file = io.BytesIO()
    Image.new('1', (width, height)).save(file, 'PNG')
    return file.getvalue()


@pytest.mark.parametrize('task', ['encode', 'caption', 'vqa', 'rank'])
def test_a_request_fills_no_memory_with_its_pixels(monkeypatch, task):
    monkeypatch.setattr(base, 'PIXELS_AT_ONCE', 4_500_000)
    images = [bilevel(2000 + number, 1000) for number in range(20)]
    message = DataRequestProto(header={'exec_endpoint': f'/{task}'})
    if task == 'rank':
        message.data.docs.docs.add(text='hello')
    documents = message.data.docs.docs[0].matches if task == 'rank' else message.data.docs.docs
    for number, image in enumerate(images):
        documents.add(blob=image).tags.update({'prompt': f'q{number}'})
    engine = Seeing()
    tracemalloc.start()
    try:
        (answer,) = work.answers(engine, 'seeing', [message])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not answer.failed
    assert engine.seen == [2] * 10
    assert peak < 40e6  # all of them are 120 MB


@given(st.lists(st.one_of(st.integers(1, 12), st.none()), min_size=1, max_size=12))
def test_what_comes_of_blocks_keeps_its_order(widths):
    documents = [
        Document(text='abc') if width is None else Document(tensor=np.zeros((1, width, 3), np.uint8))
        for width in widths
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, 'PIXELS_AT_ONCE', 20)
        answered = handle(Seeing(), Request('/encode', DocumentArray(documents)))
    assert [document.embedding[0] for document in answered] == [width or 3 for width in widths]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12))
def test_each_answer_goes_with_its_question(widths):
    engine = Seeing()
    documents = [
        Document(tensor=np.zeros((2, width, 3), np.uint8), tags={'prompt': f'q{number}'})
        for number, width in enumerate(widths)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, 'PIXELS_AT_ONCE', 20)
        answered = handle(engine, Request('/vqa', DocumentArray(documents)))
    assert [document.tags['response'] for document in answered] == [f'q{n} {width}' for n, width in enumerate(widths)]
    assert sum(engine.seen) == len(widths)


def test_an_image_that_is_too_large_is_refused_before_others_are_decoded(monkeypatch):
    monkeypatch.setattr(_images, 'MAX_PIXELS', 100)
    engine = Seeing()
    documents = DocumentArray([Document(blob=bilevel(10, 10)), Document(blob=bilevel(11, 10))])
    monkeypatch.setattr(base, 'PIXELS_AT_ONCE', 100)
    with pytest.raises(InputError, match='the image has 11 x 10 pixels: at most 100 are taken'):
        handle(engine, Request('/caption', documents))
    assert engine.seen == []


def test_a_transports_own_exception_is_a_transport_error():
    class Broken(Transport):
        def send(self, request, timeouts):
            raise ZeroDivisionError('oops')

    model = Model(ModelSpec('x'), Broken('broken://x', TransportOptions()))
    with pytest.raises(TransportError, match='the transport raised ZeroDivisionError: oops') as caught:
        model.encode(text=['a', 'b'], batch_size=1)
    assert isinstance(caught.value, InferenceError)
    assert caught.value.span == (0, 1)


class Confused(Transport):
    """Answers to another request, or not at all."""

    def send(self, request, timeouts):
        return None if self.url == 'none://x' else Response('another', request.documents)


@pytest.mark.parametrize(
    ('url', 'kind', 'words'),
    [('confused://x', ProtocolError, 'answer to another request'), ('none://x', TransportError, 'NoneType')],
)
@pytest.mark.parametrize('count', [1, 5])
def test_a_transport_that_answers_to_no_request_of_ours_is_an_error(url, kind, words, count):
    """And no wait for ever, be it alone, in a thread or in an event loop."""
    options, documents = {'batch_size': 1, 'retry': RetryPolicy(attempts=1)}, ['a'] * count
    confused = Confused(url, TransportOptions())
    with pytest.raises(kind, match=words):
        Model(ModelSpec('x'), confused).encode(text=documents, **options)
    with pytest.raises(kind, match=words):
        asyncio.run(AsyncModel(ModelSpec('x'), ThreadedTransport(confused)).encode(text=documents, **options))


FORKED = """
import faulthandler, os, sys, threading
import slow
from inference_client.engines.loader import load_engine

loading = threading.Thread(target=load_engine, args=('slow',))
loading.start()
assert slow.begun.wait(20)
child = os.fork()
slow.gate.set()
if child == 0:
    faulthandler.dump_traceback_later(20, exit=True)
    load_engine('slow')
    os._exit(0)
loading.join()
sys.exit(bool(os.waitpid(child, 0)[1]))
"""

SLOW = """
import threading
from inference_client import MultimodalEngine, hookimpl

begun, gate = threading.Event(), threading.Event()

class Slow(MultimodalEngine):
    tasks = frozenset({'encode'})

    def __init__(self):
        begun.set()
        gate.wait()

@hookimpl
def inference_client_engines():
    return {'slow': Slow}
"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_a_process_that_is_forked_while_an_engine_loads_loads_its_own(tmp_path):
    write_distribution(tmp_path, 'slow-engine', {'slow': 'slow'}, slow=SLOW)
    done = run_python(FORKED, tmp_path)
    assert done.returncode == 0, done.stderr
