"""The transport: gRPC, with a socket file in place of host and port."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes, urlsplit

from inference_client import ConfigurationError
from inference_client.transports.grpc import Address, GrpcTransport

LONGEST = 107  # bytes, on Linux


class UnixTransport(GrpcTransport):
    """`unix:///path/of/the.sock`; a character that a URL cannot hold is percent-encoded."""

    @classmethod
    def address(cls, url: str) -> Address:
        return Address(target(url))


def target(url: str) -> str:
    """What gRPC calls the socket file of a URL.

    Raises:
        ConfigurationError: the URL names none.
    """
    parts = urlsplit(url)
    path = unquote_to_bytes(parts.path)
    extra = parts.netloc or parts.query or parts.fragment or not url.isprintable() or b'\0' in path
    if extra or not path.startswith(b'/') or path.endswith(b'/'):
        raise ConfigurationError(
            f'{url!r} is not the URL of a socket file: expected unix:///path/of/the.sock, with three slashes, '
            'and with percent-encoded ?, # and control characters'
        )
    if len(path) > LONGEST:
        raise ConfigurationError(f'the path of the socket file has {len(path)} bytes: the system takes {LONGEST}')
    return f'unix:{quote(path)}'
