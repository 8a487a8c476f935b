"""What a server says of a failure, as an error."""

from __future__ import annotations

import re
import time
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Mapping, Sequence

from ..errors import (
    AuthenticationError,
    InferenceError,
    InputError,
    ModelNotFoundError,
    RateLimitError,
    RequestTooLargeError,
    ServerError,
    UnsupportedTaskError,
)

_SECONDS = re.compile(r'[0-9]{1,9}([.][0-9]{1,9})?')
SMALL_BODY = 1 << 20  # bytes; a Deployment answers 422 to a larger one

# Our own server's model raises these; their message is for the caller as it stands.
PASSED_ON: Sequence[type[InferenceError]] = (
    InputError,
    UnsupportedTaskError,
    ModelNotFoundError,
    RateLimitError,
    RequestTooLargeError,
    AuthenticationError,
)
UNAVAILABLE = 'UnavailableError'  # of our own gateway; after the message come the seconds to wait


def failure(description: str, exception: str, arguments: Sequence[str]) -> InferenceError:
    """The error for a failed request, from the status that the server sent."""
    if exception == RateLimitError.__name__ and len(arguments) == 2:
        return RateLimitError(arguments[0], retry_after=seconds_of(arguments[1]))
    if exception == UNAVAILABLE and len(arguments) == 2:
        return ServerError(arguments[0], transient=True, busy=True, retry_after=seconds_of(arguments[1]))
    message = ', '.join(arguments) or description or 'the server gave no reason'
    for kind in PASSED_ON:
        if exception == kind.__name__:
            return kind(message)
    if exception == ServerError.__name__:  # our own server's request handler has said it all
        return ServerError(message, exception)
    return ServerError(f'the model raised {exception}: {message}' if exception else message, exception)


def http_failure(status: int, detail: str, retry_after: float | None = None, size: int = 0) -> InferenceError:
    """The error for an HTTP status other than 200.

    Args:
        status: the status code.
        detail: what the server said.
        retry_after: the seconds that it asked to wait.
        size: bytes of the request's body.
    """
    detail = f': {detail}' if detail else ''
    if status in (401, 403):
        return token_refused(f'{status}{detail}')
    if status == 413 or (status == 422 and size > SMALL_BODY):
        return RequestTooLargeError(
            f'a request of {size:,} bytes is more than the server takes ({status}){detail}; send smaller documents'
        )
    if status == 402:
        return unpaid(f'402{detail}')
    if status == 429:
        return rate_limited(f'(429){detail}', retry_after)
    message = f'the server answered with HTTP status {status}{detail}'
    if status == 422:
        message = f'the server could not read the request (422){detail}; check the parameters'
    elif status == 503:
        message = f'the model is not up (503){detail}; try again later'
    return ServerError(
        message,
        transient=status in (408, 425) or 500 <= status < 600,
        busy=status in (408, 425, 502, 503, 504),
        retry_after=retry_after,
    )


def wait_of(headers: Mapping[str, str]) -> float | None:
    """The seconds that the headers of an answer ask to wait, if they do; any case will do for those of a library.

    OpenAI and this package's service tell milliseconds, too, for `Retry-After` has whole seconds.
    """
    milliseconds = seconds_of(headers.get('Retry-After-Ms'))
    return seconds_of(headers.get('Retry-After')) if milliseconds is None else milliseconds / 1000


def seconds_of(retry_after: str | None) -> float | None:
    """The seconds of a header `Retry-After` (RFC 9110, 10.2.3), or a fraction; None if it has none that can be read."""
    if retry_after is None:
        return None
    if _SECONDS.fullmatch(retry_after.strip()):
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def token_refused(detail: str) -> AuthenticationError:
    """The error for a request that the server would not take without a (better) token."""
    return AuthenticationError(
        f'the server refused the token ({detail}); '
        'give a valid one to Client(token=...), or with --token on the command line'
    )


def rate_limited(detail: str, retry_after: float | None) -> RateLimitError:
    """The error for a request that came too early."""
    return RateLimitError(
        f'the server takes no more requests for now {detail}; send fewer at once (prefetch=...)',
        retry_after=retry_after,
    )


def unpaid(detail: str) -> ServerError:
    """The error for a request that waits for money: it is no fault of any item, and is not sent again."""
    return ServerError(
        f'the server wants to be paid first ({detail}); see to the account that the token is of', busy=True
    )
