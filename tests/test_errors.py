"""The tree of errors: what catches what, what it shows, and that it travels between processes."""

from __future__ import annotations

import builtins
import copy
import inspect
import pickle
import re

import pytest
from docarray import Document, DocumentArray
from hypothesis import given
from hypothesis import strategies as st

from inference_client import errors
from inference_client.errors import InferenceError, ServerError, TaskFallbackWarning

ERRORS = [getattr(errors, name) for name in errors.__all__ if issubclass(getattr(errors, name), Exception)]
ERRORS.remove(TaskFallbackWarning)

NATURAL = {
    'ConfigurationError': ValueError,
    'UnknownSchemeError': ValueError,
    'PluginError': ValueError,
    'MissingExtraError': ImportError,
    'AuthenticationError': PermissionError,
    'ModelNotFoundError': LookupError,
    'InputError': ValueError,
    'UnsupportedTaskError': NotImplementedError,
    'TransportError': OSError,
    'ConnectionFailedError': ConnectionError,
    'RequestTimeoutError': TimeoutError,
    'ServerError': OSError,
    'RateLimitError': OSError,
    'RequestTooLargeError': OSError,
    'ProtocolError': OSError,
}


def drawn_tree():
    """Bases by error, as the module's docstring draws them."""
    path, tree = [], {}
    for line in errors.__doc__.splitlines():
        match = re.match(r' {4}([│├└─ ]*)(\w+(?:Error))(?: \((\w+)\))?', line)
        if not match:
            continue
        branches, name, builtin = match.groups()
        del path[len(branches) // 4 :]
        bases = [getattr(errors, path[-1])] if path else [Exception]
        tree[name] = bases + ([getattr(builtins, builtin)] if builtin else [])
        path.append(name)
    return tree


def test_the_tree_drawn_in_the_docstring_is_the_real_one():
    assert drawn_tree() == {kind.__name__: list(kind.__bases__) for kind in ERRORS}


def test_every_class_of_the_module_is_public():
    defined = {name for name, kind in vars(errors).items() if inspect.isclass(kind)}
    assert sorted(defined) == errors.__all__


@pytest.mark.parametrize('kind', ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_is_an_inference_error(kind):
    assert issubclass(kind, InferenceError)


@pytest.mark.parametrize(('name', 'builtin'), NATURAL.items())
def test_every_error_is_caught_as_its_natural_builtin(name, builtin):
    with pytest.raises(builtin, match=r'^what to do$'):
        raise getattr(errors, name)('what to do')


def test_no_error_is_without_its_natural_builtin():
    assert {kind.__name__ for kind in ERRORS} == {'InferenceError', *NATURAL}


def test_the_fallback_warning_is_no_error():
    assert issubclass(TaskFallbackWarning, UserWarning)
    assert not issubclass(TaskFallbackWarning, InferenceError)


@pytest.mark.parametrize('kind', ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    ('task', 'url', 'shown'),
    [
        (None, None, 'what to do'),
        ('rank', None, 'rank: what to do'),
        (None, 'grpc://host:1', 'grpc://host:1: what to do'),
        ('rank', 'grpc://host:1', 'rank on grpc://host:1: what to do'),
    ],
)
def test_str_names_task_and_url(kind, task, url, shown):
    error = kind('what to do')
    error.task, error.url = task, url
    assert str(error) == shown
    assert error.message == 'what to do'


@pytest.mark.parametrize('kind', ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    'copied',
    [copy.copy, copy.deepcopy]
    + [lambda error, p=p: pickle.loads(pickle.dumps(error, p)) for p in range(2, pickle.HIGHEST_PROTOCOL + 1)],
)
def test_errors_survive_pickle_and_copy(kind, copied):
    error = kind('what to do')
    error.task, error.url, error.span = 'rank', 'grpc://host:1', (32, 64)
    error.completed = DocumentArray([Document(text='done')])
    again = copied(error)
    assert type(again) is kind
    assert str(again) == 'rank on grpc://host:1: what to do'
    assert (again.message, again.span, again.args) == ('what to do', (32, 64), ('what to do',))
    assert again.completed.texts == ['done']


@given(message=st.text(), exception=st.text())
def test_a_server_error_keeps_the_name_of_the_models_exception(message, exception):
    again = pickle.loads(pickle.dumps(ServerError(message, exception)))
    assert (str(again), again.exception) == (message, exception)


def test_a_new_error_knows_nothing_of_a_call():
    error = InferenceError('what to do')
    assert (error.task, error.url, error.completed, error.span) == (None, None, None, None)


@pytest.mark.parametrize(
    ('reason', 'advice'),
    [
        ("hostname 'a' doesn't match either of 'b', 'c'", 'use the name that it was made for'),
        ('Hostname Verification Check failed.', 'use the name that it was made for'),
        ("IP address mismatch, certificate is not valid for '127.0.0.1'.", 'use the name that it was made for'),
        ('TLSV13_ALERT_CERTIFICATE_REQUIRED', '--client-cert'),
        ('self signed certificate', '--ca-file'),
        ("the length doesn't match", 'check the address'),
    ],
)
def test_what_to_do_depends_on_what_the_library_says(reason, advice):
    """Also in the words of those that are not installed here."""
    said = str(errors.unreachable(reason))
    assert said.startswith(f'the server cannot be reached or dropped the connection ({reason}); ')
    assert advice in said.rpartition('); ')[2]
