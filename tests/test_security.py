"""Tokens at the service: without a good one there is no answer, by whichever way one asks."""

from __future__ import annotations

import json
from datetime import timedelta

import grpc
import pytest
import requests
from services import service
from test_strangers import CALL, LEAKS, TIMEOUT, UNARY, request
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_socket

from inference_client import AuthenticationError
from inference_client._wire.jina_pb2 import DataRequestProto
from inference_client.server.tokens import TokenStore

WIRES = ['grpc', 'http', 'ws']
KINDS = [
    'none',
    'empty',
    'expired',
    'revoked',
    'truncated',
    'longer',
    'other case',
    'other scheme',
    'twice',
    'hash',
    'long',
]


class Guarded:
    """A service, and tokens of every kind."""

    def __init__(self, running, store):
        self.running, self.urls, self.store = running, running.urls, store
        self.good = store.create('good')
        self.revoked = store.create('revoked')
        store.revoke('revoked')
        self.expired = store.create('expired', timedelta(days=1))
        kept = json.loads(store.path.read_text())
        kept['tokens'][-1]['expires'] = '2020-01-01T00:00:00+00:00'
        store.path.write_text(json.dumps(kept))
        self.wrong = {
            'none': None,
            'empty': '',
            'expired': self.expired,
            'revoked': self.revoked,
            'truncated': self.good[:-1],
            'longer': self.good + '0',
            'other case': self.good.upper(),
            'other scheme': f'Basic {self.good}',
            'twice': f'{self.good} {self.good}',
            'hash': store.list()[0].sha256,
            'long': 'x' * 4000,
        }


@pytest.fixture(scope='module')
def guarded(server_python, tmp_path_factory):
    """A service that was started before most of its tokens were made. No token is in its log."""
    folder = tmp_path_factory.mktemp('guarded')
    store = TokenStore(folder / 'tokens' / 'tokens.json')
    store.create('first')
    with service(server_python, folder, 'echo', '--token-file', str(store.path)) as running:
        made = Guarded(running, store)
        yield made
        for secret in (made.good, made.expired, made.revoked):
            assert secret[4:20] not in running.log
        assert 'Traceback' not in running.log


def headers(token):
    return {} if token is None else {'Authorization': token}


def metadata(token):
    return () if token is None else (('authorization', token),)


def assert_tells_nothing(text, guarded):
    assert not LEAKS.search(text), text
    for secret in (guarded.good, guarded.expired, guarded.revoked):
        assert secret[4:20].lower() not in text.lower()


# -- without a good one

PATHS = [
    ('GET', '/dry_run'), ('GET', '/status'), ('POST', '/post'), ('GET', '/models/echo/dry_run'),
    ('POST', '/models/echo/post'), ('POST', '/models/nothing/post'), ('GET', '/models/nothing/dry_run'),
    ('GET', '/models/echo/status'), ('GET', '/api/v1/models/'), ('GET', '/api/v1/models'),
    ('GET', '/api/v1/models/?model_name=echo'), ('GET', '/api/v1/models/?model_name=no'),
]  # fmt: skip
OPEN = ['/', '/ready', '/openapi.json', '/nothing', '/models', '/a%0Ab', '/post']  # which tell nothing of the models


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('wire', ['http', 'ws'])
def test_every_path_wants_a_good_token(guarded, wire, kind):
    body = b'{"data": [{"text": "hi"}], "exec_endpoint": "/echo"}'
    with requests.Session() as session:
        session.trust_env = False
        for method, path in PATHS:
            url = guarded.urls[wire].replace('ws:', 'http:') + path
            sent = {**headers(guarded.wrong[kind]), 'Content-Type': 'application/json'}
            answer = session.request(method, url, headers=sent, data=body, timeout=TIMEOUT)
            assert (answer.status_code, path) == (401, path)
            assert_tells_nothing(answer.text + str(answer.headers), guarded)


@pytest.mark.parametrize('path', OPEN)
@pytest.mark.parametrize('method', ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'PATCH'])
def test_what_needs_no_token_tells_nothing(guarded, method, path):
    answer = requests.request(method, guarded.urls['http'] + path, timeout=TIMEOUT)
    assert answer.status_code in (200, 404, 405)
    assert_tells_nothing(answer.text, guarded)
    assert 'echo' not in answer.text


def test_the_description_says_which_paths_want_a_token(guarded):
    told = requests.get(f'{guarded.urls["http"]}/openapi.json', timeout=TIMEOUT).json()
    assert told['components']['securitySchemes'][next(iter(told['security'][0]))]['scheme'] == 'bearer'
    for path, operations in told['paths'].items():
        for method, operation in operations.items():
            url = guarded.urls['http'] + path.replace('{model}', 'echo')
            refused = requests.request(method, url, json={'data': []}, timeout=TIMEOUT).status_code == 401
            assert refused == (operation.get('security') != []), path
            assert {'401', '500'} <= set(operation['responses'])
    assert '/models/{model}/status' in told['paths']


@pytest.mark.parametrize('kind', KINDS)
def test_every_method_of_grpc_wants_a_good_token(guarded, kind):
    token = metadata(guarded.wrong[kind])
    with grpc.insecure_channel(guarded.urls['grpc'].partition('://')[2]) as channel:
        calls = [
            lambda method=method: channel.unary_unary(method)(request(), metadata=token, timeout=TIMEOUT)
            for method in (UNARY, '/jina.JinaGatewayDryRunRPC/dry_run')
        ]
        calls.append(lambda: list(channel.stream_stream(CALL)(iter([request()]), metadata=token, timeout=TIMEOUT)))
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert_tells_nothing(f'{caught.value.details()} {caught.value.trailing_metadata()}', guarded)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('path', ['/', '/models/echo', '/models/nothing', '/dry_run'])
@pytest.mark.parametrize('wire', ['http', 'ws'])
def test_every_socket_wants_a_good_token(guarded, wire, path, kind):
    url = guarded.urls[wire].replace('http:', 'ws:') + path
    with pytest.raises(InvalidStatus) as caught, connect_socket(url, additional_headers=headers(guarded.wrong[kind])):
        pytest.fail('it was let in')
    assert caught.value.response.status_code == 401
    assert_tells_nothing(f'{caught.value.response.body} {caught.value.response.headers}', guarded)


@pytest.mark.parametrize('kind', [one for one in KINDS if one != 'empty'])
@pytest.mark.parametrize('wire', WIRES)
def test_our_client_says_so(guarded, door, wire, kind):
    with door(guarded.wrong[kind]) as client, client.get_model(guarded.urls[wire]) as model:
        for ask in (lambda: model.encode(text='hi'), model.is_ready):
            with pytest.raises(AuthenticationError, match=r'refused the token .*Client\(token=...\)'):
                ask()


@pytest.mark.parametrize('kind', [one for one in KINDS if one != 'empty'])
def test_our_client_says_so_of_the_directory(guarded, door, kind):
    with door(guarded.wrong[kind], api_endpoint=guarded.urls['http']) as client:
        for ask in (client.list_models, lambda: client.get_model('echo')):
            with pytest.raises(AuthenticationError, match='token'):
                ask()


# -- with one


@pytest.mark.parametrize('wire', WIRES)
@pytest.mark.parametrize('scheme', ['', 'Bearer ', 'bearer '])
def test_a_good_token_is_let_in(guarded, door, wire, scheme):
    with door(scheme + guarded.good, api_endpoint=guarded.urls['http']) as client:
        assert [spec.name for spec in client.list_models()] == ['echo']
        protocol = {'ws': 'websocket'}.get(wire, wire)
        with client.get_model('echo', protocol=protocol) as model:
            assert model.url == f'{guarded.urls[wire]}/models/echo'
            assert model.is_ready()


def post(guarded, token, **options):
    url = f'{guarded.urls["http"]}/post'
    return requests.post(
        url, headers=headers(token), json={'data': [{'text': 'hi'}], 'exec_endpoint': '/echo'}, **options
    )


def test_tokens_come_and_go_while_it_runs(guarded):
    secret = guarded.store.create('for a while')
    assert post(guarded, secret).status_code == 200
    guarded.store.revoke('for a while')
    assert post(guarded, secret).status_code == 401
    assert post(guarded, guarded.good).status_code == 200


def test_an_open_socket_is_let_in_once(guarded):
    with connect_socket(guarded.urls['ws'], subprotocols=['bytes'], additional_headers=headers(guarded.good)) as socket:
        for _ in range(2):
            socket.send(request())
            assert DataRequestProto.FromString(socket.recv(TIMEOUT)).header.request_id == 'an id'
