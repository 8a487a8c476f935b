"""The model directory: which models there are, and at which URLs the asker reaches them."""

from __future__ import annotations

import re
from typing import Any, Mapping
from urllib.parse import quote, urlsplit

from .hosted import HostedModel, Models

HOST = re.compile('[a-z0-9._-]+|[0-9a-f:.]+')  # a name or an address
PROTOCOLS = {'grpc': 'grpc', 'http': 'http', 'ws': 'websocket'}
"""What the directory calls a scheme."""


class Directory:
    """Answers look-ups.

    Args:
        models: of the service.
        ports: by scheme (`grpc`, `http`, `ws`).
        secure: whether these speak TLS.
        public: URLs by scheme that clients reach the service at; else the host that they asked, with `ports`.
    """

    def __init__(
        self, models: Models, ports: Mapping[str, int], secure: bool = False, public: Mapping[str, str] | None = None
    ) -> None:
        self._models = models
        self._ports = ports
        self._suffix = 's' if secure else ''
        self._public = public or {}

    def entry(self, name: str, host: str) -> dict[str, Any]:
        """What is known of a model.

        Args:
            name: of the model.
            host: as the asker wrote it in the header `Host`.

        Raises:
            UnknownModelError: there is none of that name.
        """
        return self._entry(self._models.find(name), host)

    def listing(self, host: str) -> dict[str, Any]:
        """The same of all models."""
        return {'models': [self._entry(model, host) for model in self._models.values()]}

    def _entry(self, model: HostedModel, host: str) -> dict[str, Any]:
        endpoints = {
            PROTOCOLS[scheme]: f'{self._base(scheme, host)}/models/{quote(model.name, safe="")}'
            for scheme in self._ports
        }
        return {'name': model.name, 'endpoints': endpoints, 'tasks': model.tasks, 'status': model.status}

    def _base(self, scheme: str, host: str) -> str:
        if scheme in self._public:
            return self._public[scheme].rstrip('/')
        return f'{scheme}{self._suffix}://{_host(host)}:{self._ports[scheme]}'


def _host(header: str) -> str:
    """The host of a header `Host`, without its port, as a URL has it."""
    try:
        host = urlsplit(f'//{header}').hostname or ''
    except ValueError:
        host = ''
    if not HOST.fullmatch(host):  # a stranger's text, which must not end up in a URL
        return 'localhost'
    return f'[{host}]' if ':' in host else host
