"""Answers that are no results, as errors."""

from __future__ import annotations

import re

from ..._http import printable
from ..._wire.status import http_failure, unpaid, wait_of
from ...errors import (
    InferenceError,
    InputError,
    ModelNotFoundError,
    ProtocolError,
    RequestTooLargeError,
    ServerError,
    UnsupportedTaskError,
)
from .http import HttpAnswer, HttpCall
from .limits import TOO_FAST, TOO_LONG, Limits

NO_MODEL = frozenset({'model_not_found', 'INPUT_MODEL_NOT_FOUND'})
UNPAID = frozenset({'insufficient_quota', 'AUTHZ_INSUFFICIENT_BALANCE', 'AUTHZ_RESOURCE_LIMIT_EXCEEDED'})
"""Codes of errors, of OpenAI (404 or 403, 429) and Jina AI (400, 403)."""

NO_ACCESS = re.compile('not have access to (the )?model', re.I)
NOT_FROM_THIS = re.compile(r'not allowed to\b.*\bfrom this model', re.I)
"""How OpenAI says with 403 that a key may not use a model, and that nobody may use it so."""

NOT_SUPPORTED = re.compile('not support|not a chat model', re.I)
CANNOT = re.compile(
    r'does not support .*\bapi\b'
    r'|image input is not supported'  # llama.cpp, with 500
    r'|at most 0 image|is not a multimodal model',  # vLLM
    re.I,
)
"""How servers say that a model is of another kind."""


def failure(server: str, limits: Limits, call: HttpCall, answer: HttpAnswer) -> InferenceError:
    """The error for an answer that is no result.

    Args:
        server: what it is called.
        limits: which learn from it.
        call: what was asked.
        answer: what came.
    """
    said, status = answer.said(), answer.status
    if status == 200:
        return ServerError(f'the server answered with an error in place of a result: {said}')
    if 300 <= status < 400:
        location = printable(answer.headers.get('Location', 'nowhere'), answer.token)
        return ProtocolError(f'the server redirects to {location}: give that address')
    if status in (404, 405, 501):
        return _missing(server, call, said)
    refused = _too_much(limits, call, status, said) or _refused(answer, said)
    if refused is not None:
        return refused
    if status == 413:
        limits.too_large(len(call.data))
    return http_failure(status, said, wait_of(answer.headers), len(call.data))


def _too_much(limits: Limits, call: HttpCall, status: int, said: str) -> InferenceError | None:
    """The error for what fewer inputs, or shorter ones, would cure."""
    if status in (400, 413, 422, 500) and TOO_LONG.search(said):
        return InputError(f'an input is too long for the server ({status}): {said}')
    if status in (400, 413, 422) and limits.too_many(said, call.inputs):
        return RequestTooLargeError(f'the server takes no {call.inputs} inputs at once ({status}): {said}')
    if status == 429 and TOO_FAST.search(said):
        if call.inputs > 1:
            return RequestTooLargeError(f'{call.inputs} inputs are more than the server takes in a minute: {said}')
        return InputError(f'the input is more than the server takes in a minute ({status}): {said}')
    return None


def _refused(answer: HttpAnswer, said: str) -> InferenceError | None:
    """The error for what the server, or the model, does for nobody, or not for this token."""
    status, code = answer.status, answer.code()
    if status in (403, 429) and code in UNPAID:
        return unpaid(f'{status}: {said}')
    if status == 400 and code in NO_MODEL:
        return ModelNotFoundError(f'the server has no such model ({said}): check the name in the URL')
    if status in (400, 422, 500) and CANNOT.search(said):
        return UnsupportedTaskError(f'the server cannot do this ({status}): {said}')
    if status in (400, 422):
        return InputError(f'the server refused the request ({status}): {said or "it gave no reason"}')
    if status == 403 and (code in NO_MODEL or NO_ACCESS.search(said)):
        return ModelNotFoundError(f'the token may not use such a model ({said}): check its name, and your rights there')
    if status == 403 and NOT_FROM_THIS.search(said):
        return UnsupportedTaskError(f'the model cannot do this ({status}): {said}')
    return None


def _missing(server: str, call: HttpCall, said: str) -> InferenceError:
    """The error for a path, or a model, that the server does not have."""
    if 'model' in said.lower() and not NOT_SUPPORTED.search(said):
        return ModelNotFoundError(f'the server has no such model ({said}): check the name in the URL')
    reason = f' ({said})' if said else ''
    return UnsupportedTaskError(
        f'the server has no {call.path}{reason}: it does not offer this, or this is not the address of {server}'
    )
