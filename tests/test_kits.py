"""The conformance kits find what they are for: each breach is caught at least by the tests that are named."""

from __future__ import annotations

import textwrap

import pytest

from inference_client import testing

LOADED = [getattr(testing, name) for name in testing.__all__]  # each run in this process forgets what it imports

TRANSPORTS = """
    import time
    import unicodedata
    from inference_client import Request, Response, Transport
    from inference_client.engines.handler import handle
    from inference_client.testing import EchoEngine, TransportConformance, AsyncTransportConformance

    class Good(Transport):
        def send(self, request, timeouts):
            return Response(request.id, handle(EchoEngine(), request))

        def answered(self, request):
            return handle(EchoEngine(), request)
"""

TRANSPORT_KIT = """
    import pytest

    class TestMine(TransportConformance):
        transport_class = Mine
        slow = None

        @pytest.fixture
        def url(self):
            return 'mine://x'
"""

BROKEN_TRANSPORTS = {
    'another id': ('return Response("1", self.answered(request))', 'the_answer_has_the_id'),
    'one less': (
        'documents = self.answered(request); return Response(request.id, documents[:max(1, len(documents) - 1)])',
        'as_many_documents|a_model_puts',
    ),
    'mixed up': (
        'documents = list(self.answered(request))\n'
        '            for one in documents: one.id = ""\n'
        '            return Response(request.id, documents[::-1])',
        'as_many_documents|a_model_puts',
    ),
    'normalised': (
        'for one in request.documents: one.text = unicodedata.normalize("NFC", one.text)\n'
        '            return Response(request.id, self.answered(request))',
        'text_arrives',
    ),
    'stripped': (
        'for one in request.documents: one.text = one.text.strip()\n'
        '            return Response(request.id, self.answered(request))',
        'text_arrives',
    ),
    'cut': (
        'for one in request.documents: one.text = one.text.partition("\\0")[0]\n'
        '            return Response(request.id, self.answered(request))',
        'text_arrives',
    ),
    'short blobs': (
        'for one in request.documents: one.blob = one.blob and one.blob[:100]\n'
        '            return Response(request.id, self.answered(request))',
        'a_blob_arrives',
    ),
    'signed pixels': (
        'for one in request.documents: one.tensor = None if one.tensor is None else one.tensor // 2\n'
        '            return Response(request.id, self.answered(request))',
        'pixels_arrive',
    ),
    'no parameters': (
        'few = {k: v for k, v in request.parameters.items() if k in {"seen", "fail", "refuse"}}\n'
        '            return Response(request.id, self.answered(Request(request.endpoint, request.documents, few)))',
        'parameters_arrive',
    ),
    'shared state': (
        'self.last = request; time.sleep(0.01)\n            return Response(request.id, self.answered(self.last))',
        'threads_get',
    ),
    'parameters changed': (
        'request.parameters.pop("number", None); return Response(request.id, self.answered(request))',
        'parameters_',
    ),
    'foreign errors': (
        'try: return Response(request.id, self.answered(request))\n'
        '            except Exception as error: raise RuntimeError(str(error))',
        'what_the_model|token',
    ),
    'told token': (
        'try: return Response(request.id, self.answered(request))\n'
        '            except Exception as error: error.message += self.options.token; raise',
        'the_token',
    ),
    'token in the cause': (
        'try: return Response(request.id, self.answered(request))\n'
        '            except Exception as error: raise error from ValueError(self.options.token)',
        'the_token',
    ),
    'closed for good': (
        'if getattr(self, "closed", 0): raise RuntimeError("closed")\n'
        '            return Response(request.id, self.answered(request))\n'
        '        def close(self): self.closed = 1',
        'closed_and_used',
    ),
    'never ready': (
        'return Response(request.id, self.answered(request))\n        def is_ready(self, timeouts): return False',
        'a_server_that_answers',
    ),
}

SLOW_KIT = """
    import pytest

    class TestMine(TransportConformance):
        transport_class = Good
        unreachable_url = 'mine://nobody'

        @pytest.fixture
        def url(self):
            return 'mine://x'
"""

TASK = """
    from docarray import Document
    from inference_client import Call, InputError, Task, UnsupportedTaskError
    from inference_client.inputs import documents, text_documents
    from inference_client.testing import TaskConformance

    class Good(Task):
        name = 'shout'

        def prepare(self, *, text=None, docs=None, **parameters):
            if (text is None) == (docs is None):
                raise InputError('give one')
            found = text_documents(text) if docs is None else documents(docs)
            return Call(map(self.fresh, found), parameters)

        def fresh(self, document):
            document.tags.pop('loud', None)
            return document

        def prepare_stream(self, inputs, **parameters):
            return self.prepare(text=iter(inputs), **parameters)

        def accept(self, document):
            if 'loud' not in document.tags:
                raise UnsupportedTaskError('no')
            return document

    class Mine(Good):
        {body}

    class TestMine(TaskConformance):
        task = Mine
        bad_arguments = ({{}}, {{'text': 'a', 'docs': []}})

        def arguments(self):
            return [{{'text': ['a', 'b']}}, {{'docs': [Document(text='a', tags={{'a': {{'b': 1}}}})]}}]

        def inputs(self):
            return ['a', 'b', Document(text='c', tags={{'a': {{'b': 1}}}})]

        def answer(self, document):
            document.tags['loud'] = document.text.upper()
            return document
"""

BROKEN_TASKS = {
    'mutates': (
        'def prepare(self, *, text=None, docs=None, **parameters):\n'
        '    return Call(docs, parameters) if docs is not None else super().prepare(text=text, **parameters)',
        'what_the_caller|no_use',
    ),
    'eager': (
        'def prepare_stream(self, inputs, **more):\n    return super().prepare_stream(list(inputs), **more)',
        'pulled_lazily',
    ),
    'generator': (
        'def prepare_stream(self, inputs, **parameters):\n'
        '    call = super().prepare_stream(inputs, **parameters)\n'
        '    return Call((one for one in call.documents), call.parameters)',
        'a_bad_item',
    ),
    'accepts all': ('def accept(self, document):\n    return document', 'an_echo'),
    'accepts nothing': (
        'def accept(self, document):\n    raise UnsupportedTaskError("no")',
        'an_echo|a_model_runs',
    ),
    'keeps old answers': ('def fresh(self, document):\n    return document', 'an_echo'),
    'loses parameters': (
        'def prepare(self, *, text=None, docs=None, **parameters):\n'
        '    return Call(super().prepare(text=text, docs=docs).documents)',
        'other_keywords',
    ),
    'other errors': (
        'def prepare(self, *, text=None, docs=None, **parameters):\n'
        '    len(text or docs)\n'
        '    return super().prepare(text=text, docs=docs, **parameters)',
        'no_use',
    ),
    'no name': ("name = ''", 'it_says'),
    'bad requires': ("requires = {'x'}", 'it_says'),
}

ENGINE = """
    import threading
    import time
    import numpy as np
    from docarray import Document, DocumentArray
    from inference_client import Engine, InputError, MultimodalEngine, UnsupportedTaskError
    from inference_client.testing import EngineConformance

    class Good(MultimodalEngine):
        tasks = frozenset({{'encode'}})

        def encode_text(self, texts, parameters):
            return np.array([[len(text), 1] for text in texts], np.float32)

    class Mine(Good):
        {body}

    class TestMine(EngineConformance):
        engine_class = Mine
        parameters = {{'power': 2}}

        def documents(self, task):
            return [Document(text='a' * size) for size in (1, 5, 3, 9)]
"""

BROKEN_ENGINES = {
    'list of tasks': ("tasks = ['encode']", 'it_declares'),
    'reversed': (
        'def run(self, task, documents, parameters):\n    return super().run(task, documents, parameters)[::-1]',
        'come_back_in_order|no_other',
    ),
    'batch norm': (
        'def encode_text(self, texts, parameters):\n'
        '    rows = super().encode_text(texts, parameters)\n    return rows - rows.mean(axis=0)',
        'no_other',
    ),
    'doubles': (
        'def encode_text(self, texts, parameters):\n    return super().encode_text(texts, parameters).astype(float)',
        'float32',
    ),
    'nan': (
        'def encode_text(self, texts, parameters):\n    return super().encode_text(texts, parameters) * np.nan',
        'float32',
    ),
    'shared state': (
        'def encode_text(self, texts, parameters):\n'
        '    self.texts = texts; time.sleep(0.01)\n    return super().encode_text(self.texts, parameters)',
        'threads',
    ),
    'takes nothing for something': (
        'def run(self, task, documents, parameters):\n'
        '    for one in documents: one.embedding = np.ones(1, np.float32)\n    return documents',
        'no_use',
    ),
    'takes any task': (
        'def run(self, task, documents, parameters):\n    return super().run("encode", documents, parameters)',
        None,  # the handler refuses it before
    ),
    'changes parameters': (
        'def run(self, task, documents, parameters):\n'
        '    parameters.pop("power", None)\n    return super().run(task, documents, parameters)',
        'parameters_stay',
    ),
    'what is not for a message': (
        'def run(self, task, documents, parameters):\n'
        '    for one in documents: one.tags["a"] = object()\n    return super().run(task, documents, parameters)',
        'come_back_in_order|no_other|threads',
    ),
}


@pytest.fixture
def failed(pytester):
    """Runs a kit; gives the names of the tests that failed."""

    def run(code):
        pytester.makepyfile(code)
        result = pytester.inline_run('-q', '-p', 'no:cacheprovider')
        passed, _, failures = result.listoutcomes()
        assert passed, 'nothing was tested'
        return {report.nodeid.rpartition('::test_')[2].partition('[')[0] for report in failures}

    return run


def check(found, expected):
    missing = [part for part in (expected.split('|') if expected else []) if not any(part in name for name in found)]
    assert missing == [], found
    assert expected or not found


def test_a_good_transport_passes(failed):
    code = textwrap.dedent(TRANSPORTS) + '\n\nclass Mine(Good):\n    pass\n\n' + textwrap.dedent(TRANSPORT_KIT)
    assert failed(code) == set()


@pytest.mark.parametrize('breach', BROKEN_TRANSPORTS)
def test_a_transport_that_breaks_its_word(failed, breach):
    body, expected = BROKEN_TRANSPORTS[breach]
    mine = f'    class Mine(Good):\n        def send(self, request, timeouts):\n            {body}\n'
    check(failed(textwrap.dedent(TRANSPORTS) + textwrap.dedent(mine) + textwrap.dedent(TRANSPORT_KIT)), expected)


def test_a_transport_that_keeps_no_time_and_reaches_everybody(failed):
    """Both doors; the asynchronous one hands the request to a thread."""
    for kit in ('TransportConformance', 'AsyncTransportConformance'):
        found = failed(textwrap.dedent(TRANSPORTS) + textwrap.dedent(SLOW_KIT).replace('TransportConformance', kit, 1))
        check(found, 'a_timeout_holds|a_server_that_is_not_there')


def test_a_transport_that_looks_at_the_time_when_the_answer_is_there(failed):
    mine = """
        from inference_client import RequestTimeoutError

        class Mine(Good):
            def send(self, request, timeouts):
                start = time.monotonic()
                response = super().send(request, timeouts)
                if time.monotonic() - start > timeouts.read:
                    raise RequestTimeoutError('it took too long')
                return response
    """
    kit = TRANSPORT_KIT.replace('slow = None', "slow = {'seconds': 1.05}")
    check(failed(''.join(map(textwrap.dedent, (TRANSPORTS, mine, kit)))), 'a_timeout_holds')


@pytest.mark.parametrize('breach', [None, *BROKEN_TASKS])
def test_a_task_that_breaks_its_word(failed, breach):
    body, expected = BROKEN_TASKS.get(breach, ('pass', None))
    check(failed(textwrap.dedent(TASK).format(body=body.replace('\n', '\n    '))), expected)


@pytest.mark.parametrize('breach', [None, *BROKEN_ENGINES])
def test_an_engine_that_breaks_its_word(failed, breach):
    body, expected = BROKEN_ENGINES.get(breach, ('pass', None))
    check(failed(textwrap.dedent(ENGINE).format(body=body.replace('\n', '\n    '))), expected)


def test_a_kit_says_what_it_needs(pytester):
    pytester.makepyfile("""
        from inference_client.testing import EngineConformance, FakeEngine, TaskConformance, TransportConformance
        from inference_client.tasks.encode import EncodeTask

        class TestTransport(TransportConformance):
            pass

        class TestTask(TaskConformance):
            task = EncodeTask

        class TestEngine(EngineConformance):
            engine_class = FakeEngine
    """)
    told = pytester.runpytest_inprocess('-p', 'no:cacheprovider').stdout
    told.fnmatch_lines(['*TestTransport needs a fixture url: the URL of an echo server'])
    told.fnmatch_lines(['*TestTask needs arguments(): keywords that the task takes'])
    told.fnmatch_lines(['*TestEngine needs documents(task): what the engine takes'])
