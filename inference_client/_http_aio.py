"""HTTP requests in an event loop: proxies and certificates as `_http` has them, and no password of `.netrc`."""

from __future__ import annotations

import ssl
from typing import Mapping

import aiohttp
from requests.utils import get_environ_proxies, select_proxy

from ._config import Settings
from ._tls import Certificates, context


def proxy_for(url: str, trust_env: bool) -> str | None:
    """The proxy of the environment; aiohttp's own look-up would read passwords from `.netrc` along with it."""
    return select_proxy(url, get_environ_proxies(url)) if trust_env else None


def tls_for(url: str, options: Certificates) -> ssl.SSLContext | bool:
    """What the certificate of a server is checked with, and which is shown to it."""
    return context(options) if url[:6].lower() == 'https:' else True


async def get(
    url: str, params: Mapping[str, str], headers: Mapping[str, str], settings: Settings, seconds: float
) -> tuple[int, bytes, Mapping[str, str]]:
    """Status, body and headers of one answer; redirects are not followed."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session, session.get(
        url,
        params=params,
        headers=headers,
        ssl=tls_for(url, settings),
        proxy=proxy_for(url, settings.trust_env),
        allow_redirects=False,
    ) as answer:
        return answer.status, await answer.read(), answer.headers
