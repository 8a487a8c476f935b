"""Certificates of clients, and that no token travels where others can read it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from directory import TOKEN, model_directory
from hypothesis import given
from hypothesis import strategies as st
from peers import HOST, grpc_peer, http_peer, tls, ws_peer

from inference_client import (
    Client,
    ConfigurationError,
    ConnectionFailedError,
    InferenceError,
    ProtocolError,
    RetryPolicy,
    ServerError,
    TransportOptions,
    _logins,
)
from inference_client._addresses import is_this_machine
from inference_client._plugins import plugins

PEERS = {'grpc': grpc_peer, 'http': http_peer, 'ws': ws_peer}
WIRES = list(PEERS)


# -- certificates of clients


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Certificates of a server, of its client, and of a stranger."""
    trustme = pytest.importorskip('trustme')
    folder = tmp_path_factory.mktemp('certificates')
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(folder / 'ca.pem')
    for name, authority in (('server', ours), ('client', ours), ('stranger', theirs)):
        issued = authority.issue_cert('localhost' if name == 'server' else f'{name}@example.org')
        issued.private_key_and_cert_chain_pem.write_to_path(folder / f'{name}.pem')
        issued.private_key_pem.write_to_path(folder / f'{name}.key')
        issued.cert_chain_pems[0].write_to_path(folder / f'{name}.crt')
    ours.issue_cert('other.example').private_key_and_cert_chain_pem.write_to_path(folder / 'other.pem')
    return {path.name: str(path) for path in folder.iterdir()}


@pytest.fixture(params=WIRES)
def guarded(request, files):
    """URL of a server that asks for a certificate of the client, and the tokens that came."""
    with PEERS[request.param]() as (url, seen), tls(
        url, files['server.pem'], files['server.pem'], files['ca.pem']
    ) as url:
        yield url, seen


@pytest.mark.parametrize('own', [('client.pem', None), ('client.crt', 'client.key')])
def test_a_server_that_asks_for_a_certificate_gets_it(guarded, files, connect, own):
    url, seen = guarded
    certificate, key = own
    model = connect(
        url, token=TOKEN, ca_file=files['ca.pem'], client_cert=files[certificate], client_key=key and files[key]
    )
    assert model.encode(text='hi')[0].embedding.tolist() == [1, 1]
    assert seen == [TOKEN]


@pytest.mark.parametrize('own', [{}, {'client_cert': 'stranger.pem'}])
def test_without_the_right_certificate_there_is_no_answer(guarded, files, connect, own):
    url, seen = guarded
    model = connect(url, token=TOKEN, ca_file=files['ca.pem'], **{key: files[name] for key, name in own.items()})
    with pytest.raises(ConnectionFailedError):
        model.encode(text='hi', timeout=5)
    assert seen == []


def test_the_directory_gets_the_certificate_too(files, door):
    with model_directory({'a': {'endpoints': {'grpc': 'grpc://127.0.0.1:1'}}}) as directory, tls(
        directory.url[: -len('/api/v1')], files['server.pem'], files['server.pem'], files['ca.pem']
    ) as url:
        with door(TOKEN, api_endpoint=url, ca_file=files['ca.pem'], client_cert=files['client.pem']) as client:
            assert client.get_model('a').spec.name == 'a'
            assert [spec.name for spec in client.list_models()] == ['a']
        with door(TOKEN, api_endpoint=url, ca_file=files['ca.pem']) as client, pytest.raises(ConnectionFailedError):
            client.get_model('a')
    assert [asked.authorization for asked in directory.asked] == [TOKEN, TOKEN]


ADVICE = {
    'server.pem': r'if you trust it, give its certificates as Client\(ca_file=\.\.\.\), or --ca-file',
    'other.pem': 'its certificate is not for this name: use the name that it was made for',
}


@pytest.mark.parametrize('shown', ADVICE)
@pytest.mark.parametrize('wire', WIRES)
def test_what_to_do_about_a_certificate_of_a_stranger_or_for_another_name(files, connect, wire, shown):
    ca_file = files['ca.pem'] if shown == 'other.pem' else None
    with PEERS[wire]() as (url, _), tls(url, files[shown], files[shown]) as url:
        model = connect(url, ca_file=ca_file, retry=RetryPolicy(attempts=1))
        with pytest.raises(ConnectionFailedError, match=ADVICE[shown]):
            model.encode(text='hi', timeout=10)


@pytest.mark.parametrize('shown', ADVICE)
def test_what_to_do_about_a_certificate_of_a_directory(files, door, shown):
    ca_file = files['ca.pem'] if shown == 'other.pem' else None
    with model_directory() as directory, tls(directory.url[: -len('/api/v1')], files[shown], files[shown]) as url:
        expected = pytest.raises(ConnectionFailedError, match=f'directory cannot be reached .*{ADVICE[shown]}')
        with door(TOKEN, api_endpoint=url, ca_file=ca_file) as client, expected:
            client.get_model('a')
        assert directory.asked == []


def test_certificates_of_no_use(files, tmp_path):
    nonsense = tmp_path / 'nonsense.pem'
    nonsense.write_text('nonsense')
    for cert, key in [
        ('missing.pem', None), (str(nonsense), None), (files['client.crt'], None),
        (files['client.crt'], files['stranger.key']), (files['client.crt'], 'missing.key'), (5, None),
    ]:  # fmt: skip
        with pytest.raises(ConfigurationError, match=r'client_cert .* cannot be used'):
            Client(client_cert=cert, client_key=key)
    with pytest.raises(ConfigurationError, match='given without client_cert'):
        Client(client_key=files['client.key'])


def test_an_encrypted_key_is_refused_and_nobody_is_asked(files, tmp_path):
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(Path(files['client.key']).read_bytes(), None)
    encrypted = tmp_path / 'encrypted.key'
    encrypted.write_bytes(
        key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b'secret'))
    )
    with pytest.raises(ConfigurationError, match='not encrypted'):
        Client(client_cert=files['client.crt'], client_key=str(encrypted))


# -- tokens in plain text


ELSEWHERE = [
    '192.0.2.1',
    'host',
    'localhost.example.org',
    '[2001:db8::1]',
    '127.0.0.1.example.org',
    '[::ffff:192.0.2.1]',
]
HERE = ['127.0.0.1', '127.1.2.3', 'localhost', 'LOCALHOST', 'localhost.', '[::1]', '[::ffff:127.0.0.1]', '0.0.0.0']


@pytest.mark.parametrize('wire', [*WIRES, 'HTTP'])
@pytest.mark.parametrize('host', ELSEWHERE)
def test_no_token_goes_elsewhere_in_plain_text(door, wire, host):
    with door(TOKEN) as client:
        with pytest.raises(ConfigurationError, match=r'over plain .*allow_insecure_token=True') as caught:
            client.get_model(f'{wire}://{host}:1')
        assert TOKEN not in str(caught.value)
        assert client.get_model(f'{wire}s://{host}:1').url == f'{wire}s://{host}:1'
    with door() as client:
        assert client.get_model(f'{wire}://{host}:1')  # there is no token
    with door(TOKEN, allow_insecure_token=True) as client:
        assert client.get_model(f'{wire}://{host}:1')


@pytest.mark.parametrize('url', ['openai+http://192.0.2.1:1/v1?model=a', 'jinaai://a?base=http://192.0.2.1:1/v1'])
def test_servers_with_apis_of_their_own_do_not_get_it_either(door, url):
    with door(TOKEN) as client:
        with pytest.raises(ConfigurationError, match='over plain http'):
            client.get_model(url)
        assert client.get_model(url.replace('http:', 'https:'))


@pytest.mark.parametrize('wire', WIRES)
@pytest.mark.parametrize('host', HERE)
def test_within_this_machine_it_may(door, wire, host):
    with door(TOKEN) as client:
        assert client.get_model(f'{wire}://{host}:1')


@pytest.mark.parametrize(
    ('wire', 'variable'), [('http', 'http_proxy'), ('http', 'all_proxy'), ('grpc', 'https_proxy'), ('ws', 'http_proxy')]
)
@pytest.mark.parametrize('proxy', ['http://192.0.2.1:3128', '192.0.2.1:3128', 'http://me:pa55word@proxy.example.org'])
def test_within_this_machine_it_goes_through_no_proxy_of_another(monkeypatch, wire, variable, proxy):
    for name in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(variable, proxy)
    url = f'{wire}://127.0.0.1:1'
    with pytest.raises(ConfigurationError, match=r'through the proxy .*NO_PROXY') as caught:
        Client(TOKEN).get_model(url)
    assert 'pa55word' not in str(caught.value)
    for options in ({'trust_env': False}, {'allow_insecure_token': True}):
        assert Client(TOKEN, **options).get_model(url)
    assert Client().get_model(url)  # there is no token
    assert Client(TOKEN).get_model(f'{wire}s://127.0.0.1:1')
    for skipped in ('127.0.0.1', '127.0.0.0/8', '*'):
        monkeypatch.setenv('no_proxy', skipped)
        assert Client(TOKEN).get_model(url)
    monkeypatch.delenv('no_proxy')
    monkeypatch.setenv(variable, 'http://127.0.0.1:3128')
    assert Client(TOKEN).get_model(url)


@pytest.mark.parametrize('source', ['environment', 'directory'])
def test_wherever_the_token_comes_from(monkeypatch, door, source):
    if source == 'environment':
        monkeypatch.setenv('JINA_AUTH_TOKEN', TOKEN)
        with door() as client, pytest.raises(ConfigurationError, match='over plain grpc'):
            client.get_model('grpc://192.0.2.1:1')
    else:
        monkeypatch.setitem(sys.modules, 'keyring', None)
        with model_directory({'a': {'endpoints': {'http': 'http://192.0.2.1:1'}}}) as directory:
            _logins.log_in(directory.url, TOKEN)
            with door() as client, pytest.raises(ConfigurationError, match='over plain http'):
                client.get_model('a')


@pytest.mark.parametrize('ask', ['get_model', 'list_models'])
def test_the_directory_is_not_asked_with_it_either(door, ask):
    with door(TOKEN, api_endpoint='http://192.0.2.1:1') as client:
        with pytest.raises(ConfigurationError, match='over plain http') as caught:
            getattr(client, ask)(*['name'] * (ask == 'get_model'))
        assert caught.value.url == 'http://192.0.2.1:1/api/v1/models/'


@pytest.mark.parametrize('kind', ['blocking', 'async'])
@pytest.mark.parametrize('wire', WIRES)
def test_a_transport_that_is_made_by_hand_minds_it_too(kind, wire):
    transport = plugins().get('transport', wire)
    make = transport if kind == 'blocking' else transport.asynchronous
    with pytest.raises(ConfigurationError, match='over plain'):
        make(f'{wire}://192.0.2.1:1', TransportOptions(token=TOKEN))
    assert make(f'{wire}://192.0.2.1:1', TransportOptions(token=TOKEN, allow_insecure_token=True))


def test_no_redirect_leads_it_elsewhere(connect):
    """Not even from a server of this machine to a plain one of another; test_websocket.py has the same of sockets."""
    with socket.create_server((HOST, 0)) as elsewhere:
        location = ('Location', f'http://localhost:{elsewhere.getsockname()[1]}/')
        with http_peer(lambda data: (307, b''), [location]) as (url, _), pytest.raises(
            ProtocolError, match='redirects'
        ):
            connect(url, token=TOKEN).encode(text='hi')
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


# -- what a server quotes


KEY = 'a-key-of-24-characters-0'


@pytest.fixture(scope='module')
def quoting():
    """A server that quotes the key, and what it says: the status, and the body."""
    told = {}
    with http_peer(lambda data: told['answer']) as (url, _):
        yield url, told


@pytest.mark.parametrize('token', [KEY, f'Bearer {KEY}', f'bearer {KEY}'])
@pytest.mark.parametrize('scheme', ['http', 'openai+http'])
@pytest.mark.parametrize('form', ['text', 'json', 'page'])
def test_no_part_of_the_token_is_in_an_error(connect, quoting, token, scheme, form):
    """The server says it over and over, and errors show the start of that, so that it is cut in the middle of one."""
    url, told = quoting
    model = connect(f'{scheme}://{url[len("http://") :]}' + ('/v1?model=m' if 'openai' in scheme else ''), token=token)
    text = KEY * 30
    bodies = {'text': (400, text), 'json': (400, f'{{"error": {{"message": "{text}"}}}}'), 'page': (200, text)}
    status, body = bodies[form]
    told['answer'] = status, body.encode()
    with pytest.raises(InferenceError) as caught:
        model.encode(text='a')
    assert KEY[:4] not in f'{caught.value} {caught.value.__cause__!r} {caught.value.attempts}'


@pytest.mark.parametrize('scheme', ['http', 'openai+http'])
@pytest.mark.parametrize('answer', [(307, b'', [('Location', f'/{KEY}\x1b[31m')]), (500, b'\x1b[31mno')])
def test_what_a_server_says_brings_no_escape_characters(connect, quoting, scheme, answer):
    url, told = quoting
    model = connect(f'{scheme}://{url[len("http://") :]}' + ('/v1?model=m' if 'openai' in scheme else ''), token=KEY)
    told['answer'] = answer
    with pytest.raises((ProtocolError, ServerError), match=r'\[31m') as caught:
        model.encode(text='a', retry=RetryPolicy(attempts=1))
    assert str(caught.value).isprintable()
    assert KEY not in str(caught.value)


@given(st.text() | st.ip_addresses().map(str))
def test_whatever_the_host_is(host):
    assert is_this_machine(host) in (True, False)


def test_the_command_line_says_how_to_allow_it():
    pytest.importorskip('click')
    done = subprocess.run(
        [sys.executable, '-m', 'inference_client', 'encode', 'a', '--model', 'http://192.0.2.1:1'],
        env={**os.environ, 'JINA_AUTH_TOKEN': TOKEN},
        capture_output=True, encoding='utf-8', timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert 'over plain http' in done.stderr
    assert TOKEN not in done.stderr
