"""Where an exchange gets its documents from: pulled a batch at a time, from a plain or an asynchronous iterable."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, AsyncIterable, Callable, Iterable

from docarray import Document

from ._documents import copy_tree
from ._fetch import looks_like_image, trusting_environment
from ._foreign import name_no_item
from ._inputs import Image, Text
from .errors import InputError

if TYPE_CHECKING:
    from ._exchange import Exchange


@dataclass
class _Pulled:
    """A batch of documents, and how the iterable went on: it ended, raised, or may have more."""

    documents: list[Document]
    ended: bool = False
    error: Exception | None = None


class Source:
    """Documents of a plain iterable.

    Args:
        documents: pulled lazily; what it raises ends the exchange in its turn.
        skips: whether an item that cannot be used is refused alone, and the ones after it are pulled. That
            takes an iterator that goes on after it raised, as `map` does and a generator does not.
        trust_env: whether images are fetched through proxies of the environment.
    """

    def __init__(self, documents: Iterable[Document], skips: bool = False, trust_env: bool = True) -> None:
        self._documents = iter(documents)
        self._skips = skips and not inspect.isgenerator(self._documents)
        self._trust_env = trust_env
        self.ended = False

    def feed(self, exchange: Exchange) -> None:
        """Pull as many documents as the exchange wants."""
        self._hand_over(self._pull(exchange.wanted), exchange)

    def _pull(self, count: int) -> _Pulled:
        documents: list[Document] = []
        try:
            with trusting_environment(self._trust_env):
                documents.extend(islice(self._documents, count))
        except Exception as error:  # noqa: BLE001 - the exchange raises it in its turn
            return _Pulled(documents, error=error)
        return _Pulled(documents, ended=len(documents) < count)

    def _hand_over(self, pulled: _Pulled, exchange: Exchange) -> None:
        exchange.feed(pulled.documents)
        error = pulled.error
        if self._skips and isinstance(error, InputError) and _names_an_item(error):
            exchange.refuse(_stand_in(error.item), error)
        elif pulled.ended or error is not None:
            self.ended = True
            exchange.end(error)


class AsyncSource(Source):
    """Documents of a plain iterable, for an event loop.

    Args:
        quick: whether pulling neither waits nor reads files; else it is done in a thread, in turn.
    """

    def __init__(
        self, documents: Iterable[Document], skips: bool = False, trust_env: bool = True, quick: bool = False
    ) -> None:
        super().__init__(documents, skips, trust_env)
        self.quick = quick

    async def feed_async(self, exchange: Exchange) -> None:
        """Pull as many documents as the exchange wants."""
        pulled = self._pull(exchange.wanted) if self.quick else await _in_thread(self._pull, exchange.wanted)
        self._hand_over(pulled, exchange)


class AsyncIterableSource(AsyncSource):
    """Documents made of the items of an asynchronous iterable.

    Args:
        items: pulled lazily.
        convert: makes documents of a list of items, in a thread.
        skips: as for `Source`.
        trust_env: as for `Source`.
    """

    def __init__(
        self,
        items: AsyncIterable[Any],
        convert: Callable[[list[Any]], Iterable[Document]],
        skips: bool = False,
        trust_env: bool = True,
    ) -> None:
        super().__init__((), skips, trust_env)
        self._may_skip = skips
        self._items = items.__aiter__()
        self._convert = convert
        self._read = True  # whether all documents of the items so far were pulled
        self._end = _Pulled([])  # how the items went on

    async def feed_async(self, exchange: Exchange) -> None:
        """Pull as many documents as the exchange wants."""
        if self._read:
            await self._fetch(exchange.wanted)
        pulled = await _in_thread(self._pull, exchange.wanted)
        self._read = pulled.error is None
        if self._read:
            pulled.ended, pulled.error = self._end.ended, self._end.error
        self._hand_over(pulled, exchange)

    async def _fetch(self, count: int) -> None:
        items: list[Any] = []
        try:
            while len(items) < count:
                items.append(await self._items.__anext__())
        except StopAsyncIteration:
            self._end.ended = True
        except Exception as error:  # noqa: BLE001 - the exchange raises it in its turn
            self._end.error = name_no_item(error)
        with trusting_environment(self._trust_env):
            self._documents = iter(self._convert(items))
        self._skips = self._may_skip and not inspect.isgenerator(self._documents)


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(None, context.run, function, *arguments)


def _names_an_item(error: InputError) -> bool:
    """Whether it tells which input of this call is of no use. One with a task has ended another call, and this one."""
    return error.item is not None and error.task is None


def _stand_in(item: Any) -> Document:
    """A document for an item that could not become one, as the caller would know it; of a pair, its first."""
    if isinstance(item, Document):
        try:
            return copy_tree(item)
        except InputError:  # nested too deeply
            return Document(id=item.id)
    if isinstance(item, (tuple, list)) and item:
        return _stand_in(item[0])
    if isinstance(item, (Text, Image)):
        return Document(text=item.value) if isinstance(item, Text) else _stand_in_for_image(item.value)
    if isinstance(item, str) and not looks_like_image(item):
        return Document(text=item)
    return _stand_in_for_image(item)


def _stand_in_for_image(value: Any) -> Document:
    if isinstance(value, Document):
        return _stand_in(value)
    if isinstance(value, (str, Path)):
        return Document(uri=str(value))
    return Document(blob=value) if isinstance(value, bytes) else Document()
