"""Ray Data on a cluster of two nodes of this machine: answers in their rows, whatever becomes of the workers."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from isolated import PACKAGE, write_distribution
from pages import ROOT, blocks
from peers import embed_json, http_peer

from inference_client import Capabilities, Client, InputError, Model
from inference_client.ray import Answerer, Captioner, Encoder, Ranker
from inference_client.testing import FakeTransport, client_for

ray = pytest.importorskip('ray')
pytestmark = pytest.mark.filterwarnings('default')  # Ray warns of itself
TOKEN = 'a-t0ken-that-nobody-may-see'
TIMEOUT = 120
SLOW = """
    import os, time
    from inference_client import hookimpl
    from inference_client.testing.models import FakeEngine

    class SlowEngine(FakeEngine):
        def encode_text(self, texts, parameters):
            import ray
            time.sleep(0.05)
            with open(os.environ['LOG'], 'a') as log:
                node = ray.get_runtime_context().get_node_id()
                log.write(''.join(f'{os.getpid()} {node} {text}\\n' for text in texts))
            return super().encode_text(texts, parameters)

    @hookimpl
    def inference_client_engines():
        return {'slow': SlowEngine}
"""


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    """Where the engine of the workers says what it is asked: process, node and text."""
    path = tmp_path_factory.mktemp('ray') / 'log'
    path.touch()
    return path


@pytest.fixture(scope='module', autouse=True)
def session(log):
    """A cluster of two nodes, which listens on 127.0.0.1 and calls nobody; gives its directory."""
    from ray.cluster_utils import Cluster

    write_distribution(log.parent, 'slow-plugin', {'slow': 'slow_plugin'}, slow_plugin=SLOW)
    node = {'num_cpus': 2, 'resources': {'slot': 1}, 'object_store_memory': 80 << 20, 'node_ip_address': '127.0.0.1'}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', f'{log.parent}{os.pathsep}{PACKAGE.parent}')
        patch.setenv('LOG', str(log))
        patch.setenv('RAY_USAGE_STATS_ENABLED', '0')
        cluster = Cluster(initialize_head=True, head_node_args={**node, 'include_dashboard': False})
        try:
            cluster.add_node(**node)
            # Else Ray looks for an address of this machine that others can reach.
            patch.setattr('ray._private.services.get_node_ip_address', lambda *_: '127.0.0.1')
            told = {'log_to_driver': False, 'logging_level': logging.ERROR}
            ray.init(address=cluster.address, _node_ip_address='127.0.0.1', **told)
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            folder = Path(cluster.head_node.get_session_dir_path())
            yield folder
        finally:
            ray.shutdown()
            cluster.shutdown()
    end = time.monotonic() + TIMEOUT
    while processes_of(folder):
        assert time.monotonic() < end, 'processes of the cluster are left'
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def processes_of(folder):
    """Processes of a cluster, by its directory, with their command lines and environments."""
    found = {}
    for process in Path('/proc').glob('[0-9]*'):
        try:
            told = (process / 'cmdline').read_bytes() + (process / 'environ').read_bytes()
        except OSError:
            continue
        if folder.name.encode() in told and int(process.name) != os.getpid():
            found[int(process.name)] = told
    return found


def actors(size=2):
    return ray.data.ActorPoolStrategy(size=size)


def test_a_worker_is_killed(session, log):
    """Nothing is lost, and no row is there twice; what fails is told in its row."""
    count = 400
    texts = ['' if i % 50 == 7 else f'text {i}' for i in range(count)]
    rows = ray.data.from_items([{'id': i, 'text': text} for i, text in enumerate(texts)], override_num_blocks=20)
    killed = []

    def kill():
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end and not killed:
            asked = [line.split()[0] for line in log.read_text().splitlines()]
            if len(set(asked)) == 2 and asked.count(asked[0]) >= 30:
                os.kill(int(asked[0]), signal.SIGKILL)
                killed.append(asked[0])
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    answered = rows.map_batches(
        Encoder,
        fn_constructor_kwargs={'model': 'local://slow', 'on_item_error': 'return'},
        batch_size=10,
        compute=actors(),
        resources={'slot': 1},
    ).take_all()
    killer.join()
    asked = [line.split(maxsplit=2) for line in log.read_text().splitlines()]
    assert len(killed) == 1
    assert len({process for process, *_ in asked}) == 3  # another came in its place
    assert len({node for _, node, _ in asked}) == 2
    assert {text for *_, text in asked} == set(filter(None, texts))
    answered.sort(key=lambda row: row['id'])
    assert [(row['id'], row['text']) for row in answered] == list(enumerate(texts))
    model = client_for(FakeTransport()).get_model('x')
    expected = iter(model.encode(text=list(filter(None, texts))).embeddings)
    for row in answered:
        if row['text']:
            assert row['error'] is None
            np.testing.assert_array_equal(row['embedding'], next(expected))
        else:
            assert np.isnan(row['embedding']).all()
            assert row['error'] == 'the text is empty: expected at least one character'


def test_the_program_of_the_page(session, tmp_path, photo):
    """Of docs/ray.md, with photos of this machine."""
    bucket = tmp_path / 'photos'
    bucket.mkdir()
    for i in range(6):
        name = ('chelsea.png', 'rocket.jpg')[i % 2]
        shutil.copy(Path(photo).with_name(name), bucket / f'{i} {name}')
    (program,) = blocks((ROOT / 'docs' / 'ray.md').read_text(encoding='utf-8'), 'python')
    exec(program.replace('s3://bucket', str(tmp_path)).replace('grpc://127.0.0.1:51000', 'local://slow'), {})
    table = pq.read_table(tmp_path / 'vectors')
    assert table.schema.field('embedding').type == pa.list_(pa.float32(), 8)
    assert sorted(table.column_names) == ['embedding', 'error', 'path']
    assert table['error'].null_count == 6
    model = client_for(FakeTransport()).get_model('x')
    paths = sorted(map(str, bucket.iterdir()))
    expected = dict(zip(paths, model.encode(image=paths).embeddings.tolist()))
    assert dict(zip(table['path'].to_pylist(), table['embedding'].to_pylist())) == expected


def test_the_token_reaches_the_server_and_nobody_else(session):
    rows = ray.data.from_items([{'text': f'text {i}'} for i in range(20)])
    with http_peer(embed_json) as (url, seen):
        asked = rows.map_batches(
            Encoder, fn_constructor_kwargs={'model': url, 'token': TOKEN}, batch_size=5, compute=actors()
        )
        assert len(asked.take_all()) == 20
        assert set(seen) == {TOKEN}
        told = [repr(asked), str(asked.stats())]
        broken = rows.map_batches(
            Encoder, fn_constructor_kwargs={'model': 'nope://x', 'token': TOKEN}, compute=actors(1)
        )
        with pytest.raises(Exception, match='unknown URL scheme') as caught:
            broken.take_all()
        told += [repr(broken), repr(caught.value), str(caught.value)]
        processes = processes_of(session)
    assert len(processes) > 4
    assert [one for one in told if TOKEN in one] == []
    assert [process for process, told in processes.items() if TOKEN.encode() in told] == []
    logs = [path for path in session.rglob('*') if path.is_file()]
    assert any(path.suffix == '.log' and path.stat().st_size for path in logs)
    assert [path for path in logs if TOKEN.encode() in path.read_bytes()] == []


def test_the_cluster_of_these_tests_listens_on_this_machine_only(session):
    """So that the page may say how that is done."""
    inodes = set()
    for process in processes_of(session):
        for descriptor in Path(f'/proc/{process}/fd').glob('*'):
            try:
                inodes.update(re.findall(r'socket:\[(\d+)\]', os.readlink(descriptor)))
            except OSError:
                continue
    addresses = []
    for family, table in ((socket.AF_INET, 'tcp'), (socket.AF_INET6, 'tcp6')):
        for line in Path(f'/proc/net/{table}').read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == '0A' and rest[5] in inodes:  # it listens
                words = [int(local.split(':')[0][at : at + 8], 16) for at in range(0, len(local.split(':')[0]), 8)]
                addresses.append(socket.inet_ntop(family, struct.pack(f'={len(words)}I', *words)))
    assert len(addresses) > 4
    assert {address.replace('::ffff:', '') for address in addresses} == {'127.0.0.1'}


# -- without Ray, for what the classes do is theirs


def test_columns_of_each_task(photo):
    content = Path(photo).read_bytes()
    images = np.array([content, b'nothing', {'bytes': content, 'path': 'x.png'}, photo], object)
    batch = {'image': images, 'q': np.array(['a?', 'b?', 'c?', 'd?'], object), 'id': np.arange(4)}
    batch['names'] = np.array([['a', 'b.png'], ['c'], ['d'], ['e']], object)
    options = {'model': 'local://embedded', 'on_item_error': 'return', 'keep': ['id']}
    model = Client().get_model()
    for worker, task, arguments, columns in (
        (Encoder(**options), 'encode', {}, ['embedding']),
        (Captioner(**options), 'caption', {}, ['response']),
        (Answerer(question='a cat?', **options), 'vqa', {'question': 'a cat?'}, ['question', 'response']),
        (Answerer(question_column='q', **options), 'vqa', {'question': 'a?'}, ['question', 'response']),
        (Ranker(candidates=['a cat', photo], **options), 'rank', {'candidates': ['a cat', photo]}, ['matches']),
        (Ranker(candidates_column='names', **options), 'rank', None, ['matches']),
    ):
        answered = worker(batch)
        assert list(answered) == ['id', *columns, 'error']
        assert answered['id'] is batch['id']
        errors = answered['error'].to_pylist()
        assert [error is None for error in errors] == [True, False, True, True]
        values = answered[columns[-1]].to_pylist()
        assert np.isnan(values[1]).all() if task == 'encode' else values[1] is None
        if task == 'rank':
            names = {match['input'] for match in values[0]}
            assert names == ({'a', 'b.png'} if arguments is None else {'a cat', photo})
        else:
            (expected,) = model.run(task, image=content, **arguments)
            if task == 'encode':
                np.testing.assert_allclose(values[0], expected.embedding, atol=1e-5)
            else:
                assert values[0] == expected.tags['response']


def test_the_column_of_questions_may_have_the_name_of_the_tasks(photo):
    batch = {'image': np.array([photo], object), 'question': np.array(['a cat?'], object)}
    answered = Answerer('local://embedded', question_column='question')(batch)
    assert list(answered) == ['image', 'question', 'response']
    assert answered['question'].to_pylist() == ['Question: a cat? Answer:']


@pytest.mark.parametrize(
    ('worker', 'arguments', 'taken'),
    [
        (Encoder, {}, 'embedding'),
        (Captioner, {'on_item_error': 'return'}, 'error'),
        (Answerer, {'question': 'a cat?'}, 'question'),
        (Answerer, {'question_column': 'q'}, 'response'),
        (Answerer, {'question_column': 'q'}, 'question'),
        (Ranker, {'candidates': ['a']}, 'matches'),
    ],
)
def test_names_that_are_taken_are_told_before_anything_is_asked(worker, arguments, taken, photo):
    batch = {'image': np.array([photo], object), 'q': np.array(['a?'], object), taken: np.ones(1)}
    with http_peer(embed_json) as (url, asked), pytest.raises(InputError, match=f"has a column '{taken}' already"):
        worker(url, **arguments)(batch)
    assert asked == []


def test_a_row_without_candidates_fails_alone():
    worker = Ranker('local://embedded', candidates_column='names', on_item_error='return', keep=[])
    names = np.array([None, np.array(['a', 'b'], object)], object)
    answered = worker({'text': np.array(['x', 'y'], object), 'names': names})
    assert [one is None for one in answered['error'].to_pylist()] == [False, True]
    assert {one['input'] for one in answered['matches'].to_pylist()[1]} == {'a', 'b'}


def test_a_token_may_be_a_function_whose_text_shows_nothing():
    with http_peer(embed_json) as (url, seen):
        arguments = {'model': url, 'token': lambda: TOKEN}
        assert TOKEN not in str(arguments)  # as Ray keeps it
        Encoder(**arguments)({'text': np.array(['a'], object)})
    assert set(seen) == {TOKEN}


@pytest.mark.parametrize('failing', ['first', 'last'])
@pytest.mark.parametrize(
    ('worker', 'arguments', 'column'),
    [
        (Encoder, {}, 'embedding'),
        (Captioner, {}, 'response'),
        (Answerer, {'question': 'a cat?'}, 'response'),
        (Ranker, {'candidates': ['a']}, 'matches'),
    ],
)
def test_a_folder_of_files_can_be_read_where_all_rows_of_one_failed(
    worker, arguments, column, failing, photo, tmp_path
):
    bad, good = ({'image': np.array([content], object)} for content in (b'nothing', Path(photo).read_bytes()))
    work = worker('local://embedded', on_item_error='return', keep=[], **arguments)
    for place, batch in enumerate([bad, good] if failing == 'first' else [good, bad]):
        pq.write_table(pa.table(work(batch)), tmp_path / f'{place}.parquet')
    table = pq.read_table(tmp_path)
    place = failing == 'last'
    assert table['error'].is_null().to_pylist() == [place, not place]
    values = table[column].to_pylist()
    assert values[not place]
    assert np.isnan(values[place]).all() if column == 'embedding' else values[place] is None


def test_the_size_of_embeddings_is_asked_where_no_row_told_it():
    empty = {'text': np.array(['', ''], object)}
    with http_peer(embed_json) as (url, asked):
        worker = Encoder(url, on_item_error='return')
        assert worker(empty)['embedding'].type == worker(empty)['embedding'].type == pa.list_(pa.float32(), 2)
    assert len(asked) == 1
    worker = Encoder('local://embedded', text='body', on_item_error='return')
    assert np.isnan(worker({'body': np.array([''], object)})['embedding'].to_pylist()).all()
    assert worker({'body': np.array([], object)})['embedding'].type == pa.list_(pa.float32(), 384)


@pytest.mark.parametrize('size', [3, None])
def test_the_size_of_embeddings_of_a_model_without_texts(size, monkeypatch):
    def refuse(self, task, **arguments):
        raise InputError('this model takes images only')

    monkeypatch.setattr(Model, 'run', refuse)
    monkeypatch.setattr(Model, 'capabilities', lambda self, timeout: Capabilities(embedding_size=size))
    answered = Encoder('local://embedded', on_item_error='return')({'text': np.array([''], object)})
    assert answered['embedding'].type == (pa.null() if size is None else pa.list_(pa.float32(), size))


def test_what_is_of_no_use():
    for make, message in (
        (lambda: Encoder(image='a', text='b'), 'expected one column'),
        (lambda: Encoder(ordered=False), 'ordered=False does not go with Ray'),
        (lambda: Answerer(), 'expected one of question= and question_column='),
        (lambda: Ranker(candidates=['a'], candidates_column='b'), 'expected one of candidates='),
        (lambda: Encoder()({'a': np.arange(2)}), 'the batch has the columns a: say which one with image= or text='),
        (lambda: Encoder(text='b')({'a': np.arange(2)}), "the batch has no column 'b': it has a"),
        (lambda: Encoder(keep=['b'])({'text': np.array(['a'])}), "the batch has no column 'b': it has text"),
        (lambda: Encoder()([]), "expected batch_format='numpy'"),
        (lambda: Encoder()({'text': np.array([''])}), 'the text is empty'),
    ):
        with pytest.raises(InputError, match=message):
            make()
