"""What type checkers make of tasks: mypy in strict mode, on small programs of plugin authors and their users."""

from __future__ import annotations

import re
import sys
import textwrap

import pytest
from pages import ROOT

pytest.importorskip('mypy', reason='mypy does not run on Python 3.8 and 3.9')
from mypy import api

pytestmark = pytest.mark.once(reason='mypy checks for one version of Python, whichever runs it')

EXAMPLES = ROOT / 'examples'
CONFIGURATION = """
    [mypy]
    strict = true
    [mypy-docarray.*]
    follow_untyped_imports = true
    implicit_reexport = true
"""  # docarray says nothing of its types, and would be Any, which goes with everything

SIZES = """
    from __future__ import annotations

    from typing import Any, List, Sequence
    from docarray import Document, DocumentArray
    from inference_client import AsyncModel, Call, Model, Task
    from inference_client.inputs import documents

    class SizesTask(Task[List[bytes]]):
        name = 'sizes'

        def prepare(self, *, docs: Any = None, **parameters: Any) -> Call:
            return Call(documents(docs), parameters)

        def collect(self, documents: Sequence[Document]) -> List[bytes]:
            return [document.blob for document in documents]
"""


@pytest.fixture(scope='session')
def cache(tmp_path_factory):
    """What mypy found out of the packages that are imported, which takes most of its time."""
    return tmp_path_factory.mktemp('mypy-cache')


@pytest.fixture
def check(tmp_path, monkeypatch, cache):
    """Check a program; gives what mypy reports, a line for each `reveal_type` or error."""
    (tmp_path / 'mypy.ini').write_text(textwrap.dedent(CONFIGURATION))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MYPYPATH', str(EXAMPLES / 'inference-client-upscale'))

    def checked(code, *, before=SIZES):
        (tmp_path / 'program.py').write_text(textwrap.dedent(before) + textwrap.dedent(code))
        told, failed, _ = api.run(
            [
                '--config-file',
                'mypy.ini',
                '--cache-dir',
                str(cache),
                '--python-executable',
                sys.executable,
                'program.py',
            ]
        )
        assert not failed, failed
        lines = re.findall(r'^program\.py:\d+: (?:note|error): (.*)$', told, re.MULTILINE)
        assert told.count('program.py') == len(lines), told
        return [line.replace('builtins.', '').replace('"', '') for line in lines]

    return checked


DOCUMENTS = 'docarray.array.document.DocumentArray'


def test_a_run_gives_what_its_task_says(check):
    assert check("""
        def main(model: Model) -> None:
            reveal_type(model.run(SizesTask, docs=[Document()], batch_size=2))
    """) == ['Revealed type is list[bytes]']


def test_so_does_one_in_an_event_loop(check):
    assert check("""
        async def main(model: AsyncModel) -> None:
            reveal_type(await model.run(SizesTask, docs=[Document()], batch_size=2))
    """) == ['Revealed type is list[bytes]']


@pytest.mark.parametrize(
    ('task', 'arguments'),
    [
        ('inference_client_upscale.task:UpscaleTask', "image='a.png', scale='8:8'"),
        ('inference_client.tasks.encode:EncodeTask', "text='a'"),
        ('inference_client.tasks.rank:RankTask', "reference='a', candidates=['b']"),
        ('inference_client.tasks.caption:CaptionTask', "image='a.png'"),
        ('inference_client.tasks.vqa:VqaTask', "image='a.png', question='What?'"),
    ],
)
def test_tasks_that_give_documents(check, task, arguments):
    module, _, name = task.partition(':')
    assert check(f"""
        from {module} import {name}

        def main(model: Model) -> None:
            reveal_type(model.run({name}, {arguments}))

        async def twin(model: AsyncModel) -> None:
            reveal_type(await model.run({name}, {arguments}))
    """) == [f'Revealed type is {DOCUMENTS}'] * 2  # fmt: skip


def test_a_task_by_name_and_a_method_give_documents(check):
    assert (
        check("""
        async def main(model: Model, twin: AsyncModel) -> None:
            reveal_type(model.run('sizes', docs=[Document()]))
            reveal_type(await twin.run('sizes', docs=[Document()]))
            reveal_type(model.encode(text='a'))
            reveal_type(await twin.encode(text='a'))
    """)
        == [f'Revealed type is {DOCUMENTS}'] * 4
    )


def test_a_stream_gives_documents(check):
    assert (
        check("""
        async def main(model: Model, twin: AsyncModel) -> None:
            for document in model.stream(SizesTask, [Document()]):
                reveal_type(document)
            async for one in twin.stream(SizesTask, [Document()]):
                reveal_type(one)
    """)
        == ['Revealed type is docarray.document.Document'] * 2
    )


@pytest.mark.parametrize(
    ('code', 'error'),
    [
        ('count: int = model.run(SizesTask)', 'expression has type list[bytes], variable has type int'),
        ('count: int = await twin.run(SizesTask)', 'incompatible type type[SizesTask]; expected type[Task[int]]'),
        ('count: List[bytes] = twin.run(SizesTask)', 'expression has type Coroutine[Any, Any, list[bytes]]'),
        ('model.run(int)', 'incompatible type type[int]; expected type[Task['),
        ('model.run(SizesTask())', 'No overload variant of run of Model matches argument type SizesTask'),
        ('model.run()', 'All overload variants of run of Model require at least one argument'),
        ("model.encode('a')", 'Too many positional arguments for encode'),
        ('model.encode(text=1)', 'Argument text to encode of Tasks has incompatible type int'),
    ],
)
def test_a_misuse_is_an_error(check, code, error):
    told = check(f"""
        async def main(model: Model, twin: AsyncModel) -> None:
            {code}
    """)
    assert error in told[0]


def test_a_task_that_breaks_its_own_word_is_an_error(check):
    told = check("""
        class WrongTask(SizesTask):
            def collect(self, documents: Sequence[Document]) -> DocumentArray:
                return DocumentArray(documents)
    """)
    assert 'Return type DocumentArray of collect incompatible with return type list[bytes]' in told[0]
    assert 'Missing type arguments for generic type Task' in check("""
        class BareTask(Task):
            name = 'bare'
    """)[0]  # fmt: skip
