"""No pickle is ever read from the wire, by the server as little as by the client."""

from __future__ import annotations

import pickle
from pathlib import Path

import grpc
import pytest
from websockets.sync.client import connect

from inference_client._wire.jina_pb2 import DataRequestProto


class Touch:
    """A pickle that creates a file where it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def send_grpc(url, data):
    with grpc.insecure_channel(url.partition('://')[2]) as channel:
        return channel.unary_unary('/jina.JinaSingleDataRequestRPC/process_single_data')(data, timeout=30)


def send_stream(url, data):
    with grpc.insecure_channel(url.partition('://')[2]) as channel:
        return next(channel.stream_stream('/jina.JinaRPC/Call')(iter([data]), timeout=30))


def send_websocket(url, data):
    with connect(url, subprotocols=['bytes']) as connection:
        connection.send(data)
        return connection.recv(timeout=30)


@pytest.mark.parametrize('send', [send_grpc, send_stream, send_websocket])
@pytest.mark.parametrize('endpoint', ['/encode', '/nothing'])
def test_the_server_reads_no_pickles(server, tmp_path, send, endpoint):
    file = tmp_path / 'touched'
    message = DataRequestProto()
    message.header.request_id = 'x'
    message.header.exec_endpoint = endpoint
    message.data.docs_bytes = pickle.dumps(Touch(file))
    url = server['ws' if send is send_websocket else 'grpc']
    try:
        answer = DataRequestProto.FromString(send(url, message.SerializeToString()))
        assert answer.header.status.code == 1
        assert 'pickled' in answer.header.status.description
    except grpc.RpcError as error:
        assert send is send_grpc
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert 'pickled' in error.details()
    assert not file.exists()
    pickle.loads(pickle.dumps(Touch(file)))
    assert file.exists()  # or the test would show nothing
