"""The command line, in processes of its own: what it prints, how it ends, and what it keeps to itself."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import orjson
import pytest
from directory import TOKEN, model_directory
from isolated import output_of, write_distribution
from pages import check_commands
from peers import embed_json, http_peer
from terminals import needs_terminals, rest_of

from inference_client import __version__, _builtins

COMMANDS = sorted(_builtins.inference_client_commands())
MODULE = [sys.executable, '-m', 'inference_client']
TIMEOUT = 60
CLOSED = 'http://127.0.0.1:1'  # nobody listens there


def run(*arguments, stdin=None, paths=(), **environment):
    variables = {**os.environ, **environment, 'PYTHONIOENCODING': 'utf-8'}
    if paths:
        variables['PYTHONPATH'] = os.pathsep.join([*map(str, paths), *filter(None, [variables.get('PYTHONPATH')])])
    return subprocess.run(
        [sys.executable, '-m', 'inference_client', *map(str, arguments)],
        env=variables,
        input=stdin or '',
        capture_output=True,
        encoding='utf-8',
        timeout=TIMEOUT,
        start_new_session=True,  # no terminal: a prompt reads standard input
    )


@pytest.fixture(scope='session')
def cli():
    """Runs a command line that needs no model of this process."""
    pytest.importorskip('click')
    return run


@pytest.fixture(scope='session')
def embedded(cli):
    """Runs a command line that may use the embedded model."""
    pytest.importorskip('onnxruntime')
    return cli


def rows(done):
    """The JSON lines of a command that ended well and said nothing besides."""
    assert (done.returncode, done.stderr) == (0, '')
    return [json.loads(line) for line in done.stdout.splitlines()]


def the_error(done, code=1):
    """The one line on standard error."""
    assert done.returncode == code
    assert done.stdout == ''
    (line,) = done.stderr.splitlines()
    assert line.startswith('Error: ')
    return line


def second_photo(photo):
    return photo.replace('chelsea.png', 'rocket.jpg')


# -- the four tasks


def test_encode(embedded, photo, tmp_path):
    picture = tmp_path / 'a picture'  # no file name of an image
    picture.write_bytes(Path(photo).read_bytes())
    answered = rows(
        embedded('encode', 'hello wörld', photo, '-', '--text', photo, '--image', picture, stdin='one\ntwo\n')
    )
    assert [row['input'] for row in answered] == ['hello wörld', photo, 'one', 'two', photo, str(picture)]
    vectors = np.array([row['embedding'] for row in answered])
    assert vectors.shape == (6, 384)
    np.testing.assert_allclose(vectors[1], vectors[5], atol=1e-6)  # the same picture
    assert not np.allclose(vectors[1], vectors[4])  # the text that its path is


def test_encode_to_files(embedded, photo, tmp_path):
    inputs = ['encode', 'hello', photo]
    answered = rows(embedded(*inputs))
    for name in ('x.npy', 'x.jsonl'):
        done = embedded(*inputs, '--output', tmp_path / name)
        assert (done.returncode, done.stdout) == (0, '')
    array = np.load(tmp_path / 'x.npy')
    assert (array.shape, array.dtype) == ((2, 384), np.float32)
    lines = [json.loads(line) for line in (tmp_path / 'x.jsonl').read_text(encoding='utf-8').splitlines()]
    assert [row['input'] for row in lines] == ['hello', photo]
    for others in (array, [row['embedding'] for row in lines]):
        np.testing.assert_allclose(others, [row['embedding'] for row in answered], atol=1e-6)


def test_rank(embedded, photo):
    answered = rows(embedded('rank', photo, 'a rocket', 'a photo of a cat', second_photo(photo)))
    assert answered[0]['input'] == 'a photo of a cat'
    assert {row['input'] for row in answered[1:]} == {'a rocket', second_photo(photo)}
    cosines = [row['clip_score_cosine'] for row in answered]
    assert cosines == sorted(cosines, reverse=True)
    assert sum(row['clip_score'] for row in answered) == pytest.approx(1, abs=1e-5)


@pytest.mark.skipif(sys.platform != 'linux', reason='names of files are Unicode there')
def test_names_that_are_no_utf8_are_escaped_in_json(embedded, photo, tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b'/\xff\xc3\xb6.png')
    Path(name).write_bytes(Path(photo).read_bytes())
    answered = rows(embedded('caption', photo, name, photo))
    assert [row['input'] for row in answered] == [photo, name, photo]
    failed = embedded('caption', name + '.gif', '--on-item-error', 'return')
    assert json.loads(failed.stdout)['input'] == name + '.gif'
    done = embedded('rank', name, name, 'a', '--output', tmp_path / 'x.jsonl')
    assert (done.returncode, done.stdout) == (0, '')
    lines = (tmp_path / 'x.jsonl').read_text(encoding='utf-8').splitlines()
    assert {json.loads(line)['input'] for line in lines} == {name, 'a'}


def test_patterns_stand_for_files(embedded, photo, tmp_path):
    for name in ('b.png', 'a.png', 'c[1].png', 'd.txt'):
        (tmp_path / name).write_bytes(Path(photo).read_bytes())
    (tmp_path / 'e.png').mkdir()
    names = [str(tmp_path / name) for name in ('a.png', 'b.png', 'c[1].png')]
    answered = rows(embedded('caption', tmp_path / '*.png', tmp_path / 'c[1].png'))
    assert [row['input'] for row in answered] == [*names, names[2]]
    answered = rows(embedded('rank', tmp_path / '[ab].png', 'a rocket', 'a photo of a cat'))
    assert [row['reference'] for row in answered] == [names[0], names[0], names[1], names[1]]
    assert [row['input'] for row in answered] == ['a photo of a cat', 'a rocket'] * 2
    error = the_error(embedded('encode', '--image', tmp_path / '*.gif'))
    assert error.startswith('Error: no file matches ')
    assert the_error(embedded('caption', tmp_path / ('x' * 300 + '*.png'))).startswith('Error: no file matches ')


def test_a_ranking_names_its_reference_where_there_may_be_several(cli, plain_flow, photo, tmp_path):
    for name in ('a.png', 'c[1].png'):
        (tmp_path / name).write_bytes(Path(photo).read_bytes())
    for reference, stdin in ((tmp_path / '?.png', None), ('-', 'a text\n'), (tmp_path / 'c[1].png', None)):
        (row,) = rows(cli('rank', reference, 'a rocket', '--model', plain_flow['http'], stdin=stdin))
        assert row['input'] == 'a rocket'
        assert row.get('reference') == {'-': 'a text', tmp_path / '?.png': str(tmp_path / 'a.png')}.get(reference)


def test_caption(embedded, photo):
    answered = rows(embedded('caption', photo, second_photo(photo)))
    assert [row['input'] for row in answered] == [photo, second_photo(photo)]
    assert all(row['response'].startswith('a photo') for row in answered)


def test_vqa(embedded, photo, tmp_path):
    file = tmp_path / 'answers.jsonl'
    assert rows(embedded('vqa', 'Is it a cat or a dog?', photo, '--output', file)) == []
    (row,) = map(json.loads, file.read_text(encoding='utf-8').splitlines())
    assert row['input'] == photo
    assert row['question'] == 'Question: Is it a cat or a dog? Answer:'
    assert 'cat' in row['response']


@pytest.fixture
def photo_url(photo):
    """URL of a photo on this machine."""
    handler = functools.partial(QuietHandler, directory=Path(photo).parent)
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}/chelsea.png'
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize(
    'arguments',
    [['encode'], ['encode', '--image'], ['caption'], ['vqa', 'a cat?'], ['rank', 'a cat'], ['rank', 'URL', 'a cat']],
)
def test_private_addresses_need_permission(embedded, photo_url, arguments):
    arguments = [photo_url if one == 'URL' else one for one in arguments]
    if photo_url not in arguments:
        arguments.append(photo_url)
    error = the_error(embedded(*arguments, NO_PROXY='127.0.0.1'))
    assert 'is at a private address or redirects to one' in error
    assert '--allow-private' in error
    answered = rows(embedded(*arguments, '--allow-private', NO_PROXY='127.0.0.1'))
    assert answered[0]['input'] == ('a cat' if 'a cat' in arguments[2:] else photo_url)


@pytest.mark.parametrize('scheme', ['grpc', 'http', 'ws'])
def test_the_model_behind_a_url(cli, server, scheme, photo):
    answered = rows(cli('rank', photo, 'a rocket', 'a photo of a cat', '--model', server[scheme]))
    assert [row['input'] for row in answered] == ['a photo of a cat', 'a rocket']


# -- a model by name


@contextlib.contextmanager
def named_model(answer=embed_json, **described):
    """A directory that knows the model `small` at an HTTP peer; gives both, and what the peer was sent."""
    bodies = []

    def keep(data):
        bodies.append(orjson.loads(data))
        return answer(data)

    with http_peer(keep) as (url, seen), model_directory() as directory:
        directory.models['small'] = {'endpoints': {'http': url}, **described}
        yield directory, seen, bodies


def test_the_model_behind_a_name(cli):
    with named_model(tasks=['encode'], status='Serving') as (directory, seen, bodies):
        options = ['--api-endpoint', directory.url]
        answered = rows(
            cli(
                *('encode', 'a', 'b', 'c', '--model', 'small', '--protocol', 'http', '--batch-size', '2', *options),
                *('--parameter', 'number=1.5', '--parameter', 'flag=true', '--parameter', 'words=a=b'),
                JINA_AUTH_TOKEN=TOKEN,
            )
        )
        assert answered == [{'input': text, 'embedding': [1.0, 1.0]} for text in 'abc']
        assert sorted(len(body['data']) for body in bodies) == [1, 2]  # two are under way at once
        assert all(body['parameters'] == {'number': 1.5, 'flag': True, 'words': 'a=b'} for body in bodies)
        assert set(seen) == {TOKEN}
        (shown,) = rows(cli('models', 'small', JINA_AUTH_TOKEN=TOKEN, INFERENCE_API_ENDPOINT=directory.url))
        assert shown['name'] == 'small'
        assert shown['tasks'] == ['encode']
        assert shown['status'] == 'Serving'
        assert list(shown['endpoints']) == ['http']
        error = the_error(cli('models', 'other', *options, JINA_AUTH_TOKEN=TOKEN))
        assert 'other' in error


def test_the_fallback_is_one_line_of_warning(cli, photo):
    with named_model(tasks=['encode']) as (directory, *_):
        options = ['--model', 'small', '--api-endpoint', directory.url]
        done = cli('caption', photo, *options, JINA_AUTH_TOKEN=TOKEN)
        assert done.returncode == 0
        assert json.loads(done.stdout) == {'input': photo, 'embedding': [1.0, 1.0]}
        (line,) = done.stderr.splitlines()
        assert line.startswith("Warning: model 'small' cannot caption, so it runs encode")
        error = the_error(cli('caption', photo, '--strict', *options, JINA_AUTH_TOKEN=TOKEN))
        assert 'cannot caption' in error


# -- the token


def test_a_refused_token_is_not_shown(cli):
    wrong = 'n0t-the-right-T0ken'
    with model_directory() as directory:  # which puts the token into its answer
        done = cli('models', 'small', '--api-endpoint', directory.url, JINA_AUTH_TOKEN=wrong)
        assert directory.asked[0].authorization == wrong
    assert 'token' in the_error(done)
    assert wrong not in done.stderr


def leaks():
    """Processes that have the token in their environment or arguments."""
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        for file in (folder / 'environ', folder / 'cmdline'):
            with contextlib.suppress(OSError):
                if TOKEN.encode() in file.read_bytes():
                    found.append(file)
    return found


def test_the_token_from_standard_input(cli):
    found = []

    def answer(data):
        found.extend(leaks())
        return embed_json(data)

    with named_model(answer) as (directory, seen, _):
        options = ['--model', 'small', '--api-endpoint', directory.url]
        done = cli('encode', '-', '--token', *options, stdin=f'{TOKEN}\na text\n')
    assert done.returncode == 0
    assert json.loads(done.stdout)['input'] == 'a text'
    assert seen == [TOKEN]
    assert found == []
    assert TOKEN not in done.stdout + done.stderr


@needs_terminals
def test_the_token_from_a_prompt(cli):
    import pty

    with named_model() as (directory, seen, _):
        here, there = pty.openpty()
        process = subprocess.Popen(
            [*MODULE, 'encode', 'a text', '--token', '--model', 'small', '--api-endpoint', directory.url],
            stdin=there,
            stdout=subprocess.PIPE,
            stderr=there,
            start_new_session=True,
        )
        os.close(there)
        shown = b''
        with process, os.fdopen(here, 'r+b', 0) as terminal:
            killer = threading.Timer(TIMEOUT, process.kill)
            killer.start()
            while b'Token: ' not in shown:  # the space comes last, once what was typed before is thrown away
                shown += terminal.read(1000)
            terminal.write(f'{TOKEN}\n'.encode())
            shown += rest_of(terminal)
            out = process.stdout.read()
            assert process.wait(TIMEOUT) == 0
            killer.cancel()
    assert json.loads(out)['embedding'] == [1.0, 1.0]
    assert seen == [TOKEN]
    assert TOKEN.encode() not in shown + out


# -- what there is


def test_the_models_of_this_process(embedded):
    shown = {row['name']: row['tasks'] for row in rows(embedded('models'))}
    assert shown == {'local://embedded': ['caption', 'encode', 'rank', 'vqa'], 'local://echo': ['echo']}


def test_version(cli):
    done = cli('version')
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.split() == ['inference-client', f'{__version__},', 'Python', sys.version.split()[0]]


def test_help_lists_every_command(cli):
    done = cli('--help')
    assert (done.returncode, done.stderr) == (0, '')
    listed = re.findall(r'^  ([\w-]+)  ', done.stdout.partition('Commands:')[2], re.MULTILINE)
    assert listed == COMMANDS
    assert '...\n' not in done.stdout.partition('Commands:')[2]  # each says in a line what it does
    assert 'Example: inference-client ' in done.stdout


def pages():
    """Every command and subcommand: its words and what click knows of it."""
    if importlib.util.find_spec('click') is None:
        return
    from inference_client.cli import cli

    todo = [((name,), cli.get_command(None, name)) for name in COMMANDS]
    while todo:
        words, command = todo.pop()
        yield ' '.join(words), command
        todo += [((*words, name), one) for name, one in getattr(command, 'commands', {}).items()]


@pytest.mark.parametrize(('words', 'command'), [pytest.param(*page, id=page[0]) for page in pages()])
def test_help_shows_examples_which_the_command_takes(words, command, tmp_path, monkeypatch):
    import click

    monkeypatch.chdir(tmp_path)
    Path('service.toml').touch()  # which an example reads
    assert not re.search('INTEGER|FLOAT', command.get_help(click.Context(command)))  # the kind, not what it means
    examples = re.findall(r'^ *Example: (.*)', command.help, re.MULTILINE)
    assert any(re.search(f'inference-client {words}( |[|)]|$)', one) for one in examples)
    assert check_commands('\n'.join(examples))


PLUGIN = """
    import click
    from inference_client import hookimpl

    @click.command()
    def greet():
        'Say hello.'
        click.echo('hello')

    @hookimpl
    def inference_client_commands():
        return COMMANDS
"""


@pytest.fixture
def site(tmp_path):
    """Distributions: a good one, one that does not import, and one with a command that does not."""
    for name, body in {
        'good': PLUGIN.replace('COMMANDS', "{'greet': greet}"),
        'broken': "raise RuntimeError('it is broken')",
        'missing': PLUGIN.replace('COMMANDS', "{'lost': 'no_such_module:lost'}"),
    }.items():
        write_distribution(tmp_path, f'{name}-plugin', {name: f'{name}_plugin'}, **{f'{name}_plugin': body})
    return tmp_path


def test_plugins(cli, site):
    done = cli('plugins', paths=[site])
    assert done.returncode == 0
    listed = [line.split()[:3] for line in done.stdout.splitlines()]
    assert ['command', 'greet', 'good-plugin'] in listed
    assert ['task', 'encode', 'inference-client'] in listed
    assert ['transport', 'grpcs', 'inference-client'] in listed
    assert ['engine', 'embedded', 'inference-client'] in listed
    failed, lost = (line for line in done.stdout.splitlines() if line.startswith('failed'))
    assert lost == (
        "failed     lost (missing-plugin 1.0): the command 'lost' of missing-plugin 1.0 cannot be imported: "
        "No module named 'no_such_module'"
    )
    (warning,) = done.stderr.splitlines()
    assert warning.startswith('Warning: ')
    for line in (failed, warning):
        assert 'broken-plugin' in line
        assert 'it is broken' in line


def test_plugins_that_replace_or_are_disabled(cli, site):
    replacing = {'inference_client.replace.commands': {'demo': 'good_plugin:greet'}}
    write_distribution(site, 'new-demo', replacing, version='2.0')
    contending = {'inference_client.replace.commands': {'serve': 'good_plugin:greet'}}
    write_distribution(site, 'new-serve', contending)
    write_distribution(site, 'newer-serve', contending)
    disabled = {'INFERENCE_CLIENT_DISABLE_PLUGINS': 'Broken_Plugin,nothing'}
    done = cli('plugins', paths=[site], **disabled)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert 'command    demo         new-demo 2.0' in lines
    assert f'replaced   command demo of inference-client {__version__}: by demo (new-demo 2.0)' in lines
    assert 'disabled   broken (broken-plugin 1.0): by INFERENCE_CLIENT_DISABLE_PLUGINS' in lines
    assert [line for line in lines if line.split()[:2] in (['command', 'serve'], ['failed', 'broken'])] == []
    (failed,) = (line for line in lines if line.startswith('failed     serve '))
    assert 'new-serve 1.0' in failed
    assert 'newer-serve 1.0' in failed
    assert 'Warning: INFERENCE_CLIENT_DISABLE_PLUGINS names nothing, but the installed plugins are ' in done.stderr
    done = cli('demo', paths=[site], **disabled)
    assert (done.returncode, done.stdout) == (0, 'hello\n')
    done = cli('serve', paths=[site])
    assert done.returncode == 1
    assert 'new-serve 1.0' in done.stderr
    assert '--help' in cli('--help', paths=[site]).stdout  # the contended command takes nothing else away


def test_a_plugins_command(cli, site):
    done = cli('greet', paths=[site])
    assert (done.returncode, done.stdout) == (0, 'hello\n')


def test_a_broken_command_does_not_hide_the_others(cli, site):
    done = cli('--help', paths=[site])
    assert done.returncode == 0
    for command in (*COMMANDS, 'greet'):
        assert f'\n  {command} ' in done.stdout
    assert 'no_such_module' in done.stderr
    done = cli('lost', paths=[site])
    assert done.returncode == 1
    assert 'missing-plugin' in done.stderr.splitlines()[-1]


# -- demo and serve


def test_the_demo_in_this_process(embedded):
    done = embedded('demo', COLUMNS='120')
    assert (done.returncode, done.stderr) == (0, '')
    for shown in ('local://embedded', 'encode', 'rank', 'caption', 'vqa', 'chelsea.png', 'a photo of', 'ms'):
        assert shown in done.stdout


def test_the_demo_over_every_transport(embedded, server_python):
    done = run('demo', '--transport', 'all', COLUMNS='120')
    assert (done.returncode, done.stderr) == (0, '')
    for scheme in ('local', 'grpc', 'http', 'ws'):
        assert f'Embedded model on {scheme}://' in done.stdout
    assert done.stdout.count('a photo of an Egyptian Mau') == 4


def test_serving_without_the_extra_says_what_to_install(cli):
    code = """
        import sys
        sys.modules['prometheus_client'] = None
        sys.argv[1:] = ['serve', '--no-auth', '--grpc-port', '0', '--http-port', '0', '--ws-port', '0']
        from inference_client.__main__ import main
        try:
            main()
        except SystemExit as end:
            assert end.code == 1
    """
    done = subprocess.run(
        [sys.executable, '-c', 'import textwrap; exec(textwrap.dedent(' + repr(code) + '))'],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0
    assert done.stderr == (
        "Error: the server needs prometheus_client, which is not installed: pip install 'inference-client[server]'\n"
    )


def test_without_click_it_says_what_to_install():
    said = output_of("""
        import sys
        sys.modules['click'] = None
        from inference_client.__main__ import main
        try:
            main()
        except SystemExit as end:
            print(end.code)
    """)
    assert said == ("Error: the command line needs click, which is not installed: pip install 'inference-client[cli]'")


# -- many inputs


def numbers(count, *others):
    return ''.join(f'{line}\n' for line in (*(f'text {i}' for i in range(count)), *others))


def test_lines_go_in_and_out_as_they_come(cli, plain_flow):
    with started('encode', '-', '--model', plain_flow['grpc'], '--batch-size', '1', '--prefetch', '1',
                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding='utf-8') as process:  # fmt: skip
        for i in range(3):
            process.stdin.write(f'text {i}\n')
            process.stdin.flush()
            assert json.loads(process.stdout.readline())['input'] == f'text {i}'  # before there is a next one
        process.stdin.close()
        assert (process.stdout.read(), process.stderr.read(), process.wait(TIMEOUT)) == ('', '', 0)


def test_images_from_standard_input(embedded, photo):
    lines = f'{photo}\n{second_photo(photo)}\n'
    assert [row['input'] for row in rows(embedded('caption', '-', stdin=lines))] == lines.split()
    answered = rows(embedded('vqa', 'Is it a cat?', '-', stdin=lines))
    assert [row['input'] for row in answered] == lines.split()


@pytest.mark.parametrize('name', [None, 'x.jsonl', 'x.npy'])
def test_a_failed_item_is_a_line_with_its_error(cli, plain_flow, tmp_path, name):
    arguments = ['--on-item-error', 'return', *(['--output', tmp_path / name] if name else [])]
    done = cli('encode', '-', 'missing.jpg', '--model', plain_flow['http'], *arguments, stdin=numbers(3, 'raise', 'a'))
    assert done.returncode == 1
    assert 'Error: 2 of 6 items failed' in done.stderr.splitlines()
    if name == 'x.npy':
        array = np.load(tmp_path / name)
        assert array.shape == (6, 4)
        assert np.isnan(array).all(axis=1).tolist() == [False, False, False, True, False, True]
        assert 'Error: missing.jpg: no such image file' in done.stderr
        return
    answered = [json.loads(line) for line in ((tmp_path / name).read_text() if name else done.stdout).splitlines()]
    assert [row['input'] for row in answered] == ['text 0', 'text 1', 'text 2', 'raise', 'a', 'missing.jpg']
    assert ['error' in row for row in answered] == [False, False, False, True, False, True]
    assert 'does not like this' in answered[3]['error']


def test_a_failed_item_without_a_name_is_told_by_its_row(embedded, tmp_path):
    done = embedded('encode', 'a', '', '--on-item-error', 'return', '--output', tmp_path / 'x.npy')
    assert done.returncode == 1
    assert 'Error: row 1, counted from 0: the text is empty' in done.stderr


def test_a_failed_ranking_is_a_line_too(cli, plain_flow):
    done = cli('rank', 'missing.jpg', 'a', '--on-item-error', 'return', '--model', plain_flow['grpc'])
    assert (done.returncode, done.stderr) == (1, 'Error: 1 of 1 items failed\n')
    row = json.loads(done.stdout)
    assert (row['input'], 'no such image file' in row['error']) == ('missing.jpg', True)


@pytest.mark.parametrize('name', [None, 'x.jsonl', 'x.npy'])
def test_what_was_answered_until_a_failure_is_written(cli, plain_flow, tmp_path, name):
    arguments = ['--batch-size', '1', '--prefetch', '1', *(['--output', tmp_path / name] if name else [])]
    done = cli('encode', '-', '--model', plain_flow['ws'], *arguments, stdin=numbers(5, 'raise', 'a'))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('Error: encode on ws://')
    if name == 'x.npy':
        assert np.load(tmp_path / name)[:, 0].tolist() == [6] * 5
    else:
        lines = ((tmp_path / name).read_text() if name else done.stdout).splitlines()
        assert [json.loads(line)['input'] for line in lines] == [f'text {i}' for i in range(5)]


def test_a_command_that_was_killed_goes_on(cli, plain_flow, tmp_path):
    journal, log, output = tmp_path / 'run.journal', tmp_path / 'log', tmp_path / 'x.jsonl'
    arguments = ['encode', '-', '--model', plain_flow['grpc'], '--journal', str(journal), '--batch-size', '1',
                 '--prefetch', '1', '--parameter', f'log={log}', '--output', str(output)]  # fmt: skip
    with started(*arguments, stdin=subprocess.PIPE, encoding='utf-8') as process:
        process.stdin.write(numbers(20))
        process.stdin.flush()
        while not output.exists() or output.read_text().count('\n') < 19:
            assert process.poll() is None
        process.kill()
        process.wait()
    written = [json.loads(line)['input'] for line in output.read_text().splitlines()]
    assert len(written) >= 19
    assert rows(cli(*arguments, stdin=numbers(25))) == []
    assert [json.loads(line)['input'] for line in output.read_text().splitlines()] == numbers(25).splitlines()
    sent = log.read_text().splitlines()
    assert set(sent) == set(numbers(25).splitlines())
    assert [text for text in written if sent.count(text) > 1] == []


MEMORY = """
    import resource, sys
    from inference_client.cli import run
    code = run(sys.argv[1:])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
    sys.exit(code)
"""


@pytest.mark.once(reason='memory is kept by this code, not by the interpreter')
def test_the_memory_of_a_long_run_is_bounded(cli, plain_flow, tmp_path):
    texts, peaks = tmp_path / 'texts', []
    for count in (2_000, 40_000):
        texts.write_text(numbers(count))
        with texts.open() as lines:
            done = subprocess.run(
                [sys.executable, '-c', textwrap.dedent(MEMORY), 'encode', '-', '--model', plain_flow['grpc'],
                 '--batch-size', '512', '--output', str(tmp_path / 'x.jsonl')],
                stdin=lines, capture_output=True, encoding='utf-8', timeout=TIMEOUT,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (tmp_path / 'x.jsonl').read_text().count('\n') == count
        peaks.append(int(done.stderr))
    assert peaks[1] - peaks[0] < 30  # MB


# -- progress


def test_progress_in_a_log(cli, plain_flow):
    done = cli('encode', 'a', 'b', 'c', '--progress', '--model', plain_flow['grpc'])
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert re.fullmatch(r'encode: 3 of 3 in \d+\.\d s, \d+/s\n', done.stderr)
    done = cli(
        'encode', '-', '--progress', '--model', plain_flow['grpc'], '--batch-size', '1', stdin=numbers(4, 'raise')
    )
    assert done.returncode == 1
    assert re.match(r'encode: \d in ', done.stderr)  # nobody knows of how many


@needs_terminals
@pytest.mark.parametrize('last', ['text', 'raise'])
def test_progress_on_a_terminal(cli, plain_flow, last):
    import pty

    here, there = pty.openpty()
    texts = [*(f'text {i}' for i in range(39)), last]
    arguments = ['encode', *texts, '--progress', '--batch-size', '4', '--prefetch', '1', '--parameter', 'sleep=0.1']
    process = subprocess.Popen(
        [*MODULE, *arguments, '--model', plain_flow['grpc']],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=there,
        env={**os.environ, 'TERM': 'xterm', 'COLUMNS': '100'},
        start_new_session=True,
    )
    os.close(there)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout.read().splitlines()))
    reader.start()
    with process, os.fdopen(here, 'rb', 0) as terminal:
        killer = threading.Timer(TIMEOUT, process.kill)
        killer.start()
        shown = rest_of(terminal)
        assert process.wait(TIMEOUT) == (1 if last == 'raise' else 0)
        killer.cancel()
    reader.join(TIMEOUT)
    plain = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', shown.decode())
    assert len(lines) == (36 if last == 'raise' else 40)
    assert all(line.startswith(b'{"input": ') for line in lines)  # nothing of the bar
    assert re.search(r'encode .*\b\d+/40 +\d+/s +\d:\d\d:\d\d', plain)
    assert ('40/40' in plain) == (last == 'text')
    assert shown.rindex(b'\x1b[?25h') > shown.rindex(b'\x1b[?25l')  # the cursor is there again
    assert plain.splitlines()[-1].startswith('Error: encode on grpc://') == (last == 'raise')


# -- failures


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['encode', 'missing.jpg'], 'missing.jpg'),
        (['encode', ''], 'empty'),
        (['encode', '-'], 'empty'),
        (['encode', 'a', '--model', CLOSED, '--retries', '0'], 'cannot be reached'),
        (['encode', 'a', '--model', 'nope://host'], 'unknown URL scheme'),
        (['encode', 'a', '--model', 'nope'], "no model 'nope'"),
        (['encode', 'a', '--ca-file', 'missing.pem'], 'missing.pem'),
        (['models', 'a', '--api-endpoint', 'nonsense'], 'nonsense'),
        (['serve', 'nope', '--no-auth'], "unknown engine 'nope'"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(cli, arguments, words):
    assert words in the_error(cli(*arguments))


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['nope'], "No such command 'nope'"),
        (['--nope'], 'No such option'),
        (['encode'], 'nothing to encode'),
        (['rank', 'a'], 'CANDIDATES'),
        (['caption'], 'IMAGES'),
        (['vqa', 'what?'], 'IMAGES'),
        (['vqa', 'photo.jpg', 'Is it a cat?'], "'photo.jpg' is the name of a file: give QUESTION first, then IMAGES"),
        (['vqa', __file__, 'Is it a cat?'], 'is the name of a file: give QUESTION first'),
        (['vqa', 'What is in photo.jpg'], 'give IMAGES'),
        (['vqa', 'Is it a cat? ' * 100], 'give IMAGES'),
        (['serve', '--http-port', '70000'], '70000'),
        (['demo', '--transport', 'nope'], 'nope'),
        (['encode', 'a', '--batch-size', '0'], '--batch-size'),
        *(
            (['encode', 'a', '--model', CLOSED, '--parameter', bad], '--parameter')
            for bad in ('x', '=x', 'docs=1', 'text=1', 'timeout=1', 'prefetch=1', 'self=1')
        ),
    ],
)
def test_wrong_usage_is_exit_code_2(cli, arguments, words):
    done = cli(*arguments)
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.startswith('Usage: inference-client')
    assert words in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr


def test_a_message_of_many_lines_becomes_one(cli):
    status = {'code': 1, 'description': "ValueError('one\ntwo')", 'exception': {'name': 'ValueError', 'args': ['a\nb']}}
    with http_peer(lambda data: (200, orjson.dumps({'header': {'status': status}, 'data': []}))) as (url, _):
        assert 'ValueError' in the_error(cli('encode', 'a', '--model', url))


def test_a_traceback_only_with_debug(cli):
    failing = ['encode', '--model', CLOSED, '--retries', '0']
    done = cli('--debug', *failing, 'a')
    assert done.returncode == 1
    assert done.stderr.startswith('Traceback')
    assert 'ConnectionFailedError' in done.stderr
    the_error(cli(*failing, '--', 'a', '--debug'))  # there it is a text


def test_what_is_tried_again_is_told(cli):
    done = cli('encode', 'a', '--model', CLOSED, '--retries', '1')
    warning, error = done.stderr.splitlines()
    assert warning.startswith('Warning: attempt 1 of 2 at /encode failed, the next comes in ')
    assert error.startswith('Error: encode on http://127.0.0.1:1: ')
    assert error.endswith('(after 2 attempts)')
    assert (done.returncode, done.stdout) == (1, '')


@pytest.mark.parametrize('name', ['x.npy', 'x.jsonl'])
def test_an_output_that_cannot_be_written(cli, tmp_path, name):
    with http_peer() as (url, asked):
        for file in (tmp_path / 'no-such-folder' / name, tmp_path / (300 * 'x' + name)):
            error = the_error(cli('encode', 'a', '--model', url, '--output', file))
            assert str(file) in error
            assert 'unexpected' not in error
    assert asked == []  # no answer was waited for that would be lost


@contextlib.contextmanager
def started(*arguments, **options):
    with subprocess.Popen([*MODULE, *arguments], stderr=subprocess.PIPE, **options) as process:
        killer = threading.Timer(TIMEOUT, process.kill)
        killer.start()
        try:
            yield process
        finally:
            killer.cancel()
            process.kill()


def test_a_reader_that_goes_away(cli):
    texts = ['a' * 1000] * 300  # more than a pipe holds
    with http_peer() as (url, _), started('encode', *texts, '--model', url, stdout=subprocess.PIPE) as process:
        assert json.loads(process.stdout.readline())['embedding'] == [1.0, 1.0]
        process.stdout.close()
        assert process.stderr.read() == b''


@pytest.mark.parametrize('command', ['version', 'plugins'])
def test_a_reader_that_was_never_there(cli, command):
    read, write = os.pipe()
    os.close(read)
    with started(command, stdout=write) as process:
        os.close(write)
        assert process.stderr.read() == b''


def test_an_interruption(cli):
    asked, release = threading.Event(), threading.Event()

    def answer(data):
        asked.set()
        release.wait(TIMEOUT)
        return embed_json(data)

    with http_peer(answer) as (url, _):
        try:
            with started('encode', 'a', '--model', url, stdout=subprocess.PIPE) as process:
                assert asked.wait(TIMEOUT)
                process.send_signal(signal.SIGINT)
                assert process.stdout.read() == b''
                assert process.stderr.read().strip() == b'Aborted.'
                assert process.wait(TIMEOUT) == 1
        finally:
            release.set()


def test_a_server_may_be_waited_for(cli):
    with http_peer() as (url, _):
        done = cli('encode', 'hi', '--model', url, '--wait', 20)
    assert json.loads(done.stdout)['embedding'] == [1, 1]
    done = cli('encode', 'hi', '--model', CLOSED, '--wait', 0.5)
    assert done.returncode == 1
    assert 'not ready within 0.5 s' in done.stderr
