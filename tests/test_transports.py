"""The transports: the same answers over all of them, and every failure as an error of ours."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import grpc
import numpy as np
import pytest
from docarray import Document, DocumentArray
from peers import HOST, grpc_peer, http_peer, listener, tls, wait_until, ws_peer
from PIL import Image as PIL

from inference_client import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    InferenceError,
    InputError,
    ProtocolError,
    RateLimitError,
    RequestTimeoutError,
    RequestTooLargeError,
    ServerError,
    TaskFallbackWarning,
    UnsupportedTaskError,
)
from inference_client._plugins import plugins
from inference_client._spec import ModelSpec
from inference_client._wire.arrays import write_array
from inference_client._wire.jina_pb2 import DataRequestProto
from inference_client.model import Model
from inference_client.transports._loops import PerLoop
from inference_client.transports.base import TransportOptions

WIRES = ['grpc', 'http', 'ws']
PEERS = {'grpc': grpc_peer, 'http': http_peer, 'ws': ws_peer}
TOKEN = 'secret-token-1234'


@pytest.fixture(params=WIRES)
def hosted(request, server, connect):
    """The embedded model behind each wire."""
    return connect(server[request.param])


@pytest.fixture(params=WIRES)
def plain(request, plain_flow, connect):
    """A Jina Flow that is not ours, behind each wire."""
    return connect(plain_flow[request.param])


def embeddings(response):
    return np.stack([document.embedding for document in response])


def pixels(path):
    return np.asarray(PIL.open(path))


CALLS = {
    'encode-text': ('encode', lambda p: {'text': 'hello world'}),
    'encode-texts': ('encode', lambda p: {'text': ['hello', 'wörld ✓', 'a' * 3000]}),
    'encode-path': ('encode', lambda p: {'image': p}),
    'encode-bytes': ('encode', lambda p: {'image': Path(p).read_bytes()}),
    'encode-array': ('encode', lambda p: {'image': pixels(p)}),
    'encode-chw': ('encode', lambda p: {'image': pixels(p).transpose(2, 0, 1)}),
    'encode-docs': (
        'encode',
        lambda p: {
            'docs': DocumentArray(
                [
                    Document(text='a cat'),
                    Document(uri=p),
                    Document(tensor=pixels(p)),
                    Document(blob=Path(p).read_bytes()),
                ]
            )
        },
    ),
    'rank-image-text': ('rank', lambda p: {'reference': p, 'candidates': ['a dog', 'a photo of a cat', 'a rocket']}),
    'rank-text-image': (
        'rank',
        lambda p: {'reference': 'a rocket', 'candidates': [p, p.replace('chelsea.png', 'rocket.jpg')]},
    ),
    'rank-text-text': ('rank', lambda p: {'reference': 'a cat', 'candidates': ['a car', 'a kitten']}),
    'rank-docs': (
        'rank',
        lambda p: {'docs': [Document(uri=p, matches=[Document(text='a car'), Document(text='a cat')])]},
    ),
    'caption': ('caption', lambda p: {'image': p}),
    'caption-docs': ('caption', lambda p: {'docs': DocumentArray([Document(uri=p)])}),
    'vqa': ('vqa', lambda p: {'image': p, 'question': 'Is it a cat or a dog?'}),
    'vqa-docs': ('vqa', lambda p: {'docs': [Document(uri=p, tags={'prompt': 'Question: Is it a cat? Answer:'})]}),
}


@pytest.mark.parametrize('call', CALLS)
def test_same_call_same_result_as_in_process(hosted, connect, photo, call):
    pytest.importorskip('onnxruntime')
    task, arguments = CALLS[call]
    ours = hosted.run(task, **arguments(photo))
    local = connect('local://embedded').run(task, **arguments(photo))
    assert isinstance(ours, DocumentArray)
    assert len(ours) == len(local)
    for mine, theirs in zip(ours, local):
        assert set(mine.non_empty_fields) == set(theirs.non_empty_fields)
        assert (mine.text, mine.uri, mine.blob, mine.tags) == (theirs.text, theirs.uri, theirs.blob, theirs.tags)
        assert np.array_equal(mine.tensor, theirs.tensor)
        if task == 'encode':
            assert mine.embedding.dtype == np.float32
            np.testing.assert_allclose(mine.embedding, theirs.embedding, atol=1e-6)
        assert [(m.text, m.uri) for m in mine.matches] == [(m.text, m.uri) for m in theirs.matches]
        for match, twin in zip(mine.matches, theirs.matches):
            for name in ('clip_score', 'clip_score_cosine'):
                assert match.scores[name].value == pytest.approx(twin.scores[name].value, abs=1e-5)
                assert match.scores[name].op_name == twin.scores[name].op_name


def test_results_come_in_input_order(hosted):
    words = [f'{name} number {i}' for i in range(20) for name in ('cat', 'dog', 'car', 'tree')]
    together = embeddings(hosted.encode(text=words, batch_size=7, prefetch=3))
    alone = embeddings(hosted.encode(text=[words[i] for i in (0, 33, 79)], batch_size=1, prefetch=1))
    np.testing.assert_allclose(together[[0, 33, 79]], alone, atol=1e-5)
    assert len(together) == 80


def test_parameters_reach_the_model(plain):
    (document,) = plain.encode(text='hi', flag=True, number=1.5, nested={'words': ['a', None]})
    seen = document.tags['seen']
    assert (bool(seen['flag']), seen['number'], seen['nested']) == (True, 1.5, {'words': ['a', None]})


def test_file_names_stay_here(plain, photo):
    (document,) = plain.encode(image=photo)
    assert document.tags['uri'] == ''
    assert document.uri == photo


def test_a_stock_flow_ranks(plain):
    (document,) = plain.rank(reference='x', candidates=['a', 'bbb', 'cc'])
    assert [match.text for match in document.matches] == ['bbb', 'cc', 'a']


def test_the_executors_message_reaches_the_caller(plain):
    with pytest.raises(ServerError, match='ValueError: the executor does not like this') as caught:
        plain.encode(text='raise')
    assert caught.value.exception == 'ValueError'
    assert caught.value.url in str(caught.value)
    assert caught.value.task == 'encode'
    assert plain.encode(text='again')[0].embedding[0] == 5  # the connection still works


def test_what_was_done_before_a_failure_is_kept(plain):
    with pytest.raises(ServerError) as caught:
        plain.encode(text=['ab', 'abc', 'raise', 'abcd'], batch_size=1, prefetch=1)
    assert [document.text for document in caught.value.completed] == ['ab', 'abc']
    assert caught.value.span == (2, 3)


def test_answers_out_of_order_are_put_back(plain):
    texts = ['sleep 0.3', 'b', 'sleep 0.1', 'd', 'e']
    response = plain.encode(text=texts, batch_size=1, prefetch=5)
    assert [document.text for document in response] == texts
    assert [int(document.embedding[0]) for document in response] == [len(text) for text in texts]


@pytest.mark.parametrize('task', ['caption', 'vqa'])
def test_an_endpoint_that_echoes_is_noticed(plain, photo, task):
    question = {'question': 'What is this?'} if task == 'vqa' else {}
    with pytest.raises(UnsupportedTaskError, match='has no text'):
        plain.run(task, image=photo, **question)


def test_threads_share_a_model(plain):
    results = {}

    def work(number):
        text = 'x' * (number + 1)
        results[number] = [int(plain.encode(text=text)[0].embedding[0]) for _ in range(10)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [number + 1] * 10 for number in range(8)}


def test_a_closed_model_opens_again(plain):
    plain.encode(text='a')
    plain.close()
    assert plain.encode(text='abc')[0].embedding[0] == 3


def test_time_out(plain):
    with pytest.raises(RequestTimeoutError, match=r'no answer within 0\.2 s') as caught:
        plain.encode(text='a', timeout=0.2, sleep=1)
    assert isinstance(caught.value, TimeoutError)
    assert plain.encode(text='abc')[0].embedding[0] == 3


def test_large_documents(plain):
    blob_of = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    (document,) = plain.encode(image=blob_of)
    assert document.embedding[0] > 6_000_000  # bytes or elements, none lost
    assert document.tensor is not None


@pytest.mark.parametrize('scheme', ['grpc', 'http'])
def test_deployments(deployments, connect, scheme, photo):
    model = connect(deployments[scheme])
    assert [d.embedding[0] for d in model.encode(text=['a', 'abc'])] == [1, 3]
    with pytest.raises(ServerError, match='the executor does not like this'):
        model.encode(text='raise')
    with pytest.raises(UnsupportedTaskError):
        model.caption(image=photo)


@pytest.mark.parametrize('wire', WIRES)
def test_the_token_is_sent_and_shown_nowhere(wire, door, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with PEERS[wire]() as (url, seen), door(TOKEN) as client:
        model = client.get_model(url)
        assert model.encode(text='hi')[0].embedding.tolist() == [1, 1]
        with pytest.raises(UnsupportedTaskError) as caught:
            model.rank(reference='a', candidates=['b'])
        shown = [repr(client), repr(model), str(caught.value), repr(vars(caught.value)), repr(model._transport.options)]
    assert set(seen) == {TOKEN}
    out = capfd.readouterr()
    for text in [*shown, out.out, out.err, str(dict(os.environ)), *(sys.argv)]:
        assert TOKEN not in text
    ours = [record for record in caplog.records if record.name.startswith('inference_client')]
    assert not any(TOKEN in record.getMessage() for record in ours)


@pytest.mark.parametrize('wire', WIRES)
def test_without_a_token_none_is_sent(wire, door):
    with PEERS[wire]() as (url, seen), door() as client:
        client.get_model(url).encode(text='hi')
    assert set(seen) == {None}


@pytest.mark.parametrize('wire', ['http', 'ws'])
def test_a_netrc_does_not_replace_the_token(wire, door, tmp_path, monkeypatch):
    (tmp_path / '.netrc').write_text(f'machine {HOST} login me password other\n')
    monkeypatch.setenv('NETRC', str(tmp_path / '.netrc'))
    with PEERS[wire]() as (url, seen), door(TOKEN) as client:
        client.get_model(url).encode(text='hi')
    assert seen == [TOKEN]


def refusing_grpc():
    return grpc_peer(refuse=grpc.StatusCode.UNAUTHENTICATED)


def refusing_http():
    return http_peer(lambda data: (401, b'no'))


def refusing_ws():
    return ws_peer(process_request=lambda connection, request: connection.respond(401, 'no'))


@pytest.mark.parametrize('peer', [refusing_grpc, refusing_http, refusing_ws])
def test_a_refused_token(peer, connect):
    with peer() as (url, _), pytest.raises(AuthenticationError, match='refused the token') as caught:
        connect(url, token=TOKEN).encode(text='hi')
    assert TOKEN not in str(caught.value)


GARBAGE = {
    'grpc': lambda: grpc_peer(lambda data: b'\xff\xff\xffgarbage'),
    'http': lambda: http_peer(lambda data: (200, b'<html>garbage')),
    'ws': lambda: ws_peer(lambda data: b'\xff\xff\xffgarbage'),
}


@pytest.mark.parametrize('wire', WIRES)
def test_garbage(wire, connect):
    with GARBAGE[wire]() as (url, _), pytest.raises(ProtocolError, match=f'encode on {url}: the answer is not'):
        connect(url).encode(text='hi')


@pytest.mark.parametrize(
    ('status', 'kind', 'words'),
    [
        (500, ServerError, '500'),
        (503, ServerError, 'not up'),
        (422, ServerError, 'parameters'),
        (413, RequestTooLargeError, 'smaller documents'),
        (429, RateLimitError, 'prefetch'),
        (302, ProtocolError, 'redirects to https://elsewhere'),
        (404, UnsupportedTaskError, 'neither /post nor /encode'),
    ],
)
def test_http_statuses(status, kind, words, connect):
    headers = [('Location', 'https://elsewhere')] if status == 302 else []
    with http_peer(lambda data: (status, b'why'), headers) as (url, _), pytest.raises(kind, match=words):
        connect(url).encode(text='hi')


def test_grpc_statuses(connect):
    with grpc_peer(refuse=grpc.StatusCode.INTERNAL) as (url, _):  # noqa: SIM117
        with pytest.raises(ServerError, match='INTERNAL: refused by the peer'):
            connect(url).encode(text='hi')


def test_a_token_that_a_server_echoes_is_not_shown(connect):
    def echo(data):
        return 500, f'you sent {TOKEN}'.encode()

    with http_peer(echo) as (url, _), pytest.raises(ServerError, match=r'you sent \*\*\*') as caught:
        connect(url, token=TOKEN).encode(text='hi')
    assert TOKEN not in repr(caught.value)


def test_a_token_that_a_server_echoes_is_in_no_traceback(connect):
    def refuse(data):
        raise ValueError(f'bad token {TOKEN}')  # gRPC sends it as the status's details

    with grpc_peer(refuse) as (url, _), pytest.raises(InferenceError, match=r'bad token \*\*\*') as caught:
        connect(url, token=TOKEN).encode(text='hi')
    printed = ''.join(traceback.format_exception(type(caught.value), caught.value, caught.value.__traceback__))
    assert 'bad token ***' in printed
    assert TOKEN not in printed


FORKED = """
import os, sys, threading
from inference_client import Client

model = Client().get_model(sys.argv[1])
model.encode(text='parent')
child = os.fork()
own = 'c' * 7 if child == 0 else 'p' * 3
wrong = sum(model.encode(text=own)[0].embedding[0] != len(own) for _ in range(20))
if child == 0:
    os._exit(wrong)
_, status = os.waitpid(child, 0)
sys.exit(bool(wrong or status))
"""


@pytest.mark.parametrize('wire', WIRES)
def test_a_forked_process_has_connections_of_its_own(plain_flow, wire):
    environment = {**os.environ, 'GRPC_ENABLE_FORK_SUPPORT': '1'}  # gRPC wants to be told
    command = [sys.executable, '-c', FORKED, plain_flow[wire]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('url', ['grpc://me:word@host', 'http://me:word@host', 'ws://me@host'])
def test_credentials_in_a_url_are_refused_unseen(url, connect):
    with pytest.raises(ConfigurationError, match='user name or password') as caught:
        connect(url)
    assert 'me' not in str(caught.value).replace('name', '')


def test_a_parameter_may_be_called_task(plain):
    assert plain.encode(text='hi', task='x')[0].tags['seen'] == {'task': 'x'}


def test_embeddings_are_float32_on_every_wire(connect):
    def doubles(data):
        message = DataRequestProto.FromString(data)
        for document in message.data.docs.docs:
            write_array(document.embedding, np.array([0.5, 1.0]))
        return message.SerializeToString()

    with grpc_peer(doubles) as (url, _):
        assert connect(url).encode(text='hi')[0].embedding.dtype == np.float32


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize('wire', WIRES)
def test_nobody_listens(wire, connect):
    with pytest.raises(ConnectionFailedError, match='check the address') as caught:
        connect(f'{wire}://{HOST}:{free_port()}').encode(text='hi', timeout=5)
    assert isinstance(caught.value, ConnectionError)


@pytest.mark.parametrize('wire', WIRES)
def test_a_host_that_does_not_exist(wire, connect):
    with pytest.raises(ConnectionFailedError, match='check the address'):
        connect(f'{wire}://no-such-host.invalid:1').encode(text='hi', timeout=20)


def test_proxies_of_the_environment_are_used_if_that_is_trusted(door, monkeypatch):
    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.delenv(name, raising=False)
    with http_peer() as (proxy, proxied), http_peer() as (url, seen):
        monkeypatch.setenv('http_proxy', proxy)
        for trust_env, counts in ((False, (0, 1)), (True, (1, 1))):
            with door(trust_env=trust_env) as client:
                client.get_model(url).encode(text='hi')
            assert (len(proxied), len(seen)) == counts


@pytest.mark.parametrize('wire', WIRES)
def test_a_silent_server(wire, connect):
    with listener() as port, pytest.raises((RequestTimeoutError, ConnectionFailedError)):
        connect(f'{wire}://{HOST}:{port}').encode(text='hi', timeout=0.3)


@pytest.mark.parametrize(('wire', 'other'), list(itertools.permutations(WIRES, 2)))
def test_the_wrong_scheme(wire, other, plain_flow, connect):
    url = plain_flow[wire].replace(f'{wire}://', f'{other}://')
    with pytest.raises((ConnectionFailedError, ProtocolError, ServerError, UnsupportedTaskError), match='address'):
        connect(url).encode(text='hi', timeout=3)


@pytest.mark.parametrize('url', ['grpc://', 'http://:80', 'ws://host:port', 'grpc://host:99999'])
def test_bad_urls(url, connect):
    with pytest.raises(ConfigurationError, match='is not the URL of a server'):
        connect(url)


@pytest.mark.parametrize(
    'rest', ['/echo', '/model/echo', '/models', '/models/', '/models//', '/models/a?b=Xyzzy', '#a']
)
def test_a_grpc_url_that_names_a_model_in_another_way_is_not_that_of_the_first_model(rest, connect):
    with pytest.raises(ConfigurationError, match='expected grpc://host:port or grpc://host:port/models/NAME') as caught:
        connect(f'grpc://{HOST}:9{rest}')
    assert 'Xyzzy' not in caught.value.message


@pytest.mark.parametrize('rest', ['?model=Xyzzy', '/models/a#Xyzzy', '/post?Xyzzy'])
def test_an_http_url_with_a_query(rest, connect):
    with pytest.raises(ConfigurationError, match='expected http://host:port or http://host:port/models/NAME') as caught:
        connect(f'http://{HOST}:9{rest}')
    assert 'Xyzzy' not in caught.value.message


def last_link(transport):
    links = transport._links
    if isinstance(links, PerLoop):
        ((links, _),) = links._kept.values()
    return links[-1]


def test_a_connection_that_the_server_closed_is_opened_anew(connect):
    with ws_peer(last=2) as (url, seen):
        model = connect(url)
        for _ in range(3):
            assert [len(model.encode(text='hi')) for _ in range(2)] == [1, 1]
            wait_until(lambda: not last_link(model._transport).alive)  # the close has arrived
    assert len(seen) == 3


@pytest.fixture(scope='session')
def certificates(tmp_path_factory):
    trustme = pytest.importorskip('trustme')
    folder = tmp_path_factory.mktemp('tls')
    authority = trustme.CA()
    issued = authority.issue_cert('localhost')
    authority.cert_pem.write_to_path(folder / 'ca.pem')
    issued.private_key_and_cert_chain_pem.write_to_path(folder / 'server.pem')
    return folder


@pytest.fixture(params=WIRES)
def secure_url(request, plain_flow, certificates):
    server = str(certificates / 'server.pem')
    with tls(plain_flow[request.param], server, server) as url:
        yield url


def test_secure_with_a_ca_file(secure_url, certificates, connect):
    model = connect(secure_url, ca_file=str(certificates / 'ca.pem'))
    assert model.encode(text='abc')[0].embedding[0] == 3


def test_secure_with_the_systems_cas(secure_url, certificates, connect, monkeypatch):
    monkeypatch.setenv('SSL_CERT_FILE', str(certificates / 'ca.pem'))
    assert connect(secure_url).encode(text='abc')[0].embedding[0] == 3


def test_a_stranger_is_not_trusted(secure_url, connect):
    with pytest.raises(ConnectionFailedError):
        connect(secure_url).encode(text='abc', timeout=5)


@pytest.mark.parametrize('wire', WIRES)
@pytest.mark.parametrize('content', [None, 'no certificate'])
def test_a_useless_ca_file(wire, content, connect, tmp_path):
    file = tmp_path / 'ca.pem'
    if content:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match='cannot be used'):
        connect(f'{wire}s://localhost:1', ca_file=str(file)).encode(text='hi')


def named(url, name, tasks=None):
    """A model as a directory describes it."""
    scheme = url.partition('://')[0]
    transport = plugins().get('transport', scheme)(url, TransportOptions())
    return Model(ModelSpec(name, {scheme: url}, tasks), transport)


@pytest.mark.parametrize('wire', WIRES)
@pytest.mark.parametrize('task', ['caption', 'vqa'])
@pytest.mark.parametrize(('name', 'tasks'), [('ViT-B-32::openai', None), ('anything', frozenset({'encode'}))])
def test_models_that_are_not_blip2_fall_back_to_encode(plain_flow, photo, wire, task, name, tasks):
    question = {'question': 'What is this?'} if task == 'vqa' else {}
    with named(plain_flow[wire], name, tasks) as model:
        with pytest.warns(TaskFallbackWarning, match=f'cannot {task}, so it runs encode') as caught:
            response = model.run(task, image=photo, **question)
        assert caught[0].filename == __file__
        assert response[0].embedding is not None
        assert response[0].uri == photo
        with pytest.raises(UnsupportedTaskError, match=f'cannot {task}'):
            model.run(task, image=photo, strict=True, **question)


@pytest.mark.parametrize('name', ['Salesforce/blip2-opt-2.7b', 'BLIP2'])
def test_blip2_does_not_fall_back(server, photo, name):
    with named(server['grpc'], name) as model:
        assert model.caption(image=photo)[0].tags['response']


CYCLE = []
CYCLE.append(CYCLE)


def test_wrong_arguments_send_nothing(photo, door):
    with http_peer() as (url, seen), door() as client:
        model = client.get_model(url)
        for task, arguments in [
            ('encode', {}),
            ('encode', {'text': 'a', 'image': photo}),
            ('encode', {'text': []}),
            ('encode', {'docs': DocumentArray()}),
            ('rank', {'reference': 'a'}),
            ('rank', {'reference': 'a', 'candidates': []}),
            ('caption', {'image': 'missing.jpg'}),
            ('vqa', {'image': photo, 'question': 'Question: what?'}),
            ('encode', {'text': 'a', 'parameter': object()}),
            ('encode', {'text': 'a', 'parameter': CYCLE}),
            ('encode', {'text': 'a', 'parameter': {1: 'a'}}),
            ('encode', {'text': 'a', 'parameter': float('nan')}),
            ('caption', {'docs': [Document(text='a')]}),
            ('encode', {'text': 'a', 'batch_size': 0}),
            ('encode', {'text': 'a', 'timeout': -1}),
        ]:
            with pytest.raises(InputError):
                model.run(task, **arguments)
    assert seen == []


def test_inputs_are_left_as_they_are(hosted, photo):
    docs = DocumentArray(
        [
            Document(uri=photo, tags={'prompt': 'What is it?'}, matches=[Document(text='a cat'), Document(uri=photo)]),
            Document(tensor=pixels(photo), tags={'prompt': 'What is it?'}, matches=[Document(text='a dog')]),
        ]
    )
    before = docs.to_protobuf().SerializeToString(deterministic=True)
    for task in ('encode', 'rank', 'caption', 'vqa'):
        hosted.run(task, docs=docs)
    assert docs.to_protobuf().SerializeToString(deterministic=True) == before


def test_no_foreign_exception_escapes_a_reset(connect):
    """A server that cuts the connection in the middle of a request."""
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]

        def cut():
            for _ in WIRES:
                client, _ = server.accept()
                client.recv(10)
                client.close()

        thread = threading.Thread(target=cut, daemon=True)
        thread.start()
        for wire in WIRES:
            with pytest.raises(InferenceError):
                connect(f'{wire}://{HOST}:{port}').encode(text='hi', timeout=3)
