"""What can go wrong. Every error of this package is an `InferenceError`.

Each is also the built-in error in brackets:

    InferenceError
    ├── ConfigurationError (ValueError)        the client, a model or a plugin is set up wrongly
    │   ├── UnknownSchemeError                 no transport for the URL's scheme
    │   ├── PluginError                        a plugin is broken, or two claim one name
    │   └── MissingExtraError (ImportError)    an optional dependency is not installed
    ├── AuthenticationError (PermissionError)  the token is missing or was refused
    ├── ModelNotFoundError (LookupError)       no model of that name
    ├── InputError (ValueError)                a value that cannot be used as input
    ├── UnsupportedTaskError (NotImplementedError)  the model cannot do the task
    └── TransportError (OSError)               the request was sent, or should have been
        ├── ConnectionFailedError (ConnectionError)
        ├── RequestTimeoutError (TimeoutError)
        ├── ServerError                        the server, or the model in it, reported a failure
        │   ├── RateLimitError                 the server takes no more requests for now
        │   └── RequestTooLargeError           one document alone is more than the server takes
        └── ProtocolError                      the answer is not one of this protocol
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from docarray import DocumentArray

__all__ = [
    'AuthenticationError',
    'ConfigurationError',
    'ConnectionFailedError',
    'InferenceError',
    'InputError',
    'MissingExtraError',
    'ModelNotFoundError',
    'PluginError',
    'ProtocolError',
    'RateLimitError',
    'RequestTimeoutError',
    'RequestTooLargeError',
    'ServerError',
    'TaskFallbackWarning',
    'TransportError',
    'UnknownSchemeError',
    'UnsupportedTaskError',
]


OTHER_NAME = re.compile(
    r'(hostname|ip address) mismatch'  # OpenSSL
    r"|hostname .* doesn't match"  # urllib3
    r'|not in peer certificate|hostname verification',  # gRPC, now and before
)
"""What libraries say of a certificate that is for another name, in lower case."""


class InferenceError(Exception):
    """Root of all errors of this package.

    Attributes:
        message: what was wrong, what was expected and what to do.
        url: the model's address, without any token, once it is known.
        task: the task's name, once it is known.
        completed: the documents that were answered, in input order, when a call failed halfway.
        item: the value that could not be used as input, once it is known which.
        span: positions (first, one past the last) of the input documents in the request that failed.
        attempts: what each attempt at the request that failed came to, the last one included.
        transient: whether the same request may succeed later, so that it is sent again.
        retry_after: seconds that the server asked to wait before that.
    """

    transient = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.url: str | None = None
        self.task: str | None = None
        self.completed: DocumentArray | None = None
        self.item: Any = None
        self.span: tuple[int, int] | None = None
        self.attempts: tuple[str, ...] = ()
        self.retry_after: float | None = None

    def redact(self, secret: str | None) -> None:
        """Take a secret out of the message, and cut off causes that hold it: they may quote what a server sent."""
        if secret and hidden(self.message, secret) != self.message:
            self.message = hidden(self.message, secret)
            self.args = (self.message, *self.args[1:])
        cause = self.__cause__
        while secret and cause is not None:
            if secret_of(secret) in f'{cause!r} {cause}':
                self.__cause__ = self.__context__ = None
                return
            cause = cause.__cause__ or cause.__context__

    def __str__(self) -> str:
        where = ' on '.join(part for part in (self.task, self.url) if part)
        often = f' (after {len(self.attempts)} attempts)' if len(self.attempts) > 1 else ''
        return f'{where}: {self.message}{often}' if where else f'{self.message}{often}'


class ConfigurationError(InferenceError, ValueError):
    """The client, a model or a plugin is set up wrongly."""


class UnknownSchemeError(ConfigurationError):
    """No transport is registered for the URL's scheme."""


class PluginError(ConfigurationError):
    """A plugin could not be loaded, or two plugins claim one name."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional dependency is not installed; the message has the command that installs it."""


class AuthenticationError(InferenceError, PermissionError):
    """The token is missing or was refused."""


class ModelNotFoundError(InferenceError, LookupError):
    """No model of that name."""


class InputError(InferenceError, ValueError):
    """A value cannot be used as input."""


class UnsupportedTaskError(InferenceError, NotImplementedError):
    """The model cannot do the task."""


class TransportError(InferenceError, OSError):
    """Sending a request or receiving its answer failed."""


class ConnectionFailedError(TransportError, ConnectionError):
    """The server cannot be reached, or the connection was lost."""

    transient = True


class RequestTimeoutError(TransportError, TimeoutError):
    """No answer came in time."""

    transient = True


class ServerError(TransportError):
    """The server, or the model in it, reported a failure.

    Attributes:
        exception: name of the exception that the model raised, if the server told it.
        busy: whether it is the server that is not up, overloaded or not paid, rather than the documents that fail.
    """

    def __init__(
        self,
        message: str,
        exception: str = '',
        *,
        transient: bool = False,
        busy: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.exception = exception
        self.transient = transient
        self.busy = busy
        self.retry_after = retry_after


class RateLimitError(ServerError):
    """The server takes no more requests for now; `retry_after` says for how long, if it told."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, transient=True, busy=True, retry_after=retry_after)


class RequestTooLargeError(ServerError):
    """The server takes no request of this size. Larger batches are split before this is raised."""


class ProtocolError(TransportError):
    """The answer is not one of this protocol."""


class TaskFallbackWarning(UserWarning):
    """The model cannot do the task, and its fallback runs instead."""


def secret_of(token: str) -> str:
    """What of a token is secret: of `Bearer KEY` the key, which a server may quote alone."""
    scheme, _, key = token.partition(' ')
    return key.strip() if scheme.lower() == 'bearer' and key.strip() else token


def hidden(text: str, token: str | None) -> str:
    """A text without what of a token is secret. What is to be cut needs this before, else a part of that may stay."""
    return text.replace(secret_of(token), '***') if token else text


def bare(url: str) -> str:
    """A URL as errors quote it: without a user name, and without what follows ? or #, which may be secret."""
    return re.split('[?#]', re.sub('://[^/]*@', '://', url))[0]


def no_answer(timeout: float) -> RequestTimeoutError:
    """The error for a request that took too long."""
    return RequestTimeoutError(
        f'no answer within {timeout:g} s: the server is slow or stuck; give it longer with timeout='
    )


def not_picklable(value: object) -> TypeError:
    """The error for a client or model that would be copied, or sent to another process with its token."""
    kind = type(value).__name__
    return TypeError(
        f'{kind} cannot be pickled or copied: it holds a connection and a token; make one where it is used'
    )


def closed() -> ConnectionFailedError:
    """The error for a request under way when this client was closed. It is not sent again: nothing may stay open."""
    error = ConnectionFailedError('this client closed the connection while a request was under way')
    error.transient = False
    return error


def unreachable(
    reason: object,
    what: str = 'the server cannot be reached or dropped the connection',
    advice: str = 'check the address, and that the server is up',
) -> ConnectionFailedError:
    """The error for a connection that could not be made, or that broke.

    Args:
        reason: the system's or the library's.
        what: came of it.
        advice: unless the reason is a certificate.
    """
    said = str(reason).lower().replace('_', ' ')
    if 'certificate required' in said:
        advice = 'it wants a certificate of yours: give Client(client_cert=...), or --client-cert on the command line'
    elif OTHER_NAME.search(said):
        advice = 'its certificate is not for this name: use the name that it was made for'
    elif 'certificate' in said:
        advice = 'if you trust it, give its certificates as Client(ca_file=...), or --ca-file on the command line'
    return ConnectionFailedError(f'{what} ({reason}); {advice}')
