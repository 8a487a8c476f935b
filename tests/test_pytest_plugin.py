"""The pytest plugin, in runs of pytest as a user has them."""

from __future__ import annotations

import os

import pytest
from isolated import NOT_PASSED_ON, PACKAGE
from test_package import HEAVY

PLUGIN = 'inference_client.testing.plugin'


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs a test file in a fresh process, where warnings are errors; the plugin is loaded by its entry point."""
    for name in NOT_PASSED_ON:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(PACKAGE.parent), os.environ.get('PYTHONPATH', '')]))
    pytester.makeini('[pytest]\nfilterwarnings =\n    error\n')

    def ran(code, *arguments):
        pytester.makepyfile(code)
        return pytester.runpytest_subprocess('-p', 'no:cacheprovider', *arguments)

    return ran


def test_a_users_test_needs_no_server(run):
    run("""
        import asyncio
        from inference_client import Model

        def similar(model: Model, one, other):
            first, second = model.encode(text=[one, other]).embeddings
            return float(first @ second)

        def test_mine(fake_model, fake_transport):
            assert similar(fake_model, 'a', 'a') > similar(fake_model, 'a', 'b')
            assert [document.text for document in fake_transport.requests[-1].documents] == ['a', 'b']

        def test_client(fake_client, fake_model):
            assert fake_client.get_model() is fake_model
            assert fake_client.get_model('grpc://somewhere').encode(text='a')

        def test_each_test_has_its_own(fake_transport):
            assert fake_transport.requests == []

        def test_event_loops(async_fake_model, fake_transport):
            assert asyncio.run(async_fake_model.encode(text='a'))
            assert len(fake_transport.requests) == 1
    """).assert_outcomes(passed=4)


@pytest.mark.once(reason='each starts pytest anew, which finds the same')
def test_a_real_server_is_started_once_or_skipped_with_its_reason(run, server_python):
    code = """
        from inference_client import Client

        urls = []

        def test_one(inference_server):
            urls.append(dict(inference_server))
            with Client(trust_env=False) as client:
                documents = client.get_model(inference_server['grpc']).run(ECHO, docs=DOCUMENTS)
            assert documents[0].text == 'hello'

        def test_other(inference_server):
            assert urls == [dict(inference_server)]
            assert set(inference_server) == {'grpc', 'http', 'ws'}
    """
    before = """
        import pytest
        from docarray import Document
        from inference_client import Call, Task

        class ECHO(Task):
            name = 'echo'

            def prepare(self, *, docs):
                return Call(docs)

        DOCUMENTS = [Document(text='hello')]

        @pytest.fixture(scope='session')
        def inference_server_engine():
            return 'echo'
    """
    run(before + code).assert_outcomes(passed=2)


@pytest.mark.once(reason='each starts pytest anew, which finds the same')
def test_without_the_extras_it_says_what_to_install(run, pytester):
    pytester.makeconftest("""
        import sys
        from importlib.machinery import PathFinder

        class Without(PathFinder):
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                return None if name == 'prometheus_client' else PathFinder.find_spec(name, path, target)

        sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
    """)
    result = run('def test_mine(inference_server):\n    raise AssertionError\n', '-rs')
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*needs prometheus_client*: pip install 'inference-client[[]local,server[]]'*"])


def test_it_imports_nothing_until_a_fixture_is_used(run):
    run(f"""
        import sys

        def test_mine():
            assert {PLUGIN!r} in sys.modules
            loaded = {{name.partition('.')[0] for name in sys.modules}}
            assert not loaded & {HEAVY - {'pluggy'}}  # pytest has pluggy itself
            own = {{name for name in sys.modules if name.startswith('inference_client')}}
            assert own == {{'inference_client', 'inference_client.testing', {PLUGIN!r}}}
    """, '-p', 'no:hypothesispytest', '-p', 'no:schemathesis').assert_outcomes(passed=1)  # fmt: skip


@pytest.mark.once(reason='each starts pytest anew, which finds the same')
def test_it_may_be_left_out(run):
    result = run("""
        import sys

        def test_without():
            assert not [name for name in sys.modules if name.startswith('inference_client')]

        def test_with(fake_model):
            raise AssertionError
    """, '-p', 'no:inference_client')  # fmt: skip
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*fixture 'fake_model' not found"])


@pytest.mark.once(reason='each starts pytest anew, which finds the same')
def test_its_fixtures_are_told(run):
    result = run('', '--fixtures')
    for name in ('fake_transport', 'fake_client', 'fake_model', 'async_fake_model', 'inference_server [session scope]'):
        result.stdout.fnmatch_lines([f'{name.replace("[", "[[]")}*'])


@pytest.mark.once(reason='each starts pytest anew, which finds the same')
def test_a_failing_kit_shows_values(run):
    """As asserts of test files do: those of the kits are rewritten, too."""
    result = run("""
        from inference_client.testing import EngineConformance, EchoEngine

        class Nameless(EchoEngine):
            tasks = ['echo']

        class TestMine(EngineConformance):
            engine_class = Nameless
    """, '-k', 'declares')  # fmt: skip
    result.assert_outcomes(failed=1, deselected=7)
    result.stdout.fnmatch_lines(["E*isinstance([[]'echo'], frozenset)*"])
