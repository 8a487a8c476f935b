"""The model runs in this process: no wire at all."""

from __future__ import annotations

from .._messages import Request, Response
from .._policies import Timeouts
from .._spec import Capabilities
from ..engines.handler import handle
from ..engines.loader import load_engine
from .base import Transport, TransportOptions


class LocalTransport(Transport):
    """`local://NAME`, where NAME is an engine's. The engine is loaded at the first request, once a process.

    A running model is not interrupted: the timeout has no effect.
    """

    def __init__(self, url: str, options: TransportOptions) -> None:
        super().__init__(url, options)
        self._name = url.split('://', 1)[1]

    def send(self, request: Request, timeouts: Timeouts) -> Response:
        return Response(request.id, handle(load_engine(self._name), request))

    def capabilities(self, timeouts: Timeouts) -> Capabilities:
        """Load the engine, and ask it."""
        return load_engine(self._name).capabilities()

    def is_ready(self, timeouts: Timeouts) -> bool:
        """Load the engine, so that it is."""
        load_engine(self._name)
        return True
