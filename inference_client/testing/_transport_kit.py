"""What the classes of tests for transports are made with."""

from __future__ import annotations

import time
from typing import Any, Callable, Iterator, Mapping

import pytest
from docarray import Document, DocumentArray

from .._messages import Request, Response
from .._plugins import plugins
from .._policies import RetryPolicy, Timeouts
from .._spec import ModelSpec
from ..errors import RequestTimeoutError
from ..inputs import documents as documents_of
from ..model import Model
from ..tasks.base import Call, Task
from ..transports.base import Transport, TransportOptions

TOKEN = 'a-token-of-the-conformance-tests'

Connect = Callable[[str], Any]


class TransportKit:
    """Settings, fixtures and helpers; `TransportConformance` tells what to set."""

    transport_class: type[Transport] | None = None
    endpoint = '/echo'
    unreachable_url: str | None = None
    slow: Mapping[str, Any] | None = {'seconds': 1.5}

    @pytest.fixture
    def url(self) -> str:
        """URL of an echo server; write this fixture."""
        raise NotImplementedError(f'{type(self).__name__} needs a fixture url: the URL of an echo server')

    @pytest.fixture
    def connect(self) -> Iterator[Connect]:
        """Makes transports, which are closed at the end."""
        made: list[Transport] = []

        def make(url: str) -> Transport:
            made.append(self._class(url)(url, TransportOptions(token=TOKEN)))
            return made[-1]

        yield make
        for one in made:
            one.close()

    @pytest.fixture
    def transport(self, connect: Connect, url: str) -> Any:
        """A transport to the echo server."""
        return connect(url)

    def _ask_model(self, transport: Any, texts: list[str], **options: Any) -> Any:
        model = Model(ModelSpec.of_url(transport.url), transport, retry=RetryPolicy(attempts=1))
        return model.run(task_at(self.endpoint), docs=texts_of(*texts), **options)

    def _class(self, url: str) -> type[Transport]:
        if self.transport_class is not None:
            return self.transport_class
        found: type[Transport] = plugins().get('transport', url.partition('://')[0].lower())
        return found

    def _request(self, text: str, /, **parameters: Any) -> Request:
        return Request(self.endpoint, texts_of(text), parameters)

    def _looked_at(self, transport: Any, document: Document) -> Document:
        request = Request(self.endpoint, DocumentArray([document]), {'seen': True})
        (answer,) = self._send(transport, request).documents
        return answer

    def _send(self, transport: Any, request: Request) -> Response:
        response: Response = transport.send(request, Timeouts().within(30))
        return response

    def _seconds_to_time_out(self, transport: Any) -> float:
        request = self._request('a', **self._slow())
        start = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            transport.send(request, Timeouts().within(0.2))
        return time.monotonic() - start

    def _slow(self) -> Mapping[str, Any]:
        if self.slow is None:
            pytest.skip('slow is None: its requests are not interrupted')
        return self.slow

    def _unreachable(self) -> str:
        if self.unreachable_url is None:
            pytest.skip('unreachable_url is None: there is always somebody')
        return self.unreachable_url


def texts_of(*texts: str) -> DocumentArray:
    """Documents with texts."""
    return DocumentArray([Document(text=text) for text in texts])


def task_at(endpoint: str) -> type[Task[DocumentArray]]:
    """A task that gives what comes back from an endpoint."""

    class EchoTask(Task[DocumentArray]):
        name = endpoint.lstrip('/')

        def prepare(self, *, docs: Any = None, **parameters: Any) -> Call:
            return Call(documents_of(docs), parameters)

    return EchoTask
