"""The description of the HTTP interface, as OpenAPI."""

from __future__ import annotations

from typing import Any

from .._version import __version__

DOCUMENT = {
    'type': 'object',
    'properties': {
        'id': {'type': 'string'},
        'text': {'type': 'string'},
        'blob': {'type': 'string', 'format': 'byte', 'description': 'an encoded image'},
        'tags': {'type': 'object'},
        'embedding': {'type': 'array', 'items': {'type': 'number'}},
        'matches': {'type': 'array', 'items': {'$ref': '#/components/schemas/Document'}},
        'scores': {'type': 'object'},
    },
}
REQUEST = {
    'type': 'object',
    'required': ['data'],
    'properties': {
        'data': {'type': 'array', 'items': {'$ref': '#/components/schemas/Document'}},
        'exec_endpoint': {'type': 'string', 'description': 'the task, such as /encode'},
        'parameters': {'type': 'object'},
    },
}
ANSWER = {
    'type': 'object',
    'properties': {
        'header': {'type': 'object', 'description': 'status.code is 1 where the model failed'},
        'parameters': {'type': 'object'},
        'routes': {'type': 'array', 'items': {'type': 'object'}},
        'data': {'type': 'array', 'items': {'$ref': '#/components/schemas/Document'}},
    },
}
MODEL = {
    'type': 'object',
    'properties': {
        'name': {'type': 'string'},
        'endpoints': {'type': 'object', 'additionalProperties': {'type': 'string'}},
        'tasks': {'type': 'array', 'items': {'type': 'string'}},
        'status': {'type': 'string', 'enum': ['Starting', 'Serving', 'Failed']},
    },
}
REFUSALS = {
    '400': 'the request cannot be read',
    '401': 'no token, or one that is not good',
    '403': 'without tokens: a page of another site asks',
    '404': 'no such model',
    '408': 'the body did not come in time',
    '413': 'the request is larger than the service takes',
    '415': 'the body is of another kind',
    '429': 'too many requests; Retry-After says when to ask again',
    '500': 'the service failed; its log tells more',
    '503': 'the model is not up; Retry-After says when it may be',
}

TOKEN = {'type': 'http', 'scheme': 'bearer', 'description': 'alone as Authorization, too, without Bearer'}
MESSAGE = {
    'application/x-protobuf': {'schema': {'type': 'string', 'format': 'binary', 'description': 'DataRequestProto'}}
}


def description(tokens: bool) -> dict[str, Any]:
    """The interface of a service that asks for tokens, or for none."""
    schemas = {'Document': DOCUMENT, 'Request': REQUEST, 'Answer': ANSWER, 'Model': MODEL, 'Refusal': _refusal()}
    named = {'name': 'model', 'in': 'path', 'required': True, 'schema': {'type': 'string'}}
    look_up = {'name': 'model_name', 'in': 'query', 'schema': {'type': 'string'}}
    return {
        'openapi': '3.1.0',
        'info': {'title': 'inference-client', 'version': __version__},
        'components': {'schemas': schemas, **({'securitySchemes': {'token': TOKEN}} if tokens else {})},
        **({'security': [{'token': []}]} if tokens else {}),
        'paths': {
            '/': {'get': {**_reading('says that the service is alive', {'type': 'object'}), 'security': []}},
            '/dry_run': {'get': _reading('whether the first model answers', {'type': 'object'})},
            '/ready': {
                'get': {
                    **_reading('whether no model is starting, and at least one answers', {'type': 'object'}),
                    'security': [],
                }
            },
            '/metrics': {'get': _reading('counts of requests, for Prometheus', {'type': 'string'}, 'text/plain')},
            '/status': {
                'get': _reading(
                    'version, the status of each model, and the tasks of the one that is asked', {'type': 'object'}
                )
            },
            '/post': {'post': _posting('ask the first model')},
            '/models/{model}/post': {'post': {**_posting('ask a model'), 'parameters': [named]}},
            '/models/{model}/dry_run': {
                'get': {**_reading('whether a model answers', {'type': 'object'}), 'parameters': [named]}
            },
            '/models/{model}/status': {
                'get': {**_reading('the same, of a model', {'type': 'object'}), 'parameters': [named]}
            },
            '/api/v1/models/': {'get': {**_reading('a model, or all', {'type': 'object'}), 'parameters': [look_up]}},
        },
    }


def _refusal() -> dict[str, Any]:
    return {'type': 'object', 'properties': {'detail': {'type': 'string'}, 'error': {'type': 'string'}}}


def _reading(summary: str, schema: dict[str, Any], kind: str = 'application/json') -> dict[str, Any]:
    answer = {'description': 'OK', 'content': {kind: {'schema': schema}}}
    return {'summary': summary, 'responses': {'200': answer, **_refused()}}


def _posting(summary: str) -> dict[str, Any]:
    asked, answered = (_content({'$ref': f'#/components/schemas/{name}'}) for name in ('Request', 'Answer'))
    return {
        'summary': summary,
        'requestBody': {'required': True, 'content': {**asked, **MESSAGE}},
        'responses': {
            '200': {'description': 'OK', 'content': {**answered, **MESSAGE}},
            **_refused(),
        },
    }


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {'application/json': {'schema': schema}}


def _refused() -> dict[str, Any]:
    content = _content({'$ref': '#/components/schemas/Refusal'})
    return {status: {'description': why, 'content': content} for status, why in REFUSALS.items()}
