"""What all transports to REST servers share: tried on OpenAI's dialect, and its parts without a server."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import orjson
import pytest
from docarray import Document, DocumentArray
from doors import DOORS
from hypothesis import given
from hypothesis import strategies as st
from model_servers import TeiServer
from peers import tls
from rest_kit import RestKit
from rest_servers import JinaAIServer, OpenAIServer, Refused, VllmServer, from_data_uri, serving

from inference_client import (
    AuthenticationError,
    Client,
    ConfigurationError,
    ConnectionFailedError,
    InferenceError,
    InputError,
    ModelNotFoundError,
    ProtocolError,
    RateLimitError,
    Request,
    RequestTooLargeError,
    RetryPolicy,
    ServerError,
    Timeouts,
    TransportOptions,
    UnsupportedTaskError,
)
from inference_client.testing import AsyncTransportConformance, TransportConformance
from inference_client.testing.transports import texts_of
from inference_client.transports.rest.address import address_of
from inference_client.transports.rest.http import HttpAnswer
from inference_client.transports.rest.limits import UNLIMITED, Limits, Pace
from inference_client.transports.rest.openai import OpenAIDialect, OpenAITransport
from inference_client.transports.rest.reading import by_index, number, vectors
from inference_client.transports.rest.transport import Done, advance

ONCE = RetryPolicy(attempts=1)
MODEL = 'text-embedding-3-small'


# -- conformance


class VllmWire(RestKit):
    unreachable_url = 'openai+http://127.0.0.1:9/v1?model=m&dialect=vllm'
    as_they_are = ('JPEG', 'PNG')

    def make(self):
        return VllmServer(lenient=True)

    def url_of(self, rest):
        return f'openai+{rest.url}/v1'

    def images_in(self, body):
        return [from_data_uri(one) for one in body['images']]


class JinaAIWire(RestKit):
    unreachable_url = 'jinaai://jina-clip-v2?base=http://127.0.0.1:9/v1'

    def make(self):
        return JinaAIServer(lenient=True, token=None)

    def url_of(self, rest):
        return f'jinaai://jina-clip-v2?base={rest.url}/v1'

    def images_in(self, body):
        return [base64.b64decode(one['image']) for one in body['input']]


class TestOpenAI(VllmWire, TransportConformance):
    pass


class TestAsyncOpenAI(VllmWire, AsyncTransportConformance):
    pass


class TestJinaAI(JinaAIWire, TransportConformance):
    pass


class TestAsyncJinaAI(JinaAIWire, AsyncTransportConformance):
    pass


# -- what goes wrong


@pytest.fixture(scope='module')
def rest():
    with serving(OpenAIServer()) as rest:
        yield rest


@pytest.fixture
def model(rest):
    rest.asked.clear()
    with Client('s3cret', retry=ONCE) as client:
        yield client.get_model(f'openai+{rest.url}/v1?model={MODEL}')


def embedded(*rows):
    return {'data': [{'index': index, 'embedding': row} for index, row in enumerate(rows)]}


def said(message):
    return {'error': {'message': message, 'type': 'x', 'code': None}}


@pytest.mark.parametrize(
    ('fault', 'kind', 'words'),
    [
        ((401, {}, said('Incorrect API key')), AuthenticationError, 'Incorrect API key'),
        ((403, {}, {'detail': 'not yours'}), AuthenticationError, 'not yours'),
        (
            (403, {}, said('You are not allowed to generate embeddings from this model')),
            UnsupportedTaskError,
            'not allowed to generate',
        ),
        ((403, {}, said('Project `p` does not have access to model `m`')), ModelNotFoundError, 'access to model `m`'),
        ((403, {}, {'error': {'message': 'no', 'code': 'model_not_found'}}), ModelNotFoundError, 'may not use such'),
        ((402, {}, said('Insufficient balance')), ServerError, r'paid first \(402: Insufficient balance\)'),
        ((404, {}, said('The model `m` does not exist')), ModelNotFoundError, 'The model `m` does not exist'),
        ((404, {}, b'<html>nothing here</html>'), UnsupportedTaskError, 'has no /v1/embeddings'),
        ((405, {}, {'detail': 'Method Not Allowed'}), UnsupportedTaskError, 'Method Not Allowed'),
        ((400, {}, said('dimensions is too large')), InputError, 'dimensions is too large'),
        ((422, {}, {'detail': [{'loc': ['body'], 'msg': 'wrong'}]}), InputError, 'wrong'),
        ((413, {}, b''), RequestTooLargeError, 'more than the server takes'),
        ((500, {}, {'message': 'out of memory'}), ServerError, 'out of memory'),
        ((503, {}, {'error': 'loading'}), ServerError, 'loading'),
        ((307, {'Location': 'http://elsewhere/'}, b''), ProtocolError, 'redirects to http://elsewhere/'),
        ((307, {'Location': '/s3cret\x1b[31m'}, b''), ProtocolError, r'redirects to /\*\*\* \[31m'),
        ((200, {}, b'<html>Welcome</html>'), ProtocolError, 'not JSON but begins with .<html>'),
        ((200, {}, b'{"data": [{"index": 0, "embedding": [NaN]}]}'), ProtocolError, 'not JSON'),
        ((200, {}, embedded([None])), ProtocolError, 'not finite'),
        ((200, {}, embedded([])), ProtocolError, 'shape'),
        ((200, {}, embedded('AAAA')), ProtocolError, 'no list of numbers'),
        ((200, {}, embedded([1e39])), ProtocolError, 'not finite'),
        ((200, {}, embedded([1], [2])), ProtocolError, '1 inputs were sent and 2 results'),
        ((200, {}, {'data': []}), ProtocolError, '1 inputs were sent and 0 results'),
        ((200, {}, {'data': [{'index': 1, 'embedding': [1]}]}), ProtocolError, 'index 1'),
        ((200, {}, {'data': [{'embedding': [1]}]}), ProtocolError, 'index None'),
        ((200, {}, {'data': ['x']}), ProtocolError, 'index'),
        ((200, {}, [1, 2]), ProtocolError, 'no list data'),
        ((200, {}, {'error': 'Unexpected endpoint or method.'}), UnsupportedTaskError, 'has no /v1/embeddings'),
        ((200, {}, said('Provider returned error')), ServerError, 'in place of a result: Provider returned error'),
    ],
)
def test_what_goes_wrong_is_told_apart(rest, model, fault, kind, words):
    rest.faults.append(fault)
    with pytest.raises(kind, match=words) as caught:
        model.encode(text='a')
    assert type(caught.value) is kind
    assert 's3cret' not in str(caught.value)
    assert str(caught.value).isprintable()
    assert model.encode(text='a')[0].embedding.shape == (8,)


def test_the_token_is_sent_as_bearer_and_is_in_no_error(rest, model):
    rest.faults.append((401, {}, said('the key s3cret is wrong')))
    with pytest.raises(AuthenticationError, match=r'the key \*\*\* is wrong'):
        model.encode(text='a')
    assert rest.asked[-1].headers['authorization'] == 'Bearer s3cret'


def test_what_may_pass_is_sent_again(rest, model):
    rest.faults.extend([(503, {}, said('loading')), (429, {'Retry-After': '0'}, said('slow down')), (500, {}, b'')])
    answer = model.encode(text='a', retry=RetryPolicy(attempts=4, initial=0.01))
    assert answer[0].embedding.shape == (8,)
    assert len(rest.asked) == 4


def test_retry_after_holds_for_the_next_request_too(rest):
    with Client(trust_env=False) as client:
        model = client.get_model(f'openai+{rest.url}/v1?model={MODEL}')
        rest.faults.append((429, {'Retry-After': '1'}, said('slow down')))
        with pytest.raises(RateLimitError, match='429'):
            model.encode(text='a', retry=ONCE)
        asked = len(rest.asked)
        with pytest.raises(RateLimitError, match='takes no requests for another 1 s') as caught:
            model.encode(text='a', retry=ONCE, timeout=0.3)
        assert 0.3 < caught.value.retry_after <= 1
        assert len(rest.asked) == asked
        assert len(model.encode(text='a')) == 1


@dataclass
class QueuedServer(OpenAIServer):
    """It refuses its first call for a second, once another waits for its turn in the client.

    Attributes:
        pace: of the client.
        times: when calls came.
    """

    pace: Pace | None = None
    times: list = field(default_factory=list)

    def answer(self, asked):
        with self.lock:
            self.times.append(time.monotonic())
            first = len(self.times) == 1
        if first:
            assert eventually(lambda: self.pace._waiting)
            return 429, {'Retry-After': '1'}, self.error('Rate limit reached')
        return super().answer(asked)


def eventually(what):
    end = time.monotonic() + 30
    while not what() and time.monotonic() < end:
        time.sleep(0.01)
    return what()


@pytest.mark.parametrize('door', DOORS)
def test_retry_after_holds_for_calls_that_were_queued_before(door):
    """None of them comes before it is over, and then they do not come all at once: first one, to see how that goes."""
    with serving(QueuedServer(seconds=0.1)) as server, DOORS[door](trust_env=False) as client:
        model = client.get_model(f'openai+{server.url}/v1?model={MODEL}')
        server.pace = model._transport._pace
        server.pace.throttle.allowed = 1
        assert len(model.encode(text=['a', 'b', 'c'], batch_size=1, prefetch=3)) == 3
    refused, second, third, _ = server.times
    assert second >= refused + 1
    assert third >= second + server.seconds


def test_a_call_that_is_interrupted_while_it_is_queued_does_not_hold_a_place(rest):
    transport = OpenAITransport(f'openai+{rest.url}/v1?model={MODEL}', TransportOptions())
    pace = transport._pace
    pace.throttle.allowed = 1
    assert pace.enter(print)  # of another thread

    def interrupt():
        assert eventually(lambda: pace._waiting)
        time.sleep(0.1)  # until it waits indeed
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        interrupted = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            transport.send(Request('/encode', texts_of('a')), Timeouts())
        interrupted.result()
    pace.leave(200)
    assert pace.busy == 0
    transport.close()


@pytest.mark.parametrize('door', DOORS)
@pytest.mark.parametrize('options', ['', f'?model={MODEL}'])
def test_a_timeout_is_for_all_calls_of_a_request(door, options):
    """And an error names it as it was given, not what was left of it for the last call."""
    seconds = 0.6 if not options else 0.3  # /models, then /embeddings, or that alone
    with serving(OpenAIServer(seconds=0.4)) as server, DOORS[door](trust_env=False, retry=ONCE) as client:
        model = client.get_model(f'openai+{server.url}/v1{options}')
        with pytest.raises(InferenceError, match=f'no answer within {seconds} s'):
            model.encode(text='a', timeout=seconds)


NO_MONEY = {'message': 'Insufficient balance', 'type': 'insufficient_quota', 'code': 'insufficient_quota'}


@pytest.mark.parametrize('fault', [(402, {}, said('Insufficient balance')), (429, {}, {'error': NO_MONEY})])
def test_an_account_without_money_is_no_fault_of_an_item(fault):
    """So the items are not sent one by one to see which of them it is, nor again."""
    with serving(OpenAIServer()) as server, Client(trust_env=False) as client:
        model = client.get_model(f'openai+{server.url}/v1?model={MODEL}')
        server.faults.extend([fault] * 200)
        with pytest.raises(ServerError, match=rf'paid first \({fault[0]}: Insufficient balance\); see to the account'):
            model.encode(text=['a'] * 64, on_item_error='return')
        assert len(server.asked) <= 2


@pytest.mark.parametrize('door', DOORS)
def test_over_tls(door, tmp_path):
    authority = pytest.importorskip('trustme').CA()
    authority.cert_pem.write_to_path(tmp_path / 'ca.pem')
    file = tmp_path / 'server.pem'
    authority.issue_cert('localhost').private_key_and_cert_chain_pem.write_to_path(file)
    with serving(OpenAIServer()) as server, tls(server.url, str(file), str(file)) as url:
        with DOORS[door]('a-token', ca_file=str(tmp_path / 'ca.pem'), retry=ONCE) as client:
            assert len(client.get_model(f'openai+{url}/v1').encode(text='a')) == 1
        with DOORS[door]('a-token', retry=ONCE) as client, pytest.raises(ConnectionFailedError, match='certificate'):
            client.get_model(f'openai+{url}/v1').encode(text='a')


@pytest.mark.parametrize('door', DOORS)
def test_a_proxy_of_the_environment_is_used_if_that_is_trusted(door, monkeypatch):
    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.delenv(name, raising=False)
    with serving(OpenAIServer()) as server, serving(OpenAIServer()) as proxy:
        monkeypatch.setenv('http_proxy', proxy.url)
        url = f'openai+{server.url}/v1?model={MODEL}'
        with DOORS[door](trust_env=False, retry=ONCE) as client:
            client.get_model(url).encode(text='a')
        assert proxy.asked == []
        with DOORS[door](retry=ONCE) as client, pytest.raises(UnsupportedTaskError):  # it passes nothing on
            client.get_model(url).encode(text='a')
        assert [asked.path for asked in proxy.asked] == [f'{server.url}/v1/embeddings']


# -- limits


@pytest.mark.parametrize('asynchronous', [False, True])
def test_batches_are_cut_to_what_the_server_takes(asynchronous):
    texts = [f'text {number}' for number in range(40)]
    with serving(OpenAIServer(most=7)) as server:
        url = f'openai+{server.url}/v1?model={MODEL}'
        answers = encode_all(url, asynchronous, text=texts, batch_size=20, prefetch=1)
        assert [one.text for one in answers] == texts
        sizes = [len(asked.body['input']) for asked in server.asked]
    assert sizes == [20, 7, 7, 6, 7, 7, 6]  # refused once, and remembered


def test_a_body_that_is_too_large_is_cut_and_remembered():
    with serving(OpenAIServer()) as server, Client(retry=ONCE) as client:
        model = client.get_model(f'openai+{server.url}/v1?model={MODEL}')
        server.faults.append((413, {}, b''))
        model.encode(text=['a' * 1000] * 8, batch_size=8)
        model.encode(text=['a' * 1000] * 8, batch_size=8)
        assert [len(asked.body['input']) for asked in server.asked] == [8, 4, 4, 4, 4]


class ManyTokens(OpenAIServer):
    """It takes 300 letters a call."""

    def embeddings(self, body):
        letters = sum(map(len, body['input']))
        if letters > 300:
            message = f'Requested {letters} tokens, max 300 tokens per request'
            raise Refused(400, {'error': {**self.error(message)['error'], 'code': 'max_tokens_per_request'}})
        return super().embeddings(body)


def test_texts_that_are_too_long_together_are_cut_into_more_calls():
    with serving(ManyTokens()) as server, Client(retry=ONCE) as client:
        model = client.get_model(f'openai+{server.url}/v1?model={MODEL}')
        assert len(model.encode(text=['a' * 100] * 8)) == 8
        assert [len(asked.body['input']) for asked in server.asked] == [8, 4, 2, 2, 2, 2]
        server.asked.clear()
        assert len(model.encode(text=['a'] * 8)) == 8
        assert [len(asked.body['input']) for asked in server.asked] == [8]  # how many there were was no matter
        with pytest.raises(InputError, match='Requested 301 tokens'):
            model.encode(text='a' * 301)


class FewTokensPerMinute(OpenAIServer):
    """It takes 300 letters a minute, so that a call of more never will be taken."""

    def embeddings(self, body):
        letters = sum(map(len, body['input']))
        if letters > 300:
            words = f'Request too large for m on tokens per min (TPM): Limit 300, Requested {letters}.'
            raise Refused(429, {'error': {**self.error(words)['error'], 'code': 'rate_limit_exceeded'}})
        return super().embeddings(body)


def test_texts_that_are_more_together_than_may_come_in_a_minute_are_cut_into_more_calls():
    with serving(FewTokensPerMinute()) as server, Client(trust_env=False) as client:
        model = client.get_model(f'openai+{server.url}/v1?model={MODEL}')
        assert len(model.encode(text=['a' * 100] * 8)) == 8
        assert [len(asked.body['input']) for asked in server.asked] == [8, 4, 2, 2, 2, 2]
        server.asked.clear()
        with pytest.raises(InputError, match=r'takes in a minute .*Requested 301'):
            model.encode(text='a' * 301)
        assert len(server.asked) == 1


def test_one_that_is_too_large_alone_is_an_error():
    with serving(OpenAIServer()) as server, Client(retry=ONCE) as client:
        model = client.get_model(f'openai+{server.url}/v1?model={MODEL}')
        server.faults.extend([(413, {}, b'')] * 9)
        with pytest.raises(RequestTooLargeError):
            model.encode(text=['a', 'b'])


@pytest.mark.parametrize('asynchronous', [False, True])
def test_fewer_calls_at_once_after_429(asynchronous):
    """A server that takes two at once: eight requests at once are all answered, and the transport learns."""
    texts = [f'text {number}' for number in range(64)]
    with serving(OpenAIServer(at_once=2, seconds=0.02)) as server:
        url = f'openai+{server.url}/v1?model={MODEL}'
        retry = RetryPolicy(attempts=20, initial=0.02)
        answers = encode_all(url, asynchronous, text=texts, batch_size=1, prefetch=8, retry=retry)
        assert [one.text for one in answers] == texts
        refused = len(server.asked) - 64
    assert 1 <= refused < 40  # the first six or so, and now and then one that was tried


@pytest.mark.parametrize('asynchronous', [False, True])
@pytest.mark.parametrize('at_once', [1, 2])
def test_a_bulk_job_gets_through_to_a_server_of_few_places(at_once, asynchronous):
    """It says nothing of when to come again; the usual three attempts do, as too many at once is no attempt."""
    texts = [f'text {number}' for number in range(60)]
    with serving(OpenAIServer(at_once=at_once, seconds=0.01)) as server:
        url = f'openai+{server.url}/v1?model={MODEL}'
        answers = encode_all(url, asynchronous, text=texts, batch_size=1, retry=RetryPolicy(initial=0.02))
        assert [one.text for one in answers] == texts
        assert len(server.asked) < 60 + 25


@dataclass
class WindowServer(TeiServer):
    """It takes so many calls a second, each of two texts, and says when the second is over.

    Attributes:
        calls: a second.
    """

    calls: int = 3
    most: int = 2
    begun: float = 0.0
    taken_now: int = 0
    done: list = field(default_factory=list)

    def embed(self, body):
        with self.lock:
            now = time.monotonic()
            if now >= self.begun + 1:
                self.begun, self.taken_now = now, 0
            self.taken_now += 1
            if self.taken_now > self.calls:
                raise Refused(429, self.error('Model is overloaded', 'Overloaded'), {'Retry-After': '1'})
            self.done.extend(body['inputs'])
        return super().embed(body)


@pytest.mark.parametrize('asynchronous', [False, True])
def test_a_request_of_several_calls_goes_on_where_it_was_put_off(asynchronous):
    """What was answered before is not asked for again."""
    texts = [f'text {number}' for number in range(16)]
    with serving(WindowServer()) as server:
        answers = encode_all(f'tei+{server.url}', asynchronous, text=texts, batch_size=16)
        assert [one.text for one in answers] == texts
        assert server.done == texts


def test_a_request_of_several_calls_has_an_end():
    with serving(WindowServer(calls=1)) as server, Client(trust_env=False) as client:
        model = client.get_model(f'tei+{server.url}')
        with pytest.raises(RateLimitError):
            model.encode(text=[f'text {number}' for number in range(16)], timeout=2.5)
        assert 4 <= len(server.done) <= 8


def test_what_the_server_said_is_told_when_the_time_is_over():
    """And no wait that it did not ask for."""
    with serving(TeiServer(most=2)) as server, Client(trust_env=False) as client:
        model = client.get_model(f'tei+{server.url}')
        server.faults.extend([None, None, *[(429, {}, server.error('slow down', 'Overloaded'))] * 50])
        with pytest.raises(RateLimitError, match='slow down') as caught:
            model.encode(text=[f'text {number}' for number in range(6)], timeout=2, retry=ONCE)
        assert caught.value.retry_after is None


def encode_all(url, asynchronous, **arguments):
    if not asynchronous:
        with Client(trust_env=False) as client:
            return client.get_model(url).encode(**arguments)

    async def run():
        from inference_client import AsyncClient

        async with AsyncClient(trust_env=False) as client:
            return await (await client.get_model(url)).encode(**arguments)

    return asyncio.run(run())


def test_a_pace_admits_as_many_as_it_allows():
    pace, woken = Pace(), []
    assert all(pace.enter(print) for _ in range(5))
    pace.leave(429)
    assert pace.throttle.allowed == 4
    pace.leave(429)
    assert (pace.throttle.allowed, pace.busy) == (3, 3)
    assert not pace.enter(lambda: woken.append(1))
    pace.leave(200)
    assert woken == [1]
    assert pace.busy == 3
    pace.leave(200)
    pace.leave(200)
    assert pace.throttle.allowed == 4  # after three that went well


def test_who_gives_up_does_not_hold_a_place():
    pace = Pace()
    pace.enter(print)
    pace.enter(print)
    pace.leave(429)
    first, second = [], []
    begin_first, begin_second = (lambda: first.append(1)), (lambda: second.append(1))
    assert not pace.enter(begin_first)
    assert not pace.enter(begin_second)
    pace.give_up(begin_first)
    pace.leave(200)
    assert (first, second) == ([], [1])
    pace.give_up(begin_second)  # it has begun meanwhile
    assert pace.busy == 0


def test_who_begins_while_the_server_wants_to_be_left_alone_is_turned_back():
    pace = Pace()
    assert pace.enter(print)
    assert not pace.turned_back()
    pace.leave(429, 60)
    assert pace.enter(print)
    assert pace.turned_back()
    assert pace.busy == 0


def test_a_pace_is_shared_by_threads():
    pace, busiest, lock, now = Pace(), [], threading.Lock(), [0]
    pace.enter(print)
    pace.enter(print)
    pace.enter(print)
    for _ in range(3):
        pace.leave(429)
    assert pace.throttle.allowed == 1

    def work(_):
        begun = threading.Event()
        if not pace.enter(begun.set):
            assert begun.wait(10)
        with lock:
            now[0] += 1
            busiest.append(now[0])
        time.sleep(0.001)
        with lock:
            now[0] -= 1
        pace.leave(0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(50)))
    assert max(busiest) == 1
    assert pace.busy == 0


@pytest.mark.parametrize(
    ('words', 'inputs', 'most'),
    [
        ('batch size 64 > maximum allowed batch size 32', 64, 32),
        ('List should have at most 32 items after validation, not 64', 64, 32),
        ('Too many inputs. The max number of inputs is 2048.', 3000, 2048),
        ('too many inputs', 9, 4),
    ],
)
def test_the_most_inputs_are_read_from_a_refusal(words, inputs, most):
    limits = Limits()
    assert limits.too_many(words, inputs)
    assert limits.most('text') == limits.most('image') == most


def test_other_refusals_say_nothing_of_the_number_of_inputs():
    limits = Limits()
    assert not limits.too_many("This model's maximum context length is 8192 tokens", 64)
    assert not limits.too_many('batch size 1 > 0', 1)
    assert not limits.too_many('input (90 tokens) is too large to process. (current batch size: 8)', 64)
    assert limits.most('text') == UNLIMITED


# -- addresses


@pytest.mark.parametrize(
    ('url', 'base', 'version', 'options'),
    [
        ('openai+http://host:1/v1?model=a/b', 'http://host:1', '/v1', {'model': 'a/b'}),
        ('openai+https://host/v1/', 'https://host', '/v1', {}),
        ('OpenAI+HTTPS://host/openai/v1', 'https://host/openai', '/v1', {}),
        ('openai+http://host/api/v3?model=m%20n', 'http://host/api/v3', '', {'model': 'm n'}),
        ('openai+http://[::1]:2', 'http://[::1]:2', '', {}),
        ('openai+http://host/post', 'http://host/post', '', {}),
    ],
)
def test_addresses(url, base, version, options):
    address = address_of(url, TransportOptions(), ('model',))
    assert (address.base, address.version, address.options) == (base, version, options)


@pytest.mark.parametrize(
    ('url', 'words'),
    [
        ('openai+http://', 'is not the URL of a server'),
        ('openai+http://user:secret@host/v1', 'user name or password'),
        ('openai+http://host/v1?api_key=secret', r'has the options \?api_key=: expected some of \?dialect=, \?model='),
        ('openai+http://host/v1?model=a&model=b', 'each once'),
        ('openai+http://host/v1#secret', 'without a #'),
        ('openai+http://host/v1?model=secret#a', r"'openai\+http://host/v1' is no URL .* without a #"),
        ('openai+http://user:secret@host:0/v1', "'openai.http://host:0/v1' is not the URL of a server"),
        ('openai+http:///v1?model=secret', "'openai.http:///v1' is not the URL of a server"),
        ('kserve+http://host?text=secret', "'kserve.http://host' names no model"),
        ('openai+http://host/v1?dialect=other', 'dialect=other is unknown: expected vllm or llamacpp'),
        ('jinaai://', 'names no model'),
        ('jinaai://m?key=secret', r'has the options \?key=: expected some of \?base='),
        ('jinaai://m?base=ftp://host', 'expected one with http or https'),
    ],
)
def test_urls_that_are_of_no_use(url, words):
    with pytest.raises(ConfigurationError, match=words) as caught:
        Client(trust_env=False).get_model(url)
    assert 'secret' not in str(caught.value)


def test_a_token_that_is_bearer_already_is_sent_as_it_is():
    address = address_of('openai+https://host', TransportOptions('Bearer abc'), ())
    assert address.headers['Authorization'] == 'Bearer abc'


# -- without a server


def dialect(model='m'):
    return OpenAIDialect(address_of(f'openai+http://host/v1?model={model}', TransportOptions(), ('model', 'dialect')))


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8), st.randoms())
def test_any_texts_in_any_order_of_index(texts, shuffler):
    """What is sent is what was given, and each gets its own embedding in whatever order they come back."""
    steps = dialect().run(Request('/encode', DocumentArray([Document(text=text) for text in texts])))
    call = advance(steps, None)
    body = orjson.loads(call.data)
    assert (call.path, body['input'], body['model']) == ('/v1/embeddings', texts, 'm')
    rows = [{'index': index, 'embedding': [float(index), 1.0]} for index in range(len(texts))]
    shuffler.shuffle(rows)
    done = advance(steps, HttpAnswer(200, {}, orjson.dumps({'data': rows})))
    assert isinstance(done, Done)
    assert [one.text for one in done.value] == texts
    assert [one.embedding.tolist() for one in done.value] == [[float(index), 1.0] for index in range(len(texts))]


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(InputError, match='valid Unicode'):
        advance(dialect().run(Request('/encode', DocumentArray([Document(text='\ud800')]))), None)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(['data', 'index', 'embedding', 'results']), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.one_of(JSON.map(lambda value: json.dumps(value).encode()), st.binary(max_size=60)),
    st.sampled_from([200, 200, 400, 404, 429, 500]),
)
def test_any_answer_is_a_result_or_one_of_our_errors(content, status):
    steps = dialect().run(Request('/encode', DocumentArray([Document(text='a')])))
    advance(steps, None)
    try:
        done = advance(steps, HttpAnswer(status, {}, content))
    except InferenceError:
        return
    assert np.isfinite(done.value[0].embedding).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8), st.randoms())
def test_any_relevances_in_any_order_of_index(scores, shuffler):
    """Each candidate has its own, the best is first, and the softmax is one."""
    document = Document(text='a', matches=[Document(text=str(number)) for number in range(len(scores))])
    steps = dialect().run(Request('/rank', DocumentArray([document])))
    call = advance(steps, None)
    assert (call.path, orjson.loads(call.data)['top_n']) == ('/v1/rerank', len(scores))
    results = [{'index': index, 'relevance_score': score} for index, score in enumerate(scores)]
    shuffler.shuffle(results)
    done = advance(steps, HttpAnswer(200, {}, orjson.dumps({'results': results})))
    matches = list(done.value[0].matches)
    found = [match.scores['relevance_score'].value for match in matches]
    assert [scores[int(match.text)] for match in matches] == found == sorted(scores, reverse=True)
    assert sum(match.scores['clip_score'].value for match in matches) == pytest.approx(1)


@given(st.permutations(range(5)))
def test_entries_are_put_in_the_order_of_their_index(order):
    assert [entry['index'] for entry in by_index([{'index': index} for index in order])] == list(range(5))


@pytest.mark.parametrize('indices', [[0, 0], [0, 2], [-1, 0], [0, None], [0, '1'], [0, 1.0], [0, True]])
def test_indices_that_are_of_no_use(indices):
    with pytest.raises(ProtocolError, match='index'):
        by_index([{'index': index} for index in indices])


@pytest.mark.parametrize('values', [[[1], [1, 2]], [[[1]]], [5], [{}], [[True, 'a']], [[1, None]]])
def test_embeddings_that_are_of_no_use(values):
    with pytest.raises(ProtocolError, match='embedding'):
        vectors(values)


@pytest.mark.parametrize('entry', [{}, {'score': 'a'}, {'score': True}, {'score': None}, [], {'score': float('inf')}])
def test_scores_that_are_of_no_use(entry):
    with pytest.raises(ProtocolError, match='score'):
        number(entry, 'score')


@pytest.mark.parametrize('name', ['model', 'input', 'encoding_format'])
def test_parameters_do_not_replace_what_the_wire_sends(name):
    steps = dialect().run(Request('/encode', DocumentArray([Document(text='a')]), {name: 'x'}))
    with pytest.raises(InputError, match=f'{name} cannot be a parameter'):
        advance(steps, None)


def test_what_is_no_image_is_not_sent():
    steps = OpenAIDialect(
        address_of('openai+http://host?model=m&dialect=vllm', TransportOptions(), ('model', 'dialect'))
    ).run(Request('/encode', DocumentArray([Document(blob=b'nothing')])))
    advance(steps, None)
    with pytest.raises(InputError, match='not an image'):
        advance(steps, HttpAnswer(404, {}, b''))


def test_an_empty_document_is_refused():
    with pytest.raises(InputError, match='is empty'):
        advance(dialect().run(Request('/encode', DocumentArray([Document()]))), None)
