"""What can go wrong. Every error of this package is an `InferenceError`.

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
    └── ProtocolError                      the answer is not one of this protocol
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    'RequestTimeoutError',
    'ServerError',
    'TaskFallbackWarning',
    'TransportError',
    'UnknownSchemeError',
    'UnsupportedTaskError',
]


class InferenceError(Exception):
    """Root of all errors of this package.

    Attributes:
        message: what was wrong, what was expected and what to do.
        url: the model's address, without any token, once it is known.
        task: the task's name, once it is known.
        completed: the documents that were answered, in input order, when a call failed halfway.
        span: positions (first, one past the last) of the input documents in the request that failed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.url: str | None = None
        self.task: str | None = None
        self.completed: DocumentArray | None = None
        self.span: tuple[int, int] | None = None

    def redact(self, secret: str | None) -> None:
        """Take a secret out of the message, and cut off causes that hold it: they may quote what a server sent."""
        if secret and secret in self.message:
            self.message = self.message.replace(secret, '***')
            self.args = (self.message, *self.args[1:])
        cause = self.__cause__
        while secret and cause is not None:
            if secret in f'{cause!r} {cause}':
                self.__cause__ = self.__context__ = None
                return
            cause = cause.__cause__ or cause.__context__

    def __str__(self) -> str:
        where = ' on '.join(part for part in (self.task, self.url) if part)
        return f'{where}: {self.message}' if where else self.message


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


class RequestTimeoutError(TransportError, TimeoutError):
    """No answer came in time."""


class ServerError(TransportError):
    """The server, or the model in it, reported a failure.

    Attributes:
        exception: name of the exception that the model raised, if the server told it.
    """

    def __init__(self, message: str, exception: str = '') -> None:
        super().__init__(message)
        self.exception = exception


class ProtocolError(TransportError):
    """The answer is not one of this protocol."""


class TaskFallbackWarning(UserWarning):
    """The model cannot do the task, and its fallback runs instead."""
