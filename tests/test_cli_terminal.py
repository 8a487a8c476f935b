"""The command line on a terminal: words and bars for people, and the same JSON as ever for all else."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import orjson
import pytest
from peers import embed_json, http_peer
from terminals import needs_terminals, on_terminal

pytest.importorskip('click')
pytestmark = needs_terminals

MODULE = ('-m', 'inference_client')
AFTER = """
import sys
from inference_client import _progress
from inference_client.cli import run
_progress.LATE = float(sys.argv.pop(1))
sys.exit(run(sys.argv[1:]))
"""


def score(data):
    """A good answer to `rank`: the first candidate is the best."""
    ranked = orjson.loads(data)['data']
    for document in ranked:
        for match, value in zip(document['matches'], (0.75, 0.25)):
            match['scores'] = {'clip_score': {'value': value}, 'clip_score_cosine': {'value': value - 0.5}}
    return 200, orjson.dumps({'data': ranked})


def respond(data):
    answered = [{**one, 'tags': {**(one.get('tags') or {}), 'response': 'a\x1b]0;title\x07 cat'}}
                for one in orjson.loads(data)['data']]  # fmt: skip
    return 200, orjson.dumps({'data': answered})


def piped(*arguments):
    done = subprocess.run(
        [sys.executable, *MODULE, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60
    )
    return done.stdout.decode()


def test_rank_draws_bars():
    with http_peer(score) as (url, _):
        code, shown = on_terminal(*MODULE, 'rank', 'a cat', 'a kitten', 'a dog', '--model', url, columns=60)
    assert code == 0
    head, first, second = shown.splitlines()
    assert head.split() == ['a', 'cat', 'score', 'cosine']
    assert re.fullmatch(r'  a kitten +█+[▏▎▍▌▋▊▉]? +0\.750 +0\.250', first)
    assert re.fullmatch(r'  a dog +█+[▏▎▍▌▋▊▉]? +0\.250 +-0\.250', second)
    assert 2.5 < first.count('█') / second.count('█') < 3.5
    assert max(map(len, shown.splitlines())) < 60


def test_where_blocks_cannot_be_shown_bars_are_plain():
    with http_peer(score) as (url, _):
        arguments = ('rank', 'a cat', 'a kitten', 'a dog', '--model', url)
        code, shown = on_terminal(*MODULE, *arguments, PYTHONIOENCODING='ascii')
    assert code == 0
    assert re.search(r'a kitten +####+ +0\.750', shown)


@pytest.mark.parametrize(
    ('answer', 'arguments'), [(score, ['rank', 'a', 'b', 'c']), (embed_json, ['encode', 'a', 'é'])]
)
def test_json_is_the_same_everywhere(answer, arguments, tmp_path):
    file = tmp_path / 'out.jsonl'
    with http_peer(answer) as (url, _):
        arguments = [*arguments, '--model', url]
        expected = piped(*arguments)
        code, shown = on_terminal(*MODULE, *arguments, '--json')
        assert (code, shown.replace('\r\n', '\n')) == (0, expected)
        with file.open('wb') as out:
            assert on_terminal(*MODULE, *arguments, stdout=out) == (0, '')
        assert file.read_text(encoding='utf-8') == expected
        assert on_terminal(*MODULE, *arguments, '--output', file) == (0, '')
        assert file.read_text(encoding='utf-8') == expected
    assert all(json.loads(line)['input'] for line in expected.splitlines())


def test_encode_shows_size_and_norm():
    with http_peer() as (url, _):
        code, shown = on_terminal(*MODULE, 'encode', 'a', 'b\x1b[31m', '--model', url)
    assert (code, shown) == (0, 'a: float32 (2,), norm 1.414\r\nb\\x1b[31m: float32 (2,), norm 1.414\r\n')


def test_what_a_server_says_cannot_steer_the_terminal(photo):
    with http_peer(respond) as (url, _):
        code, shown = on_terminal(*MODULE, 'vqa', 'a cat?', photo, '--model', url, columns=300)
    assert (code, shown) == (0, f'{photo}: Question: a cat? Answer: a\\x1b]0;title\\x07 cat\r\n')


def test_a_failed_item_is_a_line_of_words():
    with http_peer() as (url, _):
        arguments = ('encode', 'a', 'missing.png', '--on-item-error', 'return', '--model', url)
        code, shown = on_terminal(*MODULE, *arguments)
    assert code == 1
    assert shown.splitlines()[1].startswith("missing.png: Error: no such image file: 'missing.png'")
    assert shown.splitlines()[2] == 'Error: 1 of 2 items failed'


@pytest.mark.parametrize(
    ('late', 'to', 'asked', 'bar'),
    [
        (0, 'file', [], True),
        (0, '--output', [], True),
        (0, 'terminal', [], False),
        (0, 'file', ['--no-progress'], False),
        (1e9, 'file', [], False),
        (1e9, 'file', ['--progress'], True),
    ],
)
def test_long_work_shows_a_bar_where_it_mixes_with_nothing(tmp_path, late, to, asked, bar):
    file = tmp_path / 'out.jsonl'
    with http_peer() as (url, _), file.open('wb') as out:
        arguments = ['encode', *'abcdef', '--batch-size', '2', '--prefetch', '1', '--model', url, *asked]
        output = ['--output', file] if to == '--output' else []
        code, shown = on_terminal(
            '-c', AFTER, late, *arguments, *output, stdout=out if to == 'file' else None, columns=100
        )
    assert code == 0
    assert ('6/6' in shown) == bar
    assert ('\x1b[' in shown) == bar
    if to != 'terminal':
        assert len(file.read_text().splitlines()) == 6


def test_in_a_log_no_bar_comes_by_itself(tmp_path):
    with http_peer() as (url, _), (tmp_path / 'out').open('wb') as out:
        done = subprocess.run(
            [sys.executable, '-c', AFTER, '0', 'encode', *'abc', '--batch-size', '1', '--model', url],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b'')
