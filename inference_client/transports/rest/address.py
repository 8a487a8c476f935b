"""What the URL of a REST server says."""

from __future__ import annotations

from typing import Collection, Mapping
from urllib.parse import parse_qsl

from ...errors import ConfigurationError, bare, secret_of
from .._http_shared import HEADERS, Site
from ..base import TransportOptions, split_url

VERSION = '/v1'


class Address(Site):
    """Where a server is, and what is asked of it; its token is sent as `Bearer`.

    Attributes:
        base: the URL that all paths are put behind, without the version at its end.
        version: `/v1` where our URL ends in it, else ''.
        options: what the query of our URL says.
    """

    def __init__(self, base: str, options: TransportOptions, named: Mapping[str, str]) -> None:
        base = base.rstrip('/')
        self.version = VERSION if base.endswith(VERSION) else ''
        base = base[: len(base) - len(self.version)]
        super().__init__(base, options)
        self.base = base  # `Site` takes `/post` off, which is nothing special here
        self.headers = _headers(options)
        self.options = named


def address_of(url: str, options: TransportOptions, known: Collection[str]) -> Address:
    """Read `KIND+http://host:port/path?option=value`.

    Args:
        url: in which `KIND+` may be missing.
        options: of the client.
        known: the names of options that a URL of this kind may have.

    Raises:
        ConfigurationError: it is no URL of this kind.
    """
    parts = split_url(url)
    scheme = parts.scheme.lower().rpartition('+')[2]
    if scheme not in ('http', 'https') or parts.fragment:
        raise ConfigurationError(
            f'{bare(url)!r} is no URL of a server: expected one with http or https, and without a #'
        )
    return Address(f'{scheme}://{parts.netloc}{parts.path}', options, options_of(parts.query, known))


def options_of(query: str, known: Collection[str]) -> dict[str, str]:
    """The options in the query of a URL.

    Raises:
        ConfigurationError: one is unknown, or is there twice.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    found = dict(pairs)
    if len(found) < len(pairs) or not set(found) <= set(known):
        given, names = (', '.join(f'?{name}=' for name in sorted(some)) or 'none' for some in (dict(pairs), known))
        raise ConfigurationError(f'the URL has the options {given}: expected some of {names}, each once')
    return found


def _headers(options: TransportOptions) -> dict[str, str]:
    if not options.token:
        return HEADERS
    return {**HEADERS, 'Authorization': f'Bearer {secret_of(options.token)}'}
