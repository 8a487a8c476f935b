"""What all protocols have in common: a request comes in as bytes, goes to its model, and an answer comes out."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Awaitable, Callable, Mapping

from google.protobuf.message import DecodeError

from .._wire.jina_pb2 import DataRequestProto
from .access_log import AccessLog
from .counting import check_count, count_documents, header_of
from .gate import Gate, token_of
from .hosted import RETRY_AFTER, SERVING, STARTING, HostedModel, Models
from .link import Answer, StuckError
from .metrics import Metrics
from .refusals import BrokenError, Refusal, UnavailableError, UnreadableError
from .settings import Limits
from .tracing import Tracing

logger = logging.getLogger('inference_client.server')

STOPPING_RETRY_AFTER = 5.0  # seconds after which another server may have taken this one's place


class Desk:
    """Takes requests for the models.

    Args:
        models: by name.
        gate: who may ask.
        limits: what is taken.
        log: where requests are noted, but for those without a good token, which the gate notes.
        tracing: tells OpenTelemetry of the same requests.

    Attributes:
        models: the same.
        gate: the same.
        limits: the same.
        metrics: counts of requests.
        stopping: whether the service takes no new requests.
        under_way: requests that are worked on.
    """

    def __init__(
        self,
        models: Models,
        gate: Gate,
        limits: Limits,
        log: AccessLog | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._log = log
        self._tracing = tracing
        self.models = models
        self.gate = gate
        self.limits = limits
        self.metrics = Metrics()
        self.stopping = False
        self.under_way = 0

    async def ask(self, asker: Asker, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer to a request.

        Args:
            asker: who asks; the request is read only if he may.
            read: gets the message.

        Raises:
            Refusal: there is none.
        """
        seen, outcome = _Seen(), 'failed'
        try:
            data = await self._read(asker, read, seen)
            answer = await self._ask(asker, data, seen)
            outcome = 'failed' if seen.failed else 'ok'
            return answer
        except Refusal as refusal:
            outcome = str(refusal.http)
            raise
        except asyncio.CancelledError:
            outcome = 'cancelled'
            raise
        finally:
            self._note(asker, seen, outcome)

    def _note(self, asker: Asker, seen: _Seen, outcome: str) -> None:
        seconds = time.monotonic() - seen.start
        self.metrics.note(seen.model, seen.task, asker.protocol, outcome, seconds)
        if self._tracing is not None and seen.who:
            trace = seen.trace or asker.headers
            self._tracing.note(trace, seen.model, seen.task, asker.protocol, outcome, seconds)
        if self._log is not None and seen.who:
            self._log.note(
                peer=asker.peer,
                token=token_of(seen.who, asker.peer),
                protocol=asker.protocol,
                model=seen.model,
                task=seen.task,
                outcome=outcome,
                bytes=seen.size,
                milliseconds=round(seconds * 1000, 1),
            )

    async def _read(self, asker: Asker, read: Callable[[], Awaitable[bytes]], seen: _Seen) -> bytes:
        seen.who = self.gate.admit(asker.token, asker.peer)
        self.gate.pace(seen.who)
        seen.model = self._open(asker.model).name
        data = await read()
        seen.start, seen.size = time.monotonic(), len(data)
        return data

    async def _ask(self, asker: Asker, data: bytes, seen: _Seen) -> bytes:
        came = time.time_ns()
        hosted = self._open(asker.model)  # again: the service may have been told to stop
        header = header_of(data)
        seen.trace = header.trace
        task = header.exec_endpoint.strip('/')
        seen.task = task if task in hosted.tasks else ''  # what clients make up is no label
        check_count(count_documents(data, self.limits.items), self.limits.items)
        request = parsed(data)
        if request.data.WhichOneof('documents') == 'docs_bytes':
            raise UnreadableError('the documents came pickled, which are never read: send them as "docs"')
        begun = time.time_ns()
        self.under_way += 1
        try:
            answer = await self._answer(hosted, data, header.request_id)
            seen.failed = answer.failed
            if answer.batch:
                self.metrics.note_batch(hosted.name, answer.batch)
            return routes(hosted.name, came, begun) + answer.data
        except Refusal:
            raise
        except Exception as error:  # what gRPC and aiohttp would tell the client of it is not for clients
            logger.exception('a request for the model %s failed', hosted.name)
            raise BrokenError('the service failed; its log tells more') from error
        finally:
            self.under_way -= 1

    async def _answer(self, hosted: HostedModel, data: bytes, request_id: str) -> Answer:
        try:
            return await hosted.ask(data)
        except StuckError:
            error = BrokenError(f'the model {hosted.name!r} did not get through with this in time: send less at once')
            return Answer(error.in_band(request_id), failed=True)  # in band, or clients would send it again

    async def ask_in_band(self, asker: Asker, data: bytes, message_of: Callable[[bytes], bytes] | None = None) -> bytes:
        """The answer to one of many requests on a stream or a socket; a refusal is an answer, too.

        Args:
            asker: who asks.
            data: the request.
            message_of: makes the message of it, if it is none.
        """

        async def read() -> bytes:
            return data if message_of is None else message_of(data)

        try:
            return await self.ask(asker, read)
        except Refusal as error:
            refusal = error
        except Exception:  # of which a client is told nothing, but that there is no other answer
            logger.exception('a request failed')
            refusal = BrokenError('the service failed; its log tells more')
        return refusal.in_band('' if message_of else header_of(data).request_id)

    def ready(self, asker: Asker) -> None:
        """Raise a `Refusal` unless the model answers."""
        self.gate.admit(asker.token, asker.peer)
        hosted = self._open(asker.model)
        if hosted.status != SERVING:
            raise hosted.unavailable()

    def settled(self) -> None:
        """Raise a `Refusal` while a model starts, none answers, or the service stops; it names none of them."""
        statuses = {model.status for model in self.models.values()}
        if self.stopping or STARTING in statuses or SERVING not in statuses:
            raise UnavailableError('the service is not ready', RETRY_AFTER)

    def _open(self, model: str | None) -> HostedModel:
        if self.stopping:
            raise UnavailableError('the service is stopping', STOPPING_RETRY_AFTER)
        return self.models.find(model)


@dataclass(frozen=True)
class Asker:
    """Where a request comes from, and where it goes.

    Attributes:
        model: its name; None: the first one.
        token: as it was presented.
        peer: address of the client.
        protocol: `grpc`, `http` or `websocket`.
        headers: or metadata, found by names in small letters.
    """

    model: str | None
    token: str | None = field(repr=False)
    peer: str
    protocol: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass
class _Seen:
    """What is known of a request so far; `start` is when it was read, by the monotonic clock."""

    start: float = field(default_factory=time.monotonic)
    size: int = 0
    who: str = ''
    model: str = ''
    task: str = ''
    failed: bool = False
    trace: Mapping[str, str] = field(default_factory=dict)


def parsed(data: bytes) -> DataRequestProto:
    """A request as a message.

    Raises:
        UnreadableError: it is none.
    """
    try:
        if data:  # an empty one would be a message, too
            return DataRequestProto.FromString(data)
    except DecodeError as error:
        raise UnreadableError('the request is not a DataRequestProto of Jina') from error
    raise UnreadableError('the request is empty: expected a DataRequestProto of Jina')


def routes(model: str, came: int, begun: int) -> bytes:
    """The way of a request, to be put before its answer: through the gateway, and in it to the model.

    Args:
        model: its name.
        came: nanoseconds of the epoch when the request was there.
        begun: when it went to the model; it is answered now.
    """
    message, now = DataRequestProto(), time.time_ns()
    for executor, start in (('gateway', came), (model, begun)):
        route = message.routes.add(executor=executor)
        route.start_time.FromNanoseconds(start)
        route.end_time.FromNanoseconds(now)
    return message.SerializeToString()
