"""What `inference-client export` writes: checked by the schemas of Kubernetes and of Docker Compose, and tried."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from pages import ROOT, blocks

from inference_client.cli import run
from inference_client.cli.serve import serve
from inference_client.server.manifests import CONFIG_FILE, GRACE, PAUSE, TOKEN_FILE
from inference_client.server.yaml_text import dump

pytestmark = pytest.mark.once(reason='files are written, for other programs')

yaml = pytest.importorskip('yaml', reason='comes with kubernetes-validate')
SCHEMES = ['grpc', 'http', 'ws']
SERVED = ['embedded', '--replicas', '2', '--grpc-port', '5001', '--http-port', '5002', '--ws-port', '5003']


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'new' / 'folder'


def export(*arguments):
    assert run(['export', *map(str, arguments)]) == 0


def manifests(folder):
    """The objects by kind."""
    found = [one for path in sorted(folder.glob('*.yaml')) for one in yaml.safe_load_all(path.read_text())]
    return {one['kind']: one for one in found}


def composed(path):
    (service,) = yaml.safe_load(path.read_text())['services'].values()
    return service


# -- Kubernetes


def test_kubernetes_knows_every_field(folder):
    validate = pytest.importorskip('kubernetes_validate', reason='holds the schemas of Kubernetes: tox installs it')
    export('kubernetes', folder, '--pods', 3, '--', *SERVED)
    found = manifests(folder)
    assert sorted(found) == ['Deployment', 'PodDisruptionBudget', 'Service']
    for version in ('1.27', validate.latest_version()):
        for one in found.values():
            validate.validate(one, version, strict=True)
    broken = {**found['Service'], 'spec': {**found['Service']['spec'], 'port': 80}}
    with pytest.raises(validate.ValidationError):  # so the check can fail
        validate.validate(broken, version, strict=True)


def test_the_manifests_belong_together(folder):
    sizes = ['--pods', 3, '--cpu', '500m', '--memory', '2Gi']
    export('kubernetes', folder, '--name', 'clip', '--image', 'mine/clip:7', *sizes, '--', *SERVED)
    found = manifests(folder)
    deployment, service = found['Deployment']['spec'], found['Service']['spec']
    (container,) = deployment['template']['spec']['containers']
    labels = deployment['template']['metadata']['labels']
    assert {one['metadata']['name'] for one in found.values()} == {'clip'}
    assert labels == deployment['selector']['matchLabels'] == service['selector']
    assert labels == found['PodDisruptionBudget']['spec']['selector']['matchLabels']
    assert deployment['replicas'] == 3
    assert container['image'] == 'mine/clip:7'
    asked = {'requests': {'cpu': '500m', 'memory': '2Gi'}, 'limits': {'memory': '2Gi'}}
    assert container['resources'] == asked
    assert {one['name']: one['containerPort'] for one in container['ports']} == dict(zip(SCHEMES, (5001, 5002, 5003)))
    assert [(one['port'], one['targetPort']) for one in service['ports']] == list(zip((5001, 5002, 5003), SCHEMES))
    assert service['type'] == 'ClusterIP'
    mounts, volumes = container['volumeMounts'], deployment['template']['spec']['volumes']
    assert [one['name'] for one in mounts] == [one['name'] for one in volumes]
    assert {one['mountPath'] for one in mounts} == {'/tmp', str(Path(TOKEN_FILE).parent)}
    assert volumes[1]['secret']['secretName'] == 'clip-tokens'
    assert PAUSE < deployment['template']['spec']['terminationGracePeriodSeconds'] == 30 + GRACE


def test_the_probes_ask_what_a_server_answers(folder, server):
    export('kubernetes', folder)
    (container,) = manifests(folder)['Deployment']['spec']['template']['spec']['containers']
    for probe in ('startupProbe', 'livenessProbe', 'readinessProbe'):
        asked = container[probe]['httpGet']
        assert asked['port'] == 'http'
        assert requests.get(server['http'] + asked['path'], timeout=30).status_code == 200


# -- Docker Compose


@pytest.mark.parametrize('name', ['compose.yaml', 'mine.yml', ''])
def test_compose_knows_every_field(folder, name):
    pytest.importorskip('check_jsonschema', reason='holds the schema of Docker Compose: tox installs it')
    export('docker-compose', folder / name, '--', *SERVED)
    path = folder / (name or 'compose.yaml')
    command = [sys.executable, '-m', 'check_jsonschema', '--builtin-schema', 'vendor.compose-spec', str(path)]
    subprocess.run(command, check=True, timeout=60)
    path.write_text(path.read_text().replace('command:', 'commands:'))
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 1  # so the check can fail


def test_compose_publishes_on_loopback_alone(folder):
    export('docker-compose', folder, '--', *SERVED)
    assert composed(folder / 'compose.yaml')['ports'] == [f'127.0.0.1:{port}:{port}' for port in (5001, 5002, 5003)]


def test_the_healthcheck_of_compose_tells_a_server_from_none(folder, server):
    export('docker-compose', folder, '--', *SERVED)
    kind, _, option, code = composed(folder / 'compose.yaml')['healthcheck']['test']
    assert (kind, option) == ('CMD', '-c')
    for address, healthy in ((server['http'], True), ('http://127.0.0.1:1', False)):
        asked = code.replace('http://127.0.0.1:5002', address)
        assert asked != code
        done = subprocess.run([sys.executable, '-c', asked], capture_output=True, timeout=60)
        assert (done.returncode == 0) is healthy, done.stderr


# -- with a configuration

CONFIG = """
host = "127.0.0.1"
token-file = "tokens.json"
no-auth = false
http-port = 6002
max-batch = 16

[[models]]
name = "größer"
engine = "embedded"
replicas = 2
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'mine.toml'
    path.write_text(CONFIG, encoding='utf-8')
    return path


@pytest.fixture(params=['--config {}', '--config={}'])
def configured(config, request):
    """Arguments of serve with a configuration, in both ways, and what stays of them."""
    return [*request.param.format(config).split(), '--ws-port', '6003'], ['--ws-port', '6003']


def assert_taken(arguments, config, rest):
    """That serve takes the arguments, with the configuration where the container has it."""
    expected = ['--host', '0.0.0.0', '--token-file', TOKEN_FILE, '--config', CONFIG_FILE, *rest]
    assert arguments == expected
    here = [str(config) if one == CONFIG_FILE else one for one in arguments]
    with serve.make_context('serve', here) as context:
        assert (context.params['host'], context.params['token_file']) == ('0.0.0.0', TOKEN_FILE)
        assert (context.params['http_port'], context.params['max_batch']) == (6002, 16)


def test_kubernetes_gets_the_configuration_as_a_map(folder, configured, tmp_path):
    validate = pytest.importorskip('kubernetes_validate', reason='holds the schemas of Kubernetes: tox installs it')
    arguments, rest = configured
    export('kubernetes', folder, '--name', 'mine', '--', *arguments)
    found = manifests(folder)
    for version in ('1.27', validate.latest_version()):
        for one in found.values():
            validate.validate(one, version, strict=True)
    assert found['ConfigMap']['metadata']['name'] == 'mine-config'
    assert found['ConfigMap']['data'] == {'service.toml': CONFIG}
    pod = found['Deployment']['spec']['template']
    (container,) = pod['spec']['containers']
    (tmp_path / 'mounted.toml').write_text(found['ConfigMap']['data']['service.toml'], encoding='utf-8')
    assert_taken(container['args'], tmp_path / 'mounted.toml', rest)
    (volume,) = (one for one in pod['spec']['volumes'] if 'configMap' in one)
    assert volume['configMap'] == {'name': 'mine-config'}
    (mount,) = (one for one in container['volumeMounts'] if one['name'] == volume['name'])
    assert mount['mountPath'] == str(Path(CONFIG_FILE).parent)
    assert {one['name']: one['containerPort'] for one in container['ports']} == dict(zip(SCHEMES, (51000, 6002, 6003)))


def test_pods_are_replaced_when_the_configuration_changes(folder, config):
    marks = []
    for text in (CONFIG, CONFIG, CONFIG.replace('16', '17')):
        config.write_text(text, encoding='utf-8')
        export('kubernetes', folder, '--force', '--', '--config', config)
        marks.append(manifests(folder)['Deployment']['spec']['template']['metadata']['annotations'])
    assert marks[0] == marks[1] != marks[2]


def test_compose_gets_the_configuration_beside_it(folder, configured):
    pytest.importorskip('check_jsonschema', reason='holds the schema of Docker Compose: tox installs it')
    arguments, rest = configured
    export('docker-compose', folder, '--', *arguments)
    path = folder / 'compose.yaml'
    command = [sys.executable, '-m', 'check_jsonschema', '--builtin-schema', 'vendor.compose-spec', str(path)]
    subprocess.run(command, check=True, timeout=60)
    whole = yaml.safe_load(path.read_text())
    (mounted,) = composed(path)['configs']
    assert mounted['target'] == CONFIG_FILE
    file = folder / whole['configs'][mounted['source']]['file']
    assert file.read_text(encoding='utf-8') == CONFIG
    assert_taken(composed(path)['command'], file, rest)


def test_the_configuration_may_be_there_already(folder, config):
    folder.mkdir(parents=True)
    shutil.copy(config, folder / 'service.toml')
    export('docker-compose', folder, '--', '--config', folder / 'service.toml')
    assert (folder / 'service.toml').read_text(encoding='utf-8') == CONFIG


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('no-auth = true', 'asks for tokens: leave --no-auth out'),
        ('tls-cert = "cert.pem"', 'leave --tls-cert out'),
        ('http-port = 0', 'three different ports'),
        ('[[models]]\nname = 3', 'expected a text'),
        ('nope = 1', 'which is no setting'),
    ],
)
def test_a_configuration_that_cannot_be_exported(folder, config, capsys, text, message):
    config.write_text(text, encoding='utf-8')
    assert run(['export', 'kubernetes', str(folder), '--', '--config', str(config)]) != 0
    assert message in capsys.readouterr().err
    assert not folder.exists()


# -- what both have


@pytest.mark.parametrize('kind', ['kubernetes', 'docker-compose'])
def test_the_arguments_of_serve_are_kept_and_taken_by_it(folder, kind):
    export(kind, folder, '--', *SERVED)
    if kind == 'kubernetes':
        (container,) = manifests(folder)['Deployment']['spec']['template']['spec']['containers']
        arguments = container['args']
    else:
        arguments = composed(folder / 'compose.yaml')['command']
    assert arguments == ['--host', '0.0.0.0', '--token-file', '/tokens/tokens.json', *SERVED]
    with serve.make_context('serve', list(arguments)) as context:
        assert context.params['host'] == '0.0.0.0'
        assert context.params['http_port'] == 5002


@pytest.mark.parametrize('kind', ['kubernetes', 'docker-compose'])
def test_the_dockerfile(folder, kind):
    export(kind, folder, '--extra', 'clip', '--extra', 'blip2', '--', *SERVED)
    lines = (folder / 'Dockerfile').read_text().splitlines()
    assert '[server,clip,blip2]' in next(line for line in lines if line.startswith('RUN pip install'))
    assert 'EXPOSE 5001 5002 5003' in lines
    assert lines[-1] == 'ENTRYPOINT ["inference-client", "serve"]'


def test_the_shell_of_the_dockerfile_finds_the_wheel(folder, tmp_path):
    """Its line for pip, with another folder and with `echo` in the place of pip."""
    export('kubernetes', folder)
    line = next(one for one in (folder / 'Dockerfile').read_text().splitlines() if one.startswith('RUN pip install'))
    wheel = tmp_path / 'inference_client-1.2.3-py3-none-any.whl'
    wheel.touch()
    command = line[len('RUN pip') :].partition(' && ')[0].replace('/wheel/', f'{shlex.quote(str(tmp_path))}/')
    done = subprocess.run(['sh', '-c', f'echo {command}'], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == f'{wheel}[server,local]'


@pytest.mark.parametrize('kind', ['kubernetes', 'docker-compose'])
def test_files_are_not_replaced_unless_that_is_asked_for(folder, kind, capsys):
    export(kind, folder)
    files = {path: path.read_text() for path in folder.iterdir()}
    (folder / 'Dockerfile').write_text('mine')
    for path in files:
        if path.name != 'Dockerfile':
            path.unlink()
    capsys.readouterr()
    assert run(['export', kind, str(folder)]) == 2
    assert f'{folder / "Dockerfile"} is there already: --force replaces it' in capsys.readouterr().err
    assert {path.name: path.read_text() for path in folder.iterdir()} == {'Dockerfile': 'mine'}  # nothing beside it
    export(kind, folder, '--force')
    assert {path: path.read_text() for path in folder.iterdir()} == files


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--name', 'No Name'], 'expected small letters, digits and hyphens'),
        (['--name', 'x' * 64], 'expected small letters, digits and hyphens'),
        (['--pods', '0'], '0 is not in the range'),
        (['--', '--grpc-port', '0'], 'three different ports, none of them 0'),
        (['--cpu', 'many'], 'expected a quantity as in Kubernetes'),
        (['--memory', '1 Gi'], 'expected a quantity as in Kubernetes'),
        (['--', '--grpc-port', '51001'], 'three different ports'),
        (['--', '--host', '127.0.0.1'], 'leave --host out'),
        (['--', '--no-auth'], 'asks for tokens: leave --no-auth out'),
        (['--', '--token-file', 'tokens.json'], 'leave --token-file out'),
        (['--', '--tls-cert', 'cert.pem'], 'leave --tls-cert out'),
        (['--', '--nope'], 'No such option'),
        (['--', '--http-port', '70000'], '70000 is not in the range'),
    ],
)
def test_what_cannot_be_exported(folder, capsys, arguments, message):
    assert run(['export', 'kubernetes', str(folder), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not folder.exists()


def test_the_commands_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / 'docs' / 'scaling.md').read_text(encoding='utf-8')
    lines = [line for line in ''.join(blocks(text, 'bash')).splitlines() if line.startswith('inference-client export')]
    assert [run(shlex.split(line)[1:]) for line in lines] == [0, 0]
    written = {path.name for path in tmp_path.rglob('*.*')} | {'Dockerfile'}
    assert {name for name in written if f'`{name}`' in text} == written


# -- YAML

TEXTS = st.text() | st.sampled_from(['no', 'ON', '1', '1e3', '~', '- a', 'a: b', '# a', '', ' a', 'a ', '{}', '0x1F'])
BLOCKS = st.lists(st.text('ab :#-\t', max_size=5), max_size=4).map('\n'.join)
VALUES = st.recursive(
    TEXTS | BLOCKS | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4), min_size=1, max_size=3))
def test_yaml_comes_back_as_it_was(documents):
    assert list(yaml.safe_load_all(dump(*documents))) == documents


def test_yaml_of_several_lines_can_be_read():
    text = '[one]\ntwo = "three"\n'
    assert dump({'data': {'service.toml': text}}) == 'data:\n  service.toml: |\n    [one]\n    two = "three"\n'


def test_nothing_written_names_a_host_that_is_not_this_machine(folder):
    export('kubernetes', folder)
    text = ''.join(path.read_text() for path in Path(folder).iterdir())
    assert 'http://' not in text
    assert 'https://' not in text


@pytest.mark.parametrize(
    ('arguments', 'extras'),
    [
        ([], 'server,local'),
        (['echo'], 'server'),
        (['ViT-B-32::openai'], 'server,clip'),
        (['echo', 'embedded', 'clip:/x.pt?arch=ViT-B-32', 'blip2:/models/x'], 'server,local,clip,blip2'),
        (['ViT-B-32::openai', '--config', 'unused.toml'], 'server,clip'),
    ],
)
def test_the_image_has_the_extras_that_the_models_need(folder, tmp_path, monkeypatch, arguments, extras):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'unused.toml').write_text('[[models]]\nengine = "embedded"\n')
    export('docker-compose', folder, '--', *arguments)
    assert f'.whl)[{extras}]"' in (folder / 'Dockerfile').read_text()


def test_the_models_of_a_configuration_need_extras_too(folder, tmp_path):
    (tmp_path / 'mine.toml').write_text('[[models]]\nname = "big"\nengine = "ViT-B-32::openai"\n')
    export('kubernetes', folder, '--', '--config', tmp_path / 'mine.toml')
    assert '[server,clip]' in (folder / 'Dockerfile').read_text()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--public-url', 'foo://x'], "'foo://x': expected a URL"),
        (['nosuchmodel'], "unknown engine 'nosuchmodel'"),
        (['--rate', 'inf'], 'the rate is inf'),
    ],
)
def test_what_serve_refuses_is_not_written(folder, capsys, arguments, words):
    assert run(['export', 'docker-compose', str(folder), '--', *arguments]) != 0
    assert words in capsys.readouterr().err
    assert not folder.exists()
