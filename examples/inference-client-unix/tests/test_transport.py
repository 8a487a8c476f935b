"""The transport, against a gRPC server on a socket file that answers with what it got."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import quote

import grpc
import pytest
from docarray import Document, DocumentArray
from inference_client_unix.transport import LONGEST, UnixTransport

from inference_client import (
    AsyncClient,
    Client,
    ConfigurationError,
    ConnectionFailedError,
    Request,
    Timeouts,
    UnsupportedTaskError,
)
from inference_client.transports.base import TransportOptions

TIMEOUTS = Timeouts(read=30)


class Echo(grpc.GenericRpcHandler):
    def __init__(self):
        self.seen = []

    def service(self, details):
        if not details.method.endswith('/process_single_data'):  # such as the question whether it is a gateway
            return None
        self.seen.append(dict(details.invocation_metadata))
        return grpc.unary_unary_rpc_method_handler(lambda data, context: data)


@contextmanager
def echoing(path):
    """An echo server on a socket file."""
    server, echo = grpc.server(ThreadPoolExecutor(4)), Echo()
    server.add_generic_rpc_handlers((echo,))
    assert server.add_insecure_port(f'unix:{quote(str(path))}')
    server.start()
    try:
        yield echo
    finally:
        server.stop(0).wait(30)


def url_of(path):
    return f'unix://{quote(str(path))}'


def asked(model, text='hello'):
    """What the model answered to one text. The echo is no embedding, so it is an error that holds it."""
    with pytest.raises(UnsupportedTaskError) as failure:
        model.encode(text=text, timeout=TIMEOUTS)
    return failure.value


@pytest.mark.parametrize('name', ['model.sock', 'a b.sock', 'ä%41?#:.sock'])
def test_a_request_goes_through_a_socket_file_of_any_name(tmp_path, name):
    with echoing(tmp_path / name):
        transport = UnixTransport(url_of(tmp_path / name), TransportOptions())
        request = Request('/encode', DocumentArray([Document(text='hello'), Document(text='world')]))
        answer = transport.send(request, TIMEOUTS)
        transport.close()
    assert answer.id == request.id
    assert [document.text for document in answer.documents] == ['hello', 'world']


def test_the_scheme_and_the_token(tmp_path):
    with echoing(tmp_path / 's') as echo, Client(token='secret') as client:
        model = client.get_model(url_of(tmp_path / 's'))
        error = asked(model)
    assert echo.seen[0]['authorization'] == 'secret'
    assert error.url == model.url == url_of(tmp_path / 's')


def test_the_scheme_in_an_event_loop(tmp_path):
    async def ask():
        async with AsyncClient(token='secret') as client:
            model = await client.get_model(url_of(tmp_path / 's'))
            with pytest.raises(UnsupportedTaskError):
                await model.encode(text='hello', timeout=TIMEOUTS)

    with echoing(tmp_path / 's') as echo:
        asyncio.run(ask())
    assert echo.seen[0]['authorization'] == 'secret'


def test_proxies_are_not_asked(tmp_path, monkeypatch):
    for name in ('http_proxy', 'HTTP_PROXY', 'grpc_proxy'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9')
    with echoing(tmp_path / 's') as echo, Client() as client:
        asked(client.get_model(url_of(tmp_path / 's')))
    assert len(echo.seen) == 1


def test_a_socket_file_that_is_not_there_or_comes_later(tmp_path):
    path = tmp_path / 's'
    with Client(trust_env=False) as client:
        model = client.get_model(url_of(path))
        with pytest.raises(ConnectionFailedError):
            model.encode(text='hello', timeout=TIMEOUTS)
        model.close()
        with echoing(path):
            asked(model)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may open every file')
def test_a_socket_file_of_others_is_closed_to_us(tmp_path):
    with echoing(tmp_path / 's'), Client(trust_env=False) as client:
        (tmp_path / 's').chmod(0)
        with pytest.raises(ConnectionFailedError, match=r'[Pp]ermission'):
            client.get_model(url_of(tmp_path / 's')).encode(text='hello', timeout=TIMEOUTS)


@pytest.mark.parametrize(
    'url',
    [
        'unix://',
        'unix://host/model.sock',
        'unix:///',
        'unix:///run/',
        'unix:///run/a?b',
        'unix:///run/a#b',
        'unix:///run/a%00b',
        'unix:///run/a\tb',
        'unix:///' + 'x' * LONGEST,
    ],
)
def test_urls_that_name_no_socket_file(url):
    with Client(trust_env=False) as client, pytest.raises(ConfigurationError, match='socket file'):
        client.get_model(url)


def test_the_longest_path(tmp_path):
    room = LONGEST - len(os.fsencode(tmp_path)) - 1
    path = tmp_path / ('x' * room)
    assert len(str(path)) == LONGEST
    with echoing(path), Client(trust_env=False) as client:
        asked(client.get_model(url_of(path)))
