"""Tokens of a server: what is kept of them, which are good, and that processes do not spoil each other's changes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isolated import output_of

from inference_client import ConfigurationError
from inference_client.server import tokens
from inference_client.server.tokens import TokenStore, default_path

posix = pytest.mark.skipif(os.name != 'posix', reason='needs modes of files')


@pytest.fixture
def file(tmp_path):
    return tmp_path / 'folder' / 'tokens.json'


@pytest.fixture
def store(file):
    return TokenStore(file)


@pytest.fixture
def later(monkeypatch):
    """Moves the clock."""
    moved = [timedelta(0)]
    monkeypatch.setattr(tokens, '_now', lambda: datetime.now(timezone.utc) + moved[0])

    def move(seconds):
        moved[0] += timedelta(seconds=seconds)

    return move


# -- which are good


def test_a_token_is_good_as_it_is_and_as_a_bearers(store):
    secret = store.create('alice')
    for presented in (secret, f'Bearer {secret}', f'bearer {secret}', f'BEARER   {secret}', f' {secret}\n'):
        assert store.check(presented).name == 'alice'


def test_what_is_not_the_token_is_not_good(store):
    secret = store.create('alice')
    wrong = [
        None, '', ' ', 'Bearer', 'Bearer ', secret[:-1], secret[1:], secret + 'a', secret.upper(), secret.swapcase(),
        f'Basic {secret}', f'Bearer Bearer {secret}', f'{secret} {secret}', f'Bearer{secret}', secret[: len('ict_')],
        store.list()[0].sha256, store.list()[0].id, 'alice', 'ä' * 10, '\ud800', '\0', 'a' * 100_000,
    ]  # fmt: skip
    assert [one for one in wrong if store.check(one) is not None] == []


@given(st.text() | st.text().map('Bearer {}'.format))
def test_whatever_is_presented_is_only_not_good(tmp_path_factory, presented):
    folder = tmp_path_factory.getbasetemp() / 'any'
    store = TokenStore(folder / 'tokens.json')
    if not store.list():
        store.create('alice')
    assert store.check(presented) is None


def test_each_of_many_is_known_by_its_name(store):
    secrets = {f'number {n}': store.create(f'number {n}') for n in range(20)}
    assert {store.check(secret).name for secret in secrets.values()} == set(secrets)
    assert [one.name for one in store.list()] == list(secrets)
    assert len(set(secrets.values())) == 20


def test_a_token_looks_like_one_and_cannot_be_guessed(store):
    assert re.fullmatch('ict_[0-9a-f]{64}', store.create('alice'))  # 256 bits


def test_an_expired_token_is_not_good(store, later):
    secret, other = store.create('alice', timedelta(seconds=100)), store.create('bob')
    assert store.check(secret)
    later(101)
    assert store.check(secret) is None
    assert store.check(other)
    alice, bob = store.list()
    assert (alice.expired, bob.expired) == (True, False)
    assert alice.expires - alice.created == timedelta(seconds=100)


@pytest.mark.parametrize('by', ['id', 'name'])
def test_a_revoked_token_is_not_good(store, by):
    secret, other = store.create('alice'), store.create('bob')
    assert store.check(secret)
    assert store.revoke(getattr(store.list()[0], by)).name == 'alice'
    assert store.check(secret) is None
    assert store.check(other)
    assert [one.name for one in store.list()] == ['bob']
    assert store.check(store.create('alice')).name == 'alice'  # the name is free again


def test_a_running_server_notices_what_another_process_changes(store, file):
    assert store.check('x') is None
    secret = output_of(
        f'from inference_client.server.tokens import TokenStore\nprint(TokenStore({str(file)!r}).create("a"))'
    )
    assert store.check(secret)
    output_of(f'from inference_client.server.tokens import TokenStore\nTokenStore({str(file)!r}).revoke("a")')
    assert store.check(secret) is None


def test_all_are_compared(store, monkeypatch):
    """Else the time of an answer would tell which of them is nearest."""
    secrets, compared = [store.create(name) for name in 'abc'], []
    real = tokens.hmac.compare_digest
    monkeypatch.setattr(tokens.hmac, 'compare_digest', lambda *both: compared.append(both) or real(*both))
    for presented in (*secrets, 'wrong'):
        store.check(presented)
        assert len(compared) == 3
        assert all(len(one) == 64 for both in compared for one in both)  # hashes
        compared.clear()


# -- what is kept


def test_the_file_holds_no_token_and_is_its_owners(store, file):
    secret = store.create('alice')
    kept = file.read_text()
    assert secret not in kept
    assert secret.partition('_')[2] not in kept
    assert 'alice' in kept
    assert secret not in repr(store.list())
    assert store.list()[0].sha256 not in repr(store.list())
    if os.name == 'posix':
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@posix
@pytest.mark.parametrize('mode', [0o600, 0o640, 0o644, 0o400])
def test_who_could_read_the_file_still_can(store, file, mode):
    store.create('alice')
    file.chmod(mode)
    store.create('bob')
    assert stat.S_IMODE(file.stat().st_mode) == mode


SERVICE, OTHER = 10001, 10002  # users and groups that nobody here is


@pytest.fixture
def shared():
    """A store whose folder anyone may use, and a function to go on as another user."""
    if not hasattr(os, 'geteuid') or os.geteuid():
        pytest.skip('needs root, who can be anyone')

    @contextlib.contextmanager
    def user(number):
        os.setegid(number)
        os.seteuid(number)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    groups = os.getgroups()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        os.setgroups([])
        try:
            yield TokenStore(Path(folder) / 'tokens.json'), user
        finally:
            os.setgroups(groups)


def test_a_file_of_another_user_stays_that_users(shared):
    """Else whoever runs the service would be locked out by an administrator's next token, and all clients with it."""
    store, user = shared
    alice = store.create('alice')
    os.chown(store.path, SERVICE, OTHER)
    bob = store.create('bob')
    found = store.path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (SERVICE, OTHER, 0o600)
    with user(SERVICE):
        assert store.check(alice)
        assert TokenStore(store.path).check(bob)
    store.revoke('alice')
    with user(SERVICE):
        assert store.check(alice) is None
        assert store.check(bob)


def test_who_can_make_no_file_for_its_owner_changes_nothing(shared):
    store, user = shared
    store.create('alice')
    store.path.chmod(0o644)
    os.chown(store.path, SERVICE, SERVICE)
    Path(f'{store.path}.lock').chmod(0o666)
    before = store.path.stat(), store.path.read_bytes()
    with user(OTHER), pytest.raises(ConfigurationError, match=r'belongs to user 10001 .* run this as that user'):
        store.create('bob')
    assert (store.path.stat(), store.path.read_bytes()) == before
    assert sorted(one.name for one in store.path.parent.iterdir()) == ['tokens.json', 'tokens.json.lock']


def test_who_may_not_read_the_file_is_told_so_and_may_later(shared, caplog):
    store, user = shared
    alice = store.create('alice')
    with user(SERVICE):
        assert store.check(alice) is None
        with pytest.raises(ConfigurationError, match='may not be read by the user who runs this') as caught:
            store.list()
    assert 'delete' not in str(caught.value)
    os.chown(store.path, SERVICE, SERVICE)
    with user(SERVICE):
        assert store.check(alice)
    assert len(caplog.records) == 1


def test_a_link_to_the_file_stays_one(tmp_path):
    if os.name != 'posix':
        pytest.skip('needs links')
    (tmp_path / 'link').symlink_to(tmp_path / 'real')
    secret = TokenStore(tmp_path / 'link').create('alice')
    assert (tmp_path / 'link').is_symlink()
    assert TokenStore(tmp_path / 'real').check(secret)


def test_a_change_that_fails_leaves_the_file_as_it_was(store, file, monkeypatch):
    store.create('alice')
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(ConfigurationError, match=r'cannot be written .*No space left'):
        store.create('bob')
    assert file.read_bytes() == before
    assert sorted(one.name for one in file.parent.iterdir()) == ['tokens.json', 'tokens.json.lock']


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path))
    assert TokenStore().path == default_path() == tmp_path / 'inference-client' / 'tokens.json'
    monkeypatch.delenv('XDG_CONFIG_HOME')
    monkeypatch.setattr(Path, 'home', lambda: tmp_path / 'me')
    assert default_path() == tmp_path / 'me' / '.config' / 'inference-client' / 'tokens.json'


# -- several at once


WRITER = """
    import sys
    from inference_client.server.tokens import TokenStore
    store = TokenStore(sys.argv[1])
    for number in range(15):
        print(store.create(f'{sys.argv[2]} {number}'))
        if number % 3 == 0:
            store.revoke(f'{sys.argv[2]} {number}')
"""


def test_no_change_of_several_processes_is_lost(store, file):
    command = [sys.executable, '-c', textwrap.dedent(WRITER), str(file)]
    writers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in 'ab']
    for writer in writers:
        with writer:
            printed = writer.stdout.read().split()
        assert writer.returncode == 0
        assert [number for number, secret in enumerate(printed) if not store.check(secret)] == [0, 3, 6, 9, 12]
    assert len(store.list()) == 20


def test_no_change_of_several_threads_is_lost(store):
    threads = [threading.Thread(target=store.create, args=(str(number),)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.list()) == 12


# -- what is of no use


@pytest.mark.parametrize('name', ['', ' alice', 'alice\n', 'a\x1b[31m', 'a' * 65, '0123456789ab', 'ict_abc'])
def test_names_of_no_use(store, name):
    with pytest.raises(ConfigurationError, match='a token cannot'):
        store.create(name)
    assert store.list() == ()


@pytest.mark.parametrize('expires', [timedelta(0), timedelta(days=-1), timedelta.max])
def test_times_of_no_use(store, expires):
    with pytest.raises(ConfigurationError, match='cannot expire in'):
        store.create('alice', expires)


def test_a_name_that_is_taken(store):
    secret = store.create('alice')
    with pytest.raises(ConfigurationError, match="there is a token 'alice'"):
        store.create('alice')
    assert store.check(secret)


def test_a_token_that_is_not_there(store):
    with pytest.raises(ConfigurationError, match="there is no token 'bob'"):
        store.revoke('bob')


def test_a_token_in_place_of_a_name_is_not_repeated(store):
    secret = store.create('alice')
    with pytest.raises(ConfigurationError) as caught:
        store.revoke(secret)
    assert secret not in str(caught.value)
    assert store.check(secret)


BROKEN = [b'', b'{', b'[]', b'{}', b'null', b'\xff', b'{"tokens": 5}', b'{"tokens": [5]}', b'{"tokens": [{}]}']


@pytest.mark.parametrize('content', BROKEN)
def test_a_broken_file_lets_nobody_in_and_is_not_overwritten(store, file, content, caplog):
    secret = store.create('alice')
    assert store.check(secret)
    file.write_bytes(content)
    assert store.check(secret) is None
    assert store.check(secret) is None
    (record,) = caplog.records  # once
    assert (record.levelno, str(file) in record.getMessage()) == (logging.ERROR, True)
    for use in (store.list, lambda: store.create('bob'), lambda: store.revoke('alice')):
        with pytest.raises(ConfigurationError, match='cannot be read'):
            use()
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    'change', [{'sha256': 'x'}, {'sha256': None}, {'created': 'x'}, {'created': '2026-01-01'}, {'expires': 5}]
)
def test_a_broken_entry_is_a_broken_file(store, file, change):
    secret = store.create('alice')
    kept = json.loads(file.read_text())
    kept['tokens'][0].update(change)
    file.write_text(json.dumps(kept))
    assert store.check(secret) is None
    with pytest.raises(ConfigurationError, match='cannot be read'):
        store.list()


@posix
@pytest.mark.parametrize('mode', [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_lets_nobody_in(store, file, mode):
    secret = store.create('alice')
    file.chmod(mode)
    os.utime(file)
    assert TokenStore(file).check(secret) is None
    with pytest.raises(ConfigurationError, match='may be written by others'):
        store.list()


def test_a_file_that_is_not_there_lets_nobody_in(store, file):
    assert store.check('ict_' + 64 * '0') is None
    assert store.list() == ()
    secret = store.create('alice')
    assert store.check(secret)
    file.unlink()
    assert store.check(secret) is None


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigurationError, match='cannot be '):
        TokenStore(tmp_path / 'file' / 'tokens.json').create('alice')


# -- the command


@pytest.fixture
def token(tmp_path):
    """Runs `inference-client token ... --file`."""
    pytest.importorskip('click')

    def run(*arguments, file=tmp_path / 'tokens.json'):
        return subprocess.run(
            [sys.executable, '-m', 'inference_client', 'token', *arguments, *(('--file', str(file)) if file else ())],
            capture_output=True, encoding='utf-8', stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip

    return run


def test_the_command_makes_lists_and_revokes(token, tmp_path):
    store = TokenStore(tmp_path / 'tokens.json')
    made = token('create', 'alice', '--expires', '30d')
    secret = made.stdout.strip()
    assert (made.returncode, store.check(secret).name) == (0, 'alice')
    assert secret not in made.stderr
    assert str(tmp_path / 'tokens.json') in made.stderr
    assert store.list()[0].expires - store.list()[0].created == timedelta(days=30)
    assert token('create', 'bob').returncode == 0
    listed = token('list')
    alice, bob = map(json.loads, listed.stdout.splitlines())
    assert (alice['name'], alice['expired'], bob['expires']) == ('alice', False, None)
    assert secret not in listed.stdout
    assert store.list()[0].sha256 not in listed.stdout
    done = token('revoke', alice['id'])
    assert (done.returncode, done.stdout, done.stderr) == (0, '', f'revoked alice ({alice["id"]})\n')
    assert store.check(secret) is None
    assert token('revoke', 'alice').returncode == 1


@pytest.mark.parametrize(('given_', 'seconds'), [('5m', 300), ('12h', 43200), ('1d', 86400), ('2w', 1209600)])
def test_the_units_of_time(token, tmp_path, given_, seconds):
    assert token('create', 'alice', '--expires', given_).returncode == 0
    (alice,) = TokenStore(tmp_path / 'tokens.json').list()
    assert (alice.expires - alice.created).total_seconds() == seconds


@pytest.mark.parametrize('given_', ['', '30', 'd', '-1d', '1.5d', '1y', '1 d', '1234567d', '٣d'])
def test_times_that_are_none(token, given_):
    done = token('create', 'alice', f'--expires={given_}')
    assert (done.returncode, done.stdout) == (2, '')
    assert 'such as 30d' in done.stderr


def test_the_default_file_of_the_command(token, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path))
    secret = token('create', 'alice', file=None).stdout.strip()
    assert TokenStore(tmp_path / 'inference-client' / 'tokens.json').check(secret)


def test_a_token_on_the_command_line_is_not_repeated(token):
    secret = token('create', 'alice').stdout.strip()
    done = token('revoke', secret)
    assert (done.returncode, secret in done.stderr) == (1, False)


def test_the_store_needs_no_server():
    printed = output_of(
        """
        import sys
        import inference_client.server.tokens, inference_client.server.rate
        print([name for name in ('jina', 'docarray', 'grpc', 'numpy', 'click') if name in sys.modules])
        """
    )
    assert printed == '[]'
