"""Logins: where their tokens are kept, who gets them, and that nobody else does."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest
from directory import TOKEN, model_directory
from isolated import PACKAGE, output_of
from peers import grpc_peer, http_peer, ws_peer

from inference_client import AuthenticationError, Client, ConfigurationError, _logins
from inference_client._config import resolve

HTTPS = 'https://host/api/v1'


@pytest.fixture
def no_keyring(monkeypatch):
    """As where `keyring` is not installed."""
    monkeypatch.setitem(sys.modules, 'keyring', None)


@pytest.fixture
def keyring(monkeypatch):
    """A keyring in memory, through the library."""
    keyring = pytest.importorskip('keyring')

    class Memory(keyring.backend.KeyringBackend):
        name, priority, kept, locked = 'memory', 1, {}, False

        def get_password(self, service, username):
            if self.locked:
                raise keyring.errors.KeyringLocked('locked')
            return self.kept.get((service, username))

        def set_password(self, service, username, password):
            if self.locked:
                raise keyring.errors.KeyringLocked(f'no {password}')
            self.kept[service, username] = password

        def delete_password(self, service, username):
            del self.kept[service, username]

    memory, before = Memory(), keyring.get_keyring()
    memory.kept = {}
    keyring.set_keyring(memory)
    yield memory
    keyring.set_keyring(before)


@pytest.fixture
def config(tmp_path):
    """The file that the settings of the user are in."""
    return tmp_path / 'no-config' / 'inference-client' / 'config.json'


# -- what is stored


def test_a_login_in_a_file(no_keyring, config):
    assert _logins.log_in(HTTPS, TOKEN) == str(config)
    assert _logins.token_for(HTTPS) == TOKEN
    assert _logins.usual_endpoint() == HTTPS
    if os.name == 'posix':
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        config.chmod(0o644)
        _logins.log_in(HTTPS, TOKEN)
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert _logins.log_out(HTTPS) is True
    assert (_logins.token_for(HTTPS), _logins.usual_endpoint()) == (None, None)
    assert TOKEN not in config.read_text()
    assert _logins.log_out(HTTPS) is False


def test_a_login_in_the_keyring(keyring, config):
    assert _logins.log_in(HTTPS, TOKEN) == 'the keyring (memory)'
    assert keyring.kept == {('inference-client', HTTPS): TOKEN}
    assert TOKEN not in config.read_text()
    assert _logins.token_for(HTTPS) == TOKEN
    assert resolve().token == TOKEN
    assert _logins.log_out(HTTPS) is True
    assert keyring.kept == {}
    assert _logins.token_for(HTTPS) is None


def test_a_keyring_that_keeps_nothing_is_not_trusted(keyring, config, monkeypatch):
    monkeypatch.setattr(keyring, 'set_password', lambda *_: None)
    assert _logins.log_in(HTTPS, TOKEN) == str(config)
    assert _logins.token_for(HTTPS) == TOKEN


def test_a_machine_without_a_keyring_has_the_file(config, monkeypatch):
    keyring = pytest.importorskip('keyring')
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    try:
        assert _logins.log_in(HTTPS, TOKEN) == str(config)
    finally:
        keyring.set_keyring(before)


def test_a_locked_keyring_is_an_error_that_does_not_tell(keyring):
    keyring.locked = True
    with pytest.raises(ConfigurationError, match=r'the keyring took no token \(KeyringLocked\)') as caught:
        _logins.log_in(HTTPS, TOKEN)
    assert TOKEN not in str(caught.value)
    keyring.locked = False
    _logins.log_in(HTTPS, TOKEN)
    keyring.locked = True
    with pytest.raises(ConfigurationError, match='the keyring gave no token'):
        Client()
    assert Client(token='another')  # it is not needed
    assert Client(trust_env=False)


def test_a_keyring_that_is_gone_is_an_error(keyring, monkeypatch):
    _logins.log_in(HTTPS, TOKEN)
    monkeypatch.setitem(sys.modules, 'keyring', None)
    with pytest.raises(ConfigurationError, match='install keyring'):
        Client()
    assert _logins.log_out(HTTPS) is True


def test_each_directory_has_its_own(no_keyring):
    other = 'https://other:8443/api/v1'
    _logins.log_in(HTTPS, 'one')
    _logins.log_in(other, 'two')
    assert (_logins.token_for(HTTPS), _logins.token_for(other)) == ('one', 'two')
    assert _logins.usual_endpoint() == other
    for stranger in ('https://host/api/v2', 'http://host/api/v1', 'https://host:444/api/v1', 'https://hos/api/v1'):
        assert _logins.token_for(stranger) is None
    assert _logins.token_for('https://HOST/api/v1') == 'one'
    assert _logins.token_for('https://host/API/v1') is None
    assert _logins.log_out(HTTPS)
    assert (_logins.token_for(other), _logins.usual_endpoint()) == ('two', other)


@pytest.mark.parametrize('content', ['', '{', '\\', '[1', 'nonsense'])
def test_broken_settings_are_an_error_that_names_the_file(no_keyring, config, content):
    config.parent.mkdir(parents=True)
    config.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        Client()
    assert str(config) in str(caught.value)
    assert Client('token', api_endpoint=HTTPS)  # they are not needed
    assert Client(trust_env=False)
    with pytest.raises(ConfigurationError):
        _logins.log_in(HTTPS, TOKEN)
    assert config.read_text() == content


@pytest.mark.parametrize(
    'content',
    [[], None, 5, {'api_endpoint': 5}, {'logins': []}, {'api_endpoint': HTTPS, 'logins': {HTTPS: 5}},
     {'api_endpoint': HTTPS, 'logins': {HTTPS: {'token': 5}}}, {'api_endpoint': HTTPS, 'logins': {HTTPS: {}}}],
)  # fmt: skip
def test_settings_of_another_shape_hold_no_token(config, content):
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps(content))
    assert resolve().token is None


@pytest.mark.skipif(os.name != 'posix', reason='needs modes of files')
@pytest.mark.parametrize('mode', [0o640, 0o604])
def test_a_token_that_others_may_read_is_not_used(no_keyring, config, mode):
    _logins.log_in(HTTPS, TOKEN)
    config.chmod(mode)
    with pytest.raises(ConfigurationError, match='chmod 600'):
        Client()
    assert Client(api_endpoint='https://elsewhere')  # it is not needed


def test_a_bad_endpoint_in_the_settings_is_refused(config):
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({'api_endpoint': 'ftp://host'}))
    with pytest.raises(ConfigurationError, match='expected an http'):
        Client()


# -- which one wins, and who gets it


@pytest.mark.parametrize(
    ('argument', 'environment', 'login', 'of_jina', 'expected'),
    [
        (None, None, 'login', 'jina', ('login', True)),
        (None, None, None, 'jina', ('jina', True)),
        (None, 'environment', 'login', 'jina', ('environment', False)),
        ('argument', 'environment', 'login', 'jina', ('argument', False)),
        (None, None, None, None, (None, False)),
    ],
)
def test_which_token_wins(no_keyring, monkeypatch, tmp_path, argument, environment, login, of_jina, expected):
    if environment:
        monkeypatch.setenv('JINA_AUTH_TOKEN', environment)
    if login:
        _logins.log_in(HTTPS, login)
    if of_jina:
        (tmp_path / 'no-login').mkdir()
        (tmp_path / 'no-login' / 'config.json').write_text(json.dumps({'auth_token': of_jina}))
    settings = resolve(argument, HTTPS)
    assert (settings.token, settings.stored) == expected
    assert resolve(argument, HTTPS, trust_env=False).token == argument


@pytest.mark.parametrize(
    ('argument', 'environment', 'login', 'expected'),
    [
        ('http://a/x', 'http://b/x', 'http://c/x', 'http://a/x'),
        (None, 'http://b/x', 'http://c/x', 'http://b/x'),
        (None, None, 'http://c/x', 'http://c/x'),
        (None, None, None, None),
    ],
)
def test_which_directory_wins(no_keyring, monkeypatch, argument, environment, login, expected):
    if environment:
        monkeypatch.setenv('INFERENCE_API_ENDPOINT', environment)
    if login:
        _logins.log_in(login, TOKEN)
    assert resolve('token', argument).api_endpoint == expected
    assert resolve('token', argument, trust_env=False).api_endpoint == argument


@pytest.fixture
def logged_in(no_keyring):
    """A directory with a model, and what that was asked with; the login is stored."""
    with http_peer() as (url, seen), model_directory({'named': {'endpoints': {'http': url}}}) as directory:
        _logins.log_in(directory.url, TOKEN)
        yield directory, seen


def test_the_directory_and_its_models_get_the_token(logged_in, door):
    directory, seen = logged_in
    with door() as client:
        client.get_model('named').encode(text='hi')
        assert [spec.name for spec in client.list_models()] == ['named']
    assert [asked.authorization for asked in directory.asked] == [TOKEN, TOKEN]
    assert set(seen) == {TOKEN}


@pytest.mark.parametrize('peer', [http_peer, grpc_peer, ws_peer])
def test_no_other_server_gets_it(logged_in, door, peer):
    with peer() as (url, seen), door() as client:
        client.get_model(url).encode(text='hi')
        with client.get_model('named') as named:
            named.encode(text='hi')
        client.get_model(url).encode(text='hi')
    assert set(seen) == {None}


def test_no_other_directory_gets_it(logged_in, door):
    with model_directory({}, token=None) as other, door(api_endpoint=other.url) as client:
        assert client.list_models() == []
    assert [asked.authorization for asked in other.asked] == [None]


def test_what_is_given_for_all_goes_to_all(logged_in, monkeypatch):
    monkeypatch.setenv('JINA_AUTH_TOKEN', 'mine')
    with http_peer() as (url, seen), Client() as client:
        client.get_model(url).encode(text='hi')
    assert set(seen) == {'mine'}


# -- the commands


def run(*arguments, stdin=''):
    return subprocess.run(
        [sys.executable, '-m', 'inference_client', *arguments],
        env={**os.environ, 'PYTHON_KEYRING_BACKEND': 'keyring.backends.fail.Keyring'},
        input=stdin,
        capture_output=True,
        encoding='utf-8',
        timeout=60,
        start_new_session=True,
    )


@pytest.fixture
def cli():
    pytest.importorskip('click')
    return run


def test_login_and_logout(cli, config):
    with model_directory({'named': {'endpoints': {'http': 'http://127.0.0.1:1'}, 'status': 'Serving'}}) as directory:
        done = cli('login', '--api-endpoint', directory.url, stdin=TOKEN + '\n')
        assert (done.returncode, done.stdout) == (0, '')
        assert done.stderr == f'stored the token for {directory.url} in {config}\n'
        models = [json.loads(line) for line in cli('models').stdout.splitlines()]
        assert models[0] == {
            'name': 'named', 'tasks': None, 'status': 'Serving', 'endpoints': {'http': 'http://127.0.0.1:1'},
        }  # fmt: skip
        assert [one['name'] for one in models[1:]] == ['local://echo', 'local://embedded']
        assert [asked.authorization for asked in directory.asked] == [TOKEN] * 2
        done = cli('logout')
        assert (done.returncode, done.stdout, done.stderr) == (0, '', f'forgot the token for {directory.url}\n')
    done = cli('logout')
    assert (done.returncode, 'which model directory?' in done.stderr) == (2, True)
    assert TOKEN not in config.read_text()


def test_a_server_is_enough_of_a_directory(cli, config):
    with model_directory() as directory:
        assert cli('login', '--api-endpoint', directory.url[: -len('/api/v1')], stdin=TOKEN).returncode == 0
    assert list(json.loads(config.read_text())['logins']) == [directory.url]


def test_a_refused_token_is_not_stored(cli, config):
    with model_directory() as directory:
        done = cli('login', '--api-endpoint', directory.url, stdin='wrong')
    assert (done.returncode, done.stdout) == (1, '')
    assert 'refused the token' in done.stderr
    assert not config.exists()


def test_a_directory_that_is_not_up_is_a_warning(cli, config):
    done = cli('login', '--api-endpoint', 'http://127.0.0.1:1/api', stdin=TOKEN)
    warning, stored = done.stderr.splitlines()
    assert warning.startswith('Warning: the token could not be tried: ')
    assert stored.startswith('stored the token')
    assert TOKEN not in done.stdout + done.stderr
    assert config.exists()


def test_a_token_for_plain_http_elsewhere_is_not_stored(cli, config):
    done = cli('login', '--api-endpoint', 'http://192.0.2.1/api', stdin=TOKEN)
    assert (done.returncode, done.stdout) == (1, '')
    assert 'over plain http' in done.stderr
    assert not config.exists()


@pytest.mark.parametrize(
    ('arguments', 'stdin', 'code', 'said'),
    [
        (['login'], TOKEN, 2, 'which model directory?'),
        (['login', '--api-endpoint', HTTPS], '', 1, 'the token is empty'),
        (['login', '--api-endpoint', HTTPS], 'a\tb', 1, 'characters that no header can hold'),
        (['login', '--api-endpoint', HTTPS, 's3cret'], '', 2, 'unexpected extra argument'),
        (['login', '--api-endpoint', 'ftp://host'], TOKEN, 1, 'expected an http'),
        (['logout', '--api-endpoint', HTTPS], '', 1, f'no token is stored for {HTTPS}'),
    ],
)
def test_what_cannot_be_done(cli, config, arguments, stdin, code, said):
    done = cli(*arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (code, '')
    assert said in done.stderr
    assert TOKEN not in done.stderr
    assert not config.exists()


def test_at_a_terminal_the_token_is_asked_for_and_not_shown(config):
    pytest.importorskip('click')
    if not hasattr(os, 'openpty'):
        pytest.skip('needs pseudo-terminals')
    with model_directory() as directory:
        ours, theirs = os.openpty()
        environment = {**os.environ, 'PYTHON_KEYRING_BACKEND': 'keyring.backends.fail.Keyring'}
        command = [sys.executable, '-m', 'inference_client', 'login', '--api-endpoint', directory.url]
        environment['PYTHONPATH'] = str(PACKAGE.parent)
        with subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        ) as process:
            os.close(theirs)
            shown = b''
            while b'Token: ' not in shown:
                shown += os.read(ours, 4096)
            os.write(ours, TOKEN.encode() + b'\n')
            try:
                while part := os.read(ours, 4096):
                    shown += part
            except OSError:  # how Linux says that the other end is closed
                pass
        os.close(ours)
    assert process.returncode == 0
    assert TOKEN.encode() not in shown
    assert _logins.token_for(directory.url) == TOKEN


def test_the_browser_login_is_that_of_the_sdk():
    printed = output_of(
        """
        import hubble
        from inference_client.cli import run
        hubble.login = lambda: print('a browser')  # the real one opens a browser at a service that is no part of this
        print(run(['login', '--browser']))
        """
    )
    assert printed.splitlines() == ['a browser', '0']


def test_a_refused_login_says_so(no_keyring):
    with model_directory() as directory:
        _logins.log_in(directory.url, 'wrong')
        with pytest.raises(AuthenticationError, match='refused the token'):
            Client().list_models()
