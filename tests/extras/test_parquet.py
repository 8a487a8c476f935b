"""Parquet in and out: jobs that are killed go on, and give the file that an unbroken one gives."""

from __future__ import annotations

import collections
import datetime
import itertools
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import fsspec
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from docarray import Document
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from isolated import PACKAGE, output_of, write_distribution
from pages import ROOT, blocks
from peers import embed_json, http_peer

from inference_client import (
    Call,
    Client,
    ConnectionFailedError,
    Image,
    InputError,
    MissingExtraError,
    ProtocolError,
    RetryPolicy,
    ServerError,
    Task,
    TaskFallbackWarning,
    Text,
    parquet,
)
from inference_client.cli import run
from inference_client.parquet import Table, Written, _columns, _parts, _write
from inference_client.testing import FakeTransport, Fault, client_for

TIMEOUT = 60
ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def memory():
    """A store in this process."""
    system = fsspec.filesystem('memory')
    yield system
    system.rm('/', recursive=True)
    system.store.clear()
    system.pseudo_dirs[:] = ['']


@pytest.fixture
def small(monkeypatch):
    """Parts of one batch and row groups of 8 rows."""
    for module in (_parts, _write):
        monkeypatch.setattr(module, 'ROWS', 8)
    monkeypatch.setattr(_write, 'PERIOD', 0.0)


def model_with(*faults, **options):
    """A model and its transport."""
    transport = FakeTransport(faults=faults)
    return client_for(transport, **options).get_model('blip2'), transport


def texts_seen(transport):
    return Counter(document.text for request in transport.requests for document in request.documents)


def numbers(count):
    return [f'text {i}' for i in range(count)]


def expected(texts):
    """The file's rows for texts."""
    model, _ = model_with()
    return [{'input': one.text, 'embedding': one.embedding.tolist()} for one in model.encode(text=texts)]


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a command line in this process; gives its exit code, and what it wrote."""
    monkeypatch.setattr(warnings, 'showwarning', warnings.showwarning)  # so that it is put back
    monkeypatch.setattr(logging.getLogger('inference_client'), 'handlers', [])

    def run_here(*arguments):
        capsys.readouterr()
        return (run([*map(str, arguments)]), *capsys.readouterr())

    return run_here


# -- killed and continued

SLOW = """
    import os, time
    from inference_client import hookimpl
    from inference_client.parquet import _parts, _write
    from inference_client.testing.models import FakeEngine

    _parts.ROWS = _write.ROWS = 16
    _write.PERIOD = 0.05

    class SlowEngine(FakeEngine):
        def encode_text(self, texts, parameters):
            time.sleep(0.02)
            with open(os.environ['LOG'], 'a') as log:
                log.write(''.join(text + '\\n' for text in texts))
            return super().encode_text(texts, parameters)

    @hookimpl
    def inference_client_engines():
        return {'slow': SlowEngine}
"""


@pytest.mark.parametrize('form', ['lines', 'table'])
def test_a_command_that_is_killed_again_and_again(here, form):
    write_distribution(here, 'slow-plugin', {'slow': 'slow_plugin'}, slow_plugin=SLOW)
    count, log = 120, here / 'log'
    if form == 'table':
        table = pa.table({'id': range(count), 'body': numbers(count)})
        pq.write_table(table, 'in.parquet', row_group_size=30)
        given = ['encode', '--input', 'in.parquet', '--text-column', 'body', '--keep', 'id']
    else:
        given = ['encode', '-']
    command = [sys.executable, '-m', 'inference_client', *given, '--model', 'local://slow', '--batch-size', '4']
    environment = {**os.environ, 'LOG': str(log), 'PYTHONPATH': f'{here}{os.pathsep}{PACKAGE.parent}'}
    Path('lines').write_text('\n'.join(numbers(count)) + '\n')
    seen = Counter()  # texts, with how often each had been asked when its answer was first seen
    for goal in (3, 7):
        with Path('lines').open() as lines, subprocess.Popen(
            [*command, '--output', 'out.parquet'], env=environment, stdin=lines
        ) as job:
            end = time.monotonic() + TIMEOUT
            while len(list(here.glob('out.parquet.parts/*.parquet'))) < goal:
                assert time.monotonic() < end
                assert job.poll() is None
                time.sleep(0.005)
            job.send_signal(signal.SIGKILL)
        asked = Counter(log.read_text().splitlines())
        seen.update({text: asked[text] for text in kept() if text not in seen})
        assert not Path('out.parquet').exists()
    with Path('lines').open() as lines:
        done = subprocess.run(
            [*command, '--output', 'out.parquet'],
            env=environment,
            stdin=lines,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    assert (done.returncode, done.stdout) == (0, '')
    assert done.stderr == f'wrote {count} rows to out.parquet, {len(seen)} of them answered before\n'
    asked = Counter(log.read_text().splitlines())
    assert set(asked) == set(numbers(count))
    assert {text: asked[text] for text in seen} == seen  # none of these was asked again
    with Path('lines').open() as lines:
        subprocess.run(
            [*command, '--output', 'unbroken.parquet'], env=environment, stdin=lines, check=True, timeout=TIMEOUT
        )
    assert Path('out.parquet').read_bytes() == Path('unbroken.parquet').read_bytes()
    assert pq.read_table('out.parquet')['input'].to_pylist() == numbers(count)
    assert pq.ParquetFile('out.parquet').metadata.num_row_groups == 8
    assert list(here.glob('*.parts')) == []


def kept():
    """Texts whose answers are in the parts."""
    names = sorted(Path('out.parquet.parts').glob('*.parquet'))
    return [text for name in names for text in pq.read_table(name)['input'].to_pylist()]


@pytest.mark.parametrize('count', [0, 3, 4, 19, 39])
def test_a_job_that_fails_goes_on(here, small, count, caplog):
    """Whatever was answered when a connection was lost; nothing of it is asked again."""
    model, transport = model_with(*[None] * count, Fault(drop=True))
    texts = numbers(160)
    options = {'batch_size': 4, 'prefetch': 1, 'retry': ONCE}
    with pytest.raises(ConnectionFailedError):
        parquet.write(model, 'encode', iter(texts), 'out.parquet', **options)
    assert ('out.parquet.parts' in caplog.text) == (count > 0) == Path('out.parquet.parts').exists()
    assert parquet.write(model, 'encode', iter(texts), 'out.parquet', **options) == Written(160, 0, 4 * count)
    assert texts_seen(transport) == Counter(texts) + Counter(texts[4 * count : 4 * count + 4])
    assert pq.read_table('out.parquet').to_pylist() == expected(texts)


def test_answers_after_a_gap_are_asked_again(here, small):
    """The second batch fails after the third and fourth were answered."""
    model, _ = model_with(None, Fault(delay=0.3, drop=True))
    texts = numbers(40)
    options = {'batch_size': 4, 'prefetch': 4, 'retry': ONCE}
    with pytest.raises(ConnectionFailedError):
        parquet.write(model, 'encode', texts, 'out.parquet', **options)
    assert pq.read_table('out.parquet.parts')['input'].to_pylist() == texts[:4]
    assert parquet.write(model, 'encode', texts, 'out.parquet', **options).resumed == 4
    assert pq.read_table('out.parquet').to_pylist() == expected(texts)


def test_the_end_of_a_job_may_fail_too(here, small, monkeypatch):
    model, transport = model_with()
    for name in ('mv', 'rm_file'):
        with monkeypatch.context() as patch:
            patch.setattr(LocalFileSystem, name, broken_after(40 if name == 'mv' else 0, name))
            with pytest.raises(InputError, match=r"'out.parquet' cannot be written \(no more\)|cannot be written"):
                parquet.write(model, 'encode', numbers(40), 'out.parquet', batch_size=4)
    written = parquet.write(model, 'encode', numbers(40), 'out.parquet', batch_size=4)
    assert written == Written(40, 0, 40)
    assert set(texts_seen(transport).values()) == {1}
    assert pq.read_table('out.parquet').to_pylist() == expected(numbers(40))


def broken_after(count, name):
    whole, calls = getattr(LocalFileSystem, name), itertools.count()

    def function(*arguments, **options):
        if next(calls) >= count:
            raise OSError('no more')
        return whole(*arguments, **options)

    return function


def test_parts_of_another_job_are_refused(here, small):
    model, _ = model_with(None, Fault(drop=True), Fault(drop=True))
    texts = numbers(12)
    options = {'batch_size': 4, 'prefetch': 1, 'retry': ONCE}
    with pytest.raises(ConnectionFailedError):
        parquet.write(model, 'encode', texts, 'out.parquet', **options)
    before = sorted(Path('out.parquet.parts').iterdir())
    other = client_for(FakeTransport()).get_model('other')
    for again in (
        lambda: parquet.write(other, 'encode', texts, 'out.parquet', **options),
        lambda: parquet.write(model, 'encode', texts, 'out.parquet', **options, level=1),
        lambda: parquet.write(model, 'caption', ['x.png'], 'out.parquet', **options),
    ):
        with pytest.raises(
            InputError, match=r"'out\.parquet\.parts' is of a job with another model, task or parameters"
        ):
            again()
    for changed in (
        ['new', *texts],
        texts[:3],
        texts[1:],
        list(map(Text, texts)),
        [*texts[:3], Document(text=texts[3])],
    ):
        with pytest.raises(InputError, match='was begun with other inputs: give the same again, or delete it'):
            parquet.write(model, 'encode', changed, 'out.parquet', **options)
    assert sorted(Path('out.parquet.parts').iterdir()) == before
    more = [*texts[:4], 'other', 'end']  # what was not asked for may change
    with pytest.raises(ConnectionFailedError):
        parquet.write(model, 'encode', more, 'out.parquet', **options)
    assert parquet.write(model, 'encode', more, 'out.parquet', **options) == Written(6, 0, 4)
    assert pq.read_table('out.parquet')['input'].to_pylist() == more


def test_a_job_goes_on_where_more_is_allowed(here, photo):
    """As the error advises that it ended with."""
    model, _ = model_with()
    private = 'http://127.0.0.1:1/x.png'
    with pytest.raises(InputError, match='allow_private=True'):
        parquet.write(model, 'encode', [photo, Path(photo), Image(photo), private], 'out.parquet', batch_size=1)
    again = [Image(one, allow_private=True, max_pixels=10**9) for one in (photo, Path(photo), photo)]
    assert parquet.write(model, 'encode', again, 'out.parquet') == Written(3, 0, 3)


def test_documents_that_cannot_be_sent_have_their_rows(here):
    model, transport = model_with()
    odd = Document(text='odd', tags={'when': datetime.datetime(2020, 1, 1)})
    rows = written_rows(model, ['a', odd, 'b'])
    assert [row['input'] for row in rows] == ['a', 'odd', 'b']
    assert [row['error'] is None for row in rows] == [True, False, True]
    assert set(texts_seen(transport)) == {'a', 'b'}


def test_two_at_the_same_output(here, small):
    model, _ = model_with()

    def meanwhile():
        for text in numbers(12):
            if text == 'text 8':
                parquet.write(model, 'encode', iter(['a']), 'out.parquet', batch_size=4)
            yield text

    with pytest.raises(InputError, match='other inputs'):
        parquet.write(model, 'encode', meanwhile(), 'out.parquet', batch_size=4, prefetch=1)


def part_of(texts):
    return pa.table({'input': texts})


def test_a_part_that_two_write_at_the_same_time_is_whole(here):
    first, second = (_parts.Parts('out.parquet', 'job') for _ in range(2))
    with second._writer(second._name(0), part_of(['b', 'c']).schema) as writer:
        first.add(part_of(['a']), 'its inputs')
        assert pq.read_table(first._name(0)).to_pydict() == {'input': ['a']}
        writer.write_table(part_of(['b', 'c']))
    assert pq.read_table(first._name(0)).to_pydict() == {'input': ['b', 'c']}
    with pytest.raises(InputError, match=r'00000\.parquet was changed: another process writes the same output; let it'):
        first.finish()
    assert not Path('out.parquet').exists()


@pytest.mark.parametrize(('job', 'inputs'), [('other', 'the inputs'), ('job', 'others')])
def test_a_part_in_whose_place_another_came_is_told(here, job, inputs):
    first, second = _parts.Parts('out.parquet', 'job'), _parts.Parts('elsewhere.parquet', job)
    first.add(part_of(['a']), 'the inputs')
    second.add(part_of(['b']), inputs)
    shutil.move(second._name(0), first._name(0))
    with pytest.raises(InputError, match=r"was changed: .* delete 'out\.parquet\.parts' and begin anew"):
        first.finish()
    assert not Path('out.parquet').exists()


def test_a_job_that_is_killed_as_it_removes_its_parts_goes_on(here, small, monkeypatch):
    """There is a part for each row."""
    model, transport = model_with()
    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, 'rm_file', broken_after(8, 'rm_file'))
        with pytest.raises(InputError, match='no more'):
            parquet.write(model, 'encode', numbers(20), 'out.parquet')
    assert kept() == numbers(12)
    assert parquet.write(model, 'encode', numbers(20), 'out.parquet') == Written(20, 0, 12)
    assert pq.read_table('out.parquet').to_pylist() == expected(numbers(20))
    assert texts_seen(transport) == Counter(numbers(20)) + Counter(numbers(20)[12:])
    assert not Path('out.parquet.parts').exists()


def test_a_part_that_is_torn_is_named(here):
    Path('out.parquet.parts').mkdir()
    Path('out.parquet.parts/00000.parquet').write_bytes(b'PAR1')
    model, transport = model_with()
    with pytest.raises(InputError, match=r'00000\.parquet.* cannot be read'):
        parquet.write(model, 'encode', ['a'], 'out.parquet')
    assert transport.requests == []


# -- what is in the file

KINDS = ['text', 'error', 'ranked', 'ranked otherwise', 'odd \ud800']


@given(st.lists(st.lists(st.sampled_from(KINDS), max_size=30), max_size=8))
def test_a_file_does_not_depend_on_its_parts(tmp_path_factory, kinds):
    folder = tmp_path_factory.mktemp('split')
    rows = [[row_of_kind(kind, place) for place, kind in enumerate(part)] for part in kinds]
    whole = list(itertools.chain(*rows))
    files = []
    for name, parts in (('parts', filter(None, rows)), ('whole', [whole] if whole else [])):
        output = _parts.Parts(str(folder / name), 'job')
        for part in parts:
            output.add(_columns.table_of(part, {}, errors=True), '')
        assert output.finish().rows == len(whole)
        files.append((folder / name).read_bytes() if whole else b'')
    assert files[0] == files[1]
    read = pq.read_table(folder / 'whole').to_pylist() if whole else []
    for row, one in zip(whole, read):
        vector = row.get('embedding')
        if 'embedding' in one:
            np.testing.assert_array_equal(one['embedding'], [np.nan] * 2 if vector is None else vector)
        assert one['error'] == row.get('error')
        matches = one.get('matches')
        assert (matches and [scores_there(match) for match in matches]) == row.get('matches')


def test_pages_do_not_depend_on_parts(here):
    """With vectors of a usual size, of which a page holds but a few hundred."""
    count = 2 * _parts.ROWS + 500
    vectors = np.random.default_rng(0).random((count, 384), np.float32)
    rows = [{'input': f'text {i}', 'embedding': vectors[i]} for i in range(count)]
    files = []
    for name, sizes in (('even', [_parts.ROWS] * 3), ('uneven', [1, 700, 2999, 513, _parts.ROWS, 10, count])):
        output, start = _parts.Parts(name, 'job'), 0
        for size in sizes:
            if rows[start : start + size]:
                output.add(_columns.table_of(rows[start : start + size], {}, errors=True), '')
            start += size
        assert output.finish().rows == count
        files.append(Path(name).read_bytes())
    assert files[0] == files[1]


def scores_there(match):
    return {name: value for name, value in match.items() if value is not None}


def row_of_kind(kind, place):
    document = Document(text=kind)
    if kind == 'error':
        document.tags['error'] = 'it failed'
    elif kind.startswith('ranked'):
        document.matches = [Document(text='a'), Document(uri='b')][: 1 + place % 2]
        for match in document.matches:
            match.scores['clip_score'].value = place / 7
            match.scores['clip_score_cosine' if kind == 'ranked' else 'relevance_score'].value = place / 9
    else:
        document.embedding = np.array([place, len(kind)], np.float32)
    return _columns.row_of(document, 'any')


def test_the_columns_of_each_task(here, photo):
    model, _ = model_with()
    files = [photo, 'missing.png']
    for task, inputs, options, names in (
        ('encode', files, {}, ['input', 'embedding', 'error']),
        ('rank', [(one, ['a cat', photo]) for one in files], {}, ['input', 'matches', 'error']),
        ('caption', files, {}, ['input', 'response', 'error']),
        ('vqa', files, {'question': 'a cat?'}, ['input', 'question', 'response', 'error']),
    ):
        written = parquet.write(model, task, inputs, 'out.parquet', on_item_error='return', **options)
        assert written == Written(2, 1, 0)
        table = pq.read_table('out.parquet')
        assert table.column_names == names
        good, bad = table.to_pylist()
        assert (good['input'], good['error']) == (photo, None)
        assert bad['input'] == 'missing.png'
        assert bad['error'].startswith("no such image file: 'missing.png'")
        nothing = [value for name, value in bad.items() if name not in ('input', 'error', 'question')]
        np.testing.assert_equal(nothing, [[np.nan] * 8] if task == 'encode' else [None])
        (answer,) = model.stream(task, inputs[:1], **options)
        if task == 'rank':
            assert good['matches'] == [
                {'input': one.uri or one.text, **{name: score.value for name, score in one.scores.items()}}
                for one in answer.matches
            ]
        elif task == 'encode':
            assert good['embedding'] == answer.embedding.tolist()
            assert table.schema.field('embedding').type == pa.list_(pa.float32(), 8)
        else:
            assert good['response'] == answer.tags['response']
        if task == 'vqa':
            assert good['question'] == 'Question: a cat? Answer:'


def test_rows_may_have_different_scores(here, small):
    """As of a server that ranks texts by another model than images."""

    def answer(request):
        for document in request.documents:
            for match in document.matches:
                match.scores['clip_score'].value = 0.5
                match.scores['relevance_score' if document.text else 'clip_score_cosine'].value = 0.25
        return request.documents

    model = client_for(FakeTransport(answer)).get_model('x')
    pairs = [(Text('a'), ['b', 'c'])] * 10 + [(Image(np.zeros((2, 2, 3), np.uint8)), ['b'])] * 10
    assert parquet.write(model, 'rank', pairs, 'out.parquet', batch_size=1).rows == 20
    table = pq.read_table('out.parquet')
    names = [field.name for field in table.schema.field('matches').type.value_type]
    assert names == ['input', 'clip_score', 'clip_score_cosine', 'relevance_score']
    scores = [scores_there(row[0]) for row in table['matches'].to_pylist()]
    assert scores[0] == {'input': 'b', 'clip_score': 0.5, 'relevance_score': 0.25}
    assert scores[-1] == {'input': 'b', 'clip_score': 0.5, 'clip_score_cosine': 0.25}


def test_all_items_fail(here):
    model, _ = model_with()
    written = parquet.write(model, 'encode', ['', 'missing.png'], 'out.parquet', on_item_error='return')
    assert written == Written(2, 2, 0)
    assert pq.read_table('out.parquet').column_names == ['input', 'error']
    assert parquet.write(model, 'encode', [], 'none.parquet') == Written(0, 0, 0)
    assert [path.name for path in here.iterdir()] == ['out.parquet']


def test_a_fallback_has_embeddings(here, photo):
    model = client_for(FakeTransport(), tasks=['encode']).get_model('small')
    with pytest.warns(TaskFallbackWarning):
        parquet.write(model, 'caption', [photo], 'out.parquet')
    assert pq.read_table('out.parquet').column_names == ['input', 'embedding']


class EchoTask(Task):
    name = 'echo'

    def prepare(self, *, docs, **parameters):
        return Call(docs, parameters)


def test_what_a_column_cannot_hold(here, small, monkeypatch):
    sizes = itertools.chain([2, 2, 3], itertools.repeat(2))

    def answer(request):
        for document in request.documents:
            document.embedding = np.ones(next(sizes), np.float32)
        return request.documents

    model = client_for(FakeTransport(answer)).get_model('x')
    with pytest.raises(InputError, match=r"'embedding' is fixed_size_list<.*>\[2\] in one part and .*\[3\] in another"):
        parquet.write(model, 'encode', numbers(6), 'a.parquet', batch_size=1)
    monkeypatch.setattr(_write, 'PERIOD', 60.0)
    sizes = iter([2, 3])
    with pytest.raises(ProtocolError, match=r'embeddings of shape \(2,\) and \(3,\)'):
        parquet.write(model, 'encode', numbers(2), 'b.parquet', batch_size=2)
    silent = client_for(FakeTransport(lambda request: request.documents)).get_model('x')
    with pytest.raises(InputError, match=r"the answers of 'echo' have no embedding, response or scores"):
        parquet.write(silent, EchoTask, ['a'], 'c.parquet')
    with pytest.raises(InputError, match='ordered=False does not go with Parquet'):
        parquet.write(model, 'encode', ['a'], 'd.parquet', ordered=False)
    (here / 'folder').mkdir()
    with pytest.raises(InputError, match="'folder' is a directory: expected the name of a file"):
        parquet.write(model, 'encode', ['a'], 'folder')


# -- rows of Parquet


@pytest.fixture
def posts(memory, photo):
    """Two files in a store, of several row groups."""
    content = Path(photo).read_bytes()
    for first, count in ((0, 70), (70, 30)):
        places = range(first, first + count)
        table = pa.table({
            'id': [f'#{i}' for i in places],
            'body': numbers(100)[first : first + count],
            'photo': [content if i % 10 == 0 else None for i in places],
            'nested': [{'bytes': content, 'path': f'{i}.png'} for i in places],
            'name': [photo if i % 2 else f'memory://photos/{i}.png' for i in places],
            'question': [f'is it {i}?' for i in places],
            'labels': [[f'label {i}', 'photo.png'] for i in places],
            'number': pa.array(places, pa.int16()),
        })  # fmt: skip
        with memory.open(f'/posts/{first:03}.parquet', 'wb') as file:
            pq.write_table(table, file, row_group_size=20)
    for i in range(0, 100, 4):
        memory.pipe(f'/photos/{i}.png', content)
    return 'memory://posts/*.parquet'


@pytest.mark.parametrize('failing', [1, 5, 8, 14])
def test_rows_of_texts(memory, small, posts, failing):
    model, transport = model_with(*[None] * failing, Fault(drop=True))
    table = Table(posts, text='body', keep=['id', 'number'])  # which may be used again
    options = {'batch_size': 7, 'prefetch': 1, 'retry': ONCE}
    with pytest.raises(ConnectionFailedError):
        parquet.write(model, 'encode', table, 'memory://out/x.parquet', **options)
    written = parquet.write(model, 'encode', table, 'memory://out/x.parquet', **options)
    assert written == Written(100, 0, 7 * failing)
    assert len(table) == 100
    assert sum(texts_seen(transport).values()) == 107 - max(0, 7 * failing + 7 - 100)
    assert memory.find('/out') == ['/out/x.parquet']
    with memory.open('/out/x.parquet') as file:
        read = pq.read_table(file)
    assert read.schema.field('number').type == pa.int16()
    rows = [{'row': i, 'id': f'#{i}', 'number': i, **row} for i, row in enumerate(expected(numbers(100)))]
    assert read.to_pylist() == rows


@pytest.mark.parametrize(('column', 'good'), [('photo', 10), ('nested', 100), ('name', 75)])
def test_rows_of_images(here, posts, column, good, photo):
    model, _ = model_with()
    table = Table(posts, image=column)
    written = parquet.write(model, 'encode', table, 'out.parquet', on_item_error='return', batch_size=9)
    assert (written.rows, written.failed) == (100, 100 - good)
    (embedding,) = model.encode(image=photo).embeddings.tolist()
    rows = pq.read_table('out.parquet').to_pylist()
    assert [row['row'] for row in rows if row['embedding'] == embedding] == [
        i for i in range(100) if good == 100 or (i % 10 == 0 if column == 'photo' else i % 2 or i % 4 == 0)
    ]
    if column == 'name':
        assert [rows[i]['error'] for i in (2, 4)] == ['no such image file: memory://photos/2.png', None]
        assert [rows[i]['input'] for i in (1, 4)] == [photo, 'memory://photos/4.png']
    if column == 'nested':
        assert rows[5]['input'] == '5.png'
    if column == 'photo':
        assert rows[1]['error'].startswith('got a NoneType as image')


def test_rows_with_questions_and_candidates(here, posts):
    model, _ = model_with()
    parquet.write(model, 'vqa', Table(posts, image='nested', question='question'), 'a.parquet')
    rows = pq.read_table('a.parquet').to_pylist()
    assert [row['response'] for row in rows] == [f'an answer to Question: is it {i}? Answer:' for i in range(100)]
    parquet.write(model, 'rank', Table(posts, text='body', candidates='labels'), 'b.parquet')
    rows = pq.read_table('b.parquet').to_pylist()
    assert [{match['input'] for match in row['matches']} for row in rows] == [
        {f'label {i}', 'photo.png'}
        for i in range(100)  # texts, whatever they look like
    ]
    parquet.write(model, 'rank', Table(posts, image='nested', candidates=['a', Text('b')]), 'c.parquet')
    assert pq.read_table('c.parquet').num_rows == 100


def test_rows_that_are_taken_otherwise_are_refused(here, memory, posts, photo):
    """Another column, the same as something else, or beside others; what is no input at all may differ."""
    candidates = ['a', Text('b'), Image(PIL.Image.open(photo))]

    def ranked(*faults, keep=('id',), candidates=candidates, **columns):
        model, _ = model_with(*faults)
        table = Table(posts, keep=keep, candidates=candidates, **columns)
        return parquet.write(model, 'rank', table, 'out.parquet', batch_size=7, prefetch=1, retry=ONCE)

    with pytest.raises(ConnectionFailedError):
        ranked(None, Fault(drop=True), text='body')
    for changed in (
        {'image': 'body'},
        {'text': 'question'},
        {'text': 'body', 'keep': ()},
        {'text': 'body', 'keep': ('id', 'number')},
        {'text': 'body', 'candidates': 'labels'},
        {'text': 'body', 'candidates': ['a', 'b', candidates[2]]},
    ):
        with pytest.raises(InputError, match='was begun with other inputs'):
            ranked(**changed)
    again = [*candidates[:2], Image(PIL.Image.open(photo), allow_private=True)]
    assert ranked(text='body', candidates=again).resumed == 7


def test_tables_that_are_of_no_use(here, posts):
    Path('x.parquet').write_text('no Parquet at all')
    for arguments, message in (
        ((posts, {}), 'expected one column: text= or image='),
        ((posts, {'text': 'a', 'image': 'b'}), 'expected one column'),
        ((posts, {'text': 'bodi'}), "has no column 'bodi': it has id, body, photo"),
        ((posts, {'text': 'body', 'keep': ['idd']}), "has no column 'idd'"),
        ((posts, {'text': 'body', 'keep': ['input']}), "'input' cannot be kept"),
        (('memory://nothing/*.parquet', {'text': 'body'}), 'no file matches memory://nothing/'),
        (('no.parquet', {'text': 'body'}), "'no.parquet' cannot be read as Parquet: there is no such file"),
        (('x.parquet', {'text': 'body'}), "'x.parquet' cannot be read as Parquet"),
        (('nonsense://x.parquet', {'text': 'body'}), 'cannot be opened'),
    ):
        with pytest.raises(InputError, match=message.replace('(', r'\(')):
            Table(arguments[0], **arguments[1])


def test_a_kept_column_has_one_type_in_all_files(here):
    """Others need not: what is read of them is plain values."""
    for name, ids, bodies in (('1', pa.int64(), pa.string()), ('2', pa.int32(), pa.large_string())):
        pq.write_table(pa.table({'id': pa.array([7], ids), 'body': pa.array(['a'], bodies)}), f'{name}.parquet')
    with pytest.raises(InputError, match=r"'id' cannot be kept: it is int64 in 1\.parquet and int32 in 2\.parquet"):
        Table('*.parquet', text='body', keep=['id'])
    assert parquet.write(model_with()[0], 'encode', Table('*.parquet', text='body'), 'out.parquet').rows == 2


@pytest.mark.parametrize('inputs', ['*.jpg', b'content', Path('photos'), {'a': 1}])
def test_inputs_that_are_one_are_refused(here, inputs):
    model, transport = model_with()
    told = rf'the inputs are a {type(inputs).__name__}: expected .*; parquet\.files\(pattern\) gives the names of files'
    with pytest.raises(InputError, match=told):
        parquet.write(model, 'encode', inputs, 'out.parquet')
    assert (transport.requests, list(here.iterdir())) == ([], [])


# -- files and stores


def test_patterns(here, memory):
    for name in ('a.png', 'b[1].png', 'c.txt', 'd.png/e.png', '.hidden.png', 'f.jpg'):
        path = here / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        memory.pipe(f'/bucket/{name}', b'')
    assert parquet.files('*.png') == ['a.png', 'b[1].png']
    assert parquet.files('b[1].png') == ['b[1].png']
    assert parquet.files('b[[]1].png') == ['b[1].png']
    assert parquet.files('**/*.png') == ['a.png', 'b[1].png', 'd.png/e.png']
    assert parquet.files('no.png') == ['no.png']
    assert parquet.files(f'{here}/?.png') == [f'{here}/a.png']
    assert parquet.files('http://host/x?.png') == ['http://host/x?.png']
    uri = 'data:image/svg+xml,' + '[?]' * 1000
    assert parquet.files(uri) == [uri]
    names = ['memory://bucket/a.png', 'memory://bucket/b[1].png', 'memory://bucket/d.png/e.png']
    assert [one.replace(':///', '://') for one in parquet.files('memory://bucket/**/*.png')][-3:] == names
    for pattern in ('*.gif', 'x' * 300 + '*.png', 'x' * 5000 + '/*.png'):
        with pytest.raises(InputError, match='no file matches '):
            parquet.files(pattern)


def test_schemes_that_name_machines_need_permission(here):
    model, transport = model_with()
    (row,) = written_rows(model, ['sftp://10.0.0.1/x.png'])
    assert row['error'].startswith('sftp://10.0.0.1/x.png may be at a private address')
    assert row['input'] == 'sftp://10.0.0.1/x.png'
    with pytest.raises(InputError, match='may be at a private address'):
        parquet.write(model, 'rank', [('sftp://10.0.0.1/x.png', ['a'])], 'x.parquet')
    with pytest.raises(MissingExtraError, match='needs a package of its own'):
        written_rows(model, ['gs://bucket/x.png'])
    assert transport.requests == []


def test_a_scheme_that_is_none_costs_its_item_alone(here, memory, photo):
    memory.pipe('/photos/x.png', Path(photo).read_bytes())
    model, _ = model_with()
    mistyped = Image('nonsense://host/x.png', allow_private=True)
    one, other, good = written_rows(model, ['nonsense://host/x.png', mistyped, 'MEMORY://photos/x.png'])
    assert one['error'].startswith('nonsense://host/x.png may be at a private address')
    assert re.match(r'nonsense://host/x\.png cannot be opened \(.*nonsense', other['error'])
    assert (good['input'], good['error']) == ('MEMORY://photos/x.png', None)
    assert len(parquet.files('MEMORY://photos/*.png')) == 1
    with pytest.raises(InputError, match=r'cannot be opened \(.*nonsense') as caught:
        parquet.write(model, 'encode', [mistyped], 'out.parquet')
    assert caught.value.item is mistyped


class Unreachable(MemoryFileSystem):
    protocol = 'unreachable'

    def __init__(self, *arguments, **options):
        raise OSError('no way there')


def test_a_store_that_cannot_be_reached_is_told(here):
    fsspec.register_implementation('unreachable', Unreachable, clobber=True)
    model, _ = model_with()
    told = r'unreachable://x\.png cannot be opened \(no way there\): expected a path, or the URL of a store that can'
    with pytest.raises(InputError, match=told):
        written_rows(model, [Image('unreachable://x.png', allow_private=True)])
    with pytest.raises(InputError, match='no way there'):
        parquet.files('unreachable://*.png')


def test_pairs_may_have_names(here, memory, photo):
    memory.pipe('/photos/x.png', Path(photo).read_bytes())
    pair = collections.namedtuple('Pair', ['reference', 'candidates'])
    model, _ = model_with()
    parquet.write(model, 'rank', [pair('memory://photos/x.png', ['a', 'b'])], 'out.parquet')
    (row,) = pq.read_table('out.parquet').to_pylist()
    assert {match['input'] for match in row['matches']} == {'a', 'b'}


def written_rows(model, inputs, **options):
    parquet.write(model, 'encode', inputs, 'rows.parquet', on_item_error='return', **options)
    return pq.read_table('rows.parquet').to_pylist()


def test_an_error_of_the_inputs_comes_after_what_was_answered(here, memory, photo):
    """Images of stores are read ahead."""
    memory.pipe('/photos/x.png', Path(photo).read_bytes())

    def inputs():
        yield from ['memory://photos/x.png'] * 3
        raise LookupError('mine')

    model, _ = model_with()
    with pytest.raises(LookupError, match='mine'):
        parquet.write(model, 'encode', inputs(), 'out.parquet')
    assert pq.read_table('out.parquet.parts/00000.parquet')['input'].to_pylist() == ['memory://photos/x.png'] * 3


def test_a_store_that_fails_is_no_items_fault(here, memory, monkeypatch):
    memory.pipe('/photos/x.png', b'')
    model, _ = model_with()

    def fails(*arguments, **options):
        raise ConnectionError('the wire was cut')

    monkeypatch.setattr(type(memory), 'cat_file', fails)
    with pytest.raises(
        InputError, match=r'memory://photos/x\.png cannot be read \(ConnectionError: the wire was cut\)'
    ):
        written_rows(model, ['memory://photos/x.png'])


@pytest.fixture(scope='module')
def s3(photo_bytes):
    """A bucket of a stand-in for S3, with photos."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer('127.0.0.1', 0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            'AWS_ACCESS_KEY_ID': 'key', 'AWS_SECRET_ACCESS_KEY': 'secret', 'AWS_DEFAULT_REGION': 'us-east-1',
            'AWS_ENDPOINT_URL': f'http://{host}:{port}', 'NO_PROXY': '127.0.0.1',
        }.items():  # fmt: skip
            patch.setenv(name, value)
        system = fsspec.filesystem('s3', skip_instance_cache=True)
        system.mkdir('bucket')
        for i in range(40):
            system.pipe(f'bucket/photos/{i:02}.png', photo_bytes)
        yield system
    server.stop()


@pytest.fixture(scope='module')
def photo_bytes():
    return (Path(__file__).parents[1] / 'photos' / 'chelsea.png').read_bytes()


def test_a_job_from_s3_to_s3(s3, photo, command):
    given = ['encode', 's3://bucket/photos/*.png', '--output', 's3://bucket/out/x.parquet', '--progress']
    code, out, told = command(*given)
    assert (code, out) == (0, '')
    assert 'encode: 40 of 40' in told
    assert s3.find('bucket/out') == ['bucket/out/x.parquet']
    with s3.open('bucket/out/x.parquet') as file:
        table = pq.read_table(file)
    assert table['input'].to_pylist() == [f's3://bucket/photos/{i:02}.png' for i in range(40)]
    (embedding,) = Client().get_model().encode(image=photo).embeddings
    np.testing.assert_allclose(np.stack(table['embedding'].to_numpy(zero_copy_only=False)), [embedding] * 40, atol=1e-6)


# -- the command line


def test_commands(here, photo, command):
    content = Path(photo).read_bytes()
    pq.write_table(pa.table({'id': [7, 8], 'image': [content, None], 'q': ['a cat?', 'b']}), 'in.parquet')
    rows = ['--input', 'in.parquet', '--image-column', 'image', '--on-item-error', 'return']
    to_file = ['--keep', 'id', '--output', 'out.parquet']
    for arguments, columns in (
        (['encode'], ['embedding']),
        (['rank', 'a cat', 'a dog'], ['matches']),
        (['caption'], ['response']),
        (['vqa', 'a cat?'], ['question', 'response']),
        (['vqa', '--question-column', 'q'], ['question', 'response']),
    ):
        code, out, told = command(*arguments, *rows, *to_file)
        assert (code, out) == (1, '')
        assert told == 'wrote 2 rows to out.parquet\nError: 1 of 2 items failed\n'
        table = pq.read_table('out.parquet')
        assert table.column_names == ['row', 'id', 'input', *columns, 'error']
        assert table['id'].to_pylist() == [7, 8]
        code, out, told = command(*arguments, *rows)
        lines = [json.loads(line) for line in out.splitlines()]
        assert lines[-1]['error'] == table['error'][1].as_py()


def test_lines_tell_their_rows(here, photo, command):
    content = Path(photo).read_bytes()
    columns = {
        'id': ['a', None],
        'image': [content, b'none'],
        'day': [datetime.date(2026, 11, 28)] * 2,
        'raw': [b'x'] * 2,
    }
    pq.write_table(pa.table({**columns, 'reference': [1, 2]}), 'in.parquet')
    rows = ['--input', 'in.parquet', '--image-column', 'image', '--on-item-error', 'return']
    kept = [word for name in ('id', 'day', 'raw') for word in ('--keep', name)]
    expected = [{'row': i, 'id': columns['id'][i], 'day': '2026-11-28', 'raw': 'eA=='} for i in range(2)]
    for arguments, count in (
        (['encode'], 1),
        (['rank', 'a cat', 'a dog'], 2),
        (['caption'], 1),
        (['vqa', 'a cat?'], 1),
    ):
        code, out, _ = command(*arguments, *rows, *kept)
        lines = [json.loads(line) for line in out.splitlines()]
        assert code == 1
        assert [{name: line[name] for name in expected[0]} for line in lines] == [expected[0]] * count + expected[1:]
        assert [line.get('error', '') != '' for line in lines] == [False] * count + [True]
    code, out, told = command('rank', 'a cat', *rows, '--keep', 'reference')
    assert (code, out) == (1, '')
    assert "the column 'reference' cannot be kept" in told


def test_rows_are_told_in_the_order_of_the_input(here, command):
    pq.write_table(pa.table({'id': range(600), 'body': numbers(600)}), 'in.parquet', row_group_size=70)
    code, _, _ = command(
        *['encode', '--input', 'in.parquet', '--text-column', 'body', '--keep', 'id', '--output', 'out.jsonl']
    )
    lines = [json.loads(line) for line in Path('out.jsonl').read_text().splitlines()]
    assert code == 0
    assert [(line['row'], line['id'], line['input']) for line in lines] == [(i, i, f'text {i}') for i in range(600)]


def test_rows_after_one_that_failed_keep_their_columns(here, command):
    """The second request fails for good after others were answered: its rows are left out, and no others are told."""

    def answer(data):
        if b'text 3' not in data:
            return embed_json(data)
        time.sleep(0.5)
        return 400, b'no'

    pq.write_table(pa.table({'id': [f'#{i}' for i in range(12)], 'body': numbers(12)}), 'in.parquet')
    with http_peer(answer) as (url, _):
        code, out, told = command(
            *['encode', '--model', url, '--input', 'in.parquet', '--text-column', 'body', '--keep', 'id'],
            *['--batch-size', '2'],
        )
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert 'HTTP status 400' in told
    assert [line['input'] for line in lines[:2]] == ['text 0', 'text 1']
    assert not {'text 2', 'text 3'} & {line['input'] for line in lines}
    assert len(lines) > 2
    assert [(line['row'], line['id']) for line in lines] == [
        (int(line['input'][5:]), f'#{line["input"][5:]}') for line in lines
    ]


def test_numbers_that_are_none_are_null(here, command):
    pq.write_table(pa.table({'price': [float('nan'), 1.5], 'body': numbers(2)}), 'in.parquet')
    _, out, _ = command(*['encode', '--input', 'in.parquet', '--text-column', 'body', '--keep', 'price'])
    assert [json.loads(line, parse_constant=pytest.fail)['price'] for line in out.splitlines()] == [None, 1.5]


def test_what_does_not_go_together(here, command):
    pq.write_table(pa.table({'body': ['a']}), 'in.parquet')
    rows = ['--input', 'in.parquet', '--text-column', 'body']
    for arguments, message in (
        (['encode', 'a', *rows], '--input is all that is worked on: leave the arguments out'),
        (['encode', '--text-column', 'body', 'a'], 'a column is one of --input'),
        (['encode', '--input', 'in.parquet'], '--input needs the name of one column'),
        (['encode', *rows, '--image-column', 'x'], '--input needs the name of one column'),
        (['encode', *rows, '--keep', 'body', '--output', 'a.npy'], '--keep goes with Parquet or JSON lines'),
        (['rank', *rows], 'give CANDIDATES for all rows, or --candidates-column'),
        (['rank', 'a', *rows, '--candidates-column', 'x'], 'give CANDIDATES for all rows, or --candidates-column'),
        (['rank', 'a'], 'give REFERENCE and CANDIDATES'),
        (['vqa', '--input', 'in.parquet', '--image-column', 'body'], 'give one QUESTION, or --question-column'),
        (['caption'], 'give IMAGES'),
    ):
        code, out, told = command(*arguments)
        assert (code, out) == (2, '')
        assert message in told


@pytest.mark.parametrize(('module', 'what'), [('pyarrow', 'inference_client.parquet'), ('fsspec', "'out.parquet'")])
def test_what_to_install(here, module, what):
    printed = output_of(
        f"""
        import sys
        sys.modules['{module}'] = None
        from inference_client import InferenceError
        from inference_client.testing import FakeTransport, client_for
        try:
            from inference_client import parquet
            parquet.write(client_for(FakeTransport()).get_model('x'), 'encode', ['a'], 'out.parquet')
        except ImportError as error:
            print(isinstance(error, InferenceError), error)
        """
    )
    install = "pip install 'inference-client[parquet]'"
    assert printed == f'True {what} needs {module}, which is not installed: {install}'


def test_a_server_error_is_kept_as_a_row(here):
    model, _ = model_with(Fault(error=ServerError('it is too hard')))
    rows = written_rows(model, ['a'], retry=ONCE)
    assert rows == [{'input': 'a', 'error': 'it is too hard'}]


def test_the_page(here, photo, memory, command, monkeypatch, capsys):
    """Its programs and commands, in their order, beside a photo."""
    text = (ROOT / 'docs' / 'parquet.md').read_text(encoding='utf-8')
    rocket = Path(photo).with_name('rocket.jpg')
    shutil.copy(rocket, here)
    (here / 'photos' / 'old').mkdir(parents=True)
    shutil.copy(rocket, here / 'photos' / 'old')
    memory.pipe('/bucket/photos/rocket.jpg', rocket.read_bytes())
    namespace, printed = {}, ''
    for kind, block in re.findall(r'^```(python|bash)\n(.*?)^```', text, re.MULTILINE | re.DOTALL):
        if kind == 'python':
            exec(block, namespace)
            printed += capsys.readouterr().out
        for line in block.replace('s3://', 'memory://').splitlines() if kind == 'bash' else ():
            if not line.startswith('pip '):
                program, *arguments = shlex.split(line)
                code, out, told = command(*arguments)
                assert (program, out) == ('inference-client', '')
                assert told.startswith('wrote ')
                assert code == ('posts.parquet' in line)  # one of the posts is empty
    assert printed == ''.join(blocks(text, 'text'))
    assert memory.find('/bucket') == ['/bucket/photos.parquet', '/bucket/photos/rocket.jpg']
