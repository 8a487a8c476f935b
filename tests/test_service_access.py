"""Who is let into the service, and what it takes: tokens, rates, sizes, TLS."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import subprocess
import threading
import time
from datetime import timedelta

import grpc
import numpy as np
import pytest
import requests
from PIL import Image
from services import HOST, TIMEOUT, service
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from inference_client import (
    AuthenticationError,
    Client,
    InputError,
    RateLimitError,
    RequestTooLargeError,
    RetryPolicy,
    TransportError,
)
from inference_client._wire.jina_pb2 import DataRequestProto, StatusProto
from inference_client.server.tokens import TokenStore

WIRES = ['grpc', 'http', 'ws']
ONCE = RetryPolicy(attempts=1)
PROTOBUF = 'application/x-protobuf'
UNARY = '/jina.JinaSingleDataRequestRPC/process_single_data'
DRY_RUN = '/jina.JinaGatewayDryRunRPC/dry_run'
DISCOVERY = '/jina.JinaDiscoverEndpointsRPC/endpoint_discovery'
CALL = '/jina.JinaRPC/Call'


@pytest.fixture(scope='module')
def store(tmp_path_factory):
    return TokenStore(tmp_path_factory.mktemp('tokens') / 'tokens.json')


@pytest.fixture(scope='module')
def tokens(store):
    """One that is good, and those that are not."""
    good = store.create('good')
    revoked = store.create('revoked')
    store.revoke('revoked')
    expired = store.create('expired', timedelta(microseconds=1))
    return {
        'good': good, 'none': None, 'revoked': revoked, 'expired': expired, 'truncated': good[:-1],
        'longer': good + '0', 'other case': good.upper(), 'empty': '', 'id': store.list()[0].id, 'long': 'x' * 5000,
    }  # fmt: skip


BAD = ['none', 'revoked', 'expired', 'truncated', 'longer', 'other case', 'empty', 'id', 'long']


@pytest.fixture(scope='module')
def guarded(server_python, tmp_path_factory, store, tokens):
    """A service that asks for tokens, with small limits."""
    options = ['--token-file', str(store.path), '--max-body', '100000', '--max-items', '8', '--max-pixels', '5000']
    options += ['--max-batch', '1']  # so that an engine sees requests as they come
    folder = tmp_path_factory.mktemp('guarded')
    with service(server_python, folder, 'named', 'pictures', *options) as started:
        yield started


def message(*texts, endpoint='/encode'):
    request = DataRequestProto()
    request.header.request_id = 'a request'
    request.header.exec_endpoint = endpoint
    for text in texts:
        request.data.docs.docs.add().text = text
    return request.SerializeToString()


def headers(token, **others):
    return {**others, **({} if token is None else {'Authorization': token})}


# -- tokens


@pytest.mark.parametrize('wire', WIRES)
def test_a_good_token(guarded, door, tokens, wire):
    with door(token=tokens['good']) as client:
        model = client.get_model(guarded.urls[wire])
        assert model.is_ready()
        assert model.encode(text='hello')[0].embedding[0] == 5


def test_a_bearer_token(guarded, tokens):
    answer = requests.get(
        f'{guarded.urls["http"]}/dry_run', headers=headers(f'Bearer {tokens["good"]}'), timeout=TIMEOUT
    )
    assert answer.status_code == 200


@pytest.mark.parametrize('which', BAD)
def test_no_call_without_a_good_token(guarded, tokens, which):
    metadata = () if tokens[which] is None else (('authorization', tokens[which]),)
    with grpc.insecure_channel(guarded.urls['grpc'].partition('://')[2]) as channel:
        for call, data in (
            (channel.unary_unary(UNARY), message('hello')),
            (channel.unary_unary(DRY_RUN), b''),
            (channel.unary_unary(DISCOVERY), b''),
            (lambda data, **options: list(channel.stream_stream(CALL)(iter([data]), **options)), message('hello')),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call(data, metadata=metadata, timeout=TIMEOUT)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert tokens['good'] not in caught.value.details()


@pytest.mark.parametrize('method', [UNARY, DRY_RUN, DISCOVERY])
def test_without_a_token_no_message_is_waited_for(guarded, method):
    over = threading.Event()
    with grpc.insecure_channel(guarded.urls['grpc'].partition('://')[2]) as channel:
        call = channel.stream_unary(method).future(iter(lambda: over.wait() and b'', b''))  # sends nothing
        assert call.exception(TIMEOUT).code() is grpc.StatusCode.UNAUTHENTICATED
        over.set()


@pytest.mark.parametrize('which', BAD)
@pytest.mark.parametrize('port', ['http', 'ws'])
def test_no_page_without_a_good_token(guarded, tokens, which, port):
    base = guarded.urls[port].replace('ws://', 'http://')
    for method, path in [
        ('POST', '/post'), ('POST', '/models/named/post'), ('GET', '/dry_run'), ('GET', '/models/named/dry_run'),
        ('GET', '/status'), ('GET', '/metrics'), ('GET', '/api/v1/models/'),
        ('GET', '/models/named'), ('GET', '/models/nope'),
        ('GET', '/api/v1/models/?model_name=named'),
        ('GET', '/api/v1/models'), ('GET', '/api/v1/models/?model_name=nope'), ('POST', '/models/nope/post'),
    ]:  # fmt: skip
        sent = headers(tokens[which], **{'Content-Type': 'application/json'})
        answer = requests.request(method, base + path, data=b'{"data": []}', headers=sent, timeout=TIMEOUT)
        assert answer.status_code == 401, path
        assert answer.json()['error'] == 'AuthenticationError'


@pytest.mark.parametrize('which', BAD)
@pytest.mark.parametrize('path', ['/', '/dry_run', '/models/named', '/models/nope'])
def test_no_socket_without_a_good_token(guarded, tokens, which, path):
    url = guarded.urls['ws'] + path
    with pytest.raises(InvalidStatus) as caught, connect(url, additional_headers=headers(tokens[which])):
        pass
    assert caught.value.response.status_code == 401


@pytest.mark.parametrize('wire', WIRES)
def test_the_client_says_that_the_token_was_refused(guarded, door, tokens, wire):
    with door(token=tokens['revoked']) as client, pytest.raises(AuthenticationError) as caught:
        client.get_model(guarded.urls[wire]).encode(text='hello')
    assert tokens['revoked'] not in str(caught.value)


@pytest.mark.parametrize('wire', WIRES)
def test_a_token_that_is_revoked_while_it_is_used(guarded, store, wire):
    token = store.create(f'passing {wire}')
    with Client(token=token, retry=ONCE) as client:
        model = client.get_model(guarded.urls[wire])
        assert model.encode(text='hello')[0].embedding[0] == 5
        store.revoke(f'passing {wire}')
        with pytest.raises(AuthenticationError):
            model.encode(text='hello')


def test_that_it_is_alive_needs_no_token(guarded):
    assert requests.get(guarded.urls['http'], timeout=TIMEOUT).status_code == 200
    with grpc.insecure_channel(guarded.urls['grpc'].partition('://')[2]) as channel:
        assert channel.unary_unary('/grpc.health.v1.Health/Check')(b'', timeout=TIMEOUT) == b'\x08\x01'


def test_no_token_is_logged(guarded, tokens):
    assert not [name for name, token in tokens.items() if token and token in guarded.log]


def test_the_directory_gives_urls_that_the_asker_reaches(guarded, tokens):
    port = guarded.urls['http'].rpartition(':')[2]
    for host, expected in (('models.example', 'models.example'), ('[::1]:80', '[::1]'), ('', 'localhost')):
        sent = headers(tokens['good'], Host=host)
        answer = requests.get(f'{guarded.urls["http"]}/api/v1/models/', headers=sent, timeout=TIMEOUT).json()
        assert answer['models'][0]['endpoints']['http'] == f'http://{expected}:{port}/models/named'


def serve(python, *arguments):
    return subprocess.run(
        [python, '-m', 'inference_client', 'serve', 'echo', *arguments], capture_output=True, text=True, timeout=TIMEOUT
    )


def test_without_tokens_it_does_not_start(server_python, tmp_path):
    done = serve(server_python, '--token-file', str(tmp_path / 'tokens.json'))
    assert done.returncode == 1
    assert 'inference-client token create' in done.stderr
    assert '--no-auth' in done.stderr


@pytest.mark.parametrize('host', ['0.0.0.0', '::', '192.0.2.1', 'example.com'])
def test_without_tokens_it_listens_on_this_machine_alone(server_python, host):
    done = serve(server_python, '--no-auth', '--host', host)
    assert done.returncode == 1
    assert f'not on {host}' in done.stderr


@pytest.mark.parametrize(
    'sent',
    [{'Origin': 'https://evil.example'}, {'Origin': 'null'}, {'Host': 'evil.example', 'Origin': 'http://evil.example'}],
)
def test_without_tokens_no_page_of_another_site_is_answered(echo_server, sent):
    answer = requests.get(f'{echo_server["http"]}/api/v1/models/', headers=sent, timeout=TIMEOUT)
    assert answer.status_code == 403
    assert 'without tokens' in answer.json()['detail']


def test_without_tokens_no_form_of_another_site_is_read(echo_server):
    for kind in ('text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data'):
        answer = requests.post(
            f'{echo_server["http"]}/post', b'{"data": []}', headers={'Content-Type': kind}, timeout=TIMEOUT
        )
        assert answer.status_code == 415


# -- limits


@pytest.mark.parametrize('wire', WIRES)
def test_what_is_too_large_is_split(guarded, door, tokens, wire):
    """By bytes and by documents: the client sends halves."""
    with door(token=tokens['good']) as client:
        model = client.get_model(guarded.urls[wire])
        for texts in (['hello'] * 20, ['x' * 30_000] * 8):
            answered = model.encode(text=texts, batch_size=32)
            assert [document.embedding[0] for document in answered] == [len(text) for text in texts]
            assert max(document.tags['size'] for document in answered) <= 8


@pytest.mark.parametrize('wire', WIRES)
def test_one_document_that_is_too_large(guarded, door, tokens, wire):
    with door(token=tokens['good'], retry=ONCE) as client:
        model = client.get_model(guarded.urls[wire])
        with pytest.raises(RequestTooLargeError):
            model.encode(text='x' * 200_000)
        assert model.encode(text='hello')[0].embedding[0] == 5


def test_too_many_documents(guarded, tokens):
    body = {'data': [{'text': 'a', 'matches': [{'text': 'b'}] * 8}], 'exec_endpoint': '/encode'}
    answer = requests.post(f'{guarded.urls["http"]}/post', json=body, headers=headers(tokens['good']), timeout=TIMEOUT)
    assert answer.status_code == 413
    assert 'more than 8 documents' in answer.json()['detail']


@pytest.mark.parametrize('wire', WIRES)
def test_too_many_pixels(guarded, door, tokens, wire):
    def png(width):
        file = io.BytesIO()
        Image.new('RGB', (width, 100)).save(file, 'PNG')
        return file.getvalue()

    with door(token=tokens['good']) as client:
        model = client.get_model(f'{guarded.urls[wire]}/models/pictures')
        assert model.encode(image=png(50))[0].embedding.tolist() == [100, 50, 3]
        with pytest.raises(InputError, match=r'5,?000'):
            model.encode(image=png(51))
        with pytest.raises(InputError, match=r'5,?000'):
            model.encode(image=np.zeros((100, 51, 3), np.uint8))


@pytest.mark.parametrize('wire', WIRES)
def test_too_many_requests(server_python, tmp_path, store, tokens, wire):
    options = ['--token-file', str(store.path), '--rate', '0.01', '--burst', '2']
    client = Client(token=tokens['good'], retry=ONCE)
    with service(server_python, tmp_path, 'named', *options) as started, client:
        model = client.get_model(started.urls[wire])
        model.encode(text='hello')
        model.encode(text='hello')
        with pytest.raises(RateLimitError, match='takes no more') as caught:
            model.encode(text='hello')
        assert caught.value.transient
        assert caught.value.busy
        assert 1 <= caught.value.retry_after <= 100


@pytest.mark.parametrize('wire', WIRES)
def test_a_bulk_job_waits_for_the_rate(server_python, tmp_path, store, tokens, wire, caplog):
    """Its requests compete for the same places: they wait no longer than they must, and are not all sent each time."""
    options = ['--token-file', str(store.path), '--rate', '10', '--burst', '1']
    client = Client(token=tokens['good'], retry=RetryPolicy(attempts=2))
    with service(server_python, tmp_path, 'named', *options) as started, client:
        caplog.set_level('INFO', 'inference_client.retry')
        texts = [str(number) for number in range(30)]
        begun = time.monotonic()
        answered = client.get_model(started.urls[wire]).encode(text=texts, batch_size=1, prefetch=30)
        taken = time.monotonic() - begun
    assert [document.text for document in answered] == texts
    assert 2.8 < taken < 25  # 3 s, were each request sent the moment that it may come
    refused = [record for record in caplog.records if 'takes no more' in record.getMessage()]
    assert 1 <= len(refused) < 120  # 465, were all sent each time


def test_what_cannot_be_read_counts_and_what_comes_too_early_is_not_read(server_python, tmp_path, store, tokens):
    """No body comes with the last request, and no answer would, if it were waited for."""
    options = ['--token-file', str(store.path), '--rate', '0.01', '--burst', '2']
    with service(server_python, tmp_path, 'named', *options) as started:
        url = f'{started.urls["http"]}/post'
        sent = headers(tokens['good'], **{'Content-Type': 'application/json'})
        assert requests.post(url, '{', headers=sent, timeout=TIMEOUT).status_code == 400
        with connect(started.urls['ws'], additional_headers=headers(tokens['good'])) as socket:
            for error in ('InputError', 'RateLimitError'):
                socket.send('{')
                assert f'"{error}"' in socket.recv(TIMEOUT)
        host, _, port = started.urls['http'].partition('://')[2].partition(':')
        with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)) as connection:
            connection.putrequest('POST', '/post')
            for name, value in {**sent, 'Content-Length': '5'}.items():
                connection.putheader(name, value)
            connection.endheaders()
            assert connection.getresponse().status == 429


def test_a_client_waits_until_it_is_let_in(server_python, tmp_path, store, tokens):
    options = ['--token-file', str(store.path), '--rate', '1', '--burst', '1']
    with service(server_python, tmp_path, 'named', *options) as started, Client(token=tokens['good']) as client:
        model = client.get_model(started.urls['grpc'])
        assert [model.encode(text='hello')[0].embedding[0] for _ in range(3)] == [5] * 3


def test_look_ups_wait_until_they_are_let_in_and_what_a_model_can_do_is_told_at_once(
    server_python, tmp_path, store, tokens, door
):
    options = ['--token-file', str(store.path), '--rate', '1', '--burst', '1']
    with service(server_python, tmp_path, 'named', *options) as started:
        with door(token=tokens['good'], retry=ONCE) as client:
            client.get_model(started.urls['grpc']).encode(text='hello')
            for url in started.urls.values():
                assert client.get_model(url).capabilities().tasks == {'encode'}
        with door(token=tokens['good'], api_endpoint=f'{started.urls["http"]}/api/v1') as client:
            assert [[one.name for one in client.list_models()] for _ in range(3)] == [['named']] * 3


# -- messages over HTTP


def test_messages_over_http(guarded, tokens):
    url = f'{guarded.urls["http"]}/post'
    sent = headers(tokens['good'], **{'Content-Type': PROTOBUF})
    answer = requests.post(url, message('hello'), headers=sent, timeout=TIMEOUT)
    assert answer.headers['Content-Type'] == PROTOBUF
    (document,) = DataRequestProto.FromString(answer.content).data.docs.docs
    assert np.frombuffer(document.embedding.dense.buffer, np.float32)[0] == 5
    as_json = requests.post(
        url, message('hello'), headers={**sent, 'Accept': 'application/json'}, timeout=TIMEOUT
    ).json()
    assert as_json['data'][0]['embedding'][0] == 5
    failed = requests.post(url, message('raise'), headers=sent, timeout=TIMEOUT)
    assert failed.status_code == 200
    assert DataRequestProto.FromString(failed.content).header.status.code == StatusProto.ERROR
    assert requests.post(url, b'\xff', headers=sent, timeout=TIMEOUT).status_code == 400


def test_the_client_sends_messages_over_http(guarded, tokens):
    with Client(token=tokens['good']) as client:
        model = client.get_model(guarded.urls['http'])
        assert model.encode(text='hello')[0].embedding[0] == 5
        assert model._transport._site.protobuf
        assert model.encode(text='hello!')[0].embedding[0] == 6


def test_the_description_names_both(guarded):
    paths = requests.get(f'{guarded.urls["http"]}/openapi.json', timeout=TIMEOUT).json()['paths']
    for path in ('/post', '/models/{model}/post'):
        operation = paths[path]['post']
        for content in (operation['requestBody']['content'], operation['responses']['200']['content']):
            assert set(content) == {'application/json', PROTOBUF}


# -- metrics


def counted(service, token, outcome, protocol, task='encode'):
    """Requests to the first model, by what came of them."""
    answer = requests.get(f'{service.urls["http"]}/metrics', headers=headers(token), timeout=TIMEOUT)
    labels = f'{{model="named",outcome="{outcome}",protocol="{protocol}",task="{task}"}}'
    found = re.search(rf'^inference_requests_total{re.escape(labels)} (\S+)$', answer.text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize('wire', WIRES)
def test_metrics(guarded, tokens, wire):
    def count(outcome):
        return counted(guarded, tokens['good'], outcome, {'ws': 'websocket'}.get(wire, wire))

    before = {outcome: count(outcome) for outcome in ('ok', 'failed', '413')}
    with Client(token=tokens['good'], retry=ONCE) as client:
        model = client.get_model(guarded.urls[wire])
        model.encode(text='hello')
        with pytest.raises(InputError):
            model.encode(text='refuse')
        model.encode(text=['hello'] * 9, batch_size=9)
    assert count('ok') == before['ok'] + 3
    assert count('failed') == before['failed'] + 1
    assert count('413') == before['413'] + 1


def test_what_cannot_be_read_is_in_the_metrics(guarded, tokens):
    def count():
        return [
            counted(guarded, tokens['good'], outcome, protocol, task='')
            for outcome in ('400', '413')
            for protocol in ('http', 'websocket')
        ]

    before = count()
    many = json.dumps({'data': ['a'] * 9})
    url, sent = f'{guarded.urls["http"]}/post', headers(tokens['good'], **{'Content-Type': 'application/json'})
    for body in ('{', many):
        requests.post(url, body, headers=sent, timeout=TIMEOUT)
    with connect(guarded.urls['ws'], additional_headers=headers(tokens['good'])) as socket:
        for body in ('{', many):
            socket.send(body)
            socket.recv(TIMEOUT)
    assert count() == [one + 1 for one in before]


# -- TLS


@pytest.fixture(scope='module')
def secure(server_python, tmp_path_factory, store, tokens):
    """A service over TLS, and the certificates of its authority."""
    folder = tmp_path_factory.mktemp('secure')
    authority = pytest.importorskip('trustme').CA()
    certificate = authority.issue_cert('localhost')
    authority.cert_pem.write_to_path(str(folder / 'ca.pem'))
    certificate.private_key_pem.write_to_path(str(folder / 'key.pem'))
    for part in certificate.cert_chain_pems:
        part.write_to_path(str(folder / 'cert.pem'), append=True)
    options = ['--tls-cert', str(folder / 'cert.pem'), '--tls-key', str(folder / 'key.pem')]
    with service(server_python, folder, 'named', '--token-file', str(store.path), *options) as started:
        yield started, str(folder / 'ca.pem')


@pytest.mark.parametrize('scheme', ['grpcs', 'https', 'wss'])
def test_tls(secure, door, tokens, scheme):
    started, authority = secure
    url = started.urls[scheme].replace(HOST, 'localhost')
    with door(token=tokens['good'], ca_file=authority) as client:
        model = client.get_model(url)
        assert model.is_ready()
        assert model.encode(text=['hello'] * 40)[39].embedding[0] == 5
    with door(token=tokens['good'], retry=ONCE) as stranger, pytest.raises(ConnectionError, match='ertificate'):
        stranger.get_model(url).encode(text='hello')


@pytest.fixture(scope='module')
def mutual(server_python, tmp_path_factory):
    """A service that wants certificates of its clients; its authority, one of theirs, and one of a stranger."""
    folder = tmp_path_factory.mktemp('mutual')
    trustme = pytest.importorskip('trustme')
    ours, theirs = trustme.CA(), trustme.CA()
    issued = (('server', ours, 'localhost'), ('client', ours, 'me@example.org'), ('other', theirs, 'me@example.org'))
    for name, authority, identity in issued:
        authority.issue_cert(identity).private_key_and_cert_chain_pem.write_to_path(str(folder / f'{name}.pem'))
    ours.cert_pem.write_to_path(str(folder / 'ca.pem'))
    server, ca = str(folder / 'server.pem'), str(folder / 'ca.pem')
    options = ['--tls-cert', server, '--tls-key', server, '--tls-client-ca', ca]
    with service(server_python, folder, 'named', *options) as started:
        yield started, {path.stem: str(path) for path in folder.glob('*.pem')}


@pytest.mark.parametrize('scheme', ['grpcs', 'https', 'wss'])
def test_clients_show_certificates(mutual, door, scheme):
    started, files = mutual
    url = started.urls[scheme].replace(HOST, 'localhost')
    with door(ca_file=files['ca'], client_cert=files['client']) as client:
        assert client.get_model(url).encode(text='hello')[0].embedding[0] == 5
    for own in ({}, {'client_cert': files['other']}):
        with door(ca_file=files['ca'], retry=ONCE, **own) as stranger, pytest.raises(TransportError):
            stranger.get_model(url).encode(text='hello')


def test_nothing_is_told_without_a_certificate(mutual):
    started, files = mutual
    for path in ('/', '/ready', '/api/v1/models/'):
        with pytest.raises(requests.ConnectionError):
            requests.get(started.urls['https'].replace(HOST, 'localhost') + path, verify=files['ca'], timeout=TIMEOUT)


def test_the_directory_over_tls(secure, tokens):
    started, authority = secure
    endpoint = started.urls['https'].replace(HOST, 'localhost') + '/api/v1'
    with Client(token=tokens['good'], ca_file=authority, api_endpoint=endpoint) as client:
        for protocol, scheme in (('grpc', 'grpcs'), ('http', 'https'), ('websocket', 'wss')):
            model = client.get_model('named', protocol=protocol)
            assert model.url.startswith(f'{scheme}://localhost:')
            assert model.encode(text='hello')[0].embedding[0] == 5


def test_a_key_with_a_password_is_an_error_and_no_question(server_python, tmp_path):
    serialization = pytest.importorskip('cryptography.hazmat.primitives.serialization')
    pair = pytest.importorskip('trustme').CA().issue_cert('localhost')
    cert, key = tmp_path / 'cert.pem', tmp_path / 'key.pem'
    cert.write_bytes(pair.cert_chain_pems[0].bytes())
    plain = serialization.load_pem_private_key(pair.private_key_pem.bytes(), None)
    locked = serialization.BestAvailableEncryption(b'secret')
    key.write_bytes(plain.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    options = ['--no-auth', '--tls-cert', str(cert), '--tls-key', str(key)]
    with subprocess.Popen(
        [server_python, '-m', 'inference_client', 'serve', 'echo', *options],
        stdin=subprocess.PIPE,  # where nobody answers
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.wait(TIMEOUT) == 1
            assert 'the key without a password' in process.stderr.read()
        finally:
            process.kill()


def test_certificates_that_cannot_be_used(server_python, tmp_path):
    (tmp_path / 'cert.pem').write_text('nothing')
    cert, key = str(tmp_path / 'cert.pem'), str(tmp_path / 'no key.pem')
    done = serve(server_python, '--no-auth', '--tls-cert', cert, '--tls-key', key)
    assert done.returncode == 1
    assert 'expected PEM files' in done.stderr
    for options, words in ((['--tls-cert', cert], '--tls-key'), (['--tls-client-ca', cert], 'over TLS alone')):
        done = serve(server_python, '--no-auth', *options)
        assert done.returncode == 1
        assert words in done.stderr
    done = serve(server_python, '--no-auth', '--tls-cert', cert, '--tls-key', key, '--tls-client-ca', cert)
    assert 'for clients cannot be used' in done.stderr
