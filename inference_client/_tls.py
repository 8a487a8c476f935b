"""Who is trusted with what: certificates of servers and of the client, and where a token may travel."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from ._addresses import is_this_machine
from .errors import ConfigurationError

PLAIN = {
    'grpc': ('grpc', 'https', 'http'),
    'http': ('http', 'all'),
    'ws': ('ws', 'socks', 'https', 'http', 'all'),
}
"""Schemes of ours without TLS, and whose proxies (`HTTP_PROXY` and so on) their libraries use."""


class Certificates(Protocol):
    """The certificates of all secure connections, as clients and transports are told them.

    Attributes:
        ca_file: certificates (PEM) that a server is checked against, in place of the system's.
        client_cert: certificate (PEM) that is shown to a server that asks for one.
        client_key: its private key (PEM), unless that is in the same file.
    """

    @property
    def ca_file(self) -> str | None: ...

    @property
    def client_cert(self) -> str | None: ...

    @property
    def client_key(self) -> str | None: ...


def check_certificates(options: Certificates) -> None:
    """See that the files can be used.

    Raises:
        ConfigurationError: one cannot.
    """
    if options.ca_file is not None:
        trusted(options.ca_file)
    if options.client_key is not None and options.client_cert is None:
        raise ConfigurationError(
            'client_key is given without client_cert: give both, or client_cert alone if its file holds the key, too'
        )
    if options.client_cert is not None:
        _load_client(ssl.create_default_context(), options)


def trusted(ca_file: str | None) -> str | None:
    """The file of certificates to trust: the client's own, else the system's, else None.

    Raises:
        ConfigurationError: the client's own cannot be used.
    """
    if ca_file is None:
        return ssl.get_default_verify_paths().cafile
    try:
        ssl.create_default_context(cafile=ca_file)
    except (OSError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f'ca_file {ca_file!r} cannot be used ({error}): expected the path of certificates in PEM'
        ) from error
    return ca_file


def context(options: Certificates) -> ssl.SSLContext:
    """For connections to secure servers."""
    made = ssl.create_default_context(cafile=trusted(options.ca_file))
    _load_client(made, options)
    return made


def client_files(options: Certificates) -> tuple[str, str] | None:
    """Paths of the client's certificate and key."""
    if options.client_cert is None:
        return None
    return options.client_cert, options.client_key or options.client_cert


def client_pair(options: Certificates) -> tuple[bytes | None, bytes | None]:
    """The client's key and certificate, in the order of gRPC."""
    files = client_files(options)
    if files is None:
        return None, None
    certificate, key = files
    return Path(key).read_bytes(), Path(certificate).read_bytes()


class Secrecy(Protocol):
    """What decides whether a token may be sent somewhere.

    Attributes:
        token: if there is one.
        trust_env: whether proxies of the environment are used.
        allow_insecure_token: whether it may travel in plain text.
    """

    @property
    def token(self) -> str | None: ...

    @property
    def trust_env(self) -> bool: ...

    @property
    def allow_insecure_token(self) -> bool: ...


def check_secrecy(url: str, options: Secrecy) -> None:
    """See that a token would not travel in plain text, except within this machine.

    Args:
        url: where it would be sent.
        options: of the client or the transport.

    Raises:
        ConfigurationError: it would, and may not.
    """
    parts = urlsplit(url)
    scheme = _scheme(url)
    if not options.token or options.allow_insecure_token or scheme not in PLAIN:
        return
    way, advice = f'to {parts.hostname}', 'use grpcs, https or wss'
    if is_this_machine(parts.hostname or ''):
        proxy = _proxy_elsewhere(url) if options.trust_env else None
        if proxy is None:
            return
        way, advice = f'through the proxy {proxy}', 'name this machine in NO_PROXY'
    raise ConfigurationError(
        f'a token would travel {way} over plain {scheme}, where others can read it: '
        f'{advice}, or say Client(allow_insecure_token=True), or --allow-insecure-token on the command line'
    )


def _proxy_elsewhere(url: str) -> str | None:
    """The host of a proxy of the environment, on another machine, that requests for an URL might go through."""
    from urllib.request import getproxies

    proxies = (proxy for name, proxy in getproxies().items() if name in PLAIN[_scheme(url)])
    hosts = (urlsplit(proxy if '://' in proxy else f'//{proxy}').hostname or '' for proxy in proxies)
    elsewhere = next((host for host in hosts if not is_this_machine(host)), None)
    if elsewhere is None:
        return None
    from requests.utils import should_bypass_proxies

    return None if should_bypass_proxies(url, no_proxy=None) else elsewhere


def _scheme(url: str) -> str:
    """What a URL is reached by: `http` for `openai+http`."""
    return urlsplit(url).scheme.lower().rpartition('+')[2]


def _load_client(made: ssl.SSLContext, options: Certificates) -> None:
    files = client_files(options)
    if files is None:
        return
    try:
        made.load_cert_chain(*files, password='')  # without one, OpenSSL would ask at the terminal
    except (OSError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f'client_cert {files[0]!r} with the key {files[1]!r} cannot be used ({error}): '
            'expected paths of a certificate and of its key in PEM, not encrypted'
        ) from error
