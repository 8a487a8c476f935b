"""Streams: any number of inputs, pulled as they are needed, and answers as they come; on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import threading
import time
from pathlib import Path

import pytest
from docarray import Document
from isolated import run_python, write_distribution
from peers import embed, embed_json, grpc_peer, http_peer, ws_peer

from inference_client import AsyncClient, Client, Image, InputError, RetryPolicy, ServerError, Text
from inference_client._threads import Threads
from inference_client.errors import (
    AuthenticationError,
    ConnectionFailedError,
    RequestTooLargeError,
    TransportError,
    UnsupportedTaskError,
)
from inference_client.inputs import text_documents
from inference_client.testing import FakeTransport, async_client_for, client_for

SCHEMES = ['grpc', 'http', 'ws']
CLOSED = 'http://127.0.0.1:1'  # nobody listens there


@pytest.fixture(params=SCHEMES)
def model(request, plain_flow):
    with Client() as client:
        yield client.get_model(plain_flow[request.param])


def texts_of(documents):
    return [document.text for document in documents]


def numbers(count):
    return [f'text {i}' for i in range(count)]


async def collected(url, task, inputs, **options):
    async with AsyncClient() as client:
        model = await client.get_model(url)
        return [document async for document in model.stream(task, inputs, **options)]


async def asynchronous(items):
    for item in items:
        await asyncio.sleep(0)
        yield item


# -- the four tasks and their inputs


def forms(photo):
    """Task, inputs, options, and what to see of each answer."""
    rocket = photo.replace('chelsea.png', 'rocket.jpg')
    candidates = ['a rocket', 'a photo of a cat']
    ranked = Document(uri=photo, matches=[Document(text=text) for text in candidates])
    asked = Document(uri=photo, tags={'prompt': 'Is it a cat or a dog?'})
    return [
        ('encode', ['hello', photo, Text(photo), Image(rocket), Document(text='x')], {}, lambda d: d.embedding.shape),
        ('rank', [(photo, candidates), ranked, [rocket, candidates]], {}, lambda d: [m.text for m in d.matches]),
        ('caption', [photo, Image(rocket), Document(uri=photo)], {}, lambda d: d.tags['response']),
        ('vqa', [(photo, 'Is it a cat or a dog?'), asked], {}, lambda d: d.tags['response']),
        ('vqa', [photo, rocket], {'question': 'Is it a cat or a dog?'}, lambda d: d.tags['response']),
    ]


@pytest.mark.parametrize('number', range(5))
@pytest.mark.parametrize('scheme', [*SCHEMES, 'local'])
def test_every_task_takes_its_inputs(server, scheme, number, photo):
    pytest.importorskip('onnxruntime')
    url = {**server, 'local': 'local://embedded'}[scheme]
    task, inputs, options, see = forms(photo)[number]
    with Client() as client:
        model = client.get_model(url)
        seen = [see(one) for one in model.stream(task, iter(inputs), batch_size=1, **options)]
    assert len(seen) == len(inputs)
    assert all('cat' in one for one in seen[:1] if task == 'vqa')
    for given in (inputs, asynchronous(inputs)):
        assert [see(one) for one in asyncio.run(collected(url, task, given, batch_size=1, **options))] == seen


@pytest.mark.parametrize(('peer', 'answer'), [(grpc_peer, embed), (http_peer, embed_json)])
def test_input_order_and_the_order_of_answers(peer, answer):
    """In order, five others come to the server beside a slow one; without, the next ones come as those are answered."""
    others, beside = threading.Semaphore(0), 4

    def answered(data):
        if b'slow' in data:
            for _ in range(beside):
                assert others.acquire(timeout=60)
        others.release()
        return answer(data)

    texts = ['the first, which shows what the server is', 'slow', *numbers(20)]
    with peer(answered) as (url, _), Client() as client:
        model = client.get_model(url)
        assert texts_of(model.stream('encode', texts, batch_size=1, prefetch=6)) == texts
        others, beside = threading.Semaphore(0), 8
        loose = texts_of(model.stream('encode', texts, batch_size=1, prefetch=6, ordered=False))
        assert sorted(loose) == sorted(texts)
        assert loose.index('slow') > 1  # the others did not wait for it
        others = threading.Semaphore(0)
        loose = texts_of(asyncio.run(collected(url, 'encode', texts, batch_size=1, prefetch=6, ordered=False)))
        assert (sorted(loose), loose.index('slow') > 1) == (sorted(texts), True)


def test_nothing_in_nothing_out(model, plain_flow):
    assert list(model.stream('encode', [])) == []
    assert asyncio.run(collected(plain_flow['grpc'], 'encode', [])) == []
    assert asyncio.run(collected(plain_flow['grpc'], 'encode', asynchronous([]))) == []


def test_a_stream_feeds_another(model):
    first = model.stream('encode', numbers(20), batch_size=3)
    second = model.stream('encode', (Document(text=f'{one.text}!') for one in first), batch_size=2)
    assert texts_of(second) == [f'{text}!' for text in numbers(20)]


@pytest.mark.parametrize('scheme', SCHEMES)
def test_an_asynchronous_stream_feeds_another(plain_flow, scheme):
    async def nested():
        async with AsyncClient() as client:
            model = await client.get_model(plain_flow[scheme])
            first = model.stream('encode', numbers(20), batch_size=3)
            return texts_of([one async for one in model.stream('encode', first, batch_size=2)])

    assert asyncio.run(nested()) == numbers(20)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_answers_that_come_while_the_caller_has_its_turn_are_not_lost(plain_flow, scheme):
    """The last ones, too, and callbacks hear of them."""

    texts = ['text 0', 'sleep 0.3']

    async def slowly():
        heard, given = [], []
        async with AsyncClient() as client:
            model = await client.get_model(plain_flow[scheme])
            async for one in model.stream('encode', texts, batch_size=1, on_done=heard.extend):
                given.append(one.text)
                await asyncio.sleep(0.6)
        return given, sorted(texts_of(heard))

    assert asyncio.run(slowly()) == (texts, sorted(texts))


# -- how far inputs are pulled


@pytest.mark.parametrize('ordered', [True, False])
def test_inputs_are_pulled_as_they_are_needed(model, ordered):
    pulled = []

    def source():
        for text in numbers(1000):
            pulled.append(text)
            yield text

    stream = model.stream('encode', source(), batch_size=4, prefetch=3, ordered=ordered)
    assert pulled == []
    for taken in range(1, 200):
        next(stream)
        assert len(pulled) <= taken + 4 * 3 + 3  # what is out, and what is left of the batches that were taken
    stream.close()
    assert len(pulled) < 220


@pytest.mark.parametrize('scheme', SCHEMES)
def test_asynchronous_inputs_are_pulled_as_they_are_needed(plain_flow, scheme):
    pulled = []

    async def source():
        for text in numbers(1000):
            pulled.append(text)
            yield text

    async def some():
        async with AsyncClient() as client:
            model = await client.get_model(plain_flow[scheme])
            stream = model.stream('encode', source(), batch_size=4, prefetch=3)
            assert pulled == []
            for taken in range(1, 200):
                await stream.__anext__()
                assert len(pulled) <= taken + 4 * 3 + 3
            await stream.aclose()

    asyncio.run(some())
    assert len(pulled) < 220


MEMORY = """
    import resource, sys
    from inference_client import Client, Task
    from inference_client.tasks.base import Call
    from inference_client.inputs import text_documents

    class Echo(Task):
        name = 'echo'
        def prepare(self, *, docs):
            return Call(docs)
        def prepare_stream(self, inputs):
            return Call(text_documents(inputs))

    url, count = sys.argv[1], int(sys.argv[2])
    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with Client() as client:
        model = client.get_model(url)
        def run(count):
            texts = (f'the text number {i}' for i in range(count))
            return sum(1 for _ in model.stream(Echo, texts, batch_size=512))
        assert run(4000) == 4000
        before = peak()
        assert run(count) == count
        print(peak() - before)
"""


ENGINE = """
    from inference_client import Engine, hookimpl

    class Same(Engine):
        tasks = frozenset({'echo'})

        def run(self, task, documents, parameters):
            return documents

    @hookimpl
    def inference_client_engines():
        return {'same': Same}
"""


@pytest.mark.once(reason='memory is kept by this code, not by the interpreter')
@pytest.mark.parametrize('scheme', ['grpc', 'local'])
def test_memory_does_not_grow_with_the_inputs(plain_flow, tmp_path, scheme):
    write_distribution(tmp_path, 'same', {'same': 'same_engine'}, same_engine=ENGINE)
    url = {**plain_flow, 'local': 'local://same'}[scheme]
    done = run_python(MEMORY, tmp_path, arguments=[url, '200000'])
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 50  # MB; 200,000 documents take over 300


# -- leaving early, and errors


def left_over():
    """Threads of ours that are still there, once those that may end have had the time to."""
    end = time.monotonic() + 10
    while True:
        gc.collect()
        found = [one.name for one in threading.enumerate() if one.name.startswith(('inference-client', 'Thread-'))]
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.05)


def test_threads_end_with_a_pool_that_is_forgotten():
    pool = Threads(2)
    assert pool.submit(int, '7').result(10) == 7
    assert any(one.name == 'inference-client' for one in threading.enumerate())
    del pool
    assert left_over() == []


def by_break(stream):
    for _ in stream:
        break


def by_close(stream):
    next(stream)
    stream.close()


def by_error(stream):
    with pytest.raises(RuntimeError, match='mine'):
        for _ in stream:
            raise RuntimeError('mine')


def by_forgetting(stream):
    next(stream)


@pytest.mark.parametrize('leave', [by_break, by_close, by_error, by_forgetting])
@pytest.mark.parametrize('scheme', SCHEMES)
def test_leaving_early_leaves_nothing(plain_flow, scheme, leave):
    with Client() as client:
        model = client.get_model(plain_flow[scheme])
        leave(model.stream('encode', numbers(1000), batch_size=2, show_progress=False))
        assert texts_of(model.stream('encode', numbers(9), batch_size=2)) == numbers(9)  # the connection is fine
    assert left_over() == []


@pytest.mark.parametrize('scheme', SCHEMES)
def test_leaving_an_asynchronous_stream_early_leaves_nothing(plain_flow, scheme):
    async def left():
        async with AsyncClient() as client:
            model = await client.get_model(plain_flow[scheme])
            before = asyncio.all_tasks()
            for _ in range(3):
                stream = model.stream('encode', asynchronous(numbers(1000)), batch_size=2)
                async for _ in stream:
                    break
                await stream.aclose()
            left = asyncio.all_tasks() - before
            again = [one.text async for one in model.stream('encode', numbers(9), batch_size=2)]
            assert again == numbers(9)
            return [task for task in left if 'drive' in repr(task) or '_send' in repr(task) or 'feed' in repr(task)]

    assert asyncio.run(left()) == []


def test_an_error_in_the_middle_comes_after_what_was_answered(model):
    texts = [*numbers(10), 'raise', *numbers(10)]
    done = []
    with pytest.raises(ServerError, match='the executor does not like this') as caught:
        for document in model.stream('encode', texts, batch_size=1, prefetch=2):
            done.append(document.text)
    assert done[:10] == texts[:10]
    assert 'raise' not in done
    assert (caught.value.span, caught.value.completed) == ((10, 11), None)


def test_an_error_of_the_inputs_comes_after_what_was_answered(model):
    def source():
        yield from numbers(7)
        raise LookupError('mine')

    done = []
    with pytest.raises(LookupError, match='mine'):
        for document in model.stream('encode', source(), batch_size=2):
            done.append(document.text)
    assert done == numbers(7)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'batch_size': 0}, 'batch_size is 0'),
        ({'prefetch': True}, 'prefetch is True'),
        ({'timeout': -1}, 'timeout is -1'),
        ({'on_item_error': 'ignore'}, "on_item_error is 'ignore'"),
        ({'retry': 3}, 'retry is a int'),
        ({'on_done': 'print'}, 'on_done is a str'),
        ({'level': object()}, 'parameter level'),
    ],
)
def test_wrong_options_are_errors_at_once(plain_flow, options, words):
    with Client() as client, pytest.raises(InputError, match=words):
        client.get_model(plain_flow['grpc']).stream('encode', ['a'], **options)

    async def begun():
        async with AsyncClient() as other:
            (await other.get_model(plain_flow['grpc'])).stream('encode', ['a'], **options)

    with pytest.raises(InputError, match=words):
        asyncio.run(begun())


@pytest.mark.parametrize(
    'inputs', ['a text', b'bytes', {'a': 1}, Document(text='a'), Text('a'), Image('a.png'), Path('a.png'), 1]
)
def test_one_input_is_no_stream(inputs):
    """A text would be cut into characters, and bytes into numbers."""
    told = f'the inputs are a {type(inputs).__name__}: expected an iterable'
    fake = FakeTransport()
    model, other = client_for(fake).get_model('m'), async_client_for(fake)
    for call in (model.stream, model.profile):
        with pytest.raises(InputError, match=told) as caught:
            call('encode', inputs)
        assert (caught.value.task, fake.requests) == ('encode', [])

    async def begun():
        async with other:
            (await other.get_model('m')).stream('encode', inputs)

    with pytest.raises(InputError, match=told):
        asyncio.run(begun())


@pytest.mark.parametrize(
    ('task', 'names'),
    [
        ('encode', ['text', 'image', 'docs']),
        ('rank', ['reference', 'candidates', 'docs']),
        ('caption', ['image', 'docs']),
        ('vqa', ['image', 'docs']),
    ],
)
def test_the_inputs_of_a_call_are_no_parameters_of_a_stream(plain_flow, task, names):
    with Client() as client:
        model = client.get_model(plain_flow['grpc'])
        for name in names:
            with pytest.raises(InputError, match=f'{name}= goes with a call'):
                model.stream(task, [], **{name: 'x'})
        (answered,) = model.stream('encode', ['a'], inputs=1.0)  # a parameter as any other
        assert answered.tags['seen'] == {'inputs': 1.0}


def test_results_of_a_task_are_in_input_order_or_refused(model):
    with pytest.raises(InputError, match='ordered=False goes with stream'):
        model.encode(text=['a'], ordered=False)


def broken_by_a_call(other):
    """Texts, until another call fails over an item of its own."""
    yield from numbers(3)
    other.encode(text=['fine', ''], batch_size=1)
    yield from numbers(3)


def broken_by_an_item(other):
    yield from numbers(3)
    yield from (document.text for document in text_documents(['', 'not reached']))


def mapped(other):
    return map(str, broken_by_a_call(other))


def without_generator(other):
    def encoded(text):
        return other.encode(text=[text])[0].text

    return map(encoded, [*numbers(3), '', 'not reached'])


@pytest.mark.parametrize('makes', [broken_by_a_call, broken_by_an_item, mapped, without_generator])
def test_an_error_of_the_inputs_ends_the_call_whichever_item_it_names(makes):
    options = {'batch_size': 2, 'on_item_error': 'return'}
    other = client_for(FakeTransport()).get_model('m')
    done = []
    with pytest.raises(InputError, match='the text is empty') as caught:
        for document in other.stream('encode', makes(other), **options):
            done.append(document.text)
    assert (done, caught.value.span) == (numbers(3), (3, 4))
    with pytest.raises(InputError, match='the text is empty') as caught:
        other.encode(text=makes(other), **options)
    assert texts_of(caught.value.completed) == numbers(3)

    async def as_an_asynchronous_one(inputs):
        async with async_client_for(FakeTransport()) as client:
            async for document in (await client.get_model('m')).stream('encode', asynchronous(inputs), **options):
                done.append(document.text)

    with pytest.raises(InputError, match='the text is empty'):
        asyncio.run(as_an_asynchronous_one(makes(other)))
    assert done == numbers(3) * 2


def test_inputs_that_never_end():
    answers = client_for(FakeTransport()).get_model('m').stream('encode', itertools.repeat('again'), batch_size=2)
    assert texts_of(itertools.islice(answers, 5)) == ['again'] * 5


def test_a_generator_of_inputs_goes_on_for_its_owner():
    inputs = iter(text for text in numbers(9))
    for _ in client_for(FakeTransport()).get_model('m').stream('encode', inputs, batch_size=1, prefetch=1):
        break
    gc.collect()
    assert list(inputs) == numbers(9)[1:]


# -- one bad item


@pytest.fixture
def bad_file(tmp_path):
    path = tmp_path / 'bad.png'
    path.write_bytes(b'no image')
    return str(path)


@pytest.mark.parametrize('batch_size', [1, 4, 32])
def test_bad_items_come_back_alone(model, plain_flow, bad_file, batch_size):
    deep = Document(id='deep', text='x')
    deep.tags['a'] = tags = {}
    for _ in range(30):
        tags['a'] = tags = {}
    odd = Document(id='odd', text='y', tags={'when': object()})
    inputs = [
        *numbers(5),
        bad_file,
        'raise',
        *numbers(3),
        'no answer',
        '',
        5,
        Document(id='e'),
        deep,
        b'x',
        *numbers(2),
    ]
    options = {'batch_size': batch_size, 'on_item_error': 'return', 'retry': RetryPolicy(attempts=1)}
    for answered in (
        list(model.stream('encode', inputs, **options)),
        asyncio.run(collected(model.url, 'encode', inputs, **options)),
        asyncio.run(collected(model.url, 'encode', asynchronous(inputs), **options)),
    ):
        errors = [one.tags.get('error') for one in answered]
        good = [isinstance(one, str) and one.startswith('text') for one in inputs]
        assert [error is None for error in errors] == good
        assert all(one.embedding.shape == (4,) for one, fine in zip(answered, good) if fine)
        assert [one.text for one, fine in zip(answered, good) if fine] == [*numbers(5), *numbers(3), *numbers(2)]
        assert answered[5].uri == bad_file
        assert bad_file in errors[5]
        assert (answered[6].text, answered[10].text) == ('raise', 'no answer')
        assert 'does not like this' in errors[6]
        assert 'no embedding' in errors[10]
        assert (answered[13].id, answered[14].id) == ('e', 'deep')
        assert answered[15].blob == b'x'
    if model.url != plain_flow['http']:  # where JSON holds it as a text
        (returned,) = model.encode(docs=odd, on_item_error='return')
        assert (returned.id, 'cannot be sent' in returned.tags['error']) == ('odd', True)


def test_bad_items_of_pairs(server, photo, bad_file):
    pytest.importorskip('onnxruntime')
    with Client() as client:
        model = client.get_model(server['grpc'])
        ranked = list(model.stream('rank', [(photo, ['a', 'b']), (bad_file, ['a']), 5], on_item_error='return'))
        assert ['error' in one.tags for one in ranked] == [False, True, True]
        assert ranked[1].uri == bad_file
        asked = list(model.stream('vqa', [(photo, ''), (photo, 'a cat?'), photo], on_item_error='return'))
        assert ['error' in one.tags for one in asked] == [True, False, True]
        assert asked[0].uri == photo
        (one,) = model.rank(reference=bad_file, candidates=['a'], on_item_error='return')
        assert bad_file in one.tags['error']


def test_without_it_a_bad_item_ends_the_call(model, bad_file):
    with pytest.raises(InputError, match=r'bad\.png') as caught:
        model.encode(docs=[Document(text='a'), Document(uri=bad_file), Document(text='b')], batch_size=1)
    assert texts_of(caught.value.completed) == ['a']
    assert caught.value.span == (1, 2)


def test_the_error_of_an_earlier_call_is_none_of_this_one(model):
    again = Document(text='fine now', tags={'error': 'it was not', 'n': 1})
    (answered,) = model.encode(docs=again, on_item_error='return')
    assert 'error' not in answered.tags
    assert answered.embedding is not None
    assert again.tags['error'] == 'it was not'
    (answered,) = model.encode(docs=again)  # here it is a tag as any other
    assert answered.tags['error'] == 'it was not'


@pytest.mark.parametrize('return_or_raise', ['return', 'raise'])
def test_what_no_item_is_to_blame_for_ends_the_call(plain_flow, server, photo, return_or_raise):
    options = {'on_item_error': return_or_raise, 'retry': RetryPolicy(attempts=1)}
    with Client() as client:
        with pytest.raises(ConnectionFailedError):
            client.get_model(CLOSED).encode(text=numbers(40), **options)
        for scheme in SCHEMES:  # a Flow that has no captions sends the images back
            with pytest.raises(UnsupportedTaskError):
                client.get_model(plain_flow[scheme]).caption(image=[photo] * 3, **options)
        with pytest.raises(UnsupportedTaskError):
            client.get_model(plain_flow['http'] + '/nothing-here').encode(text=numbers(40), **options)
    with http_peer(lambda data: (401, b'no')) as (url, seen), Client(token='t') as client:
        with pytest.raises(AuthenticationError):
            client.get_model(url).encode(text=numbers(40), batch_size=8, prefetch=1, **options)
        assert len(seen) == 1
    for status in (429, 502, 503, 504):
        with http_peer(lambda data, code=status: (code, b'no')) as (url, seen), Client() as client:
            with pytest.raises(ServerError):
                client.get_model(url).encode(text=numbers(40), batch_size=8, prefetch=1, **options)
            assert len(seen) == 1
    for scheme, peer in (('ws', http_peer), ('http', grpc_peer), ('grpc', http_peer)):
        with peer() as (url, _), Client() as client, pytest.raises(TransportError):
            client.get_model(scheme + url[url.index(':') :]).encode(text=numbers(40), **options)


# -- callbacks


@pytest.mark.parametrize('form', ['call', 'stream'])
def test_callbacks_hear_of_each_batch_once(model, form):
    done, failed, always, threads = [], [], [], set()

    def on_done(documents):
        threads.add(threading.get_ident())
        done.extend(texts_of(documents))
        documents.clear()

    def on_always(documents):
        threads.add(threading.get_ident())
        always.append(texts_of(documents))
        documents.append(Document(text='mine'))

    options = {'on_done': on_done, 'on_error': failed.append, 'on_always': on_always, 'on_item_error': 'return'}
    texts = [*numbers(6), 'raise', *numbers(2)]
    inputs = {'text': texts} if form == 'call' else {}
    run = model.encode if form == 'call' else lambda **more: list(model.stream('encode', texts, **more))
    answered = run(**inputs, **options, batch_size=3)
    assert texts_of(answered) == texts
    assert sorted(done) == sorted([*numbers(6), *numbers(2)])
    assert sorted(text for batch in always for text in batch) == sorted(texts)
    assert ['does not like' in str(error) for error in failed] == [True]
    assert failed[0].span == (6, 7)
    assert threads == {threading.get_ident()}


def test_a_failure_is_told_before_it_is_raised(model):
    failed = []
    with pytest.raises(ServerError) as caught:
        model.encode(text=['a', 'raise'], batch_size=1, on_error=failed.append)
    assert failed == [caught.value]


@pytest.mark.parametrize('name', ['on_done', 'on_always'])
@pytest.mark.parametrize('scheme', SCHEMES)
def test_a_callback_that_raises_ends_the_call_with_its_own(plain_flow, scheme, name):
    def refuse(documents):
        raise LookupError('mine')

    with Client() as client:
        model = client.get_model(plain_flow[scheme])
        with pytest.raises(LookupError, match='mine'):
            model.encode(text=numbers(100), batch_size=2, **{name: refuse})
        assert len(model.encode(text=numbers(9), batch_size=2)) == 9
    assert left_over() == []


@pytest.mark.parametrize('scheme', SCHEMES)
def test_coroutine_functions_are_awaited(plain_flow, scheme):
    heard, failed = [], []

    async def on_done(documents):
        await asyncio.sleep(0.01)
        heard.extend(texts_of(documents))

    async def on_error(error):
        await asyncio.sleep(0)
        failed.append(error)

    async def refuse(documents):
        raise LookupError('mine')

    async def called():
        async with AsyncClient() as client:
            model = await client.get_model(plain_flow[scheme])
            options = {'on_done': on_done, 'on_error': on_error, 'on_item_error': 'return', 'batch_size': 2}
            answered = await model.encode(text=[*numbers(5), 'raise'], on_always=print, **options)
            assert texts_of(answered) == [*numbers(5), 'raise']
            with pytest.raises(LookupError, match='mine'):
                await model.encode(text=numbers(20), batch_size=2, on_always=refuse)

    asyncio.run(called())
    assert sorted(heard) == numbers(5)
    assert len(failed) == 1


class Awaited:
    async def __call__(self, documents):
        pass


async def awaited(documents):
    pass


@pytest.mark.parametrize('callback', [awaited, Awaited()])
@pytest.mark.parametrize('name', ['on_done', 'on_error', 'on_always'])
def test_nobody_awaits_for_a_blocking_model(model, name, callback):
    for run in (
        lambda: model.encode(text='a', **{name: callback}),
        lambda: model.stream('encode', [], **{name: callback}),
    ):
        with pytest.raises(
            InputError, match=f'{name} is a coroutine function: expected a plain one, or use AsyncModel'
        ):
            run()


def test_a_plain_function_that_gives_a_coroutine_is_noticed(model):
    with pytest.raises(InputError, match='expected a plain function, or use AsyncModel'):
        model.encode(text='a', on_done=lambda documents: awaited(documents))


# -- progress


def refreshing(expected):
    """Whether the thread of a bar runs, or soon does not: nobody waits for it to end."""
    end = time.monotonic() + 5
    while any('Refresh' in type(one).__name__ for one in threading.enumerate()) != expected:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize('terminal', [True, False])
def test_of_progress_nothing_is_left(model, monkeypatch, capsys, terminal):
    if terminal:
        monkeypatch.setenv('FORCE_COLOR', '1')  # rich takes it for one

    def refuse(documents):
        raise LookupError('mine')

    def interrupted(text):
        raise KeyboardInterrupt

    for texts, error, options in (
        (numbers(3), None, {}),
        (['raise'], ServerError, {}),
        (['a'], LookupError, {'on_done': refuse}),
        (map(interrupted, ['a']), KeyboardInterrupt, {}),
    ):
        with contextlib.suppress(*[error] * (error is not None)):
            model.encode(text=texts, show_progress=True, **options)
            assert error is None
        assert refreshing(False)
    stream = model.stream('encode', numbers(300), batch_size=2, show_progress=True)
    next(stream)
    assert refreshing(terminal)
    stream.close()
    assert refreshing(False)
    shown = capsys.readouterr()
    assert shown.out == ''
    assert ('\x1b[' in shown.err) == terminal
    assert '3/3' in shown.err if terminal else 'encode: 3 of 3 in ' in shown.err


# -- requests that are too large


@contextlib.contextmanager
def narrow_peer(scheme, limit):
    """A server that takes so many bytes at once."""
    peers = {
        'grpc': lambda: grpc_peer(max_size=limit),
        'http': lambda: http_peer(lambda data: embed_json(data) if len(data) <= limit else (413, b'too much')),
        'ws': lambda: ws_peer(max_size=limit),
    }
    with peers[scheme]() as (url, _):
        yield url


@pytest.mark.parametrize('scheme', SCHEMES)
def test_what_is_too_large_is_split(scheme):
    texts = [f'{i} {"x" * 300}' for i in range(40)]
    with narrow_peer(scheme, 2000) as url, Client() as client:
        model = client.get_model(url)
        assert texts_of(model.encode(text=texts)) == texts
        assert texts_of(asyncio.run(collected(url, 'encode', texts))) == texts
        large = [*texts, 'y' * 3000, *texts]
        with pytest.raises(RequestTooLargeError, match='send smaller documents') as caught:
            model.encode(text=large, prefetch=1)
        assert caught.value.span == (40, 41)
        answered = model.encode(text=large, on_item_error='return')
        assert [i for i, one in enumerate(answered) if 'error' in one.tags] == [40]
        assert texts_of(answered) == large
