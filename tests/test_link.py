"""The pipes between the service and a replica, and what a replica makes of a request."""

from __future__ import annotations

import asyncio
import io
import json
import sys

import numpy as np
import pytest
from docarray import DocumentArray
from hypothesis import given
from hypothesis import strategies as st

from inference_client import ConfigurationError
from inference_client._wire.jina_pb2 import DataRequestProto, StatusProto
from inference_client.engines.base import Engine
from inference_client.server import link, work
from inference_client.server.link import Answer, Link, LostError, StuckError

SHORT = """
import sys
from inference_client.server.link import Answer, requests, send
held = []
for number, data in requests(sys.stdin.buffer):
    if data == b'end':
        break
    if data == b'hold':
        held.append(number)
    elif not data:
        held.remove(number)
        send(sys.stdout.buffer, number, Answer(b'', False))
    elif data == b'held':
        send(sys.stdout.buffer, number, Answer(repr(held).encode(), False))
    else:
        send(sys.stdout.buffer, number, Answer(data[::-1], data.startswith(b'!')))
"""


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=300))), st.integers(0, 20))
def test_requests_are_read_as_they_were_written(sent, missing):
    written = b''.join(link.REQUEST.pack(number, len(data)) + data for number, data in sent)
    assert list(link.requests(io.BytesIO(written))) == sent
    cut = list(link.requests(io.BytesIO(written[: len(written) - missing])))
    assert cut == sent[: len(cut)]


async def linked(talk):
    process = await asyncio.create_subprocess_exec(
        sys.executable, '-c', SHORT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 16
    )
    one = Link(process)
    reader = asyncio.ensure_future(one.read())
    try:
        return await asyncio.wait_for(talk(one), 60)
    finally:
        process.stdin.close()
        await process.wait()
        await reader


def test_answers_reach_who_asked_whatever_their_size():
    asked = [bytes([65 + size % 26]) * size + b'.' for size in (0, 1, 70_000, 3, 5_000_000, 17)] + [b'!no']

    async def talk(one):
        return await asyncio.gather(*(one.ask(data) for data in asked))

    assert asyncio.run(linked(talk)) == [Answer(data[::-1], data == b'!no') for data in asked]


def test_a_request_that_nobody_waits_for_is_taken_back():
    async def talk(one):
        asking = asyncio.ensure_future(one.ask(b'hold'))
        await asyncio.sleep(0)  # until it has asked
        assert (await one.ask(b'held')).data == b'[0]'
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert one.held == 4  # which the process has until it says that it does not
        return (await one.ask(b'held')).data, one.held

    assert asyncio.run(linked(talk)) == (b'[]', 0)


def test_a_process_that_does_not_get_on_is_found_and_its_oldest_request_given_up():
    async def talk(one):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(one.watch(0.01), 0.2)  # it has nothing to do
        asked = [asyncio.ensure_future(one.ask(b'hold')) for _ in range(2)]
        await one.ask(b'answered')
        await one.watch(0.01)
        with pytest.raises(StuckError):
            await asked[0]
        assert not asked[1].done()
        one.close()
        with pytest.raises(LostError):
            await asked[1]

    asyncio.run(linked(talk))


def test_a_process_that_ends_fails_all_that_it_has():
    async def talk(one):
        asked = await asyncio.gather(one.ask(b'hold'), one.ask(b'end'), return_exceptions=True)
        with pytest.raises(LostError):
            await one.ask(b'late')
        return [type(error) for error in asked]

    assert asyncio.run(linked(talk)) == [LostError, LostError]


class Lengths(Engine):
    """Embeds a text as its length; the texts `odd` and `path` make trouble."""

    tasks = frozenset({'encode'})

    def run(self, task, documents, parameters):
        for document in documents:
            document.embedding = np.array([len(document.text)], np.float32)
            if document.text == 'odd':
                document.tags['x'] = object()
            if document.text == 'path':
                raise OSError('no file /secret/weights.bin')
            if document.text == 'late':
                raise ConfigurationError('no file /secret/weights.bin')
        return documents


def answered(message):
    (answer,) = work.answers(Lengths(), 'lengths', [message])
    reply = DataRequestProto.FromString(answer.data)
    assert answer.failed == (reply.header.status.code == StatusProto.ERROR)
    return reply


def request(*texts, endpoint='/encode'):
    message = DataRequestProto()
    message.header.request_id, message.header.exec_endpoint = 'an id', endpoint
    for text in texts:
        message.data.docs.docs.add(id=text, text=text)
    return message


def test_an_answer_has_the_header_of_its_request():
    reply = answered(request('a', 'bcd'))
    assert (reply.header.request_id, reply.header.exec_endpoint) == ('an id', '/encode')
    assert reply.header.HasField('status')
    documents = DocumentArray.from_protobuf(reply.data.docs)
    assert (documents[:, 'text'], documents.embeddings.tolist()) == (['a', 'bcd'], [[1], [3]])


def test_no_documents_are_an_answer_at_any_endpoint():
    assert answered(request(endpoint='/nothing')).header.status.code == StatusProto.SUCCESS


@pytest.mark.parametrize('endpoint', ['/', ''])
def test_documents_come_back_as_they_came_from_no_endpoint(endpoint):
    reply = answered(request('a', endpoint=endpoint))
    assert (reply.header.status.code, reply.data) == (StatusProto.SUCCESS, request('a').data)


def test_what_cannot_be_sent_is_the_models_failure(caplog):
    status = answered(request('odd')).header.status
    assert status.exception.name == 'ServerError'
    assert 'cannot be sent' in status.description
    assert 'failed at /encode' in caplog.text


@pytest.mark.parametrize('text', ['path', 'late'])
def test_a_failure_hides_paths_and_logs_them(caplog, text):
    reply = answered(request(text))
    assert '/secret' not in str(reply)
    assert 'no file (a path)' in reply.header.status.description
    assert '/secret/weights.bin' in caplog.text
    assert not reply.data.docs.docs


@pytest.mark.parametrize(
    'name', ['blip2:/srv/models/itm', 'clip:/srv/x.pt?arch=ViT-B-32', 'mine:~/srv', 'clip:C:\\srv\\x.pt']
)
def test_the_path_in_a_models_name_is_hidden(name):
    text = f'{name!r} needs files; see https://example.org/srv'
    told = work.PATH.sub('(a path)', text.replace('\\\\', '\\'))
    assert told == f"'{name.partition(':')[0]}:(a path)' needs files; see https://example.org/srv"


def test_a_pickle_is_not_even_looked_at():
    message = request()
    message.data.docs_bytes = b'\x80\x04junk'
    assert not answered(message).data.docs.docs


@pytest.mark.parametrize('where', ['tensor', 'embedding', 'match'])
def test_sparse_arrays_are_refused(where):
    message = request('a')
    (document,) = message.data.docs.docs
    held = document.matches.add().embedding if where == 'match' else getattr(document, where)
    held.sparse.shape.extend([1 << 24, 1 << 24])
    status = answered(message).header.status
    assert status.exception.name == 'InputError'
    assert 'send a dense one' in status.description


@given(st.binary(max_size=40), st.lists(st.integers(0, 2**32 - 1), max_size=3), st.text(max_size=4))
def test_odd_arrays_are_the_senders_fault(buffer, shape, dtype):
    message = request('a')
    dense = message.data.docs.docs[0].tensor.dense
    dense.buffer, dense.dtype = buffer, dtype
    dense.shape.extend(shape)
    status = answered(message).header.status
    assert status.exception.name in ('', 'InputError')


def test_it_says_why_a_model_is_not_loaded():
    async def said():
        command = [sys.executable, '-m', 'inference_client.server.worker']
        arguments = json.dumps({'name': 'x', 'engine': 'nope', 'pixels': 1})
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, arguments, stdin=pipe, stdout=pipe)
        return await process.stdout.read(), await process.wait()

    line, code = asyncio.run(said())
    assert "unknown engine 'nope'" in json.loads(line)['error']
    assert code == 1
