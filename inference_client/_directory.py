"""Looks a model up by name in a model directory.

`GET {api_endpoint}/models/?model_name=NAME` with the token as `Authorization` answers with the model's
endpoints, and perhaps with its tasks and status.
"""

from __future__ import annotations

from typing import Any

import requests

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
    url = f'{settings.api_endpoint}/models/'
    try:
        return _parse(name, _get(url, name, settings))
    except InferenceError as error:
        error.url = url
        error.task = f'look-up of model {name!r}'
        raise


def _get(url: str, name: str, settings: Settings) -> Any:
    headers = {'Authorization': settings.token} if settings.token else {}
    with Session(settings.trust_env) as session, Deadline(sum(TIMEOUT)) as deadline:
        try:
            answer = session.get(
                url,
                params={'model_name': name},
                headers=headers,
                timeout=TIMEOUT,
                verify=trusted(settings.ca_file) or True,
                allow_redirects=False,
            )
        except (OSError, ValueError) as error:  # ValueError: urllib3's, for a host that cannot be one
            if deadline.passed(error):
                raise RequestTimeoutError('the model directory did not answer in time: try again') from error
            raise ConnectionFailedError(
                f'the model directory cannot be reached ({type(error).__name__}): check api_endpoint='
            ) from error
    if deadline.over:  # the body may be a part only
        raise RequestTimeoutError('the model directory did not answer in time: try again')
    if answer.status_code == 200:
        return _json(answer)
    if answer.status_code == 404:
        raise ModelNotFoundError(f'no model {name!r} there: check the name, or give the URL of its server')
    if answer.status_code in (401, 403) and not settings.token:
        raise AuthenticationError('the model directory wants a token: give Client(token=...) or set JINA_AUTH_TOKEN')
    raise http_failure(answer.status_code, '')


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
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
