"""The server of llama-cpp-python, with a tiny model that is made here."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from doors import DOORS
from ports import HOST, free_ports

from inference_client import AuthenticationError, Capabilities, Client, UnsupportedTaskError

pytest.importorskip('llama_cpp', reason='the tox environment "llama" has llama-cpp-python')

KEY = 'a-key-of-the-test'


@pytest.fixture(scope='module')
def url(tmp_path_factory):
    from tiny_gguf import write

    file = tmp_path_factory.mktemp('llama') / 'tiny.gguf'
    write(str(file))
    (port,) = free_ports(1)
    command = [sys.executable, '-m', 'llama_cpp.server', '--model', str(file), '--model_alias', 'tiny']
    command += ['--embedding', 'true', '--host', HOST, '--port', str(port), '--api_key', KEY, '--n_threads', '1']
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f'openai+http://{HOST}:{port}/v1'
            with Client(KEY) as client:
                client.get_model(url).wait_until_ready(120)
            yield url
        finally:
            process.terminate()


@pytest.fixture(params=DOORS)
def model(request, url):
    with DOORS[request.param](KEY) as client:
        yield client.get_model(url)


def test_texts_are_embedded(model):
    answers = model.encode(text=['a cat', 'a dog', 'a cat'], batch_size=2)
    assert [one.embedding.shape for one in answers] == [(32,)] * 3
    assert np.allclose(answers[0].embedding, answers[2].embedding, atol=1e-4)
    assert not np.allclose(answers[0].embedding, answers[1].embedding, atol=1e-4)


def test_cosines_rank(model):
    """It has no /rerank."""
    (answer,) = model.rank(reference='a cat', candidates=['a dog', 'a cat', 'a rocket'])
    best = answer.matches[0]
    assert best.text == 'a cat'
    assert best.scores['clip_score_cosine'].value == pytest.approx(1, abs=1e-4)
    assert set(best.scores) == {'clip_score', 'clip_score_cosine'}


def test_images_are_refused_before_they_are_sent(model):
    with pytest.raises(UnsupportedTaskError, match='embeds texts only'):
        model.encode(image=np.zeros((4, 4, 3), np.uint8))


def test_what_is_known(model):
    assert model.capabilities() == Capabilities(modalities=frozenset({'text'}))
    model.encode(text='a')
    assert model.capabilities().embedding_size == 32


def test_a_wrong_key_is_refused(url):
    with Client('wrong') as client, pytest.raises(AuthenticationError):
        client.get_model(f'{url}?model=tiny').encode(text='a')


def test_many_threads_at_once(model):
    texts = [f'text {number}' for number in range(40)]
    answers = model.encode(text=texts, batch_size=4, prefetch=8)
    assert [one.text for one in answers] == texts
