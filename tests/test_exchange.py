"""The exchange and its driver without any network: whatever the sizes and whatever order answers come in."""

from __future__ import annotations

import asyncio
import itertools
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from docarray import Document, DocumentArray
from hypothesis import given
from hypothesis import strategies as st

from inference_client import AsyncTransport, RequestTooLargeError, RetryPolicy, Timeouts, Transport, TransportOptions
from inference_client._documents import Loaded
from inference_client._drivers import drive
from inference_client._drivers_aio import drive_async
from inference_client._exchange import Exchange
from inference_client._inputs import from_document
from inference_client._messages import Response
from inference_client._plan import Plan
from inference_client._source import AsyncSource, Source
from inference_client.errors import (
    ConnectionFailedError,
    InputError,
    ProtocolError,
    RateLimitError,
    ServerError,
    UnsupportedTaskError,
)

NO_WAIT = RetryPolicy(initial=0)


def answer(request):
    documents = DocumentArray([Document(d, copy=True) for d in request.documents])
    for document in documents:
        document.embedding = np.array([float(document.text)])
    return Response(request.id, documents)


class Answering(Transport):
    """Answers by a function, in the calling thread."""

    def __init__(self, function=answer):
        super().__init__('test://', TransportOptions())
        self.function = function

    def send(self, request, timeouts):
        return self.function(request)


def driven(documents, function=answer, done=None, **plan):
    """Texts that come back, as numbers; they are added to `done` as they come."""
    done = [] if done is None else done
    exchange = Exchange(Plan('/encode', **plan))
    source = Source(documents, exchange._plan.return_errors)
    for ready in drive(exchange, source, Answering(function), lambda error: error, lambda finished: None):
        done.extend(document.tags.get('error') or int(document.text) for document in ready)
    return done


def fed(count, **plan):
    exchange = Exchange(Plan('/encode', **plan))
    exchange.feed(texts(count))
    exchange.end()
    return exchange


def texts(count):
    return [Document(text=str(i)) for i in range(count)]


@given(st.data(), st.integers(1, 40), st.integers(1, 7), st.integers(1, 5), st.booleans())
def test_every_order_of_answers_gives_each_once(data, count, batch_size, window, ordered):
    exchange = Exchange(Plan('/encode', batch_size=batch_size, window=window, ordered=ordered))
    source, out, results = Source(texts(count)), [], []
    while not exchange.over:
        if exchange.wanted:
            source.feed(exchange)
        request = exchange.next_request(0)
        if request is not None:
            out.append(request)
            assert len(out) <= window
        elif out and not exchange.wanted:
            exchange.receive(answer(out.pop(data.draw(st.integers(0, len(out) - 1)))), 0)
            results += exchange.take()
    numbers = [int(d.text) for d in results]
    assert (numbers if ordered else sorted(numbers)) == list(range(count))


@given(st.integers(1, 6), st.integers(1, 5), st.booleans())
def test_input_is_pulled_no_further_than_the_window(batch_size, window, ordered):
    pulled = []

    def source():
        for document in texts(1000):
            pulled.append(document)
            yield document

    exchange = Exchange(Plan('/encode', batch_size=batch_size, window=window, ordered=ordered))
    pulling = Source(source())
    while exchange.wanted:
        pulling.feed(exchange)
    assert len(pulled) == batch_size * window


@given(st.permutations(range(5)), st.booleans())
def test_answers_are_paired_by_id(order, renamed):
    exchange = fed(5)
    request = exchange.next_request(0)
    answered = answer(request).documents
    if renamed:  # then only the position is left
        order = range(5)
        for document in answered:
            document.id = 'x'
    exchange.receive(Response(request.id, DocumentArray([answered[i] for i in order])), 0)
    assert [d.embedding[0] for d in exchange.take()] == [0, 1, 2, 3, 4]


def test_lost_documents_are_noticed():
    exchange = fed(3)
    request = exchange.next_request(0)
    exchange.receive(Response(request.id, answer(request).documents[:2]), 0)
    assert isinstance(exchange.failure, ProtocolError)
    assert '3 documents were sent and 2 came back' in str(exchange.failure)


def test_an_answer_to_no_request_is_noticed():
    exchange = fed(1)
    exchange.receive(Response('other', DocumentArray()), 0)
    assert 'not open' in str(exchange.failure)


@pytest.mark.parametrize('window', [1, 3])
@pytest.mark.parametrize('bad', [0, 4, 9])
def test_a_failure_tells_what_failed_and_keeps_what_was_done(window, bad):
    def send(request):
        if any(int(d.text) == bad for d in request.documents):
            raise ServerError('no')
        return answer(request)

    done = []
    with pytest.raises(ServerError) as caught:
        driven(texts(20), send, done, batch_size=2, window=window)
    first = bad - bad % 2
    assert caught.value.span == (first, first + 2)
    assert done == sorted(done)
    assert done[:first] == list(range(first))
    assert not {first, first + 1} & set(done)


@given(st.integers(0, 20), st.integers(1, 5), st.integers(1, 4), st.sampled_from([InputError, RuntimeError]))
def test_what_came_before_a_bad_input_is_answered(count, batch_size, window, kind):
    def source():
        yield from texts(count)
        raise kind('no more')

    done = []
    with pytest.raises(kind, match='no more') as caught:
        driven(source(), answer, done, batch_size=batch_size, window=window)
    assert done == list(range(count))
    if kind is InputError:
        assert caught.value.span == (count, count + 1)


def picky(text):
    if text == 'bad':
        error = InputError('a bad one')
        error.item = text
        raise error
    return Document(text=text)


def test_nothing_is_read_after_a_bad_input():
    left = iter(['1', 'bad', '3', '4'])
    with pytest.raises(InputError) as caught:
        driven(map(picky, left), batch_size=2, window=1)
    assert caught.value.span == (1, 2)
    assert list(left) == ['3', '4']


@given(st.lists(st.sampled_from(['1', '2', 'bad'])), st.integers(1, 4), st.integers(1, 3))
def test_a_bad_item_comes_back_alone_in_its_place(items, batch_size, window):
    done = driven(map(picky, items), batch_size=batch_size, window=window, return_errors=True)
    assert done == ['a bad one' if item == 'bad' else int(item) for item in items]


def test_a_generator_ends_at_its_first_bad_item_rather_than_losing_the_rest():
    with pytest.raises(InputError):
        driven((picky(item) for item in ['1', 'bad', '3']), return_errors=True)


@pytest.mark.parametrize('window', [1, 3])
def test_an_answer_that_is_not_accepted_tells_which(window):
    def accept(document):
        if document.text == '4':
            raise ProtocolError('not that')
        return document

    done = []
    with pytest.raises(ProtocolError) as caught:
        driven(texts(10), answer, done, batch_size=2, window=window, accept=accept)
    assert caught.value.span == (4, 6)
    assert done[:4] == [0, 1, 2, 3]
    assert 4 not in done


def test_an_answer_that_is_not_accepted_costs_no_other():
    def accept(document):
        if document.text == '4':
            raise ProtocolError('not that')
        return document

    sent = []

    def send(request):
        sent.append(request)
        return answer(request)

    done = driven(texts(6), send, batch_size=6, accept=accept, return_errors=True)
    assert done == [0, 1, 2, 3, 'not that', 5]
    assert len(sent) == 1


@given(st.integers(0, 30), st.integers(1, 5), st.integers(1, 4))
def test_the_driver_answers_everything_once(count, batch_size, window):
    assert driven(texts(count), batch_size=batch_size, window=window) == list(range(count))


# -- what is sent again, and what is split


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 3), st.sets(st.integers(0, 29)))
def test_bad_items_are_found_by_splitting_and_cost_no_other(count, batch_size, window, bad):
    def send(request):
        if any(int(d.text) in bad for d in request.documents):
            raise ServerError('the model cannot')
        return answer(request)

    done = driven(texts(count), send, batch_size=batch_size, window=window, return_errors=True)
    assert done == ['the model cannot' if i in bad else i for i in range(count)]


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 4))
def test_what_is_too_large_is_split(count, batch_size, limit):
    sizes = []

    def send(request):
        if len(request.documents) > limit:
            raise RequestTooLargeError('too large')
        sizes.append(len(request.documents))
        return answer(request)

    assert driven(texts(count), send, batch_size=batch_size) == list(range(count))
    assert sum(sizes) == count


def test_what_waits_for_an_answer_is_not_due():
    """Else a driver would turn and turn."""
    exchange = fed(8, batch_size=8, window=1)
    exchange.fail(exchange.next_request(0).id, RequestTooLargeError('too large'), 0)
    assert exchange.wait(0) == 0
    request = exchange.next_request(0)
    assert (exchange.next_request(0), exchange.wait(0)) == (None, None)
    exchange.receive(answer(request), 0)
    assert exchange.wait(0) == 0


@given(st.integers(2, 20), st.integers(2, 4), st.data())
def test_what_only_shared_a_connection_with_one_too_large_is_answered(count, window, data):
    large = data.draw(st.sets(st.integers(0, count - 1)))
    exchange = Exchange(Plan(batch_size=1, window=window, return_errors=True))
    for text in texts(count):
        exchange.feed([text])
    exchange.end()
    out, done = [], []
    while not exchange.over:
        request = exchange.next_request(0)
        if request is not None:
            out.append(request)
        elif any(int(one.documents[0].text) in large for one in out):
            while out:  # the connection goes
                exchange.fail(out.pop().id, RequestTooLargeError('too large'), 0)
        else:
            exchange.receive(answer(out.pop()), 0)
        done += [one.tags.get('error') or int(one.text) for one in exchange.take()]
    assert done == ['too large' if i in large else i for i in range(count)]


@pytest.mark.parametrize('error', [UnsupportedTaskError, ProtocolError])
def test_a_batch_without_answers_waits_for_what_others_show(error):
    """It may be the item's fault only if the model can do the task at all."""

    def accept(document):
        if document.text in ('1', '2'):
            raise error('nothing')
        return document

    for able in (True, False):
        exchange = Exchange(Plan(batch_size=1, window=4, return_errors=True, accept=accept))
        for text in texts(4) if able else texts(3)[1:]:
            exchange.feed([text])
        exchange.end()
        out = []
        while not exchange.over:
            request = exchange.next_request(0)
            if request is not None:
                out.append(request)
            else:
                exchange.receive(answer(out.pop()), 0)  # the last first
        given = [one.tags.get('error') for one in exchange.take()]
        if able or error is ProtocolError:
            assert given == ([None, 'nothing', 'nothing', None] if able else ['nothing', 'nothing'])
        else:
            assert isinstance(exchange.failure, UnsupportedTaskError)


def test_one_that_is_too_large_alone_is_an_error():
    def send(request):
        raise RequestTooLargeError('too large')

    with pytest.raises(RequestTooLargeError) as caught:
        driven(texts(4), send, window=1)
    assert caught.value.span == (0, 1)


@given(st.integers(1, 20), st.integers(1, 4), st.integers(1, 3), st.data())
def test_what_may_pass_is_sent_again(count, batch_size, window, data):
    attempts = itertools.count()
    unlucky = data.draw(st.sets(st.integers(0, 40)))

    def send(request):
        if next(attempts) in unlucky:
            raise ConnectionFailedError('lost')
        return answer(request)

    retry = RetryPolicy(attempts=100, initial=0)
    done = driven(texts(count), send, batch_size=batch_size, window=window, retry=retry)
    assert done == list(range(count))


def test_what_does_not_pass_is_tried_so_often_and_no_more(caplog):
    sent = []

    def send(request):
        sent.append(request.id)
        raise ConnectionFailedError(f'lost {len(sent)}')

    with pytest.raises(ConnectionFailedError) as caught:
        driven(texts(1), send, retry=RetryPolicy(attempts=4, initial=0))
    assert len(set(sent)) == len(sent) == 4
    assert caught.value.attempts == tuple(f'ConnectionFailedError: lost {i}' for i in (1, 2, 3, 4))
    assert 'after 4 attempts' in str(caught.value)
    assert [record.levelname for record in caplog.records] == ['WARNING'] * 3


def test_what_will_not_pass_is_sent_once():
    sent = []

    def send(request):
        sent.append(request)
        raise ServerError('the model cannot')

    with pytest.raises(ServerError):
        driven(texts(1), send, retry=NO_WAIT)
    assert len(sent) == 1


def test_a_wait_that_outlasts_the_deadline_is_not_begun():
    def send(request):
        raise ServerError('busy', transient=True, busy=True, retry_after=50)

    with pytest.raises(ServerError) as caught:
        driven(texts(1), send, timeouts=Timeouts(total=40))
    assert len(caught.value.attempts) == 1


def limited(times, retry_after):
    """Lets a request through after so many times."""
    sent = []

    def send(request):
        sent.append(request)
        if len(sent) <= times:
            raise RateLimitError('too many', retry_after=retry_after)
        return answer(request)

    return send, sent


def test_who_comes_too_early_comes_again_however_often(caplog):
    """It goes out when the server says; others may have taken its turn then."""
    send, sent = limited(20, retry_after=0.001)
    assert driven(texts(1), send, retry=RetryPolicy(attempts=2)) == [0]
    assert len(sent) == 21
    assert not [record for record in caplog.records if record.levelname == 'WARNING']


@pytest.mark.parametrize(
    ('attempts', 'retry_after', 'sent'),
    [(1, 0.001, 1), (3, None, 3), (3, 0, 3), (3, 60, 1)],
    ids=['once is once', 'no time', 'at once', 'beyond the deadline'],
)
def test_who_is_told_nothing_of_use_is_given_up(attempts, retry_after, sent):
    send, seen = limited(20, retry_after)
    with pytest.raises(RateLimitError) as caught:
        driven(texts(1), send, retry=RetryPolicy(attempts=attempts, initial=0), timeouts=Timeouts(total=40))
    assert len(seen) == len(caught.value.attempts) == sent


class Clock:
    """Time that can be moved on."""

    def __init__(self):
        self.moved = 0.0
        self.sleep = time.sleep

    def monotonic(self):
        return time.monotonic() + self.moved


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr('inference_client._drivers.time', made)
    monkeypatch.setattr('inference_client._drivers_aio.time', made)
    return made


class Held(Answering):
    """Holds the first attempt at text 0 until somebody fails it; counts the attempts."""

    def __init__(self):
        super().__init__()
        self.held = Future()
        self.attempts = 0

    def submit(self, request, timeouts):
        if request.documents[0].text == '0':
            self.attempts += 1
            if self.attempts == 1:
                return self.held
        future = Future()
        future.set_result(answer(request))
        return future

    def read(self, answered):
        return answered


class HeldInLoop(Held, AsyncTransport):
    async def send(self, request, timeouts):
        future = self.submit(request, timeouts)
        response = await asyncio.wait_for(asyncio.wrap_future(future), timeouts.read)
        return replace(response, id=request.id)


HOUR = 3600.0
ONE_BY_ONE = {'batch_size': 1, 'ordered': False, 'retry': NO_WAIT, 'timeouts': Timeouts(read=60, total=60)}


def driven_with_turns(transport, turn, whose):
    """Texts that come back, where the caller takes an hour for one of its turns."""
    seen = []

    def inputs():
        for document in texts(3):
            if document.text == '2' and whose == 'input':
                turn()
            yield document

    def told(finished):
        if finished.documents[0].text == '1' and whose == 'callback':
            turn()

    for ready in drive(Exchange(Plan(**ONE_BY_ONE)), Source(inputs()), transport, lambda error: error, told):
        seen += [document.text for document in ready]
        if '1' in seen and whose == 'consumer':
            whose = None
            turn()
    return seen


@pytest.mark.parametrize('whose', ['consumer', 'input', 'callback'])
@pytest.mark.parametrize('failed', [True, False])
def test_the_time_of_the_callers_own_code_is_none_of_a_request(clock, whose, failed):
    transport = Held()

    def turn():
        clock.moved += HOUR
        if failed:
            transport.held.set_exception(ConnectionFailedError('lost meanwhile'))

    assert sorted(driven_with_turns(transport, turn, whose)) == ['0', '1', '2']
    assert transport.attempts == 2  # for one that was late was given up, and sent again
    assert transport.held.cancelled() != failed


@pytest.mark.parametrize('whose', ['consumer', 'callback'])
@pytest.mark.parametrize('awaited', [True, False])
def test_the_time_of_the_callers_own_code_is_none_of_a_request_in_a_loop(clock, whose, awaited):
    transport = HeldInLoop()

    async def turn():
        clock.moved += HOUR
        transport.held.set_exception(ConnectionFailedError('lost meanwhile'))
        for _ in range(9 if awaited else 0):  # in which the failure comes to the exchange
            await asyncio.sleep(0)

    async def told(finished):
        if finished.documents[0].text == '1' and whose == 'callback':
            await turn()

    async def seen():
        exchange, source, answered = Exchange(Plan(**ONE_BY_ONE)), AsyncSource(texts(3), quick=True), []
        async for ready in drive_async(exchange, source, transport, lambda error: error, told):
            answered += [document.text for document in ready]
            if '1' in answered and whose == 'consumer' and not transport.held.done():
                await turn()
        return answered

    assert sorted(asyncio.run(seen())) == ['0', '1', '2']
    assert transport.attempts == 2


@given(st.integers(1, 20), st.floats(0, 1), st.integers(1, 100))
def test_waits_grow_up_to_the_maximum(failed, random, attempts):
    retry = RetryPolicy(attempts=attempts, initial=0.5, multiplier=2, maximum=8)
    wait = retry.wait(ConnectionFailedError('lost'), failed, random)
    if failed >= attempts:
        assert wait is None
    else:
        assert 0 <= wait <= min(8, 0.5 * 2 ** (failed - 1))
    assert retry.wait(InputError('no'), failed, random) is None
    assert (retry.wait(ServerError('x', transient=True, retry_after=3), failed, random) == 3) == (failed < attempts)


# -- what goes out, and what comes back


def sent_of(exchange):
    request = exchange.next_request(0)
    return request, DocumentArray([Document(d, copy=True) for d in request.documents])


def echo(*documents):
    """What comes back where the server sends content as it came."""
    exchange = Exchange(Plan('/x'))
    exchange.feed(documents)
    request, sent = sent_of(exchange)
    exchange.receive(Response(request.id, DocumentArray([Document(d, copy=True) for d in sent])), 0)
    return sent, exchange.take()


def test_uris_are_not_sent_and_come_back():
    match = Document(uri='b.png', blob=Loaded(b'2'))
    sent, (received,) = echo(Document(uri='a.png', blob=Loaded(b'1'), matches=[match], tags={'k': 'v'}))
    assert (sent[0].uri, sent[0].blob, sent[0].matches[0].uri, sent[0].matches[0].blob) == ('', b'1', '', b'2')
    assert (received.uri, received.blob, received.tags) == ('a.png', b'', {'k': 'v'})
    assert (received.matches[0].uri, received.matches[0].blob) == ('b.png', b'')


def test_a_blob_that_was_given_beside_a_uri_comes_back_and_one_that_was_loaded_from_it_does_not(photo):
    blob = Path(photo).read_bytes()
    made = [from_document(Document(uri=photo)), from_document(Document(uri=photo, blob=blob))]
    (around,), (answered,) = echo(Document(text='a', matches=made))
    for sent, received in (echo(*made), (around.matches, answered.matches)):
        assert [one.uri for one in sent] == ['', '']
        assert [(one.uri, one.blob) for one in received] == [(photo, b''), (photo, blob)]


def test_content_comes_back_as_it_was_given():
    pixels = np.zeros((2, 2, 3), np.uint8)
    _, received = echo(Document(text='a'), Document(blob=b'1'), Document(tensor=pixels))
    assert received[0].text == 'a'
    assert received[1].blob == b'1'
    assert received[2].tensor is pixels


@pytest.mark.parametrize('new', [{'blob': b'new'}, {'text': 'new'}, {'tensor': np.ones((1, 1, 3), np.uint8)}])
def test_content_of_the_servers_own_stays(new):
    exchange = Exchange(Plan('/x'))
    exchange.feed([Document(id='a', uri='a.png', blob=b'1')])
    request, _ = sent_of(exchange)
    exchange.receive(Response(request.id, DocumentArray([Document(id='a', **new)])), 0)
    (received,) = exchange.take()
    ((name, value),) = new.items()
    assert np.array_equal(getattr(received, name), value)


@pytest.mark.parametrize('content', [{'text': 'a'}, {'blob': b'1'}, {'tensor': np.zeros((2, 2, 3), np.uint8)}])
def test_no_uri_goes_out_beside_content(content):
    chunks = [Document(uri='/home/me/b.png', **content), Document(uri='/home/me/c.png')]
    sent, (received,) = echo(Document(uri='/home/me/a.png', chunks=chunks, **content))
    assert [one.uri for one in (sent[0], *sent[0].chunks)] == ['', '', '']
    assert [one.uri for one in (received, *received.chunks)] == [f'/home/me/{name}.png' for name in 'abc']
