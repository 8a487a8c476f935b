"""Looks models up in a model directory.

`GET {api_endpoint}/models/?model_name=NAME` with the token as `Authorization` answers with the model's
endpoints, and perhaps with its tasks and status; without a name, with a list of these as "models".
"""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from typing import Any, Iterator, Mapping, Tuple

from ._config import Settings
from ._http import Deadline, Session, reason_of
from ._spec import ModelSpec
from ._tls import check_secrecy, client_files, trusted
from ._wire.status import http_failure, wait_of
from .errors import (
    AuthenticationError,
    ConnectionFailedError,
    InferenceError,
    ModelNotFoundError,
    ProtocolError,
    RequestTimeoutError,
    unreachable,
)

Answer = Tuple[int, bytes, Mapping[str, str]]  # status, body, headers
TIMEOUT = (5.0, 30.0)  # seconds: to connect, and for each read; their sum is for all of it


def find_model(name: str, settings: Settings, seconds: float) -> ModelSpec:
    """Ask the directory for a model, within so many seconds.

    Raises:
        ModelNotFoundError: it knows no model of that name.
        AuthenticationError: it refused the token, or wants one.
        TransportError: it cannot be reached, or its answer cannot be read.
        ConfigurationError: the token would travel in plain text to another machine.
    """
    with _asking(f'look-up of model {name!r}', settings):
        return _spec_of(name, settings, *_get({'model_name': name}, settings, seconds))


async def find_model_async(name: str, settings: Settings, seconds: float) -> ModelSpec:
    """As `find_model`, in an event loop."""
    with _asking(f'look-up of model {name!r}', settings):
        return _spec_of(name, settings, *await _get_async({'model_name': name}, settings, seconds))


def list_models(settings: Settings, seconds: float) -> list[ModelSpec]:
    """Ask the directory for all models, within so many seconds.

    Raises:
        InferenceError: as `find_model`.
    """
    with _asking('list of models', settings):
        return _specs_of(settings, *_get({}, settings, seconds))


async def list_models_async(settings: Settings, seconds: float) -> list[ModelSpec]:
    """As `list_models`, in an event loop."""
    with _asking('list of models', settings):
        return _specs_of(settings, *await _get_async({}, settings, seconds))


@contextmanager
def _asking(what: str, settings: Settings) -> Iterator[None]:
    try:
        check_secrecy(_url(settings), settings)
        yield
    except InferenceError as error:
        error.redact(settings.token)  # what answers may echo it
        error.url = _url(settings)
        error.task = what
        raise


def _url(settings: Settings) -> str:
    return f'{settings.api_endpoint}/models/'


def _headers(settings: Settings) -> dict[str, str]:
    return {'Authorization': settings.token} if settings.token else {}


def _get(params: Mapping[str, str], settings: Settings, seconds: float) -> Answer:
    with Session(settings.trust_env) as session, Deadline(min(sum(TIMEOUT), seconds)) as deadline:
        try:
            answer = session.get(
                _url(settings),
                params=params,
                headers=_headers(settings),
                timeout=TIMEOUT,
                verify=trusted(settings.ca_file) or True,
                cert=client_files(settings),
                allow_redirects=False,
            )
        except (OSError, ValueError) as error:  # ValueError: urllib3's, for a host that cannot be one
            raise (_late() if deadline.passed(error) else _out_of_reach(error, settings)) from error
    if deadline.over:  # the body may be a part only
        raise _late()
    return answer.status_code, answer.content, answer.headers


async def _get_async(params: Mapping[str, str], settings: Settings, seconds: float) -> Answer:
    import aiohttp

    from ._http_aio import get

    try:
        return await get(_url(settings), params, _headers(settings), settings, min(sum(TIMEOUT), seconds))
    except asyncio.TimeoutError as error:
        raise _late() from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _out_of_reach(error, settings) from error


def _late() -> RequestTimeoutError:
    return RequestTimeoutError('the model directory did not answer in time: try again')


def _out_of_reach(error: Exception, settings: Settings) -> ConnectionFailedError:
    return unreachable(
        reason_of(error, settings.token),
        'the model directory cannot be reached',
        'check api_endpoint=, and that the directory is up',
    )


def _spec_of(name: str, settings: Settings, status: int, content: bytes, headers: Mapping[str, str]) -> ModelSpec:
    if status == 404:
        raise ModelNotFoundError(f'no model {name!r} there: check the name, or give the URL of its server')
    return _parse(name, _json(settings, status, content, headers))


def _specs_of(settings: Settings, status: int, content: bytes, headers: Mapping[str, str]) -> list[ModelSpec]:
    if status == 404:
        raise ProtocolError('there is no list of models: is this a model directory?')
    answer = _json(settings, status, content, headers)
    models = answer.get('models') if isinstance(answer, dict) else None
    if not isinstance(models, list):
        raise ProtocolError('the answer has no list of "models": is this a model directory, and does it have one?')
    return [_parse(None, model) for model in models]


def _json(settings: Settings, status: int, content: bytes, headers: Mapping[str, str]) -> Any:
    if status in (401, 403) and not settings.token:
        raise AuthenticationError(
            'the model directory wants a token: give Client(token=...), set JINA_AUTH_TOKEN, '
            'or run inference-client login'
        )
    if status != 200:
        raise http_failure(status, '', wait_of(headers))
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ProtocolError('the answer is not JSON: is this a model directory?') from error


def _parse(name: str | None, answer: Any) -> ModelSpec:
    if not isinstance(answer, dict):
        answer = {}
    endpoints, tasks, name = answer.get('endpoints'), answer.get('tasks'), answer.get('name') or name
    if not isinstance(endpoints, dict) or not all(isinstance(url, str) for url in endpoints.values()):
        raise ProtocolError('the answer has no "endpoints" of URLs by protocol: is this a model directory?')
    if name is None:
        raise ProtocolError('the answer has a model without a "name": is this a model directory?')
    known = frozenset(map(str, tasks)) if isinstance(tasks, list) else None
    return ModelSpec(str(name), endpoints, known, status=answer.get('status'))
