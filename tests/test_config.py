"""Where settings come from, which are refused, and that a token is shown to nobody but the server."""

from __future__ import annotations

import json
import logging
import os
import traceback

import pytest
from directory import TOKEN, model_directory
from hypothesis import example, given
from hypothesis import strategies as st
from isolated import output_of

from inference_client import (
    AuthenticationError,
    Client,
    ConfigurationError,
    InferenceError,
    ModelNotFoundError,
    TransportOptions,
)
from inference_client._config import resolve

MODELS = {'ViT-B-32::openai': {'endpoints': {'http': 'http://127.0.0.1:1'}, 'tasks': ['encode', 'rank']}}


@pytest.fixture
def directory():
    with model_directory(MODELS, token=None) as served:
        yield served


@pytest.fixture
def log_in(tmp_path, monkeypatch):
    """Store a login as the Jina SDK does."""

    def store(content):
        (tmp_path / 'login').mkdir()
        file = tmp_path / 'login' / 'config.json'
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        monkeypatch.setenv('JINA_HUB_ROOT', str(tmp_path / 'login'))

    return store


# -- which one wins


@pytest.mark.parametrize(
    ('argument', 'environment', 'stored', 'trust_env', 'sent'),
    [
        (None, None, None, True, None),
        (None, None, 'of-login', True, 'of-login'),
        (None, 'of-environment', 'of-login', True, 'of-environment'),
        ('of-argument', 'of-environment', 'of-login', True, 'of-argument'),
        ('', 'of-environment', 'of-login', True, 'of-environment'),
        ('', '', 'of-login', True, 'of-login'),
        (None, 'of-environment', 'of-login', False, None),
        (None, None, 'of-login', False, None),
        ('of-argument', 'of-environment', 'of-login', False, 'of-argument'),
        (' of-argument\n', None, None, True, 'of-argument'),
        (None, 'of-environment\n', None, True, 'of-environment'),
    ],
)
def test_the_token_that_is_sent(directory, monkeypatch, log_in, argument, environment, stored, trust_env, sent):
    if environment is not None:
        monkeypatch.setenv('JINA_AUTH_TOKEN', environment)
    if stored is not None:
        log_in({'auth_token': stored})
    Client(argument, api_endpoint=directory.url, trust_env=trust_env).get_model('ViT-B-32::openai')
    assert [asked.authorization for asked in directory.asked] == [sent]


def test_the_settings_are_read_once(directory, monkeypatch):
    monkeypatch.setenv('JINA_AUTH_TOKEN', 'first')
    monkeypatch.setenv('INFERENCE_API_ENDPOINT', directory.url)
    client = Client()
    monkeypatch.setenv('JINA_AUTH_TOKEN', 'second')
    monkeypatch.setenv('INFERENCE_API_ENDPOINT', 'http://127.0.0.1:1')
    client.get_model('ViT-B-32::openai')
    assert directory.asked[0].authorization == 'first'


@pytest.mark.parametrize('ending', ['', '/', '//', ' ', '/\n'])
def test_the_directory_comes_from_the_environment(directory, monkeypatch, ending):
    monkeypatch.setenv('INFERENCE_API_ENDPOINT', directory.url + ending)
    assert Client().get_model('ViT-B-32::openai').url == 'http://127.0.0.1:1'
    assert directory.asked[0].path == '/api/v1/models/'


def test_the_argument_beats_the_environments_directory(directory, monkeypatch):
    monkeypatch.setenv('INFERENCE_API_ENDPOINT', 'http://127.0.0.1:1')
    assert Client(api_endpoint=directory.url).get_model('ViT-B-32::openai').spec.named


def test_an_untrusted_environment_names_no_directory(directory, monkeypatch):
    monkeypatch.setenv('INFERENCE_API_ENDPOINT', directory.url)
    with pytest.raises(ModelNotFoundError):
        Client(trust_env=False).get_model('nothing')
    assert directory.asked == []


def test_the_token_reaches_the_transport():
    model = Client('of-argument').get_model('http://127.0.0.1:1')
    assert model._transport.options == TransportOptions('of-argument', None)


# -- the stored login


@pytest.mark.parametrize(
    'content', [{}, [], 'text', None, 5, {'auth_token': None}, {'auth_token': 5}, {'auth_token': ''}]
)
def test_a_login_without_a_token_is_none(log_in, content):
    log_in(content)
    assert resolve(None, None, None, True).token is None


@pytest.mark.parametrize('content', [b'', b'{', b'\xff\xfe\x00', b'{"auth_token": "s3cret'])
def test_a_broken_login_is_an_error_that_names_the_file(log_in, content, tmp_path):
    log_in(content)
    with pytest.raises(ConfigurationError) as caught:
        Client()
    assert str(tmp_path / 'login' / 'config.json') in str(caught.value)
    assert 'delete it' in str(caught.value)
    assert 's3cret' not in ''.join(traceback.format_exception(None, caught.value, caught.value.__traceback__))


def test_a_login_that_is_no_file_is_an_error(tmp_path, monkeypatch):
    (tmp_path / 'config.json').mkdir()
    monkeypatch.setenv('JINA_HUB_ROOT', str(tmp_path))
    with pytest.raises(ConfigurationError, match='stored login'):
        Client()


@pytest.mark.parametrize('options', [{'token': 'of-argument'}, {'trust_env': False}])
def test_a_broken_login_that_is_not_needed_is_not_read(log_in, options):
    log_in(b'{')
    Client(**options)


def test_a_user_without_a_home_has_no_login():
    """As in a container that runs under a number that no user has."""
    if not hasattr(os, 'setuid') or os.getuid() != 0:
        pytest.skip('only root can become such a user')
    printed = output_of(
        """
        import os
        from inference_client import Client
        for name in ('HOME', 'JINA_HUB_ROOT', 'XDG_CONFIG_HOME'):
            os.environ.pop(name, None)
        os.setuid(54321)
        print(Client())
        """
    )
    assert printed == '<Client with no token, api_endpoint=None>'


# -- values of no use


@pytest.mark.parametrize(
    'endpoint',
    [
        'ftp://host/api',
        'host/api/v1',
        'host:8080',
        '//host/api',
        'http:/host',
        'http://',
        'http:///api',
        'http://[::1',
        'http://host:port',
        'http://host:99999',
        'http://host:0',
        'grpc://host:1',
        'local://embedded',
        ' ',
        5,
        b'http://host',
        object(),
    ],
)
def test_a_bad_directory_is_refused(endpoint):
    with pytest.raises(ConfigurationError, match=r'api_endpoint is .*: expected an http'):
        Client(api_endpoint=endpoint)


@pytest.mark.parametrize('token', [b's3cret', 5, ['s3cret'], object()])
def test_a_token_of_another_type_is_refused(token):
    with pytest.raises(ConfigurationError) as caught:
        Client(token)
    assert type(token).__name__ in str(caught.value)
    assert 's3cret' not in str(caught.value)


def is_bad(character):
    return not (character.isascii() and character.isprintable())


@given(
    before=st.text('0123456789abcdef', min_size=8, max_size=20),
    bad=st.characters().filter(is_bad),
    after=st.text('0123456789abcdef', min_size=8, max_size=20),
)
@example('s3cret-begin', '\n', 's3cret-end')
@example('s3cret-begin', '\r', 's3cret-end')
@example('s3cret-begin', '\x00', 's3cret-end')
@example('s3cret-begin', 'ä', 's3cret-end')
@example('s3cret-begin', '\udc80', 's3cret-end')
def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(before, bad, after):
    with pytest.raises(ConfigurationError) as caught:
        Client(before + bad + after)
    shown = ''.join(traceback.format_exception_only(type(caught.value), caught.value)) + repr(caught.value)
    assert before not in shown
    assert after not in shown


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_every_other_token_is_kept_as_it_is(token):
    assert resolve(token, None, None, False).token == token
    assert resolve(f' {token}\n', None, None, False).token == token


@pytest.mark.parametrize('source', ['environment', 'login'])
def test_a_bad_token_from_elsewhere_is_refused_too(monkeypatch, log_in, source):
    if source == 'environment':
        monkeypatch.setenv('JINA_AUTH_TOKEN', 's3cret\nX-Header: s3cret')
    else:
        log_in({'auth_token': 's3cret\nX-Header: s3cret'})
    with pytest.raises(ConfigurationError) as caught:
        Client()
    assert 's3cret' not in str(caught.value)


# -- the token is a secret


def everything_shown(error):
    """The error as a person or a log may see it, with its causes."""
    chain = [*traceback.format_exception(type(error), error, error.__traceback__)]
    while error is not None:
        chain += [str(error), repr(error), repr(getattr(error, 'args', ''))]
        error = error.__cause__ or error.__context__
    return '\n'.join(chain)


def test_the_token_is_in_no_repr(directory):
    client = Client(TOKEN, api_endpoint=directory.url)
    model = client.get_model('ViT-B-32::openai')
    things = [client, model, model.spec, model._transport, model._transport.options, client._settings]
    shown = ' '.join(f'{one!r} {one!s}' for one in things)
    assert TOKEN not in shown
    assert 'a token' in repr(client)
    assert 'no token' in repr(Client())


@pytest.mark.parametrize(
    'misbehaviour',
    [
        {},
        {'answer': (401, {}, {'detail': f'bad token {TOKEN}'})},
        {'answer': (403, {}, TOKEN)},
        {'answer': (500, {}, {'detail': TOKEN})},
        {'answer': (302, {'Location': f'/elsewhere?token={TOKEN}'}, {})},
        {'answer': (200, {}, TOKEN.encode())},
        {'answer': (200, {}, {'endpoints': TOKEN})},
    ],
)
def test_the_token_is_in_no_log_error_or_environment(directory, caplog, misbehaviour):
    caplog.set_level(logging.DEBUG)
    for name, value in misbehaviour.items():
        setattr(directory, name, value)
    with pytest.raises(InferenceError) as caught:
        Client(TOKEN, api_endpoint=directory.url).get_model('no such model')
    assert directory.asked[0].authorization == TOKEN
    assert TOKEN not in everything_shown(caught.value)
    assert TOKEN not in caplog.text
    assert TOKEN not in ' '.join([*os.environ, *os.environ.values()])


@pytest.mark.parametrize('scheme', ['grpc', 'http', 'ws'])
def test_the_token_is_in_no_error_of_a_transport(caplog, scheme):
    caplog.set_level(logging.DEBUG)
    with Client(TOKEN) as client, pytest.raises(InferenceError) as caught:
        client.get_model(f'{scheme}://127.0.0.1:1').encode(text='a cat', timeout=5)
    assert TOKEN not in everything_shown(caught.value)
    assert TOKEN not in caplog.text


def test_a_refused_token_says_what_to_do(directory):
    directory.token = 'another'
    with pytest.raises(AuthenticationError, match=r'refused the token .*Client\(token=...\)'):
        Client(TOKEN, api_endpoint=directory.url).get_model('ViT-B-32::openai')
