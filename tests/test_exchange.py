"""The exchange without any I/O: whatever the sizes and whatever order answers come in."""

from __future__ import annotations

import numpy as np
import pytest
from docarray import Document, DocumentArray
from hypothesis import given
from hypothesis import strategies as st

from inference_client._drivers import drive
from inference_client._exchange import Exchange
from inference_client._messages import Response
from inference_client.errors import InputError, ProtocolError, ServerError


def answer(request):
    documents = DocumentArray([Document(d, copy=True) for d in request.documents])
    for document in documents:
        document.embedding = np.array([float(document.text)])
    return Response(request.id, documents)


def texts(count):
    return [Document(text=str(i)) for i in range(count)]


@given(st.data(), st.integers(1, 40), st.integers(1, 7), st.integers(1, 5))
def test_input_order_is_kept_for_any_answer_order(data, count, batch_size, window):
    exchange = Exchange(texts(count), '/encode', {}, batch_size, window)
    out, results = [], []
    while True:
        request = exchange.next_request()
        if request is not None:
            out.append(request)
            assert len(out) <= window
            continue
        if not out:
            break
        chosen = out.pop(data.draw(st.integers(0, len(out) - 1)))
        exchange.receive(answer(chosen))
        results += exchange.take()
    assert [int(d.text) for d in results] == list(range(count))


@given(st.integers(1, 6), st.integers(1, 5))
def test_input_is_pulled_no_further_than_the_window(batch_size, window):
    pulled = []

    def source():
        for document in texts(1000):
            pulled.append(document)
            yield document

    exchange = Exchange(source(), '/encode', {}, batch_size, window)
    while exchange.next_request() is not None:
        pass
    assert len(pulled) == batch_size * window + 1


@given(st.permutations(range(5)), st.booleans())
def test_answers_are_paired_by_id(order, renamed):
    exchange = Exchange(texts(5), '/encode', {}, 5, 1)
    request = exchange.next_request()
    answered = answer(request).documents
    if renamed:  # then only the position is left
        order = range(5)
        for document in answered:
            document.id = 'x'
    exchange.receive(Response(request.id, DocumentArray([answered[i] for i in order])))
    assert [d.embedding[0] for d in exchange.take()] == [0, 1, 2, 3, 4]


def test_lost_documents_are_noticed():
    exchange = Exchange(texts(3), '/encode', {}, 3, 1)
    request = exchange.next_request()
    with pytest.raises(ProtocolError, match='3 documents were sent and 2 came back'):
        exchange.receive(Response(request.id, answer(request).documents[:2]))


def test_an_answer_to_no_request_is_noticed():
    exchange = Exchange(texts(1), '/encode', {}, 1, 1)
    with pytest.raises(ProtocolError, match='not open'):
        exchange.receive(Response('other', DocumentArray()))


@pytest.mark.parametrize('window', [1, 3])
@pytest.mark.parametrize('bad', [0, 4, 9])
def test_a_failure_tells_what_failed_and_keeps_what_was_done(window, bad):
    def send(request):
        if any(int(d.text) == bad for d in request.documents):
            raise ServerError('no')
        return answer(request)

    done = []
    with pytest.raises(ServerError) as caught:
        for document in drive(Exchange(texts(20), '/encode', {}, 2, window), send, window):
            done.append(int(document.text))
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
        for document in drive(Exchange(source(), '/encode', {}, batch_size, window), answer, window):
            done.append(int(document.text))
    assert done == list(range(count))
    if kind is InputError:
        assert caught.value.span == (count, count + 1)


def test_nothing_is_read_after_a_bad_input():
    def convert(text):
        if text == 'bad':
            raise InputError('bad')
        return Document(text=text)

    done = []
    with pytest.raises(InputError) as caught:
        done.extend(drive(Exchange(map(convert, ['1', 'bad', '3', '4']), '/encode', {}, 2, 1), answer, 1))
    assert caught.value.span == (1, 2)


@pytest.mark.parametrize('window', [1, 3])
def test_an_answer_that_is_not_accepted_tells_which(window):
    def accept(document):
        if document.text == '4':
            raise ProtocolError('not that')
        return document

    done = []
    with pytest.raises(ProtocolError) as caught:
        for document in drive(Exchange(texts(10), '/encode', {}, 2, window, accept), answer, window):
            done.append(document.text)
    assert caught.value.span == (4, 6)
    assert done[:4] == ['0', '1', '2', '3']
    assert '4' not in done


@given(st.integers(0, 30), st.integers(1, 5), st.integers(1, 4))
def test_the_driver_answers_everything_once(count, batch_size, window):
    results = drive(Exchange(texts(count), '/encode', {}, batch_size, window), answer, window)
    assert [int(d.text) for d in results] == list(range(count))


def echo(*documents):
    """What comes back where the server sends content as it came."""
    exchange = Exchange(documents, '/x', {}, len(documents), 1)
    request = exchange.next_request()
    sent = DocumentArray([Document(d, copy=True) for d in request.documents])
    exchange.receive(Response(request.id, DocumentArray([Document(d, copy=True) for d in sent])))
    return sent, list(exchange.take())


def test_uris_are_not_sent_and_come_back():
    match = Document(uri='b.png', blob=b'2')
    sent, (received,) = echo(Document(uri='a.png', blob=b'1', matches=[match], tags={'k': 'v'}))
    assert (sent[0].uri, sent[0].blob, sent[0].matches[0].uri, sent[0].matches[0].blob) == ('', b'1', '', b'2')
    assert (received.uri, received.blob, received.tags) == ('a.png', b'', {'k': 'v'})
    assert (received.matches[0].uri, received.matches[0].blob) == ('b.png', b'')


def test_content_comes_back_as_it_was_given():
    pixels = np.zeros((2, 2, 3), np.uint8)
    _, received = echo(Document(text='a'), Document(blob=b'1'), Document(tensor=pixels))
    assert received[0].text == 'a'
    assert received[1].blob == b'1'
    assert received[2].tensor is pixels


@pytest.mark.parametrize('new', [{'blob': b'new'}, {'text': 'new'}, {'tensor': np.ones((1, 1, 3), np.uint8)}])
def test_content_of_the_servers_own_stays(new):
    exchange = Exchange([Document(id='a', uri='a.png', blob=b'1')], '/x', {}, 1, 1)
    request = exchange.next_request()
    exchange.receive(Response(request.id, DocumentArray([Document(id='a', **new)])))
    (received,) = exchange.take()
    ((name, value),) = new.items()
    assert np.array_equal(getattr(received, name), value)


@pytest.mark.parametrize('content', [{'text': 'a'}, {'blob': b'1'}, {'tensor': np.zeros((2, 2, 3), np.uint8)}])
def test_no_uri_goes_out_beside_content(content):
    chunks = [Document(uri='/home/me/b.png', **content), Document(uri='/home/me/c.png')]
    sent, (received,) = echo(Document(uri='/home/me/a.png', chunks=chunks, **content))
    assert [one.uri for one in (sent[0], *sent[0].chunks)] == ['', '', '']
    assert [one.uri for one in (received, *received.chunks)] == [f'/home/me/{name}.png' for name in 'abc']
