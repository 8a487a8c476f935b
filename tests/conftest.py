"""Fixtures: real servers, each started once a run, as processes of their own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest
from doors import DOORS
from flows import jina_server
from hypothesis import HealthCheck, settings
from sites import Site
from strategies import SECONDARY, share

from inference_client import _plugins

HERE = Path(__file__).resolve().parent
PHOTOS = HERE / 'photos'

LONG = (
    'test_examples', 'test_docs', 'test_cli', 'test_journal', 'test_wire', 'test_embedded', 'test_server',
    'test_transports', 'test_async', 'test_grpc', 'test_retries', 'test_resilience', 'test_stream',
)  # fmt: skip

settings.register_profile(
    'suite', max_examples=share(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile('suite')


def pytest_configure(config):
    """Hand out files in our order, and let interruptions come through.

    pytest-xdist would hand out the files with most tests first, which are not those that take longest.
    """
    if hasattr(config.option, 'loadscopereorder'):
        config.option.loadscopereorder = False
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background; tests interrupt processes
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, so that no process is left with one of them at the end.

    What is marked `once` is left out where another interpreter runs all.
    """
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
    for item in items if SECONDARY else ():
        for mark in item.iter_markers('once'):
            item.add_marker(pytest.mark.skip(reason=f'on the main interpreter only: {mark.kwargs["reason"]}'))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No token, endpoint, stored login or blocked plugin of the machine reaches a test."""
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path / 'no-config'))
    monkeypatch.delenv('JINA_AUTH_TOKEN', raising=False)
    monkeypatch.delenv('INFERENCE_API_ENDPOINT', raising=False)
    monkeypatch.delenv('INFERENCE_CLIENT_DISABLE_PLUGINS', raising=False)
    monkeypatch.setenv('JINA_HUB_ROOT', str(tmp_path / 'no-login'))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Where a test installs plugins into this process."""
    path = tmp_path / 'site'
    path.mkdir()
    monkeypatch.syspath_prepend(str(path))
    yield Site(path, monkeypatch)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, '__file__', '')).startswith(str(path)):
            del sys.modules[name]


@pytest.fixture
def registry():
    """A registry that loaded nothing yet."""
    return _plugins.Plugins()


@pytest.fixture
def photo():
    """Path of a photo of a cat."""
    return str(PHOTOS / 'chelsea.png')


@pytest.fixture(params=DOORS)
def door(request):
    """The class of a client: the blocking one, or the asynchronous one in an event loop."""
    return DOORS[request.param]


@pytest.fixture
def connect(door):
    """Models by URL, closed at the end."""
    with contextlib.ExitStack() as stack:

        def model(url, **options):
            return stack.enter_context(door(**options)).get_model(url)

        yield model


@pytest.fixture(scope='session')
def server_python():
    """This interpreter, if it has the extra `[server]`."""
    if importlib.util.find_spec('prometheus_client') is None:
        pytest.skip("needs the extra 'server'")
    return sys.executable


@pytest.fixture(scope='session')
def jina_python():
    """An interpreter with jina: this one, or another that TEST_SERVER_PYTHON names."""
    if os.environ.get('TEST_SERVER_PYTHON'):
        return os.environ['TEST_SERVER_PYTHON']
    if importlib.util.find_spec('jina') is None:
        pytest.skip('needs jina (Python 3.8 to 3.11), or TEST_SERVER_PYTHON naming an interpreter that has it')
    return sys.executable


@pytest.fixture(scope='session')
def server(server_python):
    """URLs by scheme of our own server with the embedded model."""
    pytest.importorskip('onnxruntime')
    from inference_client.server.process import served

    with served(python=server_python) as urls:
        yield urls


@pytest.fixture(scope='session')
def echo_server(server_python):
    """URLs by scheme of our own server with the engine that transports are tested with."""
    from inference_client.server.process import served

    with served('echo', python=server_python) as urls:
        yield urls


@pytest.fixture(scope='session')
def plain_flow(jina_python):
    """URLs by scheme of a Jina Flow with a dummy Executor that knows nothing of this package."""
    with jina_server(jina_python, 'flow') as urls:
        yield urls


@pytest.fixture(scope='session')
def deployments(jina_python):
    """URLs by scheme of a gRPC and an HTTP Deployment of the same Executor."""
    with jina_server(jina_python, 'grpc') as grpc, jina_server(jina_python, 'http') as http:
        yield {**grpc, **http}
