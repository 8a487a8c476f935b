"""Looks a model up by name in a model directory.

`GET {api_endpoint}/models/?model_name=NAME` with the token as `Authorization` answers with the model's
endpoints, and perhaps with its tasks and status.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from typing import Any, Iterator

from ._config import Settings, trusted
from ._http import Deadline, Session
from ._spec import ModelSpec
from ._wire.status import http_failure
from .errors import (
    AuthenticationError,
    ConnectionFailedError,
    InferenceError,
    ModelNotFoundError,
    ProtocolError,
    RequestTimeoutError,
)

TIMEOUT = (5.0, 30.0)  # seconds: to connect, and for each read; their sum is for all of it


def find_model(name: str, settings: Settings) -> ModelSpec:
    """Ask the directory for a model.

    Raises:
        ModelNotFoundError: it knows no model of that name.
        AuthenticationError: it refused the token, or wants one.
        TransportError: it cannot be reached, or its answer cannot be read.
    """
    with _look_up(name, settings):
        return _spec_of(name, settings, *_get(name, settings))


async def find_model_async(name: str, settings: Settings) -> ModelSpec:
    """As `find_model`, in an event loop."""
    with _look_up(name, settings):
        return _spec_of(name, settings, *await _get_async(name, settings))


@contextmanager
def _look_up(name: str, settings: Settings) -> Iterator[None]:
    try:
        yield
    except InferenceError as error:
        error.url = _url(settings)
        error.task = f'look-up of model {name!r}'
        raise


def _url(settings: Settings) -> str:
    return f'{settings.api_endpoint}/models/'


def _headers(settings: Settings) -> dict[str, str]:
    return {'Authorization': settings.token} if settings.token else {}


def _get(name: str, settings: Settings) -> tuple[int, bytes]:
    """Status and body of the directory's answer."""
    with Session(settings.trust_env) as session, Deadline(sum(TIMEOUT)) as deadline:
        try:
            answer = session.get(
                _url(settings),
                params={'model_name': name},
                headers=_headers(settings),
                timeout=TIMEOUT,
                verify=trusted(settings.ca_file) or True,
                allow_redirects=False,
            )
        except (OSError, ValueError) as error:  # ValueError: urllib3's, for a host that cannot be one
            raise (_late() if deadline.passed(error) else _out_of_reach(error)) from error
    if deadline.over:  # the body may be a part only
        raise _late()
    return answer.status_code, answer.content


async def _get_async(name: str, settings: Settings) -> tuple[int, bytes]:
    import aiohttp

    from ._http_aio import get

    try:
        return await get(_url(settings), {'model_name': name}, _headers(settings), settings, sum(TIMEOUT))
    except asyncio.TimeoutError as error:
        raise _late() from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _out_of_reach(error) from error


def _late() -> RequestTimeoutError:
    return RequestTimeoutError('the model directory did not answer in time: try again')


def _out_of_reach(error: Exception) -> ConnectionFailedError:
    return ConnectionFailedError(f'the model directory cannot be reached ({type(error).__name__}): check api_endpoint=')


def _spec_of(name: str, settings: Settings, status: int, content: bytes) -> ModelSpec:
    if status == 200:
        return _parse(name, _json(content))
    if status == 404:
        raise ModelNotFoundError(f'no model {name!r} there: check the name, or give the URL of its server')
    if status in (401, 403) and not settings.token:
        raise AuthenticationError('the model directory wants a token: give Client(token=...) or set JINA_AUTH_TOKEN')
    raise http_failure(status, '')


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ProtocolError('the answer is not JSON: is this a model directory?') from error


def _parse(name: str, answer: Any) -> ModelSpec:
    endpoints = answer.get('endpoints') if isinstance(answer, dict) else None
    if not isinstance(endpoints, dict) or not all(isinstance(url, str) for url in endpoints.values()):
        raise ProtocolError('the answer has no "endpoints" of URLs by protocol: is this a model directory?')
    tasks = answer.get('tasks')
    known: frozenset[str] | None = None
    if isinstance(tasks, list):
        known = frozenset(str(task) for task in tasks)
    return ModelSpec(str(answer.get('name') or name), endpoints, known, status=answer.get('status'))
