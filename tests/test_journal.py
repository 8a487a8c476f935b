"""The journal: a job that is killed goes on where it stopped, and gives what an unbroken one gives."""

from __future__ import annotations

import asyncio
import copy
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from docarray import Document
from hypothesis import given
from hypothesis import strategies as st
from strategies import documents, snapshot

from inference_client import AsyncClient, Client, InputError, Model, ModelSpec, Task, Transport, TransportOptions
from inference_client._documents import copy_tree
from inference_client._echo import restored
from inference_client._journal import Journal
from inference_client._messages import Response
from inference_client._packing import fingerprint, pack, unpack
from inference_client.tasks.base import Call

TIMEOUT = 60


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'run.journal'


class Answering(Transport):
    """Answers by a function, which may work on the documents in place; keeps the texts that it was sent."""

    def __init__(self, function):
        super().__init__('test://', TransportOptions())
        self.function = function
        self.seen = []

    def send(self, request, timeouts):
        self.seen += [document.text for document in request.documents]
        return Response(request.id, self.function(request.documents))


def model_of(function, name='test'):
    transport = Answering(function)
    return Model(ModelSpec(name, {'test': 'test://'}), transport), transport.seen


def embedded(documents):
    for document in documents:
        document.embedding = np.frombuffer(document.text.encode().ljust(8)[:8], np.float32)
    return documents


# -- killed and continued

JOB = """
    import sys
    from docarray import Document
    from inference_client import Client
    url, journal, log, count, form = sys.argv[1:]
    documents = [Document(id=f'id {i}', text=f'text {i}') for i in range(int(count))]
    options = dict(batch_size=4, journal=journal, log=log, sleep=0.02)
    with Client() as client:
        model = client.get_model(url)
        if form == 'stream':
            for document in model.stream('encode', documents, **options):
                pass
        else:
            model.encode(docs=documents, on_item_error='return', **options)
"""


def answered_in(path):
    try:
        with sqlite3.connect(path) as database:
            return database.execute('SELECT count(*) FROM answers').fetchone()[0]
    except sqlite3.Error:  # not made yet
        return 0
    finally:
        if 'database' in locals():
            database.close()


def known(path, url, log, count):
    """Texts that the journal has answers to."""
    journal = Journal(path, url, 'encode', {'log': str(log), 'sleep': 0.02})
    texts = {f'text {i}' for i in range(count)}
    found = {text for text in texts if journal.recall(Document(text=text)) is not None}
    journal.close()
    return found


def settled(log):
    """How often each text was sent, once the server has worked through what was under way."""
    before = None
    while before != (before := log.read_text()):
        time.sleep(0.3)
    return Counter(before.splitlines())


@pytest.mark.parametrize(
    ('scheme', 'form'),
    [
        ('grpc', 'call'),
        *(
            pytest.param(*one, marks=pytest.mark.once(reason='the journal does not know the scheme'))
            for one in (('http', 'stream'), ('ws', 'call'), ('grpc', 'stream'))
        ),
    ],
)
def test_a_job_that_is_killed_again_and_again(plain_flow, path, tmp_path, scheme, form):
    count, log, chance = 120, tmp_path / 'log', random.Random(scheme + form)
    arguments = [plain_flow[scheme], str(path), str(log), str(count), form]
    command = [sys.executable, '-c', textwrap.dedent(JOB), *arguments]
    answered = Counter()  # texts, with how often each had been sent when its answer was first seen in the journal
    for goal in sorted(chance.sample(range(1, count), 3)):
        with subprocess.Popen(command) as process:
            end = time.monotonic() + TIMEOUT
            while answered_in(path) < goal and process.poll() is None:
                assert time.monotonic() < end
                time.sleep(chance.random() / 100)
            process.send_signal(signal.SIGKILL)
        asked = settled(log)
        for text in known(path, plain_flow[scheme], log, count) - answered.keys():
            answered[text] = asked[text]
        assert len(answered) >= goal
    subprocess.run(command, check=True, timeout=TIMEOUT)
    asked = settled(log)
    assert set(asked) == {f'text {i}' for i in range(count)}
    assert {text: asked[text] for text in answered} == answered  # none of these was sent again
    with Client() as client:
        model = client.get_model(plain_flow[scheme])
        documents = [Document(id=f'id {i}', text=f'text {i}') for i in range(count)]
        options = {'batch_size': 4, 'log': str(log), 'sleep': 0.02}
        continued = model.encode(docs=documents, journal=path, **options)
        assert Counter(log.read_text().splitlines()) == asked  # nothing was sent
        unbroken = model.encode(docs=documents, **options)
    assert [snapshot(one) for one in continued] == [snapshot(one) for one in unbroken]


def test_everything_that_a_task_gives_is_kept(server, path, photo):
    pytest.importorskip('onnxruntime')
    rocket = photo.replace('chelsea.png', 'rocket.jpg')
    matches = [Document(id=f'm{i}', text=text) for i, text in enumerate(['a rocket', 'a cat', 'a dog'])]
    calls = [
        ('encode', [Document(id='a', text='a cat'), Document(id='b', uri=photo), Document(id='c', uri=rocket)]),
        ('rank', [Document(id=one, uri=one, matches=matches) for one in (photo, rocket)]),
        ('caption', [Document(id='a', uri=photo, tags={'n': 2**60 + 1}), Document(id='b', uri=rocket)]),
        ('vqa', [Document(id=one, uri=one, tags={'prompt': 'Is it a cat?'}) for one in (photo, rocket)]),
    ]
    for url in (server['grpc'], server['http'], server['ws'], 'local://embedded'):
        with Client() as client:
            model = client.get_model(url)
            for task, inputs in calls:
                # The last bits may depend on what is in a batch; a server makes one of what comes at the same time.
                one_by_one = {'docs': inputs, 'batch_size': 1, 'prefetch': 1}
                unbroken = [snapshot(one) for one in model.run(task, **one_by_one)]
                model.run(task, **{**one_by_one, 'docs': inputs[1:]}, journal=path)
                for _ in range(2):
                    continued = model.run(task, **one_by_one, journal=path)
                    assert [snapshot(one) for one in continued] == unbroken


# -- what is kept, and under what


def sent_and_answered():
    """A document, and what a model may make of it: changed or new in any field, and reordered within."""
    return st.tuples(documents(1), documents(1), st.booleans(), st.randoms(use_true_random=False))


@given(sent_and_answered())
def test_answers_come_back_whole(drawn):
    sent, new, echoes, chance = drawn
    sent = copy_tree(sent)
    answer = copy_tree(sent) if echoes else new
    if echoes:
        answer.embedding, answer.tags['n'] = np.ones(3, np.float32), 2**60 + 1
        answer.matches = chance.sample(list(answer.matches), len(answer.matches))
        for match in answer.matches:
            match.scores['clip_score'].value = 0.1
    answer.id, answer.chunks = sent.id, list(answer.chunks)  # so that these name it as their parent
    answer = restored(sent, answer)  # as the exchange does
    packed = pack(sent, answer)
    again = unpack(copy_tree(sent), *packed)
    assert exactly(again) == exactly(answer)


def exactly(document):
    """All that a document holds, but what an empty container or field says."""
    held = {key: value for key, value in snapshot(document).items() if value not in ('', b'', None)}
    for name in ('matches', 'chunks'):
        held[name] = [exactly(one) for one in getattr(document, name)]
    for name in ('scores', 'evaluations'):
        held[name] = {
            key: (score.value, score.op_name or '', score.description or '', score.ref_id or '')
            for key, score in getattr(document, name).items()
        }
    return held


@given(documents(1), documents(1))
def test_different_content_has_different_fingerprints(one, other):
    assert fingerprint(one) == fingerprint(copy.deepcopy(one))
    if exactly(without_ids(one)) != exactly(without_ids(other)):
        assert fingerprint(one) != fingerprint(other)


def without_ids(document):
    """Without what may differ from run to run: ids, and names of files whose content is there."""
    document = copy_tree(document, embedding=document.embedding)
    for one in (document, *document.matches, *document.chunks):
        one.id = one.parent_id = ''
        if one.content is not None:
            one.uri = ''
    return document


# -- whose answers


def test_nothing_else_is_taken_for_an_answer(path):
    """Another model, task, parameter or content is asked for anew; another name of the same content is not."""

    class OtherTask(Task):
        name = 'other'

        def prepare(self, *, docs, **parameters):
            return Call(map(copy_tree, docs), parameters)

    model, seen = model_of(embedded)
    other, other_seen = model_of(embedded, 'other')
    content = {'text': 'a', 'tags': {'n': 2**60, 'm': {'x': [1, None, True]}}}
    for again in (False, True):
        for run in (
            lambda: model.encode(docs=Document(id='a', **content), journal=path),
            lambda: model.encode(docs=Document(id='b', **content), journal=path),
        ):
            assert run()[0].embedding.shape == (2,)
        assert len(seen) == 1, again
    changed = [
        lambda: model.encode(docs=Document(**{**content, 'text': 'b'}), journal=path),
        lambda: model.encode(docs=Document(text='a', tags={'n': 2**60 + 1, 'm': {'x': [1, None, True]}}), journal=path),
        lambda: model.encode(docs=Document(text='a', tags={'n': 2**60, 'm': {'x': [1, None, 1]}}), journal=path),
        lambda: model.encode(docs=Document(**content, weight=0.5), journal=path),
        lambda: model.encode(docs=Document(**content, matches=[Document(text='m')]), journal=path),
        lambda: model.encode(docs=Document(**content), journal=path, level=1),
        lambda: model.encode(docs=Document(**content), journal=path, level='1'),
        lambda: model.run(OtherTask, docs=[Document(**content)], journal=path),
    ]
    for expected, run in enumerate(changed, 2):
        run()
        assert len(seen) == expected
        run()
        assert len(seen) == expected
    other.encode(docs=Document(**content), journal=path)
    assert len(other_seen) == 1


def test_the_same_image_under_another_name_is_known(path, photo, tmp_path):
    model, seen = model_of(
        lambda documents: [one.__setattr__('embedding', np.ones(2)) for one in documents] and documents
    )
    copied = tmp_path / 'copy.png'
    copied.write_bytes(Path(photo).read_bytes())
    model.encode(image=photo, journal=path)
    (again,) = model.encode(image=str(copied), journal=path)
    assert (again.uri, again.blob, again.embedding.tolist()) == (str(copied), b'', [1, 1])
    assert len(seen) == 1


def worked_on_in_place(documents):
    """What a model of this process may do: all of it shows in the documents that it was given."""
    for document in documents:
        document.tags['seen'] = True
        document.tags.pop('gone', None)
        document.text = document.text.upper()
        for match in document.matches:
            match.scores['clip_score'].value = len(match.text) / 7
        document.matches = sorted(document.matches, key=lambda one: len(one.text))
    return documents


def test_documents_that_a_model_works_on_in_place(path):
    def inputs():
        matches = [Document(id=f'#{i}', text='m' * (i + 1)) for i in range(3)]
        return [Document(id=str(i), text=f't{i}', tags={'gone': 1, 'i': i}, matches=matches) for i in range(5)]

    model, seen = model_of(worked_on_in_place)
    unbroken = [snapshot(one) for one in model.rank(docs=inputs(), batch_size=2)]
    model.rank(docs=inputs()[2:4], journal=path)
    del seen[:]
    continued = model.rank(docs=inputs(), journal=path, batch_size=2)
    assert [snapshot(one) for one in continued] == unbroken
    assert sorted(seen) == ['T0', 'T1', 'T4'] or sorted(seen) == ['t0', 't1', 't4']
    assert unbroken[0]['matches'][0]['scores'] == {'clip_score': 3 / 7}


def test_streams_and_event_loops_keep_one_too(plain_flow, path, tmp_path):
    log, texts = tmp_path / 'log', [f'text {i}' for i in range(20)]
    options = {'journal': path, 'log': str(log), 'batch_size': 3}

    async def streamed():
        async with AsyncClient() as client:
            model = client.get_model(plain_flow['grpc'])
            model = await model
            stream = model.stream('encode', texts, **options)
            first = [document.text async for document in stream]
            assert [document.text for document in await model.encode(text=texts, **options)] == first
            return first

    with Client() as client:
        model = client.get_model(plain_flow['grpc'])
        stream = model.stream('encode', texts, **options)
        assert [next(stream).text for _ in range(5)] == texts[:5]
        stream.close()
        assert asyncio.run(streamed()) == texts
        some = Counter(settled(log).values())
        assert set(some) <= {1, 2}  # twice: what was under way when the stream was left
        assert [one.text for one in model.stream('encode', iter(texts), ordered=False, **options)] == texts
        assert Counter(settled(log).values()) == some


@pytest.mark.parametrize('scheme', ['grpc', 'http', 'ws'])
def test_errors_are_not_kept(plain_flow, path, tmp_path, scheme):
    log = tmp_path / 'log'
    options = {'journal': path, 'log': str(log), 'on_item_error': 'return'}
    texts = ['a', 'raise', 'b', 'no answer', '']
    with Client() as client:
        model = client.get_model(plain_flow[scheme])
        for _ in range(2):
            answered = model.encode(text=texts, **options)
            assert ['error' in one.tags for one in answered] == [False, True, False, True, True]
            before = settled(log)
    model.close()
    assert before['a'] < 6  # it was in a batch with 'raise' some times
    log.write_text('')
    with Client() as client:
        client.get_model(plain_flow[scheme]).encode(text=texts, **options)
    assert set(settled(log)) == {'raise', 'no answer'}


def test_two_processes_with_one_journal(plain_flow, path, tmp_path):
    log = tmp_path / 'log'
    arguments = [plain_flow['grpc'], str(path), str(log), '60', 'call']
    command = [sys.executable, '-c', textwrap.dedent(JOB), *arguments]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(TIMEOUT) for process in processes] == [0, 0, 0]
    assert answered_in(path) == 60


# -- files that are of no use


def test_a_file_of_something_else_is_left_alone(path):
    model, _ = model_of(embedded)
    path.write_text('{"a": 1}\n' * 200)
    with pytest.raises(InputError, match=r'the journal .* cannot be used \(file is not a database\): give'):
        model.encode(text='a', journal=path)
    assert path.read_text() == '{"a": 1}\n' * 200
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute('CREATE TABLE mine (x)')
    database.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match='is a database of something else'):
        model.encode(text='a', journal=path)
    assert path.read_bytes() == before


def test_places_that_cannot_be_written(path, tmp_path):
    model, seen = model_of(embedded)
    for bad in (tmp_path, tmp_path / 'no such folder' / 'x', ''):
        with pytest.raises(InputError, match=r'the journal .* cannot be used \(unable to open database file\)'):
            model.encode(text='a', journal=bad)
    with pytest.raises(InputError, match='journal is a int'):
        model.encode(text='a', journal=5)
    if os.geteuid():  # nothing is read-only for root
        tmp_path.chmod(0o500)
        with pytest.raises(InputError, match='cannot be used'):
            model.encode(text='a', journal=path)
    assert seen == []


def test_a_name_that_means_something_to_sqlite_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, _ = model_of(embedded)
    for name in (':memory:', 'file:x?mode=memory'):
        model.encode(text='a', journal=name)
        assert (tmp_path / name).is_file()


def test_a_full_disk_keeps_what_was_done(path, monkeypatch):
    model, _ = model_of(embedded)
    whole = Journal._opened

    def small(journal):
        database = whole(journal)
        database.execute('PRAGMA max_page_count = 12')  # as SQLite says it: "database or disk is full"
        return database

    monkeypatch.setattr(Journal, '_opened', small)
    texts = [f'{i} {os.urandom(400).hex()}' for i in range(200)]
    done = []
    with pytest.raises(InputError, match=r'cannot be written \(database or disk is full\)') as caught:
        model.encode(docs=[Document(text=text, tags={'t': text}) for text in texts], journal=path, batch_size=2)
    completed = caught.value.completed
    assert 2 < len(completed) < 100
    assert list(completed[:, 'text']) == texts[: len(completed)]
    with pytest.raises(InputError, match='disk is full'):
        for document in model.stream('encode', texts, journal=path, batch_size=2):
            done.append(document.text)
    assert done == texts[: len(done)]
    monkeypatch.undo()
    assert (
        model.encode(docs=[Document(text=text, tags={'t': text}) for text in texts], journal=path)[:, 'text'] == texts
    )


def test_a_document_that_cannot_be_kept_is_named(path):
    model, seen = model_of(embedded)
    inputs = [Document(text='a'), Document(id='odd', text='b', tags={'when': object()}), Document(text='c')]
    with pytest.raises(InputError, match='document odd cannot be kept in a journal'):
        model.encode(docs=inputs, journal=path)
    answered = model.encode(docs=inputs, journal=path, on_item_error='return')
    assert ['error' in one.tags for one in answered] == [False, True, False]
    assert set(seen) == {'a', 'c'}
