"""The configuration file of the service, and its access log."""

from __future__ import annotations

import json
import sys

import pytest
import requests
from services import service

from inference_client import Client, ConfigurationError, ServerError
from inference_client.server.tokens import TokenStore

if sys.version_info < (3, 11):
    pytest.importorskip('tomli', reason='comes with the extra [server]')

from inference_client.server.config import models_of, read_config
from inference_client.server.settings import ModelSettings

WIRES = ['grpc', 'http', 'ws']
DEFAULTS = {'replicas': 2, 'max-batch': 8, 'batch-wait-ms': 0, 'max-seconds': 60}
CONFIG = """
token-file = {tokens!r}
access-log = {log!r}
replicas = 1
max-items = 2
public-urls = "https://models.example"

[[models]]
name = "one"
engine = "named"

[[models]]
engine = "pictures"
replicas = 2
"""


def write(folder, text):
    path = folder / 'service.toml'
    path.write_text(text, encoding='utf-8')
    return str(path)


@pytest.fixture(scope='module')
def configured(server_python, tmp_path_factory):
    """A service from a file, which lets eight documents in where the file says two; its token and its access log."""
    folder = tmp_path_factory.mktemp('configured')
    store, log = TokenStore(folder / 'tokens.json'), folder / 'access.log'
    token = store.create('alice')
    config = write(folder, CONFIG.format(tokens=str(store.path), log=str(log)))
    # The path of the tokens is in the file, too; here it keeps the fixture from --no-auth.
    options = ['--config', config, '--max-items', '8', '--token-file', str(store.path)]
    with service(server_python, folder, *options) as started:
        yield started, token, log


def lines(log):
    return [json.loads(line) for line in log.read_text(encoding='utf-8').splitlines()]


def test_the_file_names_the_models_and_the_command_line_wins(configured):
    started, token, _ = configured
    with Client(token, api_endpoint=started.urls['http'], trust_env=False) as client:
        found = {spec.name: spec for spec in client.list_models()}
        assert set(found) == {'one', 'pictures'}
        assert found['one'].endpoints['http'] == 'https://models.example/models/one'
        model = client.get_model('one', protocol='grpc')
        assert len(model.encode(text=['a'] * 5, batch_size=5)) == 5  # more than the two of the file


@pytest.mark.parametrize('wire', WIRES)
def test_the_access_log_has_a_line_for_each_request_and_nothing_of_it(configured, wire):
    started, token, log = configured
    before = len(lines(log))
    with Client(token, trust_env=False) as client:
        client.get_model(f'{started.urls[wire]}/models/one').encode(text='a secret text')
    asked = [line for line in lines(log)[before:] if line.get('task') == 'encode']
    assert len(asked) == 1
    assert set(asked[0]) == {'time', 'peer', 'token', 'protocol', 'model', 'task', 'outcome', 'bytes', 'milliseconds'}
    assert (asked[0]['model'], asked[0]['outcome']) == ('one', 'ok')
    assert asked[0]['protocol'] == {'ws': 'websocket'}.get(wire, wire)
    assert asked[0]['bytes'] > 0
    assert asked[0]['peer'] == '127.0.0.1'
    written = log.read_text(encoding='utf-8')
    assert 'secret' not in written
    assert token not in written
    assert token[4:20] not in written


@pytest.mark.parametrize('wire', WIRES)
def test_a_bad_token_is_logged_as_refused_and_not_by_itself(configured, wire):
    started, token, log = configured
    before = len(lines(log))
    with Client(token[:-1] + 'x', trust_env=False) as client, pytest.raises((ServerError, PermissionError)):
        client.get_model(started.urls[wire]).encode(text='hello')
    new = lines(log)[before:]
    assert new
    assert all(set(line) == {'time', 'peer', 'outcome'} and line['outcome'] == '401' for line in new)
    assert {line['peer'] for line in new} == {'127.0.0.1'}
    assert token[:-1] not in log.read_text(encoding='utf-8')


@pytest.mark.parametrize(
    ('peer', 'address'),
    [
        ('ipv4:127.0.0.1:50000', '127.0.0.1'),
        ('ipv6:%5B::1%5D:50000', '::1'),
        ('ipv6:[::1]:50000', '::1'),
        ('ipv6:%5Bfe80::1%25eth0%5D:50000', 'fe80::1%eth0'),
    ],
)
def test_a_peer_is_its_address_over_grpc_too(peer, address):
    pytest.importorskip('prometheus_client', reason='comes with the extra [server]')
    from inference_client.server.grpc_door import address_of

    assert address_of(peer) == address


def test_the_access_log_says_who_looks_at_what(configured):
    started, token, log = configured
    before = len(lines(log))
    seen = []
    for path, outcome in (
        ('/api/v1/models/', 'ok'),
        ('/api/v1/models/?model_name=one', 'ok'),
        ('/api/v1/models/?model_name=none', '404'),
        ('/models/one/status', 'ok'),
        ('/metrics', 'ok'),
    ):
        requests.get(started.urls['http'] + path, headers={'Authorization': token}, timeout=60)
        known = path.partition('?')[0].replace('/models/one', '')
        seen.append(('127.0.0.1', 'http', known, outcome))
    requests.get(f'{started.urls["http"]}/ready', timeout=60)
    with Client(token, trust_env=False) as client:
        client.get_model(started.urls['grpc']).capabilities()
    seen.append(('127.0.0.1', 'grpc', '/jina.JinaDiscoverEndpointsRPC/endpoint_discovery', 'ok'))
    new = lines(log)[before:]
    assert [(line['peer'], line['protocol'], line['path'], line['outcome']) for line in new] == seen
    assert len({line['token'] for line in new}) == 1
    assert new[0]['token']


def test_the_access_log_has_who_looks_where_no_tokens_are_asked_for(server_python, tmp_path):
    log = tmp_path / 'log'
    with service(server_python, tmp_path, 'named', '--access-log', str(log)) as started:
        requests.get(f'{started.urls["http"]}/api/v1/models/', timeout=60)
        (line,) = [line for line in lines(log) if line.get('path') == '/api/v1/models/']
        assert (line['peer'], line['token'], line['outcome']) == ('127.0.0.1', None, 'ok')


def test_a_line_on_standard_error_is_there_at_once(server_python, tmp_path):
    """And not when 8 KiB are, which a process that is killed never writes."""
    with service(server_python, tmp_path, 'named', '--access-log', '-', PYTHONUNBUFFERED='') as started:
        with Client(trust_env=False) as client:
            client.get_model(started.urls['grpc']).encode(text='hello')
        written = [json.loads(line).get('task') for line in started.log.splitlines() if line.startswith('{')]
        assert 'encode' in written


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('repliacs = 2', "'repliacs', which is no setting; did you mean 'replicas'"),
        ('host = ', 'expected a file in TOML'),
        ('"" = 1', "'', which is no setting: known are"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_that_says_why(tmp_path, text, words):
    with pytest.raises(ConfigurationError) as caught:
        read_config(write(tmp_path, text), ['replicas', 'host'])
    assert words in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigurationError, match='No such file'):
        read_config(str(tmp_path / 'missing.toml'), [])


@pytest.mark.parametrize(
    ('entries', 'words'),
    [
        ('embedded', 'a table'),
        ([], 'a table'),
        ([{}], 'give its engine'),
        ([{'engine': 'a', 'replica': 2}], "did you mean 'replicas'"),
        ([{'engine': 'a', 'replicas': 0}], '1 or more'),
        ([{'engine': 'a', 'replicas': True}], '1 or more'),
        ([{'engine': 'a', 'max-batch': 0}], '1 or more'),
        ([{'engine': 'a', 'batch-wait-ms': -1}], '0 or more'),
        ([{'engine': 'a', 'max_batch': 2}], "did you mean 'max-batch'"),
        ([{'engine': 3}], 'expected a text'),
        ([{'engine': ''}], 'expected a text'),
        ([{'engine': 'a'}, {'engine': 'b', 'name': 'a'}], "two models 'a'"),
    ],
)
def test_models_that_cannot_be_used_are_an_error_that_says_why(entries, words):
    with pytest.raises(ConfigurationError) as caught:
        models_of(entries, DEFAULTS)
    assert words in str(caught.value)


def test_a_model_has_the_name_of_its_engine_and_the_replicas_of_all_unless_it_says():
    entries = [{'engine': 'a'}, {'name': 'b', 'engine': 'a', 'replicas': 3}, {'name': 'c', 'max-batch': 1}]
    assert models_of(entries, {**DEFAULTS, 'batch-wait-ms': 5}) == [
        ModelSettings('a', 'a', 2, 8, 5, 60), ModelSettings('b', 'a', 3, 8, 5, 60),
        ModelSettings('c', 'c', 2, 1, 5, 60),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('rate = "often"', "'--rate'"),
        ('max-batch = 0', "'--max-batch'"),
        ('grpc-port = 70000', "'--grpc-port'"),
        ('config = "other.toml"', "'config'"),
        ('no-auth = 1', "'--no-auth': 1 in the configuration: expected true or false"),
        ('no-auth = "yes"', "'--no-auth': 'yes' in the configuration: expected true or false"),
        ('replicas = 2.7', "'--replicas': 2.7 in the configuration: expected a whole number"),
        ('replicas = true', "'--replicas': True in the configuration: expected a whole number"),
        ('rate = true', "'--rate': True in the configuration: expected a number"),
        ('rate = nan', 'the rate is nan: expected a number'),
        ('tls-cert = ["a"]', "'--tls-cert': ['a'] in the configuration: expected a text"),
        ('host = 5', "'--host': 5 in the configuration: expected a text"),
        ('public-urls = 5', 'public-urls: 5 in the configuration: expected a list of URLs'),
        ('public-urls = [5]', 'public-urls: [5] in the configuration: expected a list of URLs'),
        ('public-urls = ["https://"]', "'--public-url': 'https://': expected a URL"),
        ('public-urls = ["https://a:b"]', "'--public-url': 'https://a:b': expected a URL"),
    ],
)
def test_values_of_the_file_are_checked_as_those_of_the_command_line(tmp_path, text, words):
    click_testing = pytest.importorskip('click.testing', reason='comes with the extra [cli]')
    from inference_client.cli.serve import serve

    said = click_testing.CliRunner().invoke(serve, ['--config', write(tmp_path, text)])
    assert said.exit_code != 0
    assert words in said.output + str(said.exception)
