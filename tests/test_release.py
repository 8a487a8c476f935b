"""What a release is made of: builds that come out the same, workflows, licences, and pages in step with all that."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys

import pytest
from isolated import PACKAGE
from pages import ROOT

import inference_client

WORKFLOWS = sorted((ROOT / '.github' / 'workflows').glob('*.yml'))
FREE = {
    '0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'CC0-1.0', 'ISC', 'MIT', 'MIT-CMU', 'MPL-2.0', 'PSF-2.0',
    'Python-2.0', 'Zlib',
}  # fmt: skip


def read(path):
    return (ROOT / path).read_text(encoding='utf-8')


def script(path, monkeypatch):
    """A script as a module."""
    monkeypatch.syspath_prepend(str((ROOT / path).parent))
    specification = importlib.util.spec_from_file_location('a_script', ROOT / path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


# -- builds


def test_wheel_and_sdist_come_out_the_same_elsewhere_and_later(tmp_path):
    pytest.importorskip('hatchling', reason='builds the project: tox installs it')
    command = [sys.executable, str(ROOT / 'scripts' / 'build_twice.py'), str(tmp_path / 'dist')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    built = dict(line.split('  ')[::-1] for line in done.stdout.splitlines())
    assert sorted(built) == sorted(path.name for path in (tmp_path / 'dist').iterdir())
    assert [name[-7:] for name in sorted(built)] == ['any.whl', '.tar.gz']
    assert all(re.fullmatch('[0-9a-f]{64}', digest) for digest in built.values())


@pytest.mark.parametrize('second', [{'a.whl': '1', 'a.tar.gz': '3'}, {'a.whl': '1'}])
def test_a_build_that_differs_is_told(monkeypatch, second):
    build_twice = script('scripts/build_twice.py', monkeypatch)
    build_twice.compare({'a.whl': '1', 'a.tar.gz': '2'}, {'a.tar.gz': '2', 'a.whl': '1'})
    with pytest.raises(SystemExit, match=r'not reproducible: a\.tar\.gz came out otherwise'):
        build_twice.compare({'a.whl': '1', 'a.tar.gz': '2'}, second)


# -- workflows and forms

FORMS = [path for path in sorted((ROOT / '.github' / 'ISSUE_TEMPLATE').glob('*.yml')) if path.stem != 'config']
CHECKED = {
    'vendor.github-workflows': WORKFLOWS,
    'custom.github-workflows-require-timeout': WORKFLOWS,
    'vendor.github-issue-forms': FORMS,
    'vendor.github-issue-config': [ROOT / '.github' / 'ISSUE_TEMPLATE' / 'config.yml'],
    'vendor.dependabot': [ROOT / '.github' / 'dependabot.yml'],
    'vendor.citation-file-format': [ROOT / 'CITATION.cff'],
}


@pytest.mark.parametrize('schema', CHECKED)
def test_a_file_for_the_host_of_the_repository_is_valid(schema):
    pytest.importorskip('check_jsonschema', reason='holds the schemas: tox installs it')
    assert CHECKED[schema]
    command = [sys.executable, '-m', 'check_jsonschema', '--builtin-schema', schema, *map(str, CHECKED[schema])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_no_workflow_holds_a_secret(path):
    text = path.read_text(encoding='utf-8')
    used = re.findall(r'uses: (.*)', text)
    assert used
    assert [one for one in used if not re.fullmatch(r'[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+', one)] == []
    assert 'secrets.' not in text
    assert re.search('^permissions:', text, re.MULTILINE)


def test_what_may_sign_or_publish_a_release_runs_nothing_but_actions():
    text = read('.github/workflows/release.yml')
    jobs = dict(zip(*[iter(re.split(r'^  (\w+):.*\n', text.partition('\njobs:')[2], flags=re.MULTILINE)[1:])] * 2))
    assert [name for name, job in jobs.items() if ': write' in job] == ['attest', 'publish']
    assert [name for name, job in jobs.items() if re.search(r'\brun:', job)] == ['build', 'sbom']
    assert 'tox -e sbom' not in jobs['build']
    assert all(re.fullmatch(r'tox==[\d.]+', one) for one in re.findall(r'pip install (.*)', text))


def test_workflows_run_environments_that_tox_has():
    named = {one for path in WORKFLOWS for one in re.findall(r'tox -e (\S+)', path.read_text(encoding='utf-8'))}
    assert named
    assert named <= set(re.findall(r'^\[testenv:(\w+)\]', read('tox.ini'), re.MULTILINE))


def test_the_citation_has_the_version_and_licence_of_the_package():
    citation, project = read('CITATION.cff'), read('pyproject.toml')
    assert re.search('^version: (.*)', citation, re.MULTILINE)[1] == inference_client.__version__
    assert f'license = "{re.search("^license: (.*)", citation, re.MULTILINE)[1]}"' in project


# -- pages


def rows(page):
    """The cells of each row of the table between the marks of a page, its heading aside."""
    table = read(page).partition('<!-- results -->\n')[2].partition('\n<!-- end of results -->')[0]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines()[2:]]


def test_the_licences_name_every_dependency_of_the_core_and_of_the_embedded_model():
    listed = {name.lower().replace('_', '-'): licence for name, _, _, licence in rows('docs/licences.md')}
    extras = re.findall(r'^(?:dependencies|cli|local) = \[(.*?)\]', read('pyproject.toml'), re.DOTALL | re.MULTILINE)
    needed = set(re.findall(r'"([\w-]+)[>=]', '\n'.join(extras)))
    assert len(needed) > 10
    assert needed <= listed.keys()


def test_every_licence_is_free_and_none_asks_for_the_source_of_what_is_built_on_it():
    assert {name for *_, licence in rows('docs/licences.md') for name in re.findall(r'[\w.-]+', licence)} <= FREE | {
        'AND',
        'OR',
    }


def test_the_sizes_are_those_that_were_measured(monkeypatch):
    installs = script('benchmarks/installs.py', monkeypatch)
    results = json.loads(installs.RESULTS.read_text(encoding='utf-8'))
    assert set(installs.PYTHONS) < results.keys()
    assert f'<!-- results -->\n{installs.table(results)}\n<!-- end of results -->' in read('docs/install.md')


def test_what_is_deprecated_is_on_the_page():
    """So far nothing is; whoever deprecates something lists it there and tests its warning."""
    warning = [
        path.name
        for path in PACKAGE.rglob('*.py')
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.Name) and 'DeprecationWarning' in node.id
    ]
    assert (not warning) == ('Nothing is deprecated now.' in read('docs/versioning.md'))
