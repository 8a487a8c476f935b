"""Real faults between the client and real servers: all is answered once and in order, or one clear error comes."""

from __future__ import annotations

import asyncio
import faulthandler
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from flows import Server
from ports import free_ports
from proxy import Proxy

from inference_client import (
    AsyncClient,
    Client,
    ConnectionFailedError,
    InferenceError,
    ProtocolError,
    RequestTimeoutError,
    RetryPolicy,
    Timeouts,
)

WIRES = ['grpc', 'http', 'ws']
KINDS = ['blocking', 'async']
PATIENT = RetryPolicy(attempts=20, initial=0.1, maximum=0.5)
SOON = Timeouts(connect=1, read=0.5, total=20)


def bounded(seconds, function, *arguments):
    """What a function gives or raises, in a thread; a failure with all stacks if it takes longer."""
    outcome = []

    def run():
        try:
            outcome.append((function(*arguments), None))
        except BaseException as error:  # noqa: BLE001 - raised below
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        faulthandler.dump_traceback(sys.__stderr__)
        pytest.fail(f'it hangs: no result within {seconds} s')
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def item(number):
    """A text that no other number has; the models of `jina_servers` embed what tells it apart."""
    return f'{chr(0x4E00 + number % 5000)}{chr(0x400 + number // 5000)}:{number}'


def is_answer(document, number):
    text = item(number)
    expected = [len(text), *(ord(letter) for letter in text[:3])]
    return document.text == text and document.embedding.tolist() == expected


def in_order(documents):
    """Whether all are right, in order and none twice; after a failure some may be missing."""
    numbers = [int(document.text.partition(':')[2]) for document in documents]
    right = all(is_answer(document, number) for document, number in zip(documents, numbers))
    return right and all(one < other for one, other in zip(numbers, numbers[1:]))


def collect(kind, url, count, when=None, then=lambda: None, **options):
    """The answers to a stream of items; `then` is called once the answer number `when` is there."""
    texts = (item(number) for number in range(count))
    got = []

    def note(document):
        got.append(document)
        if len(got) == when:
            then()

    def blocking():
        with Client() as client:
            for document in client.get_model(url).stream('encode', texts, **options):
                note(document)

    async def asynchronous():
        async with AsyncClient() as client:
            model = await client.get_model(url)
            async for document in model.stream('encode', texts, **options):
                note(document)

    try:
        if kind == 'async':
            asyncio.run(asynchronous())
        else:
            blocking()
    except InferenceError as error:
        return got, error
    return got, None


def port_of(url):
    return int(url.rpartition(':')[2])


EVERY = [(wire, kind) for wire in WIRES for kind in KINDS]


@pytest.fixture
def proxies(plain_flow):
    """One for each of `EVERY`."""
    with ExitStack() as stack:
        yield {one: stack.enter_context(Proxy(port_of(plain_flow[one[0]]))) for one in EVERY}


def through(proxies, count, fault, **options):
    """What `collect` gives on each of `EVERY`, all at once, where each meets the fault after 20 answers."""

    def run(one):
        proxy = proxies[one]
        return collect(one[1], proxy.url(one[0]), count, 20, lambda: fault(proxy), batch_size=5, **options)

    with ThreadPoolExecutor(len(EVERY)) as pool:
        return dict(zip(EVERY, pool.map(lambda one: bounded(20, run, one), EVERY)))


def briefly(begin, end, seconds=0.4):
    """A fault that passes."""

    def fault(proxy):
        begin(proxy)
        threading.Timer(seconds, end, (proxy,)).start()

    return fault


def refuse(proxy):
    proxy.refuse()
    proxy.cut()


def slow(proxy):
    proxy.delay = 0.05


def dripping(proxy):
    proxy.drip = 40


PASSING = {
    'cut': Proxy.cut,
    'reset': Proxy.reset,
    'half-closed': Proxy.half_close,
    'refused for a while': briefly(refuse, Proxy.listen),
    'frozen for a while': briefly(Proxy.freeze, Proxy.thaw),
    'late': slow,
    'dripping': dripping,
    'truncated at once': lambda proxy: proxy.truncate(0),
    'truncated': lambda proxy: proxy.truncate(700),
    'forgotten by a router': Proxy.forget,
}


@pytest.mark.parametrize('fault', PASSING)
def test_a_fault_that_passes_costs_no_answer(proxies, fault):
    outcomes = through(proxies, 80, PASSING[fault], prefetch=4, retry=PATIENT, timeout=SOON)
    for one, (got, error) in outcomes.items():
        assert (one, error, len(got)) == (one, None, 80)
        assert in_order(got)


def test_garbage_is_an_error_or_noticed_and_asked_for_again(proxies):
    outcomes = through(
        proxies, 80, lambda proxy: proxy.corrupt(0), prefetch=4, retry=PATIENT, timeout=Timeouts(1, 0.8, 3)
    )
    for one, (got, error) in outcomes.items():
        assert error is None or isinstance(error, (ProtocolError, ConnectionFailedError, RequestTimeoutError)), one
        assert error is not None or len(got) == 80
        assert in_order(got)


def test_a_connection_that_stays_frozen_ends_in_time(proxies):
    started = time.monotonic()
    outcomes = through(proxies, 150, Proxy.freeze, prefetch=16, retry=PATIENT, timeout=Timeouts(0.3, 0.3, 1))
    assert 0.5 < time.monotonic() - started < 8
    for one, (got, error) in outcomes.items():  # a new connection cannot be made, either
        assert isinstance(error, (RequestTimeoutError, ConnectionFailedError)), one
        assert 'after' in str(error) or len(error.attempts) == 1  # on a slow machine the first took all the time
        assert in_order(got)


# -- servers that die and freeze


@pytest.fixture(scope='module')
def phoenix(jina_python):
    """A Flow on ports that stay the same, and its URLs."""
    server = Server(jina_python, 'flow', *free_ports(3))
    yield server, server.start()
    server.kill()


def test_a_server_killed_and_started_again_costs_no_answer(phoenix):
    """On every transport at once: 5,000 items each, with 16 requests under way when the server dies."""
    server, urls = phoenix
    gate = threading.Barrier(len(EVERY) + 1)
    retry = RetryPolicy(attempts=100, initial=0.1, maximum=0.5)
    options = {'batch_size': 25, 'prefetch': 16, 'retry': retry, 'timeout': Timeouts(2, 10, 60)}

    def run(one):
        wire, kind = one
        return collect(kind, urls[wire], 5000, 500, lambda: gate.wait(60), **options)

    with ThreadPoolExecutor(len(EVERY)) as pool:
        running = [pool.submit(run, one) for one in EVERY]
        gate.wait(60)
        time.sleep(0.05)
        server.kill()
        assert not any(one.done() for one in running)
        server.start()
        outcomes = [one.result(90) for one in running]
    for got, error in outcomes:
        assert error is None
        assert len(got) == 5000
        assert all(is_answer(document, number) for number, document in enumerate(got))


def test_a_frozen_server_is_a_timeout_and_works_once_it_goes_on(phoenix):
    server, urls = phoenix
    before, frozen, thawed = (threading.Barrier(len(EVERY) + 1) for _ in range(3))
    options = {'timeout': Timeouts(read=0.5, total=2), 'retry': RetryPolicy(attempts=100, initial=0.05, maximum=0.1)}

    def blocking(url):
        with Client() as client:
            model = client.get_model(url)
            model.encode(text='a')
            before.wait(30)
            frozen.wait(30)
            started = time.monotonic()
            with pytest.raises(RequestTimeoutError) as caught:
                model.encode(text='b', **options)
            took = time.monotonic() - started
            assert not model.is_ready(0.2)
            thawed.wait(30)
            model.wait_until_ready(20)
            return caught.value, took, model.encode(text='abc')[0].embedding[0]

    async def asynchronous(url):
        async with AsyncClient() as client:
            model = await client.get_model(url)
            await model.encode(text='a')
            before.wait(30)
            frozen.wait(30)
            started = time.monotonic()
            with pytest.raises(RequestTimeoutError) as caught:
                await model.encode(text='b', **options)
            took = time.monotonic() - started
            assert not await model.is_ready(0.2)
            thawed.wait(30)
            await model.wait_until_ready(20)
            return caught.value, took, (await model.encode(text='abc'))[0].embedding[0]

    def run(one):
        wire, kind = one
        url = urls[wire]
        return blocking(url) if kind == 'blocking' else asyncio.run(asynchronous(url))

    with ThreadPoolExecutor(len(EVERY)) as pool:
        running = [pool.submit(run, one) for one in EVERY]
        before.wait(30)
        server.send(signal.SIGSTOP)
        try:
            frozen.wait(30)
            thawed.wait(30)
        finally:
            server.send(signal.SIGCONT)
        for one in running:
            error, took, answered = one.result(60)
            assert isinstance(error, TimeoutError)
            assert 1 < took < 6
            assert len(error.attempts) >= 3
            assert answered == 3
