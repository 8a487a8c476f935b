"""What a service is told: one set of values, checked, from the command line and the configuration file.

It imports nothing heavy: whatever starts threads is imported once signals are held, or one of these gets them.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field
from typing import Mapping, Sequence

from ..errors import ConfigurationError

PORTS = {'grpc': 51000, 'http': 51001, 'ws': 51002}


@dataclass(frozen=True)
class ModelSettings:
    """One model of a service.

    Attributes:
        name: which clients ask for.
        engine: what is loaded: an engine's name.
        replicas: how many processes run it.
        max_batch: documents of several requests that it is given together, at most; 1: each request by itself.
        batch_wait_ms: milliseconds that a request may wait for others to go with it.
        max_seconds: that a process may take for a request, or for those that run together; then it is taken to hang.
    """

    name: str
    engine: str
    replicas: int = 1
    max_batch: int = 64
    batch_wait_ms: int = 0
    max_seconds: int = 3600


@dataclass(frozen=True)
class Limits:
    """What a service takes.

    Attributes:
        body: bytes of a request.
        items: documents of a request, matches and chunks included.
        pixels: of an image.
        per_second: requests of a token, on average; 0: any number.
        burst: requests of a token at once, after a pause.
    """

    body: int = 64 << 20
    items: int = 4096
    pixels: int = 80_000_000
    per_second: float = 500
    burst: int = 1000

    def __post_init__(self) -> None:
        for name in ('body', 'items', 'pixels', 'burst'):
            if getattr(self, name) < 1:
                raise ConfigurationError(f'the limit {name!r} is {getattr(self, name)}: expected at least 1')
        if not 0 <= self.per_second < math.inf:
            raise ConfigurationError(f'the rate is {self.per_second}: expected a number of at least 0; 0 is no limit')


@dataclass(frozen=True)
class Settings:
    """What a service is told.

    Attributes:
        models: the first one answers where none is named.
        host: address to listen on.
        ports: by scheme (`grpc`, `http`, `ws`); 0 takes a free one.
        public: URLs by scheme at which clients reach it, where that is not the address that they asked.
        auth: whether tokens are asked for.
        token_file: where they are; None: the user's own.
        tls_cert: PEM file with the certificate, and those between it and its authority; None: no TLS.
        tls_key: PEM file with its key.
        tls_client_ca: PEM file with the authorities of clients, who must show a certificate; None: nobody must.
        limits: what it takes.
        access_log: file for a line about each request, `-` for standard error; None: there is none.
        drain: seconds for requests under way, once it is told to stop.
    """

    models: Sequence[ModelSettings]
    host: str = '127.0.0.1'
    ports: Mapping[str, int] = field(default_factory=lambda: dict(PORTS))
    public: Mapping[str, str] = field(default_factory=dict)
    auth: bool = True
    token_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    limits: Limits = field(default_factory=Limits)
    access_log: str | None = None
    drain: int = 30

    def __post_init__(self) -> None:
        if not self.auth and not is_loopback(self.host):
            raise ConfigurationError(
                f'without tokens the service listens on this machine alone, not on {self.host}: '
                'leave --no-auth out, or the host'
            )
        for port in filter(None, self.ports.values()):
            schemes = [scheme for scheme, one in self.ports.items() if one == port]
            if len(schemes) > 1:
                raise ConfigurationError(
                    f'the port {port} is that of {" and ".join(schemes)}: give each its own, '
                    f'with {" or ".join(f"--{scheme}-port" for scheme in schemes)}'
                )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigurationError('TLS needs a certificate and its key: give both, --tls-cert and --tls-key')
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ConfigurationError('clients show certificates over TLS alone: give --tls-cert and --tls-key, too')


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host."""
    if host == 'localhost':
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
