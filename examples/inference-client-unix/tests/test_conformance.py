"""The transport keeps to what transports must, through the bridge and a real server behind it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
from inference_client_unix.transport import UnixTransport

from inference_client.server.process import served
from inference_client.testing import AsyncTransportConformance, TransportConformance


@pytest.fixture(scope='module')
def socket_file(tmp_path_factory):
    """A socket file behind which the model `echo` answers."""
    if find_spec('prometheus_client') is None:
        pytest.skip("needs the extra 'server' of inference-client")
    path = tmp_path_factory.mktemp('run') / 'echo.sock'
    command = [sys.executable, '-m', 'inference_client', 'unix-bridge', str(path)]
    with served('echo') as urls:
        bridge = subprocess.Popen([*command, urls['grpc']], stdout=subprocess.PIPE, text=True)
        with bridge:
            bridge.stdout.readline()  # it listens
            yield path
            bridge.terminate()


class OnSocket:
    transport_class = UnixTransport
    unreachable_url = 'unix:///nowhere/at/all.sock'

    @pytest.fixture
    def url(self, socket_file):
        return f'unix://{socket_file}'


class TestTransport(OnSocket, TransportConformance):
    pass


class TestAsyncTransport(OnSocket, AsyncTransportConformance):
    pass
