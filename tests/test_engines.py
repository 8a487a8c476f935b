"""Engines that are not ours, as `local://` and the server run them."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from docarray import Document, DocumentArray

from inference_client import (
    AsyncModel,
    InferenceError,
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
)
from inference_client._messages import Request
from inference_client._spec import ModelSpec
from inference_client.engines.handler import handle
from inference_client.model import Model


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
