"""What event loops ask for: parity, nothing that blocks, cancellation, several loops; and that nothing is left behind.

That the answers and errors are those of the blocking client is tested in `test_transports.py`, on both.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import inspect
import os
import pickle
import pydoc
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from docarray import Document
from isolated import output_of, run_python
from peers import HOST, embed, embed_json, grpc_peer, http_peer, listener, wait_until, ws_peer

from inference_client import (
    AsyncClient,
    AsyncModel,
    Client,
    ConnectionFailedError,
    Image,
    InputError,
    Model,
    ModelSpec,
    RequestTimeoutError,
    Response,
    Task,
    Timeouts,
    Transport,
    TransportOptions,
)

WIRES = ['grpc', 'http', 'ws']
PAIRS = [(Client, AsyncClient), (Model, AsyncModel)]
linux = pytest.mark.skipif(not Path('/proc/self/fd').is_dir(), reason='needs /proc')


# -- parity


def public(kind):
    return {name for name in dir(kind) if not name.startswith('_')}


def without_annotations(function):
    return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(('blocking', 'awaited'), PAIRS)
def test_both_have_the_same_names_parameters_and_docstrings(blocking, awaited):
    assert public(blocking) == public(awaited)
    for name in public(blocking):
        one, other = getattr(blocking, name), getattr(awaited, name)
        assert without_annotations(one) == without_annotations(other), name
        assert inspect.getdoc(one) == inspect.getdoc(other), name
        assert name in pydoc.plain(pydoc.render_doc(awaited)), name
    assert without_annotations(blocking) == without_annotations(awaited)


@pytest.mark.parametrize(('blocking', 'awaited'), PAIRS)
def test_what_waits_is_awaited(blocking, awaited):
    waiting = {'capabilities', 'close', 'get_model', 'is_ready', 'list_models', 'profile', 'run', 'wait_until_ready'}
    assert {name for name in public(awaited) if inspect.iscoroutinefunction(getattr(awaited, name))} == (
        waiting & public(awaited)
    )


# -- nothing blocks the loop

CALLS_THAT_BLOCK = ('open', 'socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'time.sleep')
watched = None  # the thread that must not block, while that is so
caught = []


def guard(event, arguments):
    if watched is None or threading.get_ident() != watched or event not in CALLS_THAT_BLOCK:
        return
    frame, own = sys._getframe(), False
    while frame is not None:
        if frame.f_globals.get('__name__', '').startswith('importlib'):
            return  # a first use imports modules
        own = own or 'inference_client' in frame.f_code.co_filename
        frame = frame.f_back
    if event == 'socket.connect' and arguments[0].getblocking() is False:
        return
    if own:
        caught.append((event, arguments))


@contextlib.contextmanager
def nothing_blocks():
    """Fails if this thread opens files, looks up names or connects meanwhile, where our code is on the stack."""
    global watched
    if not guarding:
        sys.addaudithook(guard)  # for good: it cannot be taken away
        guarding.append(True)
    watched = threading.get_ident()
    try:
        yield
    finally:
        watched = None
        found, caught[:] = caught[:], []
    assert found == []


guarding = []


def test_the_guard_sees_what_blocks(tmp_path):
    (tmp_path / 'a.txt').write_text('a')
    with pytest.raises(AssertionError), nothing_blocks():
        exec(compile('path.read_text()', 'inference_client/here.py', 'exec'), {'path': tmp_path / 'a.txt'})


@pytest.mark.parametrize('wire', WIRES)
def test_calls_neither_read_files_nor_look_up_names_on_the_loop(plain_flow, photo, wire):
    url = plain_flow[wire].replace(HOST, 'localhost')

    async def work(model):
        await model.encode(image=photo)
        await model.encode(docs=[Document(uri=photo), Document(text='a')])
        async for _ in model.stream('encode', [photo, 'a text']):
            pass
        await model.rank(reference=photo, candidates=['a', photo])
        await model.is_ready()

    async def main():
        async with AsyncClient() as client:
            model = await client.get_model(url)
            await work(model)  # imports what it needs
            await model.close()
            with nothing_blocks():
                await work(model)

    asyncio.run(main())


def test_a_slow_fetch_of_an_image_holds_up_nothing(photo):
    """The image comes only once the loop went on, so a blocked loop would end in a time-out."""
    turned = threading.Event()
    content = Path(photo).read_bytes()

    def speak():
        client, _ = server.accept()
        with client:
            client.recv(65536)
            if turned.wait(20):
                client.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(content), content))

    async def main(url):
        with ws_peer() as (model_url, _):
            async with AsyncClient(trust_env=False) as client:
                model = await client.get_model(model_url)
                call = asyncio.ensure_future(model.encode(image=Image(url, allow_private=True)))
                await asyncio.sleep(0.2)
                turned.set()
                assert (await call)[0].embedding.tolist() == [1, 1]

    with socket.create_server((HOST, 0)) as server:
        thread = threading.Thread(target=speak)
        thread.start()
        asyncio.run(main(f'http://{HOST}:{server.getsockname()[1]}/a.png'))
        thread.join()


def test_pixels_are_compressed_off_the_loop(monkeypatch):
    from inference_client._wire import pixels

    threads = []
    png = pixels.png
    monkeypatch.setattr(pixels, 'png', lambda data: (threads.append(threading.get_ident()), png(data))[1])

    async def main():
        with http_peer() as (url, _):
            async with AsyncClient(trust_env=False) as client:
                await (await client.get_model(url)).encode(image=np.zeros((600, 600, 3), np.uint8))

    asyncio.run(main())
    assert threads
    assert threading.get_ident() not in threads


def test_a_generator_of_texts_runs_off_the_loop():
    threads = []

    def texts():
        threads.append(threading.get_ident())
        yield 'a'

    async def main():
        with ws_peer() as (url, _):
            async with AsyncClient() as client:
                return await (await client.get_model(url)).encode(text=texts())

    assert len(asyncio.run(main())) == 1
    assert threading.get_ident() not in threads


# -- many tasks, cancellation, breaking off


@pytest.mark.parametrize('wire', WIRES)
def test_many_tasks_at_once(plain_flow, wire):
    async def main():
        async with AsyncClient() as client:
            model = await client.get_model(plain_flow[wire])
            answers = await asyncio.gather(*(model.encode(text='x' * number) for number in range(1, 101)))
        return [int(answer[0].embedding[0]) for answer in answers]

    assert asyncio.run(main()) == list(range(1, 101))


@pytest.mark.parametrize('wire', WIRES)
@pytest.mark.parametrize('items', [1, 15])
def test_a_cancelled_call_leaves_the_connection_usable_and_nothing_behind(plain_flow, wire, items):
    async def main():
        async with AsyncClient() as client:
            model = await client.get_model(plain_flow[wire])
            await model.encode(text='a')
            before = len(asyncio.all_tasks())
            call = asyncio.ensure_future(model.encode(text=['a'] * items, batch_size=5, sleep=0.6))
            await asyncio.sleep(0.3)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(model.encode(text=['a'] * items, batch_size=5, sleep=0.6), 0.3)
            assert (await model.encode(text='abc'))[0].embedding[0] == 3
            await settled(before)

    asyncio.run(main())


async def settled(before):
    """Wait until there are no more tasks than before; a WebSocket that fell silent may have been replaced."""
    for _ in range(500):
        if len(asyncio.all_tasks()) <= before:
            return
        await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks()) <= before, asyncio.all_tasks()


@pytest.mark.parametrize('wire', WIRES)
def test_a_call_is_cancelled_while_it_connects(wire):
    async def main():
        with listener() as port:
            async with AsyncClient(trust_env=False) as client:
                model = await client.get_model(f'{wire}://{HOST}:{port}')
                call = asyncio.ensure_future(model.encode(text='a'))
                await asyncio.sleep(0.2)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call

    asyncio.run(main())


@pytest.mark.parametrize('wire', WIRES)
def test_a_stream_may_be_left(plain_flow, wire):
    def texts():
        for number in range(100_000):
            pulled.append(number)
            yield 'x' * (number % 7 + 1)

    async def items():
        for text in texts():
            yield text

    async def main(inputs):
        async with AsyncClient() as client:
            model = await client.get_model(plain_flow[wire])
            answers, before = model.stream('encode', inputs, batch_size=4), asyncio.all_tasks()
            async for document in answers:
                if document.text == 'x' * 7:
                    break
            await answers.aclose()
            assert (await model.encode(text='abc'))[0].embedding[0] == 3
            assert asyncio.all_tasks() - before <= link_tasks()

    for inputs in (texts(), items()):
        pulled = []
        asyncio.run(main(inputs))
        assert len(pulled) < 100


def link_tasks():
    """Tasks of an open WebSocket."""
    return {task for task in asyncio.all_tasks() if 'websocket' in repr(task) or 'Link' in repr(task)}


# -- loops and threads


@pytest.mark.parametrize('wire', [*WIRES, 'local'])
def test_one_model_in_several_loops_without_closing(plain_flow, wire):
    url = plain_flow.get(wire, 'local://embedded')
    if wire == 'local':
        pytest.importorskip('onnxruntime')
    model = asyncio.run(AsyncClient().get_model(url))

    async def main():
        return await asyncio.gather(*(model.encode(text='abc') for _ in range(3)))

    answers = [asyncio.run(main())[0][0].embedding for _ in range(3)]
    assert all(np.allclose(one, answers[0], atol=1e-5) for one in answers)
    gc.collect()  # what is unclosed warns, and warnings are errors


@pytest.mark.parametrize('wire', WIRES)
def test_one_model_in_loops_of_several_threads(plain_flow, wire):
    model = asyncio.run(AsyncClient().get_model(plain_flow[wire]))
    results = {}

    async def main(number):
        return [int((await model.encode(text='x' * number))[0].embedding[0]) for _ in range(10)]

    def work(number):
        results[number] = asyncio.run(main(number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [number] * 10 for number in range(1, 5)}


@pytest.mark.parametrize('wire', WIRES)
def test_blocking_calls_inside_a_running_loop(plain_flow, wire):
    async def main():
        with Client() as client:
            model = client.get_model(plain_flow[wire])
            with pytest.raises(InputError):
                model.encode(text='')
            return [int(one.embedding[0]) for one in model.stream('encode', ['a', 'abc'], batch_size=1)]

    assert asyncio.run(main()) == [1, 3]


# -- nothing is left behind


def descriptors():
    """Open sockets; gRPC keeps some other files for good."""
    found = []
    for path in Path('/proc/self/fd').iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(path))
    return {one for one in found if one.startswith('socket:')}


def others():
    """Threads that are not the pools of the tests' own servers."""
    return {one for one in threading.enumerate() if 'inference' in one.name}


@contextlib.contextmanager
def nothing_left():
    """No more sockets and threads afterwards than before."""
    gc.collect()
    sockets, threads = descriptors(), others()
    yield
    gc.collect()
    wait_until(lambda: others() <= threads and descriptors() <= sockets)


def use(door, url):
    with door(trust_env=False) as client:
        model = client.get_model(url)
        model.encode(text=['a'] * 20, batch_size=2)
        with contextlib.suppress(Exception):
            model.encode(text='raise')
        with pytest.raises(RequestTimeoutError):
            model.encode(text='sleep 1', timeout=0.2)
        model.is_ready()


@linux
@pytest.mark.parametrize('wire', WIRES)
def test_a_closed_client_leaves_nothing(plain_flow, door, wire):
    use(door, plain_flow[wire])  # gRPC opens files of its own, once
    with nothing_left():
        for _ in range(3):
            use(door, plain_flow[wire])


@linux
@pytest.mark.parametrize('wire', WIRES)
def test_failures_to_connect_leave_nothing(door, wire):
    def fail(port):
        with door(trust_env=False, timeouts=Timeouts(connect=0.3, read=0.3, total=0.3)) as client:
            model = client.get_model(f'{wire}://{HOST}:{port}')
            with pytest.raises((ConnectionFailedError, RequestTimeoutError)):
                model.encode(text='a')

    with listener() as silent, socket.socket() as nobody:
        nobody.bind((HOST, 0))
        ports = (silent, nobody.getsockname()[1])
        for port in ports:
            fail(port)
        with nothing_left():
            for port in ports:
                fail(port)


SLOW = {
    'grpc': lambda answer: grpc_peer(lambda data: answer(embed, data)),
    'http': lambda answer: http_peer(lambda data: answer(embed_json, data)),
    'ws': lambda answer: ws_peer(lambda data: answer(embed, data)),
}


@linux
@pytest.mark.parametrize('wire', WIRES)
def test_close_during_a_request_ends_it_for_good(door, wire):
    arrived, gate, outcome = threading.Event(), threading.Event(), []

    def slow(then, data):
        arrived.set()
        gate.wait(20)
        return then(data)

    def ask(model):
        try:
            outcome.append(model.encode(text='a'))
        except ConnectionFailedError as error:
            outcome.append(error)

    with SLOW[wire](slow) as (url, seen):
        with door(trust_env=False) as client:
            model = client.get_model(url)
            thread = threading.Thread(target=ask, args=(model,))
            thread.start()
            assert arrived.wait(20)
            client.close()
            if door is Client and wire == 'http':
                gate.set()  # there, requests under way finish
            thread.join(20)
            gate.set()
        (result,) = outcome
        if door is Client and wire == 'http':
            assert len(result) == 1
        else:
            assert 'this client closed the connection' in str(result)
            assert len(result.attempts) == 1
    assert len(seen) == 1  # nothing was sent again


@pytest.mark.parametrize('wire', WIRES)
def test_a_dropped_model_leaves_nothing_in_its_loop(plain_flow, wire):
    async def main():
        client = AsyncClient()
        model = await client.get_model(plain_flow[wire])
        await model.encode(text='a')
        del client, model
        gc.collect()
        await settled(1)

    asyncio.run(main())
    gc.collect()


# -- transports that only block


class Blocking(Transport):
    """Answers once as many requests wait as it was told."""

    def __init__(self, url, options):
        super().__init__(url, options)
        self.gate = threading.Barrier(30)
        self.threads, self.closed = set(), 0

    def send(self, request, timeouts):
        self.threads.add(threading.current_thread())
        self.gate.wait(20)
        for document in request.documents:
            document.embedding = np.ones(2, np.float32)
        return Response(request.id, request.documents)

    def close(self):
        self.closed += 1


def test_a_transport_that_only_blocks_runs_in_threads_many_at_once():
    async def main():
        transport = Blocking.asynchronous('blocking://host', TransportOptions())
        async with AsyncModel(ModelSpec.of_url('blocking://host'), transport) as model:
            await asyncio.gather(*(model.encode(text='a') for _ in range(30)))
        return transport._blocking

    transport = asyncio.run(main())
    assert len(transport.threads) == 30
    assert transport.closed == 1
    assert not any(thread.is_alive() for thread in transport.threads)


ENDS = """
import asyncio, threading
from inference_client import AsyncModel, ModelSpec, Transport, TransportOptions

class Hanging(Transport):
    def send(self, request, timeouts):
        threading.Event().wait()

async def main():
    transport = Hanging.asynchronous('hanging://host', TransportOptions())
    await asyncio.wait_for(AsyncModel(ModelSpec.of_url('hanging://host'), transport).encode(text='a'), 0.2)

try:
    asyncio.run(main())
except asyncio.TimeoutError:
    print('gave up')
"""


def test_a_process_does_not_wait_for_a_transport_that_only_blocks():
    assert output_of(ENDS) == 'gave up'


class Lengths(Task):
    """A task of no plugin, by its class."""

    name = 'encode'

    def prepare(self, *, docs, **parameters):
        from inference_client import Call

        return Call(docs, parameters)

    def collect(self, documents):
        return [int(one.embedding[0]) for one in documents]


def test_a_task_by_class_gives_what_it_says(plain_flow, door):
    with door() as client:
        assert client.get_model(plain_flow['grpc']).run(Lengths, docs=[Document(text='abc')]) == [3]


# -- processes


FORKED = """
import asyncio, os, signal, sys, time
from inference_client import AsyncClient

model = asyncio.run(AsyncClient().get_model(sys.argv[1]))

async def right(text):
    answers = await asyncio.gather(*(model.encode(text=text) for _ in range(5)))
    first = [answer[0].embedding[0] for answer in answers]
    return 'local:' in sys.argv[1] or first == [len(text)] * 5

good = asyncio.run(right('parent'))
signal.alarm(20)
time.sleep(float(sys.argv[2]))
child = os.fork()
signal.alarm(60)
good = good and asyncio.run(right('c' * 7 if child == 0 else 'p' * 3))
if child == 0:
    os._exit(not good)
signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))  # it has no alarm if it hangs in the fork
sys.exit(bool(not good or os.waitpid(child, 0)[1]))
"""


def forked(url, rest=0, tries=1):
    """Run `FORKED`, which rests so many seconds before the fork, until it ends well."""
    for _ in range(tries):
        done = run_python(FORKED, arguments=[url, str(rest)], GRPC_ENABLE_FORK_SUPPORT='1')
        if done.returncode == 0:
            break
    return done


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.parametrize('wire', [*WIRES, 'local'])
def test_a_forked_process_may_use_the_model_of_a_loop_that_ended(plain_flow, wire):
    url = plain_flow.get(wire, 'local://embedded')
    if wire == 'local':
        pytest.importorskip('onnxruntime')
    # gRPC may hang or crash in a fork while its own threads work, as they do for a moment after a connection was
    # closed, and it does not tell when they are done (grpc/grpc#31885). What is ours goes wrong in each try.
    done = forked(url, rest=1, tries=3) if wire == 'grpc' else forked(url)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('kind', [Client, AsyncClient])
@pytest.mark.parametrize('copied', [pickle.dumps, copy.copy, copy.deepcopy])
def test_clients_and_models_are_not_pickled_with_their_token(kind, copied):
    client = kind('secret-token')
    model = client.get_model('grpcs://host:1')
    model = asyncio.run(model) if inspect.isawaitable(model) else model
    for value in (client, model):
        with pytest.raises(TypeError, match='make one where it is used') as caught:
            copied(value)
        assert type(value).__name__ in str(caught.value)
        assert 'secret-token' not in str(caught.value)
