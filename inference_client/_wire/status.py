"""What a server says of a failure, as an error."""

from __future__ import annotations

from typing import Sequence

from ..errors import AuthenticationError, InferenceError, InputError, ServerError, UnsupportedTaskError

# Our own server's model raises these; their message is for the caller as it stands.
PASSED_ON: Sequence[type[InferenceError]] = (InputError, UnsupportedTaskError)


def failure(description: str, exception: str, arguments: Sequence[str]) -> InferenceError:
    """The error for a failed request, from the status that the server sent."""
    message = ', '.join(arguments) or description or 'the server gave no reason'
    for kind in PASSED_ON:
        if exception == kind.__name__:
            return kind(message)
    if exception == ServerError.__name__:  # our own server's request handler has said it all
        return ServerError(message, exception)
    return ServerError(f'the model raised {exception}: {message}' if exception else message, exception)


def http_failure(status: int, detail: str) -> InferenceError:
    """The error for an HTTP status other than 200."""
    detail = f': {detail}' if detail else ''
    if status in (401, 403):
        return token_refused(f'{status}{detail}')
    if status == 503:
        return ServerError(f'the model is not up (503){detail}; try again later')
    if status == 422:
        return ServerError(
            f'the server could not read the request (422){detail}; some servers say so of a body over 1 MiB: '
            'send fewer or smaller documents at once (batch_size=...)'
        )
    return ServerError(f'the server answered with HTTP status {status}{detail}')


def token_refused(detail: str) -> AuthenticationError:
    """The error for a request that the server would not take without a (better) token."""
    return AuthenticationError(f'the server refused the token ({detail}); give a valid one to Client(token=...)')
