"""What passes between a dialect and the transport that carries it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generator, Mapping, TypeVar

import orjson

from ..._http import printable
from ...errors import InputError, ProtocolError, RateLimitError
from .reading import told

T = TypeVar('T')


@dataclass(frozen=True)
class HttpCall:
    """One call of a server.

    Attributes:
        method: `GET` or `POST`.
        path: behind the base of the server's URL, such as `/v1/embeddings`.
        data: the body, which is JSON unless a header says otherwise.
        inputs: how many texts and images are in it.
        headers: beside those of the connection.
        pause: seconds to wait before, for the server would not take it yet.
        refusal: what the server said then.
    """

    method: str
    path: str
    data: bytes = b''
    inputs: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0.0
    refusal: RateLimitError | None = None


@dataclass(frozen=True)
class HttpAnswer:
    """The answer to one call, of any status.

    Attributes:
        token: what it may quote, and errors do not.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    token: str | None = field(default=None, repr=False)

    def json(self) -> Any:
        """What it says.

        Raises:
            ProtocolError: it is no JSON; numbers that are none (NaN) count.
        """
        try:
            return orjson.loads(self.content)
        except ValueError as error:
            start = printable(self.content.decode(errors='replace'), self.token)[:80]
            raise ProtocolError(f'the answer is not JSON but begins with {start!r}: is this the right URL?') from error

    def said(self) -> str:
        """Its error message, where the known kinds of servers put it; '' where there is none to show."""
        try:
            found = orjson.loads(self.content)
        except ValueError:
            text = self.content.decode(errors='replace').strip()
            return '' if text.startswith('<') else printable(text, self.token)
        while isinstance(found, dict):
            inner = next((found[name] for name in ('error', 'message', 'detail') if found.get(name)), None)
            if inner is None:
                break
            found = inner
        return printable(found if isinstance(found, str) else orjson.dumps(found).decode(), self.token)

    def code(self) -> str | None:
        """What its error is called, where OpenAI's API puts that, or Jina AI's."""
        try:
            found = orjson.loads(self.content)
        except ValueError:
            return None
        return told(found, str, 'error', 'code') or told(found, str, 'code')


Steps = Generator[HttpCall, HttpAnswer, T]
"""A dialect under way: it yields calls, is sent the answer to each, and returns its result."""


def get(path: str) -> HttpCall:
    """A call without a body."""
    return HttpCall('GET', path)


def post(path: str, body: Mapping[str, Any], inputs: int = 1) -> HttpCall:
    """A call with JSON.

    Raises:
        InputError: the body has something that JSON cannot hold, such as half a surrogate pair.
    """
    try:
        return HttpCall('POST', path, orjson.dumps(body), inputs)
    except TypeError as error:
        raise InputError(
            f'the request cannot be sent as JSON ({error}): expected valid Unicode and plain data'
        ) from error


def body_of(parameters: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """The caller's parameters and what the wire sets itself, as one body; what is None is left out.

    Raises:
        InputError: a parameter would replace what the wire sets.
    """
    clash = sorted(set(parameters) & set(own))
    if clash:
        raise InputError(f'{", ".join(clash)} cannot be a parameter here: the request has it already')
    return {**parameters, **{name: value for name, value in own.items() if value is not None}}
