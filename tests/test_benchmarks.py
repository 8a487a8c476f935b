"""The tables of the benchmarks are those of the results, and every contender still does its work."""

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


def test_the_tables_are_those_of_the_results(load):
    report = load('report')
    results = json.loads((BENCHMARKS / 'results.json').read_text(encoding='utf-8'))
    readme = (BENCHMARKS / 'README.md').read_text(encoding='utf-8')
    assert report.with_tables(readme, results) == readme
    assert all(f'### {title}' in readme for title in report.TITLES.values())


def test_every_work_has_a_plot(load):
    report = load('report')
    for work in report.TITLES:
        assert (report.PLOTS / f'{work}.svg').read_text(encoding='utf-8').startswith('<?xml')


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
