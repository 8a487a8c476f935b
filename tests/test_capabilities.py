"""`model.capabilities()` on every transport: what it tells, and that what is not known is None."""

from __future__ import annotations

import dataclasses

import pytest
from directory import TOKEN, model_directory
from doors import DOORS
from rest_servers import JinaAIServer, LlamaCppServer, OpenAIServer, VllmServer, serving

from inference_client import (
    AuthenticationError,
    Capabilities,
    ConnectionFailedError,
    ModelNotFoundError,
    ProtocolError,
    RetryPolicy,
)
from inference_client._wire.jina_pb2 import EndpointsProto
from inference_client.engines.base import MultimodalEngine
from inference_client.testing import EchoEngine, FakeEngine, FakeTransport, client_for
from inference_client.transports._grpc_settings import capabilities

ALL = frozenset({'encode', 'rank', 'caption', 'vqa'})
BOTH = frozenset({'text', 'image'})
TEXT = frozenset({'text'})


@pytest.fixture(params=DOORS)
def client(request):
    with DOORS[request.param](trust_env=False, retry=RetryPolicy(attempts=1)) as client:
        yield client


def test_of_the_embedded_model(client):
    pytest.importorskip('onnxruntime')
    found = client.get_model().capabilities()
    assert found == Capabilities(ALL, BOTH, 384, max_tokens=256)
    assert client.get_model().encode(text='a')[0].embedding.shape == (found.embedding_size,)


def test_of_engines():
    class TextsOnly(MultimodalEngine):
        tasks = frozenset({'encode'})

        def encode_text(self, texts, parameters):
            return FakeEngine().encode_text(texts, parameters)

    assert FakeEngine().capabilities() == Capabilities(ALL, BOTH, 8)
    assert TextsOnly().capabilities() == Capabilities(frozenset({'encode'}), TEXT)
    assert EchoEngine().capabilities() == Capabilities(frozenset({'echo'}))


@pytest.mark.parametrize('scheme', ['grpc', 'http', 'ws'])
def test_of_our_own_server(client, server, scheme):
    assert client.get_model(server[scheme]).capabilities() == Capabilities(ALL)


@pytest.mark.parametrize('scheme', ['grpc', 'http', 'ws'])
def test_of_one_of_the_models_of_our_server(client, server, scheme):
    assert client.get_model(f'{server[scheme]}/models/embedded').capabilities() == Capabilities(ALL)
    with pytest.raises(ModelNotFoundError):
        client.get_model(f'{server[scheme]}/models/other').capabilities()


def test_of_stock_servers_which_do_not_tell(client, plain_flow, deployments):
    for url in (*plain_flow.values(), *deployments.values()):
        assert client.get_model(url).capabilities() == Capabilities(), url


@pytest.mark.parametrize(
    ('endpoints', 'tasks'),
    [
        (['/encode', '/rank', '_jina_dry_run_'], {'encode', 'rank'}),
        (['/encode', '/default'], None),  # which takes any other
        ([], None),
    ],
)
def test_of_a_grpc_server_that_tells_its_endpoints(endpoints, tasks):
    found = capabilities(EndpointsProto(endpoints=endpoints).SerializeToString())
    assert found == Capabilities(tasks and frozenset(tasks))


def test_of_a_grpc_server_that_tells_nonsense():
    with pytest.raises(ProtocolError, match='not a Jina message'):
        capabilities(b'\xff')


@pytest.mark.parametrize('door', DOORS.values())
def test_it_is_asked_again_where_that_may_help(door):
    with door(retry=RetryPolicy(attempts=3, initial=0)) as client, pytest.raises(ConnectionFailedError) as caught:
        client.get_model('http://127.0.0.1:1').capabilities()
    assert 'after 3 attempts' in str(caught.value)
    assert len(caught.value.attempts) == 3


def test_of_a_model_whose_tasks_a_directory_knows(client, server):
    models = {'clip': {'endpoints': {'grpc': server['grpc']}, 'tasks': ['encode', 'rank']}}
    with model_directory(models, token=None) as directory, type(client)(TOKEN, api_endpoint=directory.url) as own:
        assert own.get_model('clip').capabilities() == Capabilities(frozenset({'encode', 'rank'}))


def test_of_a_transport_without_its_own():
    model = client_for(FakeTransport(), tasks=['encode']).get_model('m')
    assert model.capabilities() == Capabilities(frozenset({'encode'}))


def test_of_openai_style_servers(client):
    kinds = ((OpenAIServer, TEXT, None, None), (VllmServer, None, 77, None), (LlamaCppServer, BOTH, 4096, 8))
    for kind, modalities, tokens, size in kinds:
        with serving(kind()) as server:
            model = client.get_model(f'openai+{server.url}/v1')
            found = Capabilities(modalities=modalities, embedding_size=size, max_tokens=tokens)
            assert model.capabilities() == found
            assert [asked.path for asked in server.asked].count('/v1/models') == 1
            model.encode(text='a')
            assert model.capabilities().embedding_size == 8


def test_of_a_model_without_vision(client):
    with serving(LlamaCppServer(vision=False)) as server:
        assert client.get_model(f'openai+{server.url}/v1').capabilities().modalities == TEXT


def test_a_limit_that_was_learned_is_told(client):
    with serving(OpenAIServer(most=3)) as server:
        model = client.get_model(f'openai+{server.url}/v1')
        model.encode(text=['a'] * 8)
        assert model.capabilities().max_batch == 3


@pytest.mark.parametrize(
    ('name', 'tasks', 'modalities'),
    [
        ('jina-clip-v2', {'encode', 'rank'}, BOTH),
        ('jina-embeddings-v3', {'encode', 'rank'}, TEXT),
        ('jina-embeddings-v5-omni-small', {'encode', 'rank'}, BOTH),
        ('jina-reranker-m0', {'rank'}, BOTH),
    ],
)
def test_of_jina_ai(client, name, tasks, modalities):
    size = 8 if 'encode' in tasks else None
    with serving(JinaAIServer(token=None)) as server:
        model = client.get_model(f'jinaai://{name}?base={server.url}/v1')
        assert model.capabilities() == Capabilities(frozenset(tasks), modalities, size, max_tokens=8192)
        assert [asked.path for asked in server.asked] == [f'/v1/models/{name}']  # which costs nothing


def test_of_jina_ai_where_models_cannot_be_looked_up(client):
    with serving(JinaAIServer(token=None, models={})) as server:
        model = client.get_model(f'jinaai://jina-embeddings-v3?base={server.url}/v1')
        assert model.capabilities() == Capabilities(frozenset({'encode', 'rank'}), TEXT)
        assert model.is_ready()


def test_of_a_model_that_jina_ai_does_not_have(client):
    with serving(JinaAIServer(token=None)) as server:
        model = client.get_model(f'jinaai://jina-clip-v9?base={server.url}/v1')
        with pytest.raises(ModelNotFoundError, match='no such model'):
            model.capabilities()
        with pytest.raises(ModelNotFoundError, match='no such model'):
            model.is_ready()


@pytest.mark.parametrize('answer', [[], 'model', None])
def test_of_jina_ai_that_says_something_else(client, answer):
    with serving(JinaAIServer(token=None)) as server:
        server.faults.append((200, {}, answer))
        with pytest.raises(ProtocolError, match='tells of no model'):
            client.get_model(f'jinaai://jina-clip-v2?base={server.url}/v1').capabilities()


def test_a_server_that_cannot_be_asked(client):
    with pytest.raises(ConnectionFailedError) as caught:
        client.get_model('openai+http://127.0.0.1:9/v1?model=m').capabilities(timeout=5)
    assert caught.value.task == 'capabilities'


def test_a_server_that_refuses_the_token(client):
    with serving(OpenAIServer(token='right')) as server, pytest.raises(AuthenticationError):
        client.get_model(f'openai+{server.url}/v1?model=m').capabilities()


def test_they_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Capabilities().tasks = frozenset()
