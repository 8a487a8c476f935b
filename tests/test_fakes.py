"""Fake transports: what they record, answer, and do wrong; and recordings of real ones."""

from __future__ import annotations

import asyncio
import base64
import itertools
import math
import traceback

import numpy as np
import orjson
import pytest
from docarray import Document, DocumentArray
from hypothesis import example, given
from hypothesis import strategies as st
from isolated import output_of

from inference_client import (
    AuthenticationError,
    Client,
    ConfigurationError,
    ConnectionFailedError,
    InferenceError,
    InputError,
    ProtocolError,
    Request,
    RequestTimeoutError,
    Response,
    RetryPolicy,
    ServerError,
    TaskFallbackWarning,
    Timeouts,
    Transport,
    TransportError,
    TransportOptions,
    UnsupportedTaskError,
)
from inference_client.testing import FakeTransport, Fault, Recording, RecordingTransport, async_client_for, client_for
from inference_client.transports.local import LocalTransport

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
AT_ONCE = RetryPolicy(attempts=3, initial=0, maximum=0)
NEVER_AGAIN = RetryPolicy(attempts=1)
TOKEN = 'a-secret-token-1234'


def model_on(fake, name=None, **options):
    return client_for(fake, **options).get_model(name)


def texts(documents):
    return [document.text for document in documents]


def embedded(request):
    """Embeds a text as its number."""
    for document in request.documents:
        document.embedding = np.array([float(document.text)], np.float32)
    return request.documents


# -- answers and records


def test_without_answers_a_fake_does_the_four_tasks():
    model = model_on(FakeTransport(), 'blip2')
    first, second, same = model.encode(text=['a', 'b', 'a']).embeddings
    assert first.shape == (8,)
    assert np.linalg.norm(first) == pytest.approx(1)
    assert (first == same).all()
    assert not (first == second).all()
    assert model.rank(reference='a', candidates=['b', 'a'])[0].matches[0].text == 'a'
    assert model.caption(image=PIXELS)[0].tags['response'] == 'an image of 5 x 4 pixels'
    assert model.vqa(image=PIXELS, question='What?')[0].tags['response'] == 'an answer to Question: What? Answer:'


def test_what_is_sent_is_recorded_as_it_arrives():
    fake = FakeTransport()
    model_on(fake).encode(text=['a', 'b', 'c'], batch_size=2, size=3)
    assert [texts(request.documents) for request in fake.requests] == [['a', 'b'], ['c']]
    assert {request.endpoint for request in fake.requests} == {'/encode'}
    size = fake.requests[0].parameters['size']
    assert (size, type(size)) == (3, float)  # as over any wire
    assert all(document.embedding is None for request in fake.requests for document in request.documents)


def test_a_function_answers():
    seen = []

    def answer(request):
        seen.append(request.parameters)
        return (Document(embedding=np.ones(2, np.float32)) for _ in request.documents)

    answered = model_on(FakeTransport(answer)).encode(text=['a', 'b'], wide=True)
    assert texts(answered) == ['a', 'b']
    assert answered.embeddings.tolist() == [[1, 1], [1, 1]]
    assert seen == [{'wide': True}]


def test_canned_documents_are_handed_out_one_after_the_other():
    canned = [Document(embedding=np.full(1, number, np.float32)) for number in range(3)]
    model = model_on(FakeTransport(canned))
    assert model.encode(text=['a', 'b'], batch_size=1).embeddings.tolist() == [[0], [1]]
    assert model.encode(text='c').embeddings.tolist() == [[2]]
    with pytest.raises(ConfigurationError, match='all 3 canned answers were given'):
        model.encode(text='d')
    assert texts(canned) == ['', '', '']


def test_answers_that_do_not_fit_are_what_they_are_from_a_server():
    with pytest.raises(ProtocolError, match='2 documents were sent and 1 came back'):
        model_on(FakeTransport(lambda request: request.documents[:1])).encode(text=['a', 'b'])
    with pytest.raises(UnsupportedTaskError, match='the answer has no embedding'):
        model_on(FakeTransport(lambda request: request.documents)).encode(text='a')
    with pytest.raises(TransportError, match='ZeroDivisionError'):
        model_on(FakeTransport(lambda request: 1 / 0)).encode(text='a')


def test_what_no_wire_carries_is_refused():
    fake = FakeTransport()
    with pytest.raises(InputError, match='cannot be sent'):
        fake.send(Request('/encode', DocumentArray([Document(text='\ud800')])), Timeouts())
    assert fake.requests == []


# -- clients


def test_every_name_and_url_leads_to_the_fake():
    fake = FakeTransport()
    with client_for(fake) as client:
        assert client.get_model('ViT-B-32::openai', protocol='http').url == fake.url
        assert client.get_model('grpcs://example.com').encode(text='a')
        assert client.get_model() is client.get_model()
        with pytest.warns(TaskFallbackWarning):
            client.get_model('ViT-B-32::openai').caption(image=PIXELS)
    with pytest.raises(UnsupportedTaskError):
        client_for(fake, tasks=['encode']).get_model('x').rank(reference='a', candidates=['b'])
    assert len(fake.requests) == 2


def test_the_same_in_an_event_loop():
    fake = FakeTransport(embedded, faults=[Fault(drop=True), None, Fault(reorder=True)])

    async def main():
        async with async_client_for(fake, retry=AT_ONCE) as client:
            model = await client.get_model('any')
            assert await model.is_ready()
            answered = await model.encode(text=map(str, range(9)), batch_size=2)
            return answered.embeddings.ravel().tolist()

    assert asyncio.run(main()) == list(range(9))
    assert len(fake.requests) == 6


def test_a_client_of_any_transport_for_event_loops():
    class Upper(Transport):
        def send(self, request, timeouts):
            return Response(request.id, DocumentArray(embedded(request)))

    async def main():
        async with async_client_for(Upper('upper://x', TransportOptions())) as client:
            return await (await client.get_model()).encode(text='3')

    assert asyncio.run(main())[0].embedding == [3]


# -- faults


def test_a_lost_connection_is_tried_again():
    fake = FakeTransport(faults=[Fault(drop=True), Fault(drop=True)])
    assert model_on(fake, retry=AT_ONCE).encode(text='a')
    assert [texts(request.documents) for request in fake.requests] == [['a']] * 3
    with pytest.raises(ConnectionFailedError, match='after 3 attempts'):
        model_on(FakeTransport(faults=itertools.repeat(Fault(drop=True))), retry=AT_ONCE).encode(text='a')


def test_an_error_is_raised_and_none_twice():
    error = ServerError('the model is down', transient=True, busy=True)
    fake = FakeTransport(faults=[Fault(error=error)] * 2)
    model = model_on(fake, retry=NEVER_AGAIN)
    for _ in range(2):
        with pytest.raises(ServerError, match='the model is down') as caught:
            model.encode(text='a')
        assert caught.value is not error
        assert (caught.value.busy, caught.value.attempts) == (True, ('ServerError: the model is down',))
    assert error.url is None
    assert model.encode(text='a')
    with pytest.raises(AuthenticationError):
        model_on(FakeTransport(faults=[Fault(error=AuthenticationError('no'))])).encode(text='a')


def test_an_answer_that_comes_late_or_never():
    model = model_on(FakeTransport(faults=[Fault(delay=0.05), Fault(delay=math.inf)]), retry=NEVER_AGAIN)
    assert model.encode(text='a')
    with pytest.raises(RequestTimeoutError):
        model.encode(text='a', timeout=0.1)
    fake = FakeTransport(faults=[Fault(delay=math.inf)])
    with pytest.raises(RequestTimeoutError):
        fake.send(Request('/encode', DocumentArray([Document(text='a')])), Timeouts().within(0.1))


def test_a_time_out_of_a_fault_says_what_the_test_says():
    request = Request('/encode', DocumentArray([Document(text='a')]))
    fake = FakeTransport(faults=itertools.repeat(Fault(error=RequestTimeoutError('the gateway gave up'))))
    with pytest.raises(RequestTimeoutError, match='the gateway gave up'):
        fake.send(request, Timeouts())
    with pytest.raises(RequestTimeoutError, match='the gateway gave up'):
        asyncio.run(fake.as_async().send(request, Timeouts()))


def test_answers_in_another_order():
    fake = FakeTransport(embedded, faults=itertools.cycle([Fault(reorder=True), None]))
    done = []
    answered = model_on(fake).encode(
        text=map(str, range(8)), batch_size=2, on_done=lambda documents: done.append(texts(documents))
    )
    assert answered.embeddings.ravel().tolist() == list(range(8))
    assert sorted(done) != done  # the second request was answered before the first
    request = Request('/encode', DocumentArray([Document(text='1'), Document(text='2')]))
    response = FakeTransport(embedded, faults=[Fault(reorder=True)]).send(request, Timeouts())
    assert [document.id for document in response.documents] == [document.id for document in request.documents][::-1]


def test_to_close_it_ends_what_is_under_way():
    fake = FakeTransport(faults=[Fault(delay=math.inf)])
    request = Request('/encode', DocumentArray([Document(text='a')]))
    future = fake.submit(request, Timeouts())
    fake.close()
    with pytest.raises(ConnectionFailedError, match='closed'):
        future.result(0)
    assert fake.send(request, Timeouts()).id == request.id


def test_readiness_is_what_the_test_says():
    fake = FakeTransport()
    model = model_on(fake)
    assert model.is_ready()
    fake.ready = False
    assert not model.is_ready()


FAULTS = st.lists(
    st.builds(
        Fault,
        delay=st.sampled_from([0, 0, 0.002, 0.01]),
        drop=st.sampled_from([False, False, True]),
        error=st.sampled_from([None, None, ServerError('busy', transient=True)]),
        reorder=st.booleans(),
    ),
    max_size=12,
)


@given(FAULTS, st.integers(0, 30), st.integers(1, 7), st.integers(1, 5))
def test_whatever_goes_wrong_each_document_is_answered_once_and_in_order(faults, count, batch_size, prefetch):
    fake = FakeTransport(embedded, faults=faults)
    model = model_on(fake, retry=RetryPolicy(attempts=len(faults) + 1, initial=0, maximum=0))
    numbers = list(range(count))
    options = {'batch_size': batch_size, 'prefetch': prefetch}
    assert [one.embedding for one in model.stream('encode', map(str, numbers), **options)] == numbers
    failed = sum(1 for fault in faults[: len(fake.requests)] if fault.drop or fault.error)
    assert len(fake.requests) == -(-count // batch_size) + failed


# -- recordings


def recorded(real, *calls):
    recording = Recording()
    model = client_for(RecordingTransport(real, recording), retry=NEVER_AGAIN).get_model('blip2')
    outcomes = []
    for task, arguments in calls:
        try:
            outcomes.append(model.run(task, **arguments))
        except InferenceError as error:
            outcomes.append(error)
    return recording, outcomes


def facts(document):
    matches = [(match.text, {name: one.value for name, one in match.scores.items()}) for match in document.matches]
    return (document.text, document.tags, matches, np.asarray(document.embedding).tolist())


CALLS = (
    ('encode', {'text': ['a', 'b', 'c'], 'size': 2}),
    ('rank', {'docs': [Document(text='a', matches=[Document(text='b'), Document(text='c')])]}),
    ('caption', {'image': PIXELS}),
    ('vqa', {'image': PIXELS, 'question': 'What?'}),
)


def test_a_recording_is_replayed_from_a_file(tmp_path):
    recording, outcomes = recorded(FakeTransport(), *CALLS)
    assert len(recording) == 6
    recording.save(tmp_path / 'answers.jsonl')
    fake = FakeTransport(Recording.load(tmp_path / 'answers.jsonl'))
    model = model_on(fake, 'blip2')
    for (task, arguments), outcome in zip(CALLS, outcomes):
        replayed = model.run(task, **arguments, batch_size=1)  # batches may differ
        assert [facts(document) for document in replayed] == [facts(document) for document in outcome]
    candidates = [Document(text='b'), Document(text='c')]  # and so may ids
    (ranked,) = model.rank(docs=[Document(text='a', matches=candidates)])
    assert {match.id for match in ranked.matches} == {document.id for document in candidates}


def test_a_real_server_is_recorded(plain_flow, tmp_path):
    with Client(token=TOKEN) as client:
        real = client.get_model(plain_flow['grpc'])._transport
        recording, (answered, failed) = recorded(
            real, ('encode', {'text': ['hello', 'you'], 'number': 3, 'said': TOKEN}), ('encode', {'text': 'raise'})
        )
    recording.save(tmp_path / 'flow.jsonl')
    assert TOKEN.encode() not in (tmp_path / 'flow.jsonl').read_bytes()
    model = model_on(FakeTransport(Recording.load(tmp_path / 'flow.jsonl')), retry=NEVER_AGAIN)
    again = model.encode(text=['you', 'hello'], number=3, said='*' * len(TOKEN))
    assert again.embeddings.tolist() == answered.embeddings.tolist()[::-1]
    with pytest.raises(ServerError) as caught:
        model.encode(text='raise')
    assert (caught.value.message, caught.value.exception) == (failed.message, 'ValueError')


@pytest.mark.parametrize('call', [{'text': 'b'}, {'text': 'a', 'size': 2}])
def test_what_was_not_recorded_is_said(call):
    recording, _ = recorded(FakeTransport(), ('encode', {'text': 'a'}))
    with pytest.raises(ConfigurationError, match='no answer at /encode'):
        model_on(FakeTransport(recording)).encode(**call)


def test_no_token_is_recorded(tmp_path):
    def echo_of_the_token(request):
        if request.parameters.get('fail'):
            raise ServerError(f'{TOKEN} is not allowed')
        tags = {'seen': {'header': TOKEN}, TOKEN: [TOKEN]}
        return [Document(text=TOKEN, tags=tags, embedding=np.ones(1, np.float32)) for _ in request.documents]

    real = FakeTransport(echo_of_the_token, options=TransportOptions(token=TOKEN))
    calls = [('encode', {'text': f'say {TOKEN}', 'inner': [{'a': TOKEN}]}), ('encode', {'text': 'a', 'fail': True})]
    recording, _ = recorded(real, *calls)
    recording.save(tmp_path / 'a')
    data = (tmp_path / 'a').read_bytes()
    for told in (data, repr(recording).encode()):
        assert TOKEN.encode() not in told
    loaded = Recording.load(tmp_path / 'a')
    hidden = '*' * len(TOKEN)
    request = Request('/encode', DocumentArray([Document(text=f'say {hidden}')]), {'inner': [{'a': hidden}]})
    (document,) = loaded(request)
    assert document.text == hidden
    assert document.tags == {'seen': {'header': hidden}, hidden: [hidden]}
    with pytest.raises(ServerError, match=r'^\*+ is not allowed$') as caught:
        loaded(Request('/encode', DocumentArray([Document(text='a')]), {'fail': True}))
    assert TOKEN not in ''.join(traceback.format_exception(caught.type, caught.value, caught.tb))


def test_the_key_behind_bearer_is_not_recorded_either():
    """A server may say it alone."""
    real = FakeTransport(options=TransportOptions(token=f'Bearer {TOKEN}'))
    recording, _ = recorded(real, ('encode', {'text': 'a', 'said': TOKEN}))
    assert len(recording) == 1
    assert TOKEN.encode() not in b''.join(recording._lines.values())


@pytest.mark.parametrize('token', ['short', 'Bearer short'])
def test_a_token_that_could_not_be_found_is_refused(token):
    with pytest.raises(ConfigurationError, match='under 8 characters'):
        RecordingTransport(FakeTransport(options=TransportOptions(token=token)))


def test_what_the_recorded_model_can_do_is_told():
    real = LocalTransport('local://echo', TransportOptions())
    found = RecordingTransport(real).capabilities(Timeouts())
    assert found == real.capabilities(Timeouts())
    assert found.tasks == {'echo'}


@given(st.text(min_size=8, max_size=20, alphabet=st.characters(min_codepoint=33, max_codepoint=126)), st.text())
@example('((((((((', 'a' * 32)  # the length of the text is 40, which is a '(' of the message, too
def test_whatever_the_token_it_is_not_kept(token, text):
    recording = Recording()
    document = Document(text=token + text.encode(errors='replace').decode(), tags={'a': [token]})
    request = Request('/encode', DocumentArray([document]), {'a': {'b': token}})
    recording.add(request, Response(request.id, DocumentArray([document])), token)
    (line,) = map(orjson.loads, recording._lines.values())
    kept = [base64.b64decode(line[name]) for name in ('sent', 'answer')]
    assert token.encode() not in b''.join([*recording._lines, *kept])
    assert token not in str(line['parameters'])


@pytest.mark.parametrize(
    'content',
    [b'', b'nonsense', b'{"inference_client_recording":2}\n', b'{"inference_client_recording":1}\n{}\n', None],
)
def test_what_is_no_recording(tmp_path, content):
    if content is not None:
        (tmp_path / 'a').write_bytes(content)
    with pytest.raises(ConfigurationError, match='is no recording'):
        Recording.load(tmp_path / 'a')


@given(st.data())
def test_a_damaged_recording_is_a_clear_error_or_a_recording(tmp_path, data):
    recording, _ = recorded(FakeTransport(), ('encode', {'text': ['a', 'b']}))
    recording.save(tmp_path / 'a')
    content = bytearray((tmp_path / 'a').read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / 'a').write_bytes(content)
    try:
        loaded = Recording.load(tmp_path / 'a')
    except ConfigurationError:
        return
    assert len(loaded) <= 2
    try:
        loaded(Request('/encode', DocumentArray([Document(text='a')])))
    except InferenceError:
        return


def test_fakes_need_no_pytest():
    told = output_of("""
        import sys
        sys.modules['pytest'] = None
        import inference_client.testing
        print([name for name in sys.modules if name.startswith('inference_client.')])
        from inference_client.testing import FakeTransport, Recording, async_client_for, client_for
        print(len(client_for(FakeTransport()).get_model().encode(text='a')))
    """)
    assert told == "['inference_client.testing']\n1"
