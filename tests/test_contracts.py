"""The public specifications that the stand-ins hold requests and answers to, and that they do hold them."""

from __future__ import annotations

import pytest
import requests
from contracts import SPECS, contract
from model_servers import InfinityServer, TeiServer
from rest_servers import JinaAIServer, LlamaCppServer, OpenAIServer, VllmServer, serving
from triton_server import TritonServer

from inference_client import TransportOptions
from inference_client.transports.rest.jinaai import JinaAITransport

jsonschema = pytest.importorskip('jsonschema', reason='holds data to JSON Schemas: tox installs it')
NAMES = sorted(path.stem for path in SPECS.glob('*.json'))
TENSOR = {'name': 'TEXT', 'datatype': 'BYTES', 'shape': [1, 1]}


@pytest.mark.parametrize('name', NAMES)
def test_each_is_of_use(name):
    """It says where it is from, its schemas are ones, and whatever one of them refers to is there."""
    found = contract(name)
    assert found.source.startswith(('github.com/', 'the OpenAPI of '))
    for schema in found.schemas:
        jsonschema.Draft202012Validator.check_schema(found.schemas[schema])
        list(found.validator(schema).iter_errors({}))
        list(found.validator(schema).iter_errors([{}]))
    named = {schema for schemas in found.routes.values() for schema in schemas.values()}
    assert named | {'Refusal'} <= set(found.schemas)


def test_all_of_them_are_used():
    servers = (InfinityServer, TeiServer, JinaAIServer, LlamaCppServer, OpenAIServer, VllmServer, TritonServer)
    assert {'oip', *(server.specification for server in servers)} == set(NAMES)


@pytest.mark.parametrize(
    ('kind', 'path', 'body', 'words'),
    [
        (OpenAIServer, '/v1/embeddings', {'model': 'm', 'input': []}, r"Embed\['input'\]"),
        (OpenAIServer, '/v1/embeddings', {'model': 'm', 'input': ['a'], 'task': 't'}, "'task' was unexpected"),
        (OpenAIServer, '/v1/chat/completions', {'model': 'm', 'messages': []}, r"\['messages'\]"),
        (VllmServer, '/v2/embed', {'images': ['data:,']}, "'model' is a required"),
        (VllmServer, '/v1/rerank', {'model': 'm', 'query': 'a', 'documents': [5]}, "5 is not of type 'string'"),
        (LlamaCppServer, '/embeddings', {'content': [{'multimodal_data': ['']}]}, 'OwnEmbed'),
        (JinaAIServer, '/v1/embeddings', {'model': 'jina-embeddings-v3', 'input': [{'image': ''}]}, 'Embed'),
        (JinaAIServer, '/v1/embeddings', {'model': 'jina-clip-v2', 'input': ['a'], 'dimensions': 4096}, 'Embed'),
        (
            JinaAIServer,
            '/v1/rerank',
            {'model': 'jina-reranker-v3', 'query': {'image': ''}, 'documents': ['a']},
            'Rerank',
        ),
        (InfinityServer, '/embeddings', {'input': ['data:image/png;base64,'] * 33, 'modality': 'image'}, 'Embed'),
        (InfinityServer, '/rerank', {'query': 'a', 'documents': ['a'], 'top_n': 0}, 'Rerank'),
        (TeiServer, '/embed', {'inputs': [{}]}, 'Embed'),
        (TeiServer, '/rerank', {'query': 'a', 'texts': ['b'], 'truncation_direction': 'up'}, "'up' is not one of"),
        (TritonServer, '/v2/models/clip/infer', {'inputs': [TENSOR]}, 'Infer'),
    ],
)
def test_a_request_that_does_not_fit_is_refused_and_noted(kind, path, body, words):
    with pytest.raises(AssertionError, match=words), serving(kind(token=None)) as server:
        assert requests.post(server.url + path, json=body, timeout=30).status_code == 400


def test_an_answer_that_does_not_fit_is_noted():
    class Forgetful(OpenAIServer):
        def model(self, name):
            return {'id': name, 'object': 'model'}

    with pytest.raises(AssertionError, match="'created' is a required"), serving(Forgetful()) as server:
        assert requests.get(f'{server.url}/v1/models', timeout=30).status_code == 200


def test_what_the_protocol_says_of_bytes_is_an_extension():
    """Without it, as with MLServer, a tensor has its values in JSON."""
    tensor = {**TENSOR, 'parameters': {'binary_data_size': 5}}
    contract('triton').check('Infer', {'inputs': [tensor]})
    with pytest.raises(AssertionError, match="'data' is a required"):
        contract('oip').check('Infer', {'inputs': [tensor]})


def jina_models():
    """The names of all models of Jina AI's API, each with whether it ranks and whether it takes images."""
    schemas = contract('jinaai').schemas
    for name, schema in schemas.items():
        for model in schema.get('properties', {}).get('model', {}).get('enum', ()):
            yield model, name.startswith('Rerank'), '#/$defs/Image' in str(schema)


@pytest.mark.parametrize(('name', 'ranks', 'sees'), sorted(jina_models()))
def test_names_of_jina_ai_tell_what_their_models_take(name, ranks, sees):
    address, _ = JinaAITransport.located(f'jinaai://{name}', TransportOptions(None, trust_env=False))
    dialect = JinaAITransport.dialect_class(address)
    assert ('image' in dialect.modalities) == sees
    assert ('encode' in dialect.tasks) != ranks
