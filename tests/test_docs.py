"""The pages on how to write plugins: each holds a complete program, which prints what the page says."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from isolated import output_of
from model_servers import InfinityServer, TeiServer
from pages import ROOT, blocks, check_commands, run_program, run_tests
from player import played
from rest_servers import JinaAIServer, LlamaCppServer, OllamaServer, VllmServer, serving
from triton_server import CLIP, Model, TritonServer

import inference_client
from inference_client import errors, inputs, testing

pytestmark = pytest.mark.once(reason='the pages show the same everywhere')

DOCS = ROOT / 'docs'
PHOTOS = sorted((ROOT / 'inference_client' / 'data' / 'photos').iterdir())  # those alone that a reader has
ADDRESS = '127.0.0.1:5100[01]'


def page(name):
    return (DOCS / f'{name}.md').read_text(encoding='utf-8')


def check(text, folder, name):
    assert run_program(text, folder, name) == ''.join(blocks(text, 'text'))


def test_write_a_task(tmp_path):
    pytest.importorskip('onnxruntime')
    check(page('write-a-task'), tmp_path, 'similarity')
    assert run_tests(tmp_path / 'test_similarity.py').keys() == {'passed'}


def test_write_a_transport(server, echo_server, tmp_path):
    text = page('write-a-transport')
    kit = 'spread://127.0.0.1:51000,127.0.0.1:51000'
    assert kit in text
    text = text.replace(kit, kit.replace('127.0.0.1:51000', echo_server['grpc'].partition('://')[2]))
    text, count = re.subn(ADDRESS, server['grpc'].partition('://')[2], text)
    assert count == 2
    check(text, tmp_path, 'spread')
    assert run_tests(tmp_path / 'test_spread.py').keys() == {'passed'}


def test_what_one_server_does_not_answer_another_does(server, tmp_path):
    """As the page says of its transport."""
    text = page('write-a-transport').replace('    print(model.is_ready())\n', '')
    text = text.replace('import Client\n', 'import Client, RetryPolicy\n')
    text = text.replace('batch_size=10', 'batch_size=10, retry=RetryPolicy(attempts=50, initial=0.01)')
    text = text.replace('127.0.0.1:51000', server['grpc'].partition('://')[2]).replace(':51001', ':9')
    assert run_program(text, tmp_path, 'spread') == '100\n'


def test_write_an_engine(tmp_path):
    check(page('write-an-engine'), tmp_path, 'letters')
    assert run_tests(tmp_path / 'test_letters.py').keys() == {'passed'}


def test_testing(tmp_path, monkeypatch, photo):
    """The page's tests by pytest, its other code as one program, beside a photo."""
    pytest.importorskip('onnxruntime')
    shutil.copy(photo, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run_program(page('testing'), tmp_path, 'mine') == ''.join(blocks(page('testing'), 'text'))
    assert run_tests(tmp_path / 'test_mine.py') == {'passed': 2}


PAGES = sorted(DOCS.rglob('*.md'))


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.relative_to(DOCS).with_suffix('').as_posix())
def test_files_that_a_page_names_are_there(path):
    for target in re.findall(r'\]\((?!https?:)([^)#]+)\)', path.read_text(encoding='utf-8')):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.relative_to(DOCS).with_suffix('').as_posix())
def test_addresses_that_a_page_links_to_are_whole(path):
    for url in re.findall(r'\]\((https?:[^)]*)\)', path.read_text(encoding='utf-8')):
        assert re.fullmatch(r'https://([a-z0-9-]+\.)+[a-z]+(/[\w./#-]*)?', url), url


def test_every_page_is_in_the_navigation_of_the_site():
    nav = re.findall(r': ([\w./-]+\.md)$', (ROOT / 'mkdocs.yml').read_text(encoding='utf-8'), re.MULTILINE)
    assert len(nav) == len(set(nav))
    assert {path.relative_to(DOCS).as_posix() for path in PAGES} <= set(nav)
    assert '(docs/index.md)' in (ROOT / 'README.md').read_text(encoding='utf-8')


def test_other_clients(server, tmp_path, monkeypatch):
    """What ours prints is what jina.Client does, where that is installed; the others are in tests/peers."""
    others = ['jina.Client'] if importlib.util.find_spec('jina') else []
    played(page('migrate'), tmp_path, monkeypatch, PHOTOS, urls=server, others=(others, sys.executable))


ALONE = (
    'index',
    'async',
    'bulk',
    'tasks/index',
    'tasks/encode',
    'tasks/rank',
    'tasks/caption',
    'tasks/vqa',
    'transports/local',
)


ELSEWHERE = {
    'engines': 'engines/test_page.py',
    'observability': 'extras/test_telemetry.py',
    'parquet': 'extras/test_parquet.py',
    'plugins': 'test_hooks.py',
    'ray': 'ray/test_ray.py',
    'results': 'extras/test_plot.py',
}


@pytest.mark.parametrize('path', PAGES, ids=lambda path: path.stem)
def test_the_code_of_every_page_is_run(path):
    if not blocks(path.read_text(encoding='utf-8'), 'python'):
        return
    name = path.relative_to(DOCS).with_suffix('').as_posix()
    runs = (ROOT / 'tests' / ELSEWHERE.get(name, 'test_docs.py')).read_text(encoding='utf-8')
    assert f"'{name}'" in runs or f'{name}.md' in runs


COMMANDS = [path for path in PAGES if re.search(r'^inference-client', path.read_text(encoding='utf-8'), re.MULTILINE)]


@pytest.mark.parametrize('path', [*COMMANDS, ROOT / 'README.md'], ids=lambda path: path.stem)
def test_the_command_line_takes_what_a_page_says(path):
    pytest.importorskip('click')
    text = path.read_text(encoding='utf-8')
    assert check_commands('\n'.join(blocks(text, 'bash') + blocks(text, 'ini')))


SERVING = [
    path
    for path in [*PAGES, ROOT / 'README.md', *sorted((ROOT / 'examples').glob('*/README.md'))]
    if 'inference-client serve ' in ''.join(blocks(path.read_text(encoding='utf-8'), '(?:bash|ini)'))
]


@pytest.mark.parametrize('path', SERVING, ids=lambda path: f'{path.parent.name}/{path.stem}')
def test_what_a_page_serves_starts_and_keeps_tokens_secret(path):
    """It has tokens or asks for none, and speaks TLS to other machines."""
    text = ''.join(blocks(path.read_text(encoding='utf-8'), '(?:bash|ini)'))
    for line in re.findall('inference-client serve (.*)', text.replace('\\\n', ' ')):
        options = {*shlex.split(line)}
        assert options & {'--no-auth', '--token-file', '--config'} or 'inference-client token create' in text, line
        assert '--host' not in options or options >= {'--tls-cert', '--tls-key'}, line


def test_the_service_takes_the_configuration_of_its_page(tmp_path, monkeypatch):
    pytest.importorskip('prometheus_client')
    monkeypatch.chdir(tmp_path)
    (configuration,) = blocks(page('self-hosting'), 'toml')
    (tmp_path / 'service.toml').write_text(configuration, encoding='utf-8')
    assert check_commands('inference-client serve --config service.toml') == 1


def test_the_api_reference_has_every_public_name():
    pages = ''.join(path.read_text(encoding='utf-8') for path in (DOCS / 'api').glob('*.md'))
    shown = [import_string.rpartition('.')[2] for import_string in re.findall(r'^::: ([\w.]+)$', pages, re.MULTILINE)]
    modules = {'errors': errors.__all__, 'hookspecs': ['hookimpl'], 'inputs': inputs.__all__}
    shown += [name for module in modules.keys() & {*shown} for name in modules[module]]
    public = {*inference_client.__all__, *testing.__all__, *inputs.__all__} - {'__version__'}
    assert public - {*shown} == set()


def test_what_is_returned_is_not_taken_for_a_type():
    """mkdocstrings takes what stands before a colon in the first line for the type."""
    sources = (ROOT / 'inference_client').rglob('*.py')
    returns = re.compile(r'Returns:\n +[^\n`]*(?:`[^`\n]*`[^\n`]*)*: [^\n]*')
    assert [found[0] for path in sources for found in returns.finditer(path.read_text(encoding='utf-8'))] == []


@pytest.mark.parametrize('name', ALONE)
def test_pages_that_need_no_server(name, tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime')
    played(page(name), tmp_path, monkeypatch, PHOTOS)


@pytest.mark.parametrize('name', ['transports/grpc', 'transports/http', 'transports/websocket'])
def test_pages_with_a_server(name, server, tmp_path, monkeypatch):
    played(page(name), tmp_path, monkeypatch, PHOTOS, urls=server)


@pytest.mark.usefixtures('server_python')
def test_tutorial(tmp_path, monkeypatch):
    pytest.importorskip('onnxruntime')
    for command in ('curl', 'openssl'):
        if shutil.which(command) is None:
            pytest.skip(f'needs {command}')
    played(page('tutorial'), tmp_path, monkeypatch, PHOTOS)


def test_resilience(server):
    program = '\n'.join(blocks(page('resilience'), 'python')).replace('127.0.0.1:51000', server['grpc'][7:])
    assert output_of(program) == '2'


def test_observability(server):
    text = page('observability')
    program = blocks(text, 'python')[0].replace('127.0.0.1:51000', server['grpc'][7:])  # the other in tests/extras
    told = output_of(f'{program}\nprint(profile.median.parts[1].parts[1].name)').splitlines()
    assert told[0].startswith('encode on grpc://')
    assert [re.sub(r'[0-9.]+$', '0.0', line) for line in told[-4:-1]] == blocks(text, 'text')[0].splitlines()
    assert told[-1] == 'embedded'


COSINES = "['clip_score', 'clip_score_cosine']"
RELEVANCE = "['clip_score', 'relevance_score']"
PICTURE = 'an image of 451 x 300 pixels <- '
SERVERS = f"""
(8,)
{COSINES}
{PICTURE}Describe this image in one short sentence.
{PICTURE}Which colours are there?
{PICTURE}Is it a cat?
(8,)
{COSINES}
{RELEVANCE}
(8,)
(8,)
(8,)
{RELEVANCE}
(8,)
(8,)
{RELEVANCE}
(8,)
{RELEVANCE}
['rank']
(8,)
(8,)
{COSINES}
['encode', 'rank'] 8 4
{PICTURE}Is it a cat?
['encode', 'rank'] ['text'] 8 None 8192
"""


MODELS = {
    'clip': CLIP,
    'language': Model(
        {'INPUT_0': ('BYTES', [-1])},
        {'OUTPUT_0': ('FP32', [-1, 8])},
        roles={'INPUT_0': 'text', 'OUTPUT_0': 'embedding'},
    ),
    'vision': Model(
        {'pixel_values': ('FP32', [-1, 3, 224, 224])},
        {'image_embeds': ('FP32', [-1, 8])},
        most=4,
        roles={'pixel_values': 'image', 'image_embeds': 'embedding'},
        normalize='clip',
    ),
    'blip2': Model({'image': ('BYTES', [-1, 1]), 'prompt': ('BYTES', [-1, 1])}, {'response': ('BYTES', [-1, 1])}),
}


def test_servers(tmp_path, monkeypatch, photo):
    """Each row of the table, against stand-ins."""
    shutil.copy(photo, tmp_path)
    monkeypatch.chdir(tmp_path)
    program = '\n'.join(blocks(page('servers'), 'python'))
    infinity = InfinityServer(models={'clip': ['embed', 'image_embed'], 'reranker': ['rerank']})
    servers = {
        11434: OllamaServer(),
        8000: VllmServer(),
        8090: TeiServer(),
        8091: TeiServer(kind='reranker'),
        8080: LlamaCppServer(),
        7997: infinity,
        8001: TritonServer(models=MODELS),
    }
    with contextlib.ExitStack() as stack:
        for port, server in servers.items():
            stack.enter_context(serving(server))
            program, count = re.subn(rf'http://127\.0\.0\.1:{port}\b', server.url, program)
            assert count
        with serving(JinaAIServer(token='<your key>')) as jina:
            program = re.sub(r"(jinaai://[a-z0-9-]+)'", rf"\1?base={jina.url}/v1'", program)
            assert output_of(program) == SERVERS.strip()


def test_security(tmp_path):
    """Its commands, one after the other, on the file that it names."""
    pytest.importorskip('click')
    lines = [line for line in ''.join(blocks(page('security'), 'bash')).splitlines() if ' token ' in line]
    printed = [
        subprocess.run(
            [sys.executable, '-m', *shlex.split(line.replace('inference-client', 'inference_client'), comments=True)],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout for line in lines
    ]  # fmt: skip
    assert re.fullmatch('ict_[0-9a-f]{64}\n', printed[0])
    assert json.loads(printed[1])['name'] == 'alice'
    assert len(lines) == 3
