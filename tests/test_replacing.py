"""Names that plugins replace on purpose, and plugins that the environment blocks."""

from __future__ import annotations

import importlib
import sys
import warnings

import pytest
from sites import BUILT_IN, SHOUT, failures, names

from inference_client import __version__
from inference_client.errors import MissingExtraError, PluginError

REPLACE = 'inference_client.replace.'
DISABLE = 'INFERENCE_CLIENT_DISABLE_PLUGINS'

# -- names that are replaced on purpose

MINE = """
    import click
    from inference_client import Call, Engine, Task, Transport

    class Mine(Task):
        name = 'mine'

        def prepare(self, **parameters):
            return Call([], parameters)

    class MyTransport(Transport):
        def send(self, request, timeouts):
            raise NotImplementedError

    class MyEngine(Engine):
        tasks = frozenset({'encode'})

        def run(self, task, documents, parameters):
            return documents

    command = click.Command('mine')
"""
MY = {'task': 'Mine', 'transport': 'MyTransport', 'engine': 'MyEngine', 'command': 'command'}
TAKEN = [('task', 'encode'), ('transport', 'grpc'), ('engine', 'embedded'), ('command', 'serve')]


def install_replacing(site, name, kind, taken, target=None, *, version='1.0', **modules):
    """A distribution that replaces a name, and whose module of hooks must not be imported for that."""
    module = name.replace('-', '_')
    entries = {
        'inference_client': {f'{name}-hooks': f'{module}_hooks'},
        f'{REPLACE}{kind}s': {taken: target or f'{module}:{MY[kind]}'},
    }
    hooks = 'from inference_client import hookimpl'
    site.install(name, entries, version=version, **{module: MINE, f'{module}_hooks': hooks, **modules})


@pytest.mark.parametrize(('kind', 'name'), TAKEN)
def test_a_plugin_replaces_a_built_in_name(site, registry, kind, name):
    pytest.importorskip('click')
    install_replacing(site, 'acme', kind, name, version='2.1')
    site.install('a-bystander', {'main': 'a_bystander'}, a_bystander='')
    assert registry.get(kind, name) is getattr(importlib.import_module('acme'), MY[kind])
    assert not {'acme_hooks', 'a_bystander'} & set(sys.modules)  # the look-up loaded no plugin
    (found,) = (one for one in registry.listed(kind) if one.name == name)
    assert (found.distribution, found.version) == ('acme', '2.1')
    assert names(registry, kind) == BUILT_IN[kind]
    assert [f'{old.name} of {old} by {new}' for old, new in registry.replaced()] == [
        f'{name} of inference-client {__version__} by {name} (acme 2.1)'
    ]
    assert registry.failed == []


@pytest.mark.parametrize(('kind', 'name'), TAKEN)
def test_what_replaces_one_name_is_not_imported_for_another(site, registry, kind, name):
    pytest.importorskip('click')
    install_replacing(site, 'acme', kind, name)
    assert registry.get('task', 'rank')
    assert registry.get('transport', 'https')
    assert registry.has('engine', 'embedded')
    assert registry.get('command', 'version')
    assert not {'acme', 'acme_hooks'} & set(sys.modules)


@pytest.mark.parametrize('order', [1, -1])
@pytest.mark.parametrize('kind', BUILT_IN)
def test_a_plugin_replaces_names_of_plugins(site, registry, kind, order):
    pytest.importorskip('click')
    for install in (
        lambda: site.install_hook('alpha', "return {'both': 'nowhere:Both'}", hook=f'{kind}s'),
        lambda: install_replacing(site, 'acme', kind, 'both'),
        lambda: site.install_hook('beta', "return {'both': 'nowhere:Both'}", hook=f'{kind}s'),
    )[::order]:
        install()
    assert registry.has(kind, 'both')
    assert registry.get(kind, 'both') is getattr(importlib.import_module('acme'), MY[kind])
    assert {'alpha', 'beta', 'acme_hooks'}.isdisjoint(sys.modules)
    assert sorted(old.distribution for old, _ in registry.replaced()) == ['alpha', 'beta']
    assert registry.failed == []


@pytest.mark.parametrize('name', ['grpc', 'pigeon'])
def test_two_plugins_that_replace_one_name_are_both_named(site, registry, name):
    site.install_shout()
    install_replacing(site, 'acme', 'transport', name, version='1.1')
    install_replacing(site, 'other', 'transport', name, version='2.2')
    with pytest.raises(PluginError) as caught:
        registry.get('transport', name)
    failed = failures(registry, 1)
    for text in (failed, str(caught.value)):
        assert f"the transport '{name}' is replaced by {name} (other 2.2) and {name} (acme 1.1): uninstall" in text
        assert 'inference-client 0' not in text
    assert registry.replaced() == []
    assert registry.get('transport', 'http')


def test_a_replacement_of_what_nobody_has_brings_it(site, registry):
    install_replacing(site, 'acme', 'transport', 'unix')
    assert registry.get('transport', 'unix').__name__ == 'MyTransport'
    assert names(registry, 'transport') == sorted([*BUILT_IN['transport'], 'unix'])
    assert registry.replaced() == []
    assert registry.failed == []


@pytest.mark.parametrize(
    ('target', 'error', 'expected'),
    [
        ('no_such_module:Thing', PluginError, "cannot be imported: No module named 'no_such_module'"),
        ('acme:Thing', PluginError, 'cannot be imported: AttributeError'),
        ('acme:', PluginError, 'of acme 1.0'),
        ('acme', PluginError, "is <module 'acme' .*: expected a Transport"),
        ('acme:MyEngine', PluginError, "is <class 'acme.MyEngine'>: expected a Transport"),
        ('acme_rest:Rest', MissingExtraError, r"needs tokenizers, .*'inference-client\[local\]'"),
        ('acme_exit:Exit', PluginError, r'cannot be imported: SystemExit\(3\)'),
    ],
)
def test_a_broken_replacement_is_an_error_and_the_built_in_is_not_used(
    site, registry, target, error, expected, monkeypatch
):
    monkeypatch.setitem(sys.modules, 'tokenizers', None)
    modules = {'acme_rest': 'import tokenizers', 'acme_exit': 'raise SystemExit(3)'}
    install_replacing(site, 'acme', 'transport', 'grpc', target, **modules)
    with pytest.raises(error, match=f"the transport 'grpc' of acme 1.0 .*{expected}|{expected}") as caught:
        registry.get('transport', 'grpc')
    assert "the transport 'grpc' of acme 1.0 " in str(caught.value)
    assert registry.get('transport', 'http')


@pytest.mark.parametrize(
    ('group', 'name', 'expected'),
    [
        (
            'replace.transport',
            'grpc',
            "unknown group 'inference_client.replace.transport': known are inference_client, ",
        ),
        ('transports', 'grpc', "unknown group 'inference_client.transports'"),
        ('replace.transports', 'GRPC', "'GRPC' is no URL scheme"),
    ],
)
def test_a_replacement_that_would_never_be_used_is_named(site, registry, group, name, expected):
    site.install('acme', {f'inference_client.{group}': {name: 'acme:MyTransport'}}, acme=MINE)
    assert f'{name} (acme 1.0): {expected}' in failures(registry, 1)
    assert registry.get('transport', 'grpc').__name__ == 'GrpcTransport'


def test_groups_of_others_are_left_alone(site, registry):
    site.install('acme', {'inference_client_zoo': {'a': 'b'}, 'zoo.inference_client': {'a': 'b'}})
    registry.load_all()
    assert registry.failed == []


# -- plugins that the environment blocks


@pytest.mark.parametrize('value', ['shout', 'shout-plugin', ' Shout_Plugin ,', 'other.plugin,SHOUT', ',shout.plugin'])
def test_a_plugin_is_blocked_by_its_name_or_its_distributions(site, registry, value, monkeypatch):
    monkeypatch.setenv(DISABLE, value)
    site.install_shout()
    site.install_hook('zebra', "return {'zebra': 'zebra:Zebra'}")
    site.install('other-plugin', {'main2': 'no_such_module'})
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the other, where it is not blocked
        assert not registry.has('task', 'shout')
    assert 'shout_plugin' not in sys.modules
    assert 'shout (shout-plugin 1.0)' in registry.disabled
    assert registry.has('task', 'zebra')
    assert [what for what, _ in registry.failed] == ['main2 (other-plugin 1.0)'] * ('other' not in value)
    with pytest.raises(PluginError, match=f"unknown task 'shout': .*; {DISABLE} blocks .*shout \\(shout-plugin 1.0\\)"):
        registry.get('task', 'shout')


def test_one_entry_point_of_a_distribution_is_blocked(site, registry, monkeypatch):
    monkeypatch.setenv(DISABLE, 'broken')
    site.install('shout-plugin', {'broken': 'no_such_module', 'good': 'shout_plugin'}, shout_plugin=SHOUT)
    assert registry.has('task', 'shout')
    assert registry.disabled == ['broken (shout-plugin 1.0)']
    assert registry.failed == []


@pytest.mark.parametrize('value', ['grpc', 'acme', 'Acme,other'])
def test_a_replacement_is_blocked(site, registry, value, monkeypatch):
    monkeypatch.setenv(DISABLE, value)
    install_replacing(site, 'acme', 'transport', 'grpc')
    install_replacing(site, 'other', 'transport', 'ws')
    assert registry.get('transport', 'grpc').__name__ == 'GrpcTransport'
    assert registry.get('transport', 'ws').__name__ == ('WebSocketTransport' if 'other' in value else 'MyTransport')
    assert 'acme' not in sys.modules
    assert 'grpc (acme 1.0)' in registry.disabled


def test_a_blocked_distribution_need_not_be_readable(site, registry, monkeypatch):
    monkeypatch.setenv(DISABLE, 'garbled')
    information = site.install('Garbled', '', version='2.0')
    (information / 'entry_points.txt').write_bytes(b'[inference_client]\n\xff = a\n')
    registry.load_all()
    assert registry.disabled == ['Garbled 2.0']
    assert registry.failed == []


def test_a_name_that_blocks_nothing_is_warned_of_once(site, registry, monkeypatch):
    monkeypatch.setenv(DISABLE, 'shuot,inference-client,grpc,zebra')
    site.install_shout()
    site.install_hook('zebra', "return {'zebra': 'zebra:Zebra'}")
    expected = (
        f'^{DISABLE} names shuot, inference-client, grpc, but the installed plugins are shout .*, main .zebra 1.0.$'
    )
    with pytest.warns(UserWarning, match=expected) as caught:
        assert registry.get('task', 'encode')
    assert len(caught) == 1
    assert registry.get('task', 'shout')
    assert registry.disabled == ['main (zebra 1.0)']


def test_that_warning_made_an_error_leaves_the_registry_whole(site, registry, monkeypatch):
    monkeypatch.setenv(DISABLE, 'nothing')
    site.install_shout()
    with pytest.raises(UserWarning, match='names nothing'):
        registry.listed('task')
    assert 'shout' in names(registry, 'task')


def test_an_empty_variable_blocks_nothing(site, registry, monkeypatch):
    monkeypatch.setenv(DISABLE, ' , ')
    site.install_shout()
    assert registry.has('task', 'shout')
    assert registry.disabled == []
