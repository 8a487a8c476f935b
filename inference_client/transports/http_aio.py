"""HTTP in an event loop, over a pool of kept-alive connections."""

from __future__ import annotations

import asyncio
import io
from functools import partial
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple, TypeVar

import aiohttp
from docarray import Document

from .._http import reason_of
from .._http_aio import proxy_for, tls_for
from .._messages import Request, Response
from .._policies import Timeouts
from .._spec import Capabilities
from ..errors import InferenceError, closed, no_answer, unreachable
from ._http_shared import (
    NOT_TAKEN,
    POST,
    PROTOBUF,
    READY_PATHS,
    STATUS,
    Packed,
    Site,
    capabilities,
    failure,
    is_ready,
    knows_path,
    packed,
    unpacked,
)
from ._loops import PerLoop
from .base import AsyncTransport, TransportOptions

KEEP_ALIVE = 4.0  # seconds: Jina's HTTP servers drop what is idle for 5
LARGE = 1_000_000  # bytes of JSON that take milliseconds to write or read

R = TypeVar('R')


class _Pool(NamedTuple):
    session: aiohttp.ClientSession
    proxy: str | None  # looked up once: reading the environment takes longer than all else of a small request


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    content: bytes


class AsyncHttpTransport(AsyncTransport):
    """`http://` and `https://` on `aiohttp`; as many connections as there are requests under way."""

    def __init__(self, url: str, options: TransportOptions, site: Site | None = None) -> None:
        super().__init__(url, options)
        self._site = site or Site(url, options)
        self._tls = tls_for(self._site.base, options)
        self._pools: PerLoop[_Pool] = PerLoop(partial(_open, self._site.base, self._site.headers, options), _close)

    async def send(self, request: Request, timeouts: Timeouts) -> Response:
        sent, answer = await self._sent(request, self._site.protobuf, timeouts)
        if sent.kind == PROTOBUF and answer.status in NOT_TAKEN:
            sent, answer = await self._sent(request, False, timeouts)
            self._site.refused(answer.status)
        if answer.status != 200:
            raise self._failure(answer, request.endpoint, len(sent.data))
        return await off_the_loop(len(answer.content), unpacked, answer.content, answer.headers, request, sent)

    async def is_ready(self, timeouts: Timeouts) -> bool:
        for path in READY_PATHS:
            answer = await self._request('GET', path, None, timeouts)
            if answer.status == 200:
                return is_ready(answer.content)
            if knows_path(answer.status, answer.headers):
                raise self._failure(answer, path)
        return False

    async def capabilities(self, timeouts: Timeouts) -> Capabilities:
        answer = await self._request('GET', STATUS, None, timeouts)
        return capabilities(answer.status, answer.headers, answer.content, self.options.token)

    async def close(self) -> None:
        await self._pools.close()

    def _failure(self, answer: _Answer, path: str, size: int = 0) -> InferenceError:
        text = answer.content.decode(errors='replace')
        return failure(answer.status, answer.headers, text, path, size, self.options.token)

    async def _sent(self, request: Request, as_protobuf: bool, timeouts: Timeouts) -> tuple[Packed, _Answer]:
        """The request as it was sent, and the answer."""
        sent = await off_the_loop(weight(request), packed, request, as_protobuf)
        known = self._site.path
        for path in (POST, request.endpoint) if known is None else (known or request.endpoint,):
            answer = await self._request('POST', path, sent.data, timeouts, sent.headers)
            self._site.learn(path, answer.status, answer.headers)
            if knows_path(answer.status, answer.headers):
                break
        return sent, answer

    async def _request(
        self,
        method: str,
        path: str,
        data: bytes | None,
        timeouts: Timeouts,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> _Answer:
        """One answer; `seconds` is what was given for all of which this is a part, as an error says it."""
        session, proxy = await self._pools.get()
        try:
            async with session.request(
                method,
                self._site.base + path,
                headers=headers,
                data=io.BytesIO(data) if data and len(data) >= LARGE else data,  # of which it is sent in parts
                timeout=aiohttp.ClientTimeout(total=timeouts.read, sock_connect=timeouts.connect),
                ssl=self._tls,
                allow_redirects=False,
                proxy=proxy,
            ) as answer:
                return _Answer(answer.status, answer.headers, await answer.read())
        except aiohttp.ServerTimeoutError as error:  # only connecting has a limit of its own
            raise unreachable(f'no connection within {timeouts.connect:g} s') from error
        except asyncio.TimeoutError as error:
            raise no_answer(timeouts.read if seconds is None else seconds) from error
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            if session.closed:
                raise closed() from error
            raise unreachable(reason_of(error, self.options.token)) from error


def weight(request: Request) -> int:
    """About how many bytes there are to encode, a pixel counting several times for its compression."""
    return sum(
        len(one._data.text or '') + len(one._data.blob or b'') + 8 * getattr(one._data.tensor, 'size', 0)
        for one in _with_matches(request.documents)
    )


def _with_matches(documents: Iterable[Document]) -> Iterator[Document]:
    for one in documents:
        yield one
        yield from one._data.matches or ()  # the property would create them


async def off_the_loop(size: int, function: Callable[..., R], *arguments: Any) -> R:
    """Call a function, in a thread if it would hold the loop up for longer than a thread takes to start."""
    if size < LARGE:
        return function(*arguments)
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def _open(url: str, headers: Mapping[str, str], options: TransportOptions) -> _Pool:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE)
    session = aiohttp.ClientSession(connector=connector, headers=headers)
    return _Pool(session, proxy_for(url, options.trust_env))


async def _close(pool: _Pool) -> None:
    await pool.session.close()
    await asyncio.sleep(0)  # for what the loop still has to close
