"""Real faults between the client and real servers: all is answered once and in order, or one clear error comes."""

from __future__ import annotations

import asyncio
import faulthandler
import sys
import threading

import pytest
from proxy import Proxy

from inference_client import AsyncClient, Client, InferenceError, RetryPolicy, Timeouts

WIRES = ['grpc', 'http', 'ws']
KINDS = ['blocking', 'async']
PATIENT = RetryPolicy(attempts=8, initial=0.1, maximum=0.5)
SOON = Timeouts(connect=1, read=0.8, total=8)


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


@pytest.fixture
def proxy(plain_flow, wire):
    with Proxy(port_of(plain_flow[wire])) as made:
        yield made


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


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('wire', WIRES)
@pytest.mark.parametrize('fault', PASSING)
def test_a_fault_that_passes_costs_no_answer(proxy, wire, kind, fault):
    options = {'batch_size': 5, 'prefetch': 4, 'retry': PATIENT, 'timeout': SOON}
    got, error = bounded(20, lambda: collect(kind, proxy.url(wire), 150, 20, lambda: PASSING[fault](proxy), **options))
    assert error is None
    assert len(got) == 150
    assert all(is_answer(document, number) for number, document in enumerate(got))
