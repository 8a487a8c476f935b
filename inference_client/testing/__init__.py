"""For tests: a model without a server, and what plugins must keep to, as test classes to subclass.

`FakeTransport` answers in this process, fails when it is told to, and replays what a real transport answered;
`client_for` makes a client of it. `TransportConformance`, `AsyncTransportConformance`, `TaskConformance` and
`EngineConformance` need pytest. The pytest fixtures are in `plugin.py`. Importing this module imports nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .async_transports import AsyncTransportConformance
    from .clients import async_client_for, client_for
    from .engines import EngineConformance
    from .fakes import AsyncFakeTransport, FakeTransport, Fault
    from .models import EchoEngine, FakeEngine
    from .recording import Recording, RecordingTransport
    from .tasks import TaskConformance
    from .transports import TransportConformance

__all__ = [
    'AsyncFakeTransport',
    'AsyncTransportConformance',
    'EchoEngine',
    'EngineConformance',
    'FakeEngine',
    'FakeTransport',
    'Fault',
    'Recording',
    'RecordingTransport',
    'TaskConformance',
    'TransportConformance',
    'async_client_for',
    'client_for',
]

_MODULES = {
    'AsyncFakeTransport': 'fakes',
    'AsyncTransportConformance': 'async_transports',
    'EchoEngine': 'models',
    'EngineConformance': 'engines',
    'FakeEngine': 'models',
    'FakeTransport': 'fakes',
    'Fault': 'fakes',
    'Recording': 'recording',
    'RecordingTransport': 'recording',
    'TaskConformance': 'tasks',
    'TransportConformance': 'transports',
    'async_client_for': 'clients',
    'client_for': 'clients',
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from importlib import import_module

    value = getattr(import_module(f'.{_MODULES[name]}', __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
