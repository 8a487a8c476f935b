"""The report shows the results, and the contenders do the same work."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

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
