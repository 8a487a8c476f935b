"""The driver: the only place where an exchange meets a transport."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Callable, Iterator

from .errors import InferenceError

if TYPE_CHECKING:
    from docarray import Document

    from ._exchange import Exchange
    from ._messages import Request, Response

Send = Callable[['Request'], 'Response']


def drive(exchange: Exchange, send: Send, window: int) -> Iterator[Document]:
    """Run an exchange: yield answered documents in input order.

    One batch goes out from the calling thread, several from as many threads as the window is wide.

    Raises:
        InferenceError: a request failed; its `span` says which. What was answered besides is yielded before.
    """
    first = exchange.next_request()
    if first is None:
        return
    if exchange.exhausted or window == 1:
        yield from _in_turn(exchange, send, first)
        return
    pool = ThreadPoolExecutor(window, thread_name_prefix='inference-client')
    try:
        yield from _at_once(exchange, send, first, pool)
    finally:
        pool.shutdown(wait=False)  # all is answered, or interrupted: then the rest ends by its timeout


def _in_turn(exchange: Exchange, send: Send, first: Request) -> Iterator[Document]:
    request = first
    while True:
        try:
            exchange.receive(send(request))
        except InferenceError as error:
            error.span = exchange.span(request)
            raise
        yield from exchange.take()
        following = exchange.next_request()
        if following is None:
            return
        request = following


def _at_once(exchange: Exchange, send: Send, first: Request, pool: ThreadPoolExecutor) -> Iterator[Document]:
    running: dict[Future[Response], Request] = {pool.submit(send, first): first}
    try:
        while True:
            request = exchange.next_request()
            while request is not None:
                running[pool.submit(send, request)] = request
                request = exchange.next_request()
            if not running:
                return
            _collect(exchange, running)
            yield from exchange.take()
    except InferenceError:
        for future in running:
            future.cancel()
        while running:
            try:
                _collect(exchange, running)
            except InferenceError:
                continue  # the first failure is the one that is raised
        yield from exchange.take_rest()
        raise


def _collect(exchange: Exchange, running: dict[Future[Response], Request]) -> None:
    """Wait until something is answered, and hand it over."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        request = running.pop(future)
        if future.cancelled():
            continue
        try:
            exchange.receive(future.result())
        except InferenceError as error:
            error.span = exchange.span(request)
            raise
