"""What the playground runs, and the code that it shows, which asks the same whatever that is, and holds no token."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from docarray import Document, DocumentArray
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from isolated import output_of
from peers import embed_json, http_peer
from strategies import ODD_TEXTS, texts

from inference_client import Client, Image, InputError, Text
from inference_client._fetch import looks_like_image
from inference_client.playground import snippets
from inference_client.playground.session import INPUTS, KEPT, Playground
from inference_client.playground.snippets import Ask
from inference_client.tasks.vqa import prompt
from inference_client.testing import FakeTransport, client_for

PIECES = [
    *'"\'`$\\;&|<>!*?~#(){}[]-=%\n\r\t ',
    '$TOKEN',
    '$(id)',
    '`id`',
    '"""',
    "'''",
    '\\n',
    '{0}',
    'x.png',
    *ODD_TEXTS,
]
HOSTILE = st.one_of(
    texts(), st.lists(st.one_of(st.sampled_from(PIECES), texts(0)), min_size=1, max_size=6).map(''.join)
)
NAMES = HOSTILE.map(lambda name: name.replace('/', '_').replace('\0', '_')[:50]).filter(
    lambda name: name not in ('', '.', '..')
)
MODELS = st.one_of(st.just('local://embedded'), HOSTILE)
TOKEN = 's3cret-T0ken'


def asks():
    text, image = st.builds(Text, HOSTILE), st.builds(Image, NAMES)
    value = st.one_of(text, image)
    several = st.lists(value, min_size=1, max_size=3)
    return st.one_of(
        st.builds(Ask, st.just('encode'), several),
        st.builds(Ask, st.just('rank'), value.map(lambda one: [one]), several),
        st.builds(Ask, st.just('caption'), image.map(lambda one: [one])),
        st.builds(Ask, st.just('vqa'), image.map(lambda one: [one]), st.just(()), HOSTILE.filter(is_question)),
    )


def is_question(text):
    with contextlib.suppress(InputError):
        return bool(prompt(text))
    return False


class Recorder:
    """Takes the place of a client and its model, and notes what a program asks."""

    def __init__(self, **options):
        self.asked = [options]

    def __call__(self, **options):
        self.asked = [options]
        return self

    def get_model(self, name):
        self.asked.append(name)
        return self

    def __getattr__(self, task):
        def run(*arguments, **named):
            self.asked.append((task, arguments, named))
            return DocumentArray([Document()])

        return run


def kind_of(value):
    """What a task would take a value for."""
    if isinstance(value, str):
        return Image(value) if looks_like_image(value) else Text(value)
    return value


@given(asks(), MODELS, st.one_of(st.none(), HOSTILE))
def test_the_python_asks_the_same(ask, model, directory):
    recorder = Recorder()
    code = snippets.python(ask, model, directory)
    unanswered = contextlib.suppress(KeyError)  # in its last line
    with mock.patch('inference_client.Client', recorder), unanswered, contextlib.redirect_stdout(io.StringIO()):
        exec(code, {})
    options, name, (task, arguments, named) = recorder.asked
    assert options == ({'api_endpoint': directory} if directory else {})
    assert name == model
    if ask.task == 'encode':
        assert (task, arguments[0]) == ('stream', 'encode')
        assert list(map(kind_of, arguments[1])) == list(ask.inputs)
    elif ask.task == 'rank':
        assert (task, kind_of(named['reference'])) == ('rank', ask.inputs[0])
        assert list(map(kind_of, named['candidates'])) == list(ask.candidates)
    else:
        asked = {'question': ask.question} if ask.task == 'vqa' else {}
        assert (task, named) == (ask.task, {'image': ask.inputs[0].value, **asked})


@pytest.fixture
def run_in_shell(tmp_path):
    """Runs a command in a folder with files, where curl and inference-client only note how they were called."""
    programs, folder, seen = (tmp_path / name for name in ('bin', 'files', 'seen'))
    programs.mkdir()
    for name in ('curl', 'inference-client'):
        (programs / name).write_text(
            f'#!/bin/sh\nprintf "%s\\0" {name} "$@" > {seen}\ncat > {seen}.in\n'
            f'case "$*" in *" @/dev/fd/3 "*) cat /dev/fd/3 > {seen}.header;; esac\n'
        )
        (programs / name).chmod(0o755)

    def run(command, names=()):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(content(name))
        for file in (seen, Path(f'{seen}.in'), Path(f'{seen}.header')):
            file.write_bytes(b'')
        done = subprocess.run(
            ['sh', '-c', command],
            cwd=folder,
            env={'PATH': f'{programs}:/usr/bin:/bin', 'TOKEN': TOKEN},
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        assert (done.returncode, done.stderr) == (0, b'')
        assert sorted(one.name for one in folder.iterdir()) == sorted(set(names))  # nothing else was done
        assert TOKEN.encode() not in seen.read_bytes()  # which anyone on the machine can see
        header = Path(f'{seen}.header').read_text()
        return [*seen.read_bytes().decode().split('\0')[:-1], *([header] if header else [])], Path(
            f'{seen}.in'
        ).read_bytes()

    return run


def content(name):
    return b'image ' * 30 + name.encode()


def names_of(ask):
    return [one.value for one in (*ask.inputs, *ask.candidates) if isinstance(one, Image)]


def as_json(value):
    return (
        {'blob': base64.b64encode(content(value.value)).decode()} if isinstance(value, Image) else {'text': value.value}
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asks(), st.booleans(), st.sampled_from(['', "/a'b", '/models/$(id)', '/ "x"']))
def test_the_curl_asks_the_same(run_in_shell, ask, token, path):
    command = snippets.shell(ask, 'model', f'https://host{path}', token)
    assert TOKEN not in command
    (program, url, *arguments), given = run_in_shell(command, names_of(ask))
    assert (program, url) == ('curl', f'https://host{path}/post')
    headers = [one for flag, one in zip(arguments, arguments[1:]) if flag == '-H']
    assert headers == ['Content-Type: application/json', *(['@/dev/fd/3'] if token else [])]
    assert (arguments[-1] == f'Authorization: {TOKEN}\n') == token
    data = arguments[arguments.index('-d') + 1]
    body = json.loads(given if data == '@-' else data)
    expected = list(map(as_json, ask.inputs))
    if ask.task == 'rank':
        expected[0]['matches'] = list(map(as_json, ask.candidates))
    if ask.task == 'vqa':
        expected[0]['tags'] = {'prompt': prompt(ask.question)}
    assert body == {'data': expected, 'exec_endpoint': f'/{ask.task}'}


def test_the_curl_goes_to_a_url_that_names_its_page():
    """As get_model() takes it, too."""
    command = snippets.shell(ASKED[2], 'model', 'https://host/post/')
    assert 'curl https://host/post -H' in command


def test_no_command_reads_standard_input_for_a_reference_of_a_dash():
    assert snippets.shell(Ask('rank', [Text('-')], [Text('a')]), 'model', 'grpc://host').startswith('#')
    assert "-- a - 'b c'" in snippets.shell(Ask('rank', [Text('a')], [Text('-'), Text('b c')]), 'm', 'grpc://host')


@given(ask=asks(), model=MODELS.filter(lambda name: '\0' not in name))
def test_the_command_asks_the_same(run_in_shell, ask, model):
    command = snippets.shell(ask, model, 'grpc://host')
    if command.startswith('#'):
        values = [one.value for one in (*ask.inputs, *ask.candidates)]
        misread = [one for one in (*ask.inputs, *ask.candidates) if kind_of(one.value) != one]
        assert (ask.task == 'rank' and (misread or values[0] == '-')) or any(
            '\0' in one for one in [*values, ask.question]
        )
        return
    (program, task, flag, name, *arguments), _ = run_in_shell(command, names_of(ask))
    assert (program, task, flag, name) == ('inference-client', ask.task, '--model', model)
    values = [one.value for one in (*ask.inputs, *ask.candidates)]
    if ask.task == 'encode':
        assert arguments == [f'--{type(one).__name__.lower()}={one.value}' for one in ask.inputs]
    else:
        assert arguments == ['--', *([ask.question] if ask.task == 'vqa' else []), *values]


# -- against a real server


ASKED = [
    Ask('encode', [Text("it's $5"), Image('chelsea.png')]),
    Ask('rank', [Image('chelsea.png')], [Text('a photo of a "cat"'), Text('x.png'), Image('rocket.jpg')]),
    Ask('caption', [Image('rocket.jpg')]),
    Ask('vqa', [Image('chelsea.png')], question='Is it a cat or a dog?'),
]


@pytest.mark.parametrize('ask', ASKED, ids=lambda ask: ask.task)
def test_the_code_runs_and_gives_the_same(server, photo, ask):
    if shutil.which('curl') is None:
        pytest.skip('needs curl')
    command = snippets.shell(ask, server['http'], server['http'])
    done = subprocess.run(
        ['sh', '-c', command], cwd=Path(photo).parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    answered = json.loads(done.stdout)['data']
    code = snippets.python(ask, server['grpc'])
    printed = output_of(f'import os, numpy\nnumpy.set_printoptions(8)\nos.chdir({str(Path(photo).parent)!r})\n{code}')
    if ask.task == 'encode':
        numbers = np.array(printed.replace('[', ' ').replace(']', ' ').split(), float)
        np.testing.assert_allclose(numbers, np.ravel([one['embedding'] for one in answered]), atol=1e-5)
    elif ask.task == 'rank':
        best = printed.splitlines()[0]
        match = answered[0]['matches'][0]
        assert best.startswith('a photo of a "cat" ') and match['text'] == 'a photo of a "cat"'
        assert float(best.split()[-1]) == pytest.approx(match['scores']['clip_score']['value'], abs=1e-5)
    else:
        assert printed == answered[0]['tags']['response']


@pytest.mark.parametrize('inputs', [[Text("it's $5")], [Image('chelsea.png')]])
def test_curl_sends_the_token_of_the_shell(photo, inputs):
    if shutil.which('curl') is None:
        pytest.skip('needs curl')
    with http_peer(embed_json) as (url, seen):
        command = snippets.shell(Ask('encode', inputs), url, url, token=True)
        environment = {**os.environ, 'TOKEN': TOKEN, 'NO_PROXY': '127.0.0.1'}
        subprocess.run(['sh', '-c', command], cwd=Path(photo).parent, env=environment, check=True, capture_output=True)
    assert seen == [TOKEN]


# -- runs


@pytest.fixture
def playground():
    with client_for(FakeTransport(), tasks=['encode', 'rank', 'caption', 'vqa']) as client:
        yield Playground(client)


def test_a_session_finds_neighbours_among_what_it_encoded(playground, photo):
    first = playground.encode('', photo, 'a cat\n\n a dog ', ('', ()))
    assert [one.text or one.uri for one in first.kept[1]] == ['chelsea.png', 'a cat', 'a dog']
    assert len(first.kept[1][0].tensor) <= 112  # a small copy, not the upload
    assert not first.kept[1][0].blob
    assert first.html.count('cosine') == 2
    second = playground.encode('', None, 'a cat', first.kept)
    assert second.html.count('cosine') == 2  # the photo and the dog: what is encoded again is no neighbour of itself
    assert second.html.partition('Nearest')[2].count('a cat') == 1
    assert second.html.count('data:image/jpeg') == 1
    assert [one.text or one.uri for one in second.kept[1]] == ['chelsea.png', 'a dog', 'a cat']
    of_another_model = ('fake://other', second.kept[1])
    assert 'cosine' not in playground.encode('', None, 'a cat', of_another_model).html


def test_embeddings_of_another_size_are_no_neighbours(playground):
    """The server of a URL may be another one by now."""
    first = playground.encode('', None, 'a cat', ('', ()))
    for document in first.kept[1]:
        document.embedding = document.embedding[:5]
    second = playground.encode('', None, 'a dog', first.kept)
    assert 'Encode more' in second.html
    assert [one.text for one in second.kept[1]] == ['a dog']


def test_a_session_keeps_only_so_much(playground):
    kept = ('', ())
    for part in range(3):
        kept = playground.encode('', None, '\n'.join(f'{part} {i}' for i in range(INPUTS)), kept).kept
    assert len(kept[1]) == KEPT
    assert kept[1][-1].text == f'2 {INPUTS - 1}'


def test_a_ranking_of_texts_and_images(playground, photo):
    answer = playground.rank('', photo, 'not this', 'a cat\na dog', [photo.replace('chelsea.png', 'rocket.jpg')])
    assert answer.html.count('cosine') == 3
    assert 'not this' not in answer.html + answer.python
    assert answer.html.count('data:image/jpeg') == 2
    assert str(Path(photo).parent) not in answer.html + answer.python + answer.shell  # of an upload, only the name
    assert 'a cat' in playground.rank('', None, 'a text', 'a cat', None).html


@pytest.mark.parametrize(
    ('run', 'words'),
    [
        (lambda one, photo: one.encode('', None, ' \n', ('', ())), 'there is nothing to encode'),
        (lambda one, photo: one.encode('', None, '\n'.join('a' * 101), ('', ())), 'there are 101 inputs: expected 100'),
        (lambda one, photo: one.rank('', None, '', 'a', None), 'there is no reference'),
        (lambda one, photo: one.rank('', photo, '', '', None), 'there are no candidates'),
        (lambda one, photo: one.caption('', None), 'there is no image'),
        (lambda one, photo: one.caption('', __file__), '&#x27;test_playground.py&#x27; is not an image'),
        (lambda one, photo: one.caption('', '/gone/x.png'), '&#x27;x.png&#x27; is no longer there: uploads are kept'),
        (lambda one, photo: one.vqa('', photo, ' '), 'the question is empty'),
    ],
)
def test_what_is_wrong_is_one_sentence(playground, photo, run, words):
    answer = run(playground, photo)
    assert answer.html.startswith('<p role="alert">')
    assert words in answer.html
    assert '\n' not in answer.html
    assert (answer.python, answer.shell) == ('', '')


def test_an_error_keeps_what_was_encoded(playground):
    kept = playground.encode('', None, 'a cat', ('', ())).kept
    assert playground.encode('', None, '', kept).kept == kept


def test_what_a_model_lacks_is_told(photo):
    with Client() as client:
        playground = Playground(client, 'local://echo')
        assert playground.describe('').endswith('does none of these tasks. It lacks encode, rank, caption, vqa.</p>')
        answer = playground.caption('', photo)
        assert 'local://echo lacks caption: it offers echo' in answer.html
        assert 'no model &#x27;&lt;b&gt;&#x27; in this process' in playground.describe('local://<b>')
        assert 'cannot be reached' in playground.describe('http://127.0.0.1:1')


def test_no_token_is_in_an_answer(server, photo):
    with Client(TOKEN) as client:
        playground = Playground(client, server['http'])
        answer = playground.caption('', photo)
    assert 'data:image/jpeg' in answer.html
    assert 'Authorization: $TOKEN' in answer.shell
    assert shlex.split(answer.shell.partition('curl ')[2])[0] == f'{server["http"]}/post'
    assert TOKEN not in repr(answer)
    with Client(trust_env=False) as client:
        assert 'TOKEN' not in Playground(client, server['http']).caption('', photo).shell


def test_without_gradio_it_says_what_to_install():
    pytest.importorskip('click')
    code = """
        import sys
        sys.modules['gradio'] = None
        from inference_client.cli import run
        sys.stderr = sys.stdout
        print(run(['playground', '--port', '0']))
    """
    assert output_of(code).splitlines() == [
        "Error: the playground needs gradio, which is not installed: pip install 'inference-client[playground]'",
        '1',
    ]


@pytest.mark.parametrize(
    ('path', 'status'),
    [('/', 200), ('/config', 200), ('/openapi.json', 404), ('/openapi.json/', 404), ('/gradio_api/openapi.json', 404)],
)
def test_descriptions_of_gradios_api_are_not_there(path, status):
    from inference_client.playground.page import Guard

    told = []

    async def app(scope, receive, send):
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})

    async def send(message):
        told.append(message)

    asyncio.run(Guard(app)({'type': 'http', 'path': path, 'headers': [(b'host', b'127.0.0.1')]}, None, send))
    assert told[0]['status'] == status
