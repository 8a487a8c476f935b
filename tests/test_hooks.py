"""Every hook is used and documented; the examples of the documentation run."""

from __future__ import annotations

import re

import pytest
from isolated import output_of, run_python, write_distribution
from pages import ROOT, blocks
from peers import http_peer
from sites import COMMAND, SHOUT

from inference_client import __version__, _plugins, hookspecs

PAGE = (ROOT / 'docs' / 'plugins.md').read_text(encoding='utf-8')
HOOKS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, 'inference_client_spec'))
USES = {
    'inference_client_tasks': "Client().get_model('local://shouter').shout(text='ahoy')[0].text",
    'inference_client_transports': "Client().get_model('pigeon://home').shout(text='AHOY!')[0].text",
    'inference_client_engines': "Client().get_model('shouter').run('shout', text='ahoy')[0].text",
    'inference_client_commands': "plugins().get('command', 'shout').main(['ahoy'], standalone_mode=False) or ''",
}


@pytest.mark.parametrize('hook', HOOKS)
def test_every_hook_is_used_through_an_entry_point(tmp_path, hook):
    """A new hook fails here until it has a use of its own; and the use fails without the hook."""
    pytest.importorskip('click')
    code = f"""
        from inference_client import Client
        from inference_client._plugins import plugins
        print({USES[hook]}, end='')
    """
    without = SHOUT.replace(f'@hookimpl\n    def {hook}', 'def left_out')
    for source, works in ((SHOUT, True), (without, False)):
        site = tmp_path / str(works)
        site.mkdir()
        write_distribution(site, 'shout-plugin', {'shout': 'shout_plugin'}, shout_plugin=source, shout_command=COMMAND)
        done = run_python(code, site)
        assert (done.stdout.strip() == 'AHOY!') is works, done.stderr


@pytest.mark.parametrize('hook', HOOKS)
def test_every_hook_is_documented(hook):
    said = getattr(hookspecs, hook).__doc__
    assert re.search(r"`\{'[a-z-]+': \w+\}` makes `[^`]+`", said), said
    (row,) = re.findall(rf'^\| `{hook}` \| (.+) \| (.+) \|$', PAGE, re.MULTILINE)
    assert all(row)


def test_every_kind_has_its_hook():
    assert [f'inference_client_{kind}s' for kind in _plugins.KINDS] == [
        name for name in vars(hookspecs) if name in HOOKS
    ]


@pytest.mark.once(reason='the pages show the same everywhere')
def test_the_example_of_the_hooks_runs(tmp_path):
    """That in `help('inference_client.hookspecs')`, in front of an engine that shouts."""
    example = '\n'.join(re.findall(r'^(?:    .*|)$', hookspecs.__doc__, re.MULTILINE))
    entries, code = re.fullmatch(
        r'\s*\[project.entry-points.inference_client\]\n(.+?)\n\n(.+)', example, re.DOTALL
    ).groups()
    assert re.fullmatch(r'\s*shout = "shout_plugin"', entries)
    write_distribution(tmp_path, 'documented', {'shout': 'shout_plugin'}, shout_plugin=code)
    (tmp_path / 'engine').mkdir()
    engine = SHOUT.replace("{'shout': Shout}", '{}')
    write_distribution(tmp_path / 'engine', 'engine', {'engine': 'other'}, other=engine)
    printed = output_of(
        "from inference_client import Client\nprint(Client().get_model('local://shouter').shout(text='hi')[0].text)",
        tmp_path,
        tmp_path / 'engine',
    )
    assert printed == 'HI!'


def entry_points(toml):
    """Text of `entry_points.txt` from the tables of a `pyproject.toml`."""
    tables = re.findall(r'^\[project\.entry-points\."?([\w.]+)"?\]\n((?:.+\n)+)', toml, re.MULTILINE)
    return ''.join(f'[{group}]\n' + entries.replace('"', '') for group, entries in tables)


@pytest.mark.once(reason='the pages show the same everywhere')
def test_the_plugins_of_the_page_run(tmp_path):
    engine, use, transport = blocks(PAGE, 'python')
    announced, replacing = map(entry_points, blocks(PAGE, 'toml'))
    write_distribution(tmp_path, 'acme-models', announced, acme_models=engine)
    (tmp_path / 'logging').mkdir()
    write_distribution(tmp_path / 'logging', 'acme-logging', replacing, acme_logging=transport)
    paths = (tmp_path, tmp_path / 'logging')
    assert output_of(use, *paths) == re.search(r'# (.+)', use)[1]
    with http_peer() as (url, _):
        printed = output_of(
            f"""
            import sys
            from inference_client import Client
            print(Client().get_model({url!r}).encode(text='hello')[0].embedding)
            print('acme_models' in sys.modules)
            """,
            *paths,
        ).splitlines()
    assert re.fullmatch(rf'{url}: \d\.\d{{3}} s', printed[0])
    assert printed[1:] == ['[1. 1.]', 'False']


@pytest.mark.once(reason='the pages show the same everywhere')
def test_what_the_page_shows_of_the_command_line(tmp_path):
    pytest.importorskip('click')
    engine, _, transport = blocks(PAGE, 'python')
    announced, replacing = map(entry_points, blocks(PAGE, 'toml'))
    write_distribution(tmp_path, 'acme-models', announced, acme_models=engine)
    write_distribution(tmp_path, 'acme-logging', replacing, acme_logging=transport)
    broken = "raise RuntimeError('out of luck')"
    write_distribution(tmp_path, 'other-plugin', {'broken': 'broken'}, version='3.1', broken=broken)
    write_distribution(tmp_path, 'shout-plugin', {'shout': 'shout_plugin'}, shout_plugin=SHOUT)
    code = "import sys\nfrom inference_client.__main__ import main\nsys.argv[1:] = ['plugins']\nmain()"
    done = run_python(code, tmp_path, INFERENCE_CLIENT_DISABLE_PLUGINS='shout')
    (shown,) = blocks(PAGE, 'text')
    shown = re.sub(r'(?<=inference-client )[\d.]+(?=:)', __version__, shown)
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if line in shown.splitlines()] == shown.splitlines()
