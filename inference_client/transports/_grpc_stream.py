"""One long-lived gRPC stream that carries the requests of all threads; answers come in any order."""

from __future__ import annotations

import threading
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Callable, Iterator

import grpc

from .._wire.protobuf import decode_message
from ..errors import InferenceError, unreachable
from ._grpc_settings import CALL
from ._pending import Pending

if TYPE_CHECKING:
    from ._pending import Answer


class Stream:
    """A stream, from its beginning until either side ends it. It must not refer to its transport.

    Args:
        channel: to open it on.
        metadata: sent once, at the beginning.
        translate: makes an error of ours of one of gRPC's.
    """

    def __init__(self, channel: grpc.Channel, metadata: Any, translate: Callable[[Any], InferenceError]) -> None:
        self._pending = Pending()
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self._translate = translate
        self._call = channel.stream_stream(CALL)(iter(self._outgoing.get, None), metadata=metadata)
        self._thread = threading.Thread(target=self._read, name='inference-client-grpc', daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether it takes no more requests."""
        return self._pending.ended

    def submit(self, request_id: str, data: bytes) -> Answer:
        """Send a request; the future holds the parsed answer."""
        answer = self._pending.add(request_id, len(data))
        self._outgoing.put(data)
        return answer

    def cancel(self) -> None:
        """End it without waiting; requests under way fail."""
        self._call.cancel()

    def close(self) -> None:
        """End it; requests under way fail."""
        self.cancel()
        self._thread.join()

    def _read(self) -> None:
        failure: Callable[[], InferenceError] = partial(unreachable, 'the server ended the stream')
        try:
            answers: Iterator[bytes] = self._call
            for data in answers:
                self._pending.hand_out(decode_message(data))
        except grpc.RpcError as error:
            failure = partial(self._translate, error)
        except InferenceError as error:  # not a message of this protocol: what else came cannot be told apart
            failure = partial(type(error), error.message)
            self._call.cancel()
        finally:
            self._pending.fail(failure)
            self._outgoing.put(None)  # ends the thread in which gRPC waits for the next request
