"""The report shows the results, and the contenders do the same work."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.once(reason='benchmarks run on one interpreter')

BENCHMARKS = Path(__file__).resolve().parents[1] / 'benchmarks'


@pytest.fixture
def load(monkeypatch):
    """A module of the benchmarks by name; they are scripts, and import each other."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def loaded(name):
        specification = importlib.util.spec_from_file_location(name, BENCHMARKS / f'{name}.py')
        module = importlib.util.module_from_spec(specification)
        monkeypatch.setitem(sys.modules, name, module)
        specification.loader.exec_module(module)
        return module

    return loaded


def test_the_page_gets_the_tables_of_the_results_and_keeps_the_rest(load):
    report = load('report')
    results = {
        'machine': 'two cores',
        'single': {'grpc': {'inference_client': {'p50': [2.0, 4.0, 1.0]}, 'floor': {'p50': [1.0, 4.0, 1.0]}}},
        'start': {'import inference_client': {'wall': [12.0, 14.0, 13.0]}},
    }
    readme = (BENCHMARKS / 'README.md').read_text(encoding='utf-8')
    page = report.between_marks(readme, report.tables(results))
    before, _, after = readme.partition('<!-- results -->')
    assert page.startswith(before)
    assert page.endswith(after[after.index('<!-- end of results -->') :])
    assert '| grpc | p50 | floor | 1.00 | 1.00 (0.50 to 1.00) |' in page
    assert '| import inference_client | 13 |' in page
    assert report.between_marks(page, report.tables(results)) == page


def test_the_published_pages_show_the_published_results(load):
    report = load('report')
    results = json.loads((BENCHMARKS / 'results.json').read_text(encoding='utf-8'))
    for page, made in report.PAGES.items():
        text = page.read_text(encoding='utf-8')
        assert made(results) in text
        assert report.between_marks(text, made(results)) == text
    under_load = load('load')
    text = under_load.PAGE.read_text(encoding='utf-8')
    assert under_load.table(json.loads((BENCHMARKS / 'load.json').read_text(encoding='utf-8'))) in text


@pytest.mark.parametrize('kind', ['Ours', 'Floor'])
@pytest.mark.parametrize('wire', ['grpc', 'http', 'ws'])
def test_the_floor_sends_what_this_client_sends(load, plain_flow, kind, wire):
    contenders = load('contenders')
    one = getattr(contenders, kind)(plain_flow[wire])
    try:
        single, many = one.single(), one.bulk(['a', 'bc', 'def'], 2)
    finally:
        one.close()
    lengths = [row[0] for row in many] if kind == 'Floor' else [document.embedding[0] for document in many]
    assert np.asarray(single).shape == (4,)
    assert lengths == [1, 2, 3]


@pytest.fixture(scope='module')
def replicas(server_python):
    """A service with two processes of the embedded model."""
    pytest.importorskip('onnxruntime')  # what the answers are compared with
    if not Path('/proc/self/smaps_rollup').exists():
        pytest.skip('processes are found in /proc')
    with pytest.MonkeyPatch.context() as patch, service_of(patch, server_python) as running:
        yield running


def service_of(patch, python):
    patch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module('load').service(2, python=python)


def test_no_client_sees_that_a_process_of_the_model_is_killed(load, replicas):
    """20 clients on each wire at the same time; nothing is sent again by them."""
    urls, process = replicas
    under_load = load('load')
    known = under_load.expected(20)
    killed = under_load.workers(process)[0]

    async def all_wires():
        runs = (under_load.load(url, process, known, 0, wire == 'http', 200) for wire, url in urls.items())
        return await asyncio.gather(*runs)

    outcomes = asyncio.run(all_wires())
    assert [(one.errors, one.wrong) for one in outcomes] == [([], 0)] * 3
    assert sorted(one.killed for one in outcomes) == [0, 0, 1]
    assert min(len(one.latencies) for one in outcomes) >= 200
    while len(under_load.workers(process)) < 2:  # another one is started
        pass
    assert killed not in under_load.workers(process)


def test_a_load_test_sees_answers_to_other_texts_and_errors(load, replicas):
    urls, process = replicas
    under_load = load('load')
    known = under_load.expected(2)
    outcome = asyncio.run(under_load.load(urls['grpc'], process, known[::-1], 0, calls=20))
    assert outcome.wrong == len(outcome.latencies)
    assert not outcome.good
    outcome = asyncio.run(under_load.load('grpc://127.0.0.1:1', process, known, 0.2))
    assert outcome.errors
    assert not outcome.good


def test_a_load_test_ends_when_its_calls_took_all_the_time(load, replicas):
    urls, process = replicas
    under_load = load('load')
    outcome = asyncio.run(asyncio.wait_for(under_load.load(urls['grpc'], process, under_load.expected(1), 1e-9), 60))
    assert len(outcome.memory) == 2
    assert not outcome.good


def test_memory_that_grows_is_no_good_result(load):
    outcome = load('load').Outcome(latencies=[1.0], seconds=1, memory=[400, 410])
    assert outcome.good
    outcome.memory[1] = 500
    assert not outcome.good
