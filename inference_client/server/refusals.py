"""Why the service does not pass a request on, as each protocol says it."""

from __future__ import annotations

import math

from .._wire.jina_pb2 import DataRequestProto, StatusProto


class Refusal(Exception):
    """A request that no model answers. The message is for the one who sent it.

    Attributes:
        message: one sentence.
        http: status code of HTTP.
        grpc: name of gRPC's status code.
        error: the error of this package that a client raises for it.
        retry_after: seconds after which the same request may be sent again; None: it will be refused then, too.
    """

    http = 400
    grpc = 'INVALID_ARGUMENT'
    error = 'InputError'

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after

    @property
    def milliseconds(self) -> int:
        """What `retry_after` is of them, and no less."""
        return math.ceil(1000 * (self.retry_after or 0))

    @property
    def seconds(self) -> str:
        """The seconds in `retry_after`, to the next millisecond."""
        return f'{self.milliseconds / 1000:.3f}'.rstrip('0').rstrip('.')

    def in_band(self, request_id: str) -> bytes:
        """The answer to one request of many on a stream or a socket."""
        answer = DataRequestProto()
        answer.header.request_id = request_id
        status = answer.header.status
        status.code = StatusProto.ERROR
        status.description = self.message
        status.exception.name = self.error
        status.exception.args.append(self.message)
        if self.retry_after is not None:
            status.exception.args.append(self.seconds)
        return answer.SerializeToString()


class UnreadableError(Refusal):
    """It is not a request of this protocol."""


class UnknownKindError(Refusal):
    """The body is of no kind that is read."""

    http = 415


class UnknownModelError(Refusal):
    """No such model."""

    http = 404
    grpc = 'NOT_FOUND'
    error = 'ModelNotFoundError'


class UnauthorizedError(Refusal):
    """The token is missing or not good."""

    http = 401
    grpc = 'UNAUTHENTICATED'
    error = 'AuthenticationError'


class ForbiddenError(Refusal):
    """The request may come from a page in somebody's browser."""

    http = 403
    grpc = 'PERMISSION_DENIED'
    error = 'AuthenticationError'


class TooLargeError(Refusal):
    """It has more in it than the service takes at once."""

    http = 413
    grpc = 'RESOURCE_EXHAUSTED'
    error = 'RequestTooLargeError'


class TooManyError(Refusal):
    """It comes too early."""

    http = 429
    grpc = 'RESOURCE_EXHAUSTED'
    error = 'RateLimitError'


class UnavailableError(Refusal):
    """The model is not up yet, or its last replica was lost, or the service is stopping. It may be sent again."""

    http = 503
    grpc = 'UNAVAILABLE'
    error = 'UnavailableError'


class FailedError(Refusal):
    """The model could not be started."""

    http = 503
    grpc = 'FAILED_PRECONDITION'  # what is UNAVAILABLE is sent again, which is of no use here
    error = 'ServerError'


class BrokenError(Refusal):
    """The process of the model answered with something other than an answer."""

    http = 500
    grpc = 'INTERNAL'
    error = 'ServerError'
