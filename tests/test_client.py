"""Finding models: by name in a real directory, by URL and in this process; and what a found model may do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import numpy as np
import pytest
import requests
from directory import TOKEN, model_directory
from isolated import PACKAGE, write_distribution

from inference_client import (
    AuthenticationError,
    Client,
    ConfigurationError,
    ConnectionFailedError,
    InferenceError,
    Model,
    ModelNotFoundError,
    ModelSpec,
    MultimodalEngine,
    ProtocolError,
    RateLimitError,
    RequestTimeoutError,
    Response,
    RetryPolicy,
    ServerError,
    TaskFallbackWarning,
    Timeouts,
    Transport,
    TransportError,
    TransportOptions,
    UnknownSchemeError,
    UnsupportedTaskError,
    _directory,
    _plugins,
    hookimpl,
)
from inference_client.engines.handler import handle

VIT = 'ViT-B-32::openai'
ENDPOINTS = {'grpc': 'toy://grpc', 'http': 'toy://http', 'websocket': 'toy://websocket'}
IMAGE = np.zeros((8, 8, 3), np.uint8)
BAD_GATEWAY = (502, {}, {'detail': 'bad gateway'})


class ToyEngine(MultimodalEngine):
    """Answers all four tasks at once."""

    tasks = frozenset({'encode', 'rank', 'caption', 'vqa'})

    def encode_text(self, texts, parameters):
        return np.array([[len(text), 1] for text in texts], np.float32)

    def encode_image(self, images, parameters):
        return np.array([[image.size, 2] for image in images], np.float32)

    def caption_image(self, images, parameters):
        return ['a photo of something' for _ in images]

    def answer(self, images, prompts, parameters):
        return ['something' for _ in images]


class ToyTransport(Transport):
    """Carries requests to an engine beside it, and remembers what it did."""

    def __init__(self, url, options):
        super().__init__(url, options)
        self.sent, self.closed = [], 0

    def send(self, request, timeouts):
        self.sent.append(request.endpoint)
        return Response(request.id, handle(ToyEngine(), request))

    def close(self):
        self.closed += 1


class ToyPlugin:
    @hookimpl
    def inference_client_transports(self):
        return {'toy': ToyTransport}

    @hookimpl
    def inference_client_engines(self):
        return {'toy-engine': ToyEngine}


TOYS = ToyPlugin()


@pytest.fixture(autouse=True, scope='module')
def installed_toys(tmp_path_factory):
    """The classes above as an installed plugin, in a registry that knows of it."""
    site = tmp_path_factory.mktemp('site')
    write_distribution(site, 'toys', {'toys': f'{__name__}:TOYS'})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        _plugins.plugins.cache_clear()
        yield
    _plugins.plugins.cache_clear()


@pytest.fixture
def directory():
    models = {
        VIT: {'endpoints': ENDPOINTS, 'tasks': ['encode', 'rank'], 'status': 'Serving'},
        'Salesforce/BLIP2-opt': {'endpoints': ENDPOINTS},
        'web only': {'endpoints': {'http': 'toy://http'}},
        'nowhere': {'endpoints': {}},
        'strange': {'endpoints': {'grpc': 'gopher://host:70'}},
        'an/alias?&=#ä': {'name': VIT, 'endpoints': ENDPOINTS},
    }
    with model_directory(models) as served:
        yield served


@pytest.fixture
def client(directory):
    with Client(TOKEN, api_endpoint=directory.url) as made:
        yield made


# -- no name, and names of this process


def test_without_a_name_it_is_the_embedded_model():
    model = Client().get_model()
    assert model.url == 'local://embedded'
    assert model.spec.tasks == {'encode', 'rank', 'caption', 'vqa'}


@pytest.mark.parametrize('name', [None, '', 'embedded', 'local://embedded', 'LOCAL://embedded'])
def test_all_names_of_the_embedded_model_give_the_same_one(name):
    client = Client()
    assert client.get_model(name) is client.get_model()


@pytest.mark.parametrize('name', ['toy-engine', 'local://toy-engine'])
def test_an_engine_is_a_model_of_this_process(name):
    model = Client().get_model(name)
    assert model.spec.tasks == ToyEngine.tasks
    assert model.encode(text='four')[0].embedding.tolist() == [4, 1]


@pytest.mark.parametrize('name', ['nothing', 'local://nothing', 'local://', ' '])
def test_without_a_directory_an_unknown_name_says_what_to_do(name):
    with pytest.raises(ModelNotFoundError) as caught:
        Client().get_model(name)
    for hint in ('embedded', 'toy-engine', 'URL of a server', 'api_endpoint=', 'INFERENCE_API_ENDPOINT'):
        assert hint in str(caught.value)


# -- URLs


@pytest.mark.parametrize('url', ['grpcs://host:1', 'https://host', 'wss://host:1', 'toy://host', 'Toy://host'])
def test_a_url_is_bound_without_a_look_up_or_a_connection(client, directory, url):
    model = client.get_model(url)
    assert model.url == url
    assert model.spec.tasks is None
    assert model is client.get_model(url)
    assert directory.asked == []


@pytest.mark.parametrize(('url', 'near'), [('grp://host:1', 'grpc'), ('toys://host', 'toy'), ('htps://host', 'https')])
def test_an_unknown_scheme_suggests_the_nearest(url, near):
    with pytest.raises(UnknownSchemeError, match=f'did you mean {near!r}'):
        Client().get_model(url)


@pytest.mark.parametrize(
    ('url', 'protocol'),
    [('grpc://host:1', 'grpc'), ('wss://host', 'ws'), ('wss://host', 'websocket'), ('https://host', 'http')],
)
def test_the_protocol_of_a_url_may_be_said_again(url, protocol):
    assert Client().get_model(url, protocol=protocol).url == url


def test_a_url_has_no_other_protocol():
    with pytest.raises(ConfigurationError, match='no http endpoint: it has grpc'):
        Client().get_model('grpc://host:1', protocol='http')


# -- names in a directory


def test_a_name_is_looked_up_with_the_token(client, directory):
    model = client.get_model(VIT)
    assert [(one.path, one.name, one.authorization) for one in directory.asked] == [('/api/v1/models/', VIT, TOKEN)]
    assert model.spec == ModelSpec(VIT, ENDPOINTS, frozenset({'encode', 'rank'}), status='Serving')
    assert model.encode(text='four')[0].embedding.tolist() == [4, 1]


def test_a_name_is_looked_up_once_and_gives_the_same_model(client, directory):
    model = client.get_model(VIT)
    assert client.get_model(VIT) is model
    assert client.get_model(VIT, protocol='grpc') is model
    assert client.get_model(VIT, protocol='http') is not model
    assert client.get_model(VIT, protocol='http') is client.get_model(VIT, protocol='HTTP')
    assert len(directory.asked) == 1


def test_threads_get_the_same_model(client):
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(lambda _: client.get_model(VIT), range(32)))
    assert len(set(map(id, models))) == 1


def test_two_clients_share_nothing(client, directory):
    other = Client(TOKEN, api_endpoint=directory.url)
    assert other.get_model(VIT) is not client.get_model(VIT)
    assert len(directory.asked) == 2


@pytest.mark.parametrize(
    ('protocol', 'url'),
    [
        (None, 'toy://grpc'),
        ('grpc', 'toy://grpc'),
        ('GRPC', 'toy://grpc'),
        ('grpcs', 'toy://grpc'),
        ('http', 'toy://http'),
        ('https', 'toy://http'),
        ('websocket', 'toy://websocket'),
        ('ws', 'toy://websocket'),
        ('wss', 'toy://websocket'),
    ],
)
def test_protocol_picks_the_endpoint(client, protocol, url):
    assert client.get_model(VIT, protocol=protocol).url == url


def test_without_grpc_the_default_is_what_there_is(client):
    assert client.get_model('web only').url == 'toy://http'


@pytest.mark.parametrize(
    ('name', 'protocol', 'said'),
    [
        ('web only', 'grpc', "'web only' has no grpc endpoint: it has http"),
        (VIT, 'carrier-pigeon', 'has no carrier-pigeon endpoint: it has grpc, http, websocket'),
        ('nowhere', None, "'nowhere' has no grpc endpoint: it has none"),
    ],
)
def test_an_endpoint_that_the_model_lacks(client, name, protocol, said):
    with pytest.raises(ConfigurationError, match=said):
        client.get_model(name, protocol=protocol)


def test_an_endpoint_of_an_unknown_scheme(client):
    with pytest.raises(UnknownSchemeError, match='gopher'):
        client.get_model('strange')


def test_any_name_arrives_as_it_is_and_an_alias_gives_the_same_model(client, directory):
    assert client.get_model('an/alias?&=#ä') is client.get_model(VIT)
    assert directory.asked[0].name == 'an/alias?&=#ä'


def test_an_unknown_name_is_named_and_asked_for_again(client, directory):
    for _ in range(2):
        with pytest.raises(ModelNotFoundError, match="no model 'ViT-Z'") as caught:
            client.get_model('ViT-Z')
    assert isinstance(caught.value, LookupError)
    assert len(directory.asked) == 2


def test_a_wrong_token_is_refused(directory, door):
    with door('wrong-token', api_endpoint=directory.url) as client:  # noqa: SIM117
        with pytest.raises(AuthenticationError, match='refused the token') as caught:
            client.get_model(VIT)
    assert isinstance(caught.value, PermissionError)
    assert 'wrong-token' not in str(caught.value)


def test_a_directory_that_wants_a_token_says_so(directory, door):
    with door(api_endpoint=directory.url) as client:  # noqa: SIM117
        with pytest.raises(
            AuthenticationError, match=r'wants a token: give Client\(token=...\), set JINA_AUTH_TOKEN, or run'
        ):
            client.get_model(VIT)
    assert [asked.authorization for asked in directory.asked] == [None]


def test_a_directory_may_be_open(directory):
    directory.token = None
    assert Client(api_endpoint=directory.url).get_model(VIT).url == 'toy://grpc'


@pytest.mark.parametrize('token', [None, TOKEN])
def test_a_password_in_netrc_never_takes_the_tokens_place(directory, door, tmp_path, monkeypatch, token):
    (tmp_path / 'netrc').write_text('machine 127.0.0.1 login somebody password pa55word\n')
    monkeypatch.setenv('NETRC', str(tmp_path / 'netrc'))
    directory.token = None
    with door(token, api_endpoint=directory.url) as client:
        client.get_model(VIT)
    assert [asked.authorization for asked in directory.asked] == [token]


def test_an_untrusted_environment_has_no_proxy(directory, door, monkeypatch):
    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('http_proxy', 'http://127.0.0.1:1')
    with door(TOKEN, api_endpoint=directory.url) as client, pytest.raises(ConnectionFailedError):
        client.get_model(VIT)
    with door(TOKEN, api_endpoint=directory.url, trust_env=False) as client:
        client.get_model(VIT)


# -- directories that misbehave


def json_answer(text):
    return {'answer': (200, {}, text.encode())}


@pytest.mark.parametrize(
    ('misbehaviour', 'expected', 'said'),
    [
        ({'answer': (200, {}, b'<html>welcome</html>')}, ProtocolError, 'not JSON'),
        ({'answer': (200, {}, b'')}, ProtocolError, 'not JSON'),
        ({'answer': (200, {}, b'\xff\xfe\xfd')}, ProtocolError, 'not JSON'),
        (json_answer('[' * 200_000), ProtocolError, 'not JSON'),
        (json_answer('[]'), ProtocolError, 'no "endpoints"'),
        (json_answer('null'), ProtocolError, 'no "endpoints"'),
        (json_answer('"text"'), ProtocolError, 'no "endpoints"'),
        (json_answer('{}'), ProtocolError, 'no "endpoints"'),
        (json_answer('{"endpoints": ["grpc"]}'), ProtocolError, 'no "endpoints"'),
        (json_answer('{"endpoints": {"grpc": 54321}}'), ProtocolError, 'no "endpoints"'),
        (json_answer('{"endpoints": {"grpc": null}}'), ProtocolError, 'no "endpoints"'),
        ({'answer': (302, {'Location': '/elsewhere'}, {})}, ServerError, '302'),
        ({'answer': (204, {}, b'')}, ServerError, '204'),
        ({'answer': (403, {}, {})}, AuthenticationError, '403'),
        ({'answer': (500, {}, {})}, ServerError, '500'),
        ({'answer': (503, {}, {})}, ServerError, '503'),
        ({'raw': b'SSH-2.0-OpenSSH_9.6\r\n\r\n'}, TransportError, ''),
        ({'raw': b''}, ConnectionFailedError, 'cannot be reached'),
        ({'raw': b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"na'}, TransportError, ''),
        ({'raw': b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'}, TransportError, ''),
        (
            {'raw': b'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nno'},
            TransportError,
            '',
        ),
        ({'silent': 'headers'}, RequestTimeoutError, 'in time'),
        ({'silent': 'body'}, RequestTimeoutError, 'in time'),
    ],
)
def test_a_directory_that_misbehaves(door, directory, monkeypatch, misbehaviour, expected, said):
    monkeypatch.setattr(_directory, 'TIMEOUT', (1.0, 0.3))
    for name, value in misbehaviour.items():
        setattr(directory, name, value)
    with door(TOKEN, api_endpoint=directory.url) as client, pytest.raises(expected) as caught:
        client.get_model(VIT)
    assert not isinstance(caught.value, (requests.RequestException, aiohttp.ClientError))
    assert said in caught.value.message
    assert caught.value.url == f'{directory.url}/models/'
    assert str(caught.value).startswith(f'look-up of model {VIT!r} on {directory.url}/models/: ')
    assert {one.path for one in directory.asked} == {
        '/api/v1/models/'
    }  # redirects are not followed; aiohttp asks twice


def test_a_directory_that_recovers_is_asked_again(client, directory):
    directory.answer = (500, {}, {})
    with pytest.raises(ServerError):
        client.get_model(VIT)
    directory.answer = None
    assert client.get_model(VIT).url == 'toy://grpc'


@pytest.mark.parametrize('status', [429, 503])
def test_a_look_up_waits_as_long_as_the_directory_says(directory, door, status):
    directory.first = [(status, {'Retry-After': '1'}, {})]
    with door(TOKEN, api_endpoint=directory.url) as client:
        begun = time.monotonic()
        assert client.get_model(VIT).url == 'toy://grpc'
        assert time.monotonic() - begun >= 1
        directory.first = [(status, {'Retry-After': '0'}, {})]
        assert len(client.list_models()) == len(directory.models)
    assert len(directory.asked) == 4


def test_a_look_up_ends_with_its_attempts(directory, door):
    directory.answer = (500, {}, {})
    retry = RetryPolicy(attempts=2, initial=0)
    with door(TOKEN, api_endpoint=directory.url, retry=retry) as client, pytest.raises(ServerError) as caught:
        client.get_model(VIT)
    assert str(caught.value).endswith('500 (after 2 attempts)')
    assert len(caught.value.attempts) == len(directory.asked) == 2


@pytest.mark.parametrize('status', [429, 503])
def test_a_look_up_ends_with_its_time(directory, door, status):
    directory.answer = (status, {'Retry-After': '2'}, {})
    with door(TOKEN, api_endpoint=directory.url, timeouts=Timeouts(total=3.0)) as client:
        begun = time.monotonic()
        with pytest.raises((ServerError, RateLimitError), match=str(status)):
            client.get_model(VIT)
        assert time.monotonic() - begun < 3
    assert len(directory.asked) == 2


def test_an_attempt_at_a_look_up_has_no_more_than_the_time_that_is_left(directory, door):
    directory.silent = 'headers'
    with door(TOKEN, api_endpoint=directory.url, timeouts=Timeouts(total=0.5)) as client:
        begun = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            client.get_model(VIT)
        assert time.monotonic() - begun < 5


def closed_port():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(
    'endpoint',
    [
        'http://127.0.0.1:{port}/api',
        'https://127.0.0.1:{port}',
        'http://a..b/api',
        f'http://{"a" * 70}.invalid/',
    ],
)
def test_a_directory_that_cannot_be_reached(endpoint, door):
    with door(api_endpoint=endpoint.format(port=closed_port())) as client:  # noqa: SIM117
        with pytest.raises(ConnectionFailedError, match=r'cannot be reached .* check api_endpoint=') as caught:
            client.get_model(VIT)
    assert isinstance(caught.value, ConnectionError)
    refused = any(said in caught.value.message for said in ('Connection refused', 'Connect call failed'))
    assert refused == ('{port}' in endpoint)


def test_why_a_directory_cannot_be_reached_is_not_an_error_of_the_caller(door):
    with door(api_endpoint=f'http://127.0.0.1:{closed_port()}') as client:
        try:
            int('no number')
        except ValueError:
            with pytest.raises(ConnectionFailedError, match=r'refused|Connect call failed'):
                client.get_model(VIT)


def test_a_directory_that_sends_the_token_back_in_place_of_an_answer(door, directory):
    directory.raw = f'HTTP/1.1 {TOKEN} {TOKEN}\r\n\r\n'.encode()
    with door(TOKEN, api_endpoint=directory.url) as client, pytest.raises(TransportError) as caught:
        client.get_model(VIT)
    assert TOKEN not in f'{caught.value} {caught.value.__cause__!r}'


# -- lists


def test_the_models_of_a_directory(directory, door):
    with door(TOKEN, api_endpoint=directory.url) as client:
        found = client.list_models()
    assert [(spec.name, spec.tasks, spec.status) for spec in found[:3]] == [
        (VIT, {'encode', 'rank'}, 'Serving'),
        ('Salesforce/BLIP2-opt', None, None),
        ('web only', None, None),
    ]
    assert [spec.endpoints for spec in found[:3]] == [ENDPOINTS, ENDPOINTS, {'http': 'toy://http'}]
    assert len(found) == len(directory.models)
    assert [(asked.path, asked.name, asked.authorization) for asked in directory.asked] == [
        ('/api/v1/models/', None, TOKEN)
    ]


def test_without_a_directory_they_are_the_engines_of_this_process(door):
    with door() as client:
        found = {spec.name: spec.tasks for spec in client.list_models()}
        assert client.get_model('local://toy-engine').spec.tasks == found['local://toy-engine']
    assert found['local://embedded'] == {'encode', 'rank', 'caption', 'vqa'}


@pytest.mark.parametrize(
    ('misbehaviour', 'expected', 'said'),
    [
        (json_answer('nonsense'), ProtocolError, 'not JSON'),
        (json_answer('[]'), ProtocolError, 'no list of "models"'),
        (json_answer('{"models": {}}'), ProtocolError, 'no list of "models"'),
        (json_answer('{"models": [5]}'), ProtocolError, 'no "endpoints"'),
        (json_answer('{"models": [{"name": "a"}]}'), ProtocolError, 'no "endpoints"'),
        (json_answer('{"models": [{"endpoints": {}}]}'), ProtocolError, 'without a "name"'),
        ({'answer': (404, {}, {})}, ProtocolError, 'no list of models'),
        ({'answer': (401, {}, {})}, AuthenticationError, 'refused the token'),
        ({'answer': (503, {}, {})}, ServerError, '503'),
        ({'answer': (302, {'Location': '/elsewhere'}, {})}, ServerError, '302'),
        ({'raw': b''}, ConnectionFailedError, 'cannot be reached'),
    ],
)
def test_a_list_that_cannot_be_had(door, directory, misbehaviour, expected, said):
    for name, value in misbehaviour.items():
        setattr(directory, name, value)
    with door(TOKEN, api_endpoint=directory.url) as client, pytest.raises(expected) as caught:
        client.list_models()
    assert said in caught.value.message
    assert str(caught.value).startswith(f'list of models on {directory.url}/models/: ')


def test_a_server_alone_has_its_directory_at_the_usual_path(directory, door):
    with door(TOKEN, api_endpoint=directory.url[: -len('/api/v1')] + '/') as client:
        assert client.get_model(VIT).url == 'toy://grpc'
        assert len(client.list_models()) == len(directory.models)
    assert {asked.path for asked in directory.asked} == {'/api/v1/models/'}


# -- browser login


LOOK_UP = """
import json, os, pathlib
import inference_client.model  # which imports docarray, which imports hubble
import hubble
from inference_client import Client, InferenceError


def login():
    stored = {stored!r}
    if isinstance(stored, Exception):
        raise stored
    root = pathlib.Path(os.environ['JINA_HUB_ROOT'])
    root.mkdir(exist_ok=True)
    (root / 'config.json').write_text(json.dumps(stored))
    print('logged in')


hubble.login = login  # the real one opens a browser at a service that is no part of this package
client = Client()
try:
    print(client.get_model('ViT-B-32::openai').spec.status, client)
except InferenceError as error:
    print(type(error).__name__, error.message)
"""


def at_a_terminal(code, **environment):
    """Lines that a new interpreter shows on a pseudo-terminal."""
    if not hasattr(os, 'openpty'):
        pytest.skip('needs pseudo-terminals')
    ours, theirs = os.openpty()
    environment = {**os.environ, **environment, 'PYTHONPATH': str(PACKAGE.parent)}
    with subprocess.Popen([sys.executable, '-c', code], stdin=theirs, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        shown = b''
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    return shown.decode().splitlines()


@pytest.mark.parametrize(
    ('stored', 'sent', 'shown'),
    [
        ({'auth_token': TOKEN}, [None, TOKEN], ['logged in', 'Serving <Client with a token']),
        ({'auth_token': 'wrong'}, [None, 'wrong'], ['logged in', 'AuthenticationError the server refused']),
        ({'auth_token': 'a\nb'}, [None], ['logged in', 'ConfigurationError the token has characters']),
        ({}, [None], ['logged in', 'AuthenticationError the model directory wants a token']),
        (OSError('offline'), [None], ['AuthenticationError the browser login failed (OSError)']),
    ],
)
def test_a_person_at_a_terminal_logs_in_when_the_directory_wants_it(directory, stored, sent, shown):
    directory.models[VIT] = {'endpoints': {'grpc': 'grpc://127.0.0.1:1'}, 'status': 'Serving'}
    lines = at_a_terminal(LOOK_UP.replace('{stored!r}', repr(stored)), INFERENCE_API_ENDPOINT=directory.url)
    assert len(lines) == len(shown), lines
    assert [line for line, start in zip(lines, shown) if not line.startswith(start)] == []
    assert [asked.authorization for asked in directory.asked] == sent


@pytest.mark.parametrize('stream', ['stdin', 'stdout'])
def test_without_streams_nobody_is_asked_to_log_in(directory, stream):
    """As under `pythonw`, or in a service."""
    code = f'import sys\nsys.{stream} = None\n' + LOOK_UP.replace('{stored!r}', '{}').replace(
        'print(type(error).__name__, error.message)', 'sys.stderr.write(error.message)'
    )
    lines = at_a_terminal(code, INFERENCE_API_ENDPOINT=directory.url)
    (line,) = lines
    assert line.startswith('the model directory wants a token: give Client(token=...), set JINA_AUTH_TOKEN, or ')


# -- closing


def toy_model(spec=None):
    transport = ToyTransport('toy://host', TransportOptions())
    return Model(spec or ModelSpec.of_url('toy://host'), transport), transport


def test_a_closed_model_opens_again():
    model, transport = toy_model()
    with model as entered:
        assert entered is model
        assert len(model.encode(text=['a', 'b'])) == 2
    assert transport.closed == 1
    assert len(model.encode(text=['a', 'b'])) == 2
    model.close()
    model.close()
    assert transport.closed == 3


def test_a_closed_client_closes_its_models_and_can_be_used(client, directory):
    models = [client.get_model(VIT), client.get_model(VIT, protocol='http'), client.get_model('toy://host')]
    with client as entered:
        assert entered is client
        assert models[0].encode(text='four')[0].embedding.tolist() == [4, 1]
    assert [model._transport.closed for model in models] == [1, 1, 1]
    client.close()
    assert [model._transport.closed for model in models] == [1, 1, 1]
    assert models[0].encode(text='four')[0].embedding.tolist() == [4, 1]
    assert client.get_model(VIT).encode(text='four')[0].embedding.tolist() == [4, 1]
    assert len(directory.asked) == 1


def test_a_client_that_fails_closes_too():
    with pytest.raises(KeyError), Client() as client:
        model = client.get_model('toy://host')
        raise KeyError
    assert model._transport.closed == 1


# -- what a model can do


CALLS = {
    'encode': {'image': IMAGE},
    'rank': {'reference': IMAGE, 'candidates': ['a cat', 'a dog']},
    'caption': {'image': IMAGE},
    'vqa': {'image': IMAGE, 'question': 'What is this?'},
}


def asked(model, task):
    return getattr(model, task)(**CALLS[task])


@pytest.mark.parametrize(
    ('spec', 'task'),
    [
        *((ModelSpec('any', tasks=frozenset(CALLS)), task) for task in CALLS),
        *((ModelSpec('any', tasks=frozenset({task})), task) for task in CALLS),
        *((ModelSpec(name), task) for name in ('Salesforce/blip2-opt', 'BLIP2', 'my-Blip2-x') for task in CALLS),
        *((ModelSpec.of_url('toy://host'), task) for task in CALLS),
        *((ModelSpec(VIT), task) for task in ('encode', 'rank')),
    ],
)
def test_a_task_that_the_model_may_have_is_sent(spec, task):
    model, transport = toy_model(spec)
    answer = asked(model, task)
    assert transport.sent == [f'/{task}']
    assert len(answer) == 1
    assert asked(model, task) is not answer


@pytest.mark.parametrize(
    'spec',
    [
        ModelSpec(VIT),
        ModelSpec('blip-2'),
        ModelSpec(VIT, tasks=frozenset({'encode'})),
        ModelSpec('blip2-but-it-says-otherwise', tasks=frozenset({'encode', 'rank'})),
        ModelSpec.of_url('toy://host', frozenset({'encode'})),
    ],
)
@pytest.mark.parametrize('task', ['caption', 'vqa'])
def test_a_task_that_only_blip2_has_falls_back_to_encode(spec, task):
    model, transport = toy_model(spec)
    with pytest.warns(TaskFallbackWarning, match=f'cannot {task}, so it runs encode instead; strict=True') as caught:
        answer = asked(model, task)
    assert transport.sent == ['/encode']
    assert answer[0].embedding.tolist() == [IMAGE.size, 2]
    assert len(caught) == 1
    with pytest.raises(UnsupportedTaskError, match=f'cannot {task}'):
        getattr(model, task)(**CALLS[task], strict=True)
    assert transport.sent == ['/encode']


def test_the_fallback_warning_points_to_the_caller():
    model, _ = toy_model(ModelSpec(VIT))
    with pytest.warns(TaskFallbackWarning) as caught:
        model.caption(image=IMAGE)
    assert caught[0].filename == __file__


@pytest.mark.parametrize('named', [{}, {'__name__': 'inference_client_upscale.tasks'}])
def test_the_fallback_warning_points_to_any_caller_outside_the_package(named):
    model, _ = toy_model(ModelSpec(VIT))
    code = compile('model.caption(image=image)', 'theirs.py', 'exec')
    with pytest.warns(TaskFallbackWarning) as caught:
        exec(code, {'model': model, 'image': IMAGE, **named})
    assert caught[0].filename == 'theirs.py'


@pytest.mark.parametrize(
    ('tasks', 'task', 'offered'),
    [
        ({'rank'}, 'caption', 'it offers rank'),
        ({'rank'}, 'encode', 'it offers rank'),
        ({'caption', 'encode'}, 'rank', 'it offers caption, encode'),
        (set(), 'encode', 'cannot encode'),
        (set(), 'vqa', 'cannot vqa'),
    ],
)
@pytest.mark.parametrize('strict', [True, False])
def test_a_task_without_a_way_is_an_error(tasks, task, offered, strict):
    model, transport = toy_model(ModelSpec('any', tasks=frozenset(tasks)))
    with pytest.raises(UnsupportedTaskError, match=offered) as caught:
        getattr(model, task)(**CALLS[task], strict=strict)
    assert isinstance(caught.value, NotImplementedError)
    assert (caught.value.task, caught.value.url) == (task, 'toy://host')
    assert transport.sent == []


@pytest.mark.parametrize('name', [VIT, 'Salesforce/BLIP2-opt', 'toy://host'])
def test_strict_changes_nothing_for_what_the_model_has(client, name):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert len(client.get_model(name).encode(text='a cat', strict=True)) == 1


def test_the_rules_hold_for_models_of_a_directory(client):
    with pytest.warns(TaskFallbackWarning, match=VIT):
        assert client.get_model(VIT).caption(image=IMAGE)[0].embedding is not None
    blip = client.get_model('Salesforce/BLIP2-opt')
    assert blip.spec.tasks is None
    assert blip.caption(image=IMAGE)[0].tags['response'] == 'a photo of something'


@pytest.mark.parametrize(
    ('tasks', 'known'),
    [
        ([], frozenset()),
        (['encode'], {'encode'}),
        (None, None),
        ('encode', None),
        ({'encode': 1}, None),
        ([1, None], {'1', 'None'}),
    ],
)
def test_a_task_list_is_believed_only_if_it_is_one(client, directory, tasks, known):
    directory.models[VIT] = json.loads(json.dumps({'endpoints': ENDPOINTS, 'tasks': tasks}))
    assert client.get_model(VIT).spec.tasks == known


def test_errors_of_a_look_up_are_errors_of_this_package_alone(client, directory):
    directory.answer = BAD_GATEWAY
    with pytest.raises(InferenceError) as caught:
        client.get_model(VIT)
    assert 'requests' not in ''.join(traceback.format_exception_only(type(caught.value), caught.value))
