"""Plugins that are really installed: modules and the metadata of their distributions, on `sys.path`."""

from __future__ import annotations

import importlib
import sys
import warnings

import pytest
from isolated import output_of, run_python, write_distribution
from sites import BUILT_IN, COMMAND, SHOUT, failures, names

from inference_client import __version__, _plugins
from inference_client.errors import MissingExtraError, PluginError, UnknownSchemeError

REPLACE = 'inference_client.replace.'


# -- what comes with the package


@pytest.mark.parametrize('kind', BUILT_IN)
def test_the_built_in_names_are_listed(registry, kind):
    own = [one for one in registry.listed(kind) if one.distribution == 'inference-client']
    assert [one.name for one in own] == BUILT_IN[kind]


@pytest.mark.parametrize(
    ('kind', 'name'), [(kind, name) for kind in ('task', 'transport', 'command') for name in BUILT_IN[kind]]
)
def test_every_built_in_name_loads(registry, kind, name):
    if kind == 'command':
        pytest.importorskip('click')
    assert registry.get(kind, name)


@pytest.mark.parametrize(
    ('scheme', 'module'), [('grpcs', 'grpc'), ('http', 'http'), ('ws', 'websocket'), ('local', 'local')]
)
def test_a_built_in_look_up_imports_only_the_transport_asked_for(tmp_path, scheme, module):
    write_distribution(tmp_path, 'loud', {'main': 'loud'}, loud='raise RuntimeError')
    loaded = output_of(
        f"""
        import sys
        from inference_client._plugins import plugins
        plugins().get('transport', {scheme!r})
        print(*[name for name in sys.modules if name.startswith('inference_client.transports.')])
        print('loud' in sys.modules, plugins().failed)
        print(*[name for name in ('grpc', 'websockets') if name in sys.modules])
        """,
        tmp_path,
    )
    transports, plugin, *libraries = loaded.splitlines()
    prefix = 'inference_client.transports.'
    public = {name for name in transports.split() if '._' not in name}
    assert public == {f'{prefix}base', f'{prefix}{module}'}
    assert plugin == 'False []'
    assert libraries == {'grpc': ['grpc'], 'websocket': ['websockets']}.get(module, [])


def test_built_in_names_never_load_a_plugin(tmp_path):
    write_distribution(tmp_path, 'loud', {'main': 'loud'}, loud='raise RuntimeError')
    code = """
        import sys
        from inference_client import Client
        from inference_client._plugins import plugins
        for scheme in ('grpc', 'http', 'ws'):
            Client().get_model(f'{scheme}://127.0.0.1:1').encode
        assert plugins().has('task', 'encode') and plugins().get('task', 'vqa')
        assert plugins().has('engine', 'embedded')
        print('loud' in sys.modules)
    """
    assert output_of(code, tmp_path) == 'False'


@pytest.mark.parametrize(
    ('module', 'extra', 'asked', 'what'),
    [
        ('onnxruntime', 'local', "Client().get_model().encode(text='a cat')", 'embedded'),
        ('click', 'cli', "plugins().get('command', 'rank')", "the command 'rank' of inference-client"),
    ],
)
def test_a_missing_extra_gives_the_line_that_installs_it(module, extra, asked, what):
    printed = output_of(
        f"""
        import sys
        sys.modules[{module!r}] = None
        from inference_client import Client, MissingExtraError
        from inference_client._plugins import plugins
        try:
            {asked}
        except MissingExtraError as error:
            print(isinstance(error, ImportError), error)
        """
    )
    assert printed.startswith('True ')
    assert what in printed
    assert f"pip install 'inference-client[{extra}]'" in printed


# -- unknown names


@pytest.mark.parametrize(
    ('kind', 'name', 'error', 'label', 'near'),
    [
        ('transport', 'htp', UnknownSchemeError, 'URL scheme', 'http'),
        ('transport', 'gprc', UnknownSchemeError, 'URL scheme', 'grpc'),
        ('transport', 'loca', UnknownSchemeError, 'URL scheme', 'local'),
        ('task', 'encoder', PluginError, 'task', 'encode'),
        ('engine', 'embeded', PluginError, 'engine', 'embedded'),
        ('command', 'serv', PluginError, 'command', 'serve'),
    ],
)
def test_an_unknown_name_lists_the_known_and_suggests_the_nearest(registry, kind, name, error, label, near):
    with pytest.raises(error) as caught:
        registry.get(kind, name)
    assert f'unknown {label} {name!r}' in str(caught.value)
    assert all(known in str(caught.value) for known in BUILT_IN[kind])
    assert str(caught.value).endswith(f'did you mean {near!r}?')
    assert not registry.has(kind, name)


def test_nothing_is_suggested_where_nothing_is_near(registry):
    with pytest.raises(UnknownSchemeError) as caught:
        registry.get('transport', 'quux')
    assert 'did you mean' not in str(caught.value)


# -- a good plugin


def test_a_plugin_brings_a_task_a_transport_an_engine_and_a_command(site, registry):
    site.install_shout()
    for kind, name in (
        ('task', 'shout'),
        ('transport', 'pigeon'),
        ('engine', 'shouter'),
        ('command', 'shout'),
    ):
        assert registry.has(kind, name)
        found = next(one for one in registry.listed(kind) if one.name == name)
        assert (found.distribution, found.version) == ('shout-plugin', '1.0')
        assert names(registry, kind) == sorted([*BUILT_IN[kind], name])
    assert registry.get('task', 'shout').name == 'shout'
    assert registry.get('engine', 'shouter').tasks == {'shout'}
    assert registry.get('transport', 'pigeon').__name__ == 'Pigeon'
    assert registry.failed == []


def test_an_unknown_name_suggests_a_plugins(site, registry):
    site.install_shout()
    with pytest.raises(UnknownSchemeError, match=r"did you mean 'pigeon'\?"):
        registry.get('transport', 'pigeons')


def test_an_import_string_is_not_imported_until_it_is_asked_for(site, registry):
    pytest.importorskip('click')
    site.install_shout()
    assert 'shout' in names(registry, 'command')
    assert 'shout_command' not in sys.modules
    assert registry.get('command', 'shout').name == 'shout'
    assert 'shout_command' in sys.modules


def test_an_object_can_be_a_plugin(site, registry):
    source = """
        from inference_client import hookimpl
        from inference_client.tasks.encode import EncodeTask

        class Plugin:
            def __init__(self, name):
                self.name = name

            @hookimpl
            def inference_client_tasks(self):
                return {self.name: EncodeTask}

        one, two = Plugin('one'), Plugin('two')
    """
    site.install('objects', {'one': 'objects:one', 'two': 'objects:two'}, objects=source)
    assert {'one', 'two'} <= set(names(registry, 'task'))


def test_entry_points_of_another_group_are_left_alone(site, registry):
    site.install('other', {'main': 'no_such_module'}, group='console_scripts')
    registry.load_all()
    assert registry.failed == []


def test_what_is_installed_is_read_once(site, registry):
    registry.load_all()
    site.install_shout()
    assert not registry.has('task', 'shout')
    assert _plugins.Plugins().has('task', 'shout')


def test_a_distribution_shadows_those_of_its_name_later_on_the_path(site, registry, tmp_path, monkeypatch):
    later = tmp_path / 'later'
    later.mkdir()
    write_distribution(later, 'Shout.Plugin', {'shout': 'shout_plugin'}, version='0.1')
    monkeypatch.setattr(sys, 'path', [*sys.path, str(later)])
    site.install_shout()
    assert [one.version for one in registry.listed('task') if one.name == 'shout'] == ['1.0']
    assert registry.failed == []


def test_a_distribution_without_plugins_shadows_too(site, registry):
    site.install_shout()
    site.install('Shout-Plugin', '', version='2.0')
    assert not registry.has('task', 'shout')


def test_a_class_may_have_several_names(site, registry):
    site.install(
        'shout-plugin',
        {'main': 'two_names'},
        shout_plugin=SHOUT,
        two_names="""
        from inference_client import hookimpl
        from shout_plugin import Pigeon

        @hookimpl
        def inference_client_transports():
            return {'dove': Pigeon, 'doves': Pigeon, 'raven': 'shout_plugin:Pigeon'}
    """,
    )
    found = {registry.get('transport', name) for name in ('dove', 'doves', 'raven')}
    assert [one.__name__ for one in found] == ['Pigeon']
    assert registry.failed == []


def test_end_to_end_on_a_plugins_engine(tmp_path):
    write_distribution(tmp_path, 'shout-plugin', {'shout': 'shout_plugin'}, shout_plugin=SHOUT, shout_command=COMMAND)
    printed = output_of(
        """
        from inference_client import Client
        model = Client().get_model('local://shouter')
        print(model.run('shout', text='ahoy')[0].text, model.shout(text='ahoy', marks=3)[0].text)
        print('shout' in dir(model), hasattr(model, 'shout'), hasattr(model, 'whisper'))
        print(sorted(model.spec.tasks))
        print(Client().get_model('shouter').url, Client().get_model('pigeon://home').encode)
        """,
        tmp_path,
    ).splitlines()
    assert printed[0] == 'AHOY! AHOY!!!'
    assert printed[1] == 'True True False'
    assert printed[2] == "['shout']"
    assert printed[3].startswith('local://shouter <bound method')


def test_a_plugins_transport_carries_requests(tmp_path):
    write_distribution(tmp_path, 'shout-plugin', {'shout': 'shout_plugin'}, shout_plugin=SHOUT)
    printed = output_of(
        """
        from inference_client import Client
        print(Client().get_model('PIGEON://home').shout(text='sent as it is')[0].text)
        """,
        tmp_path,
    )
    assert printed == 'sent as it is'


def test_a_plugins_command_runs(tmp_path):
    pytest.importorskip('click')
    write_distribution(tmp_path, 'shout-plugin', {'shout': 'shout_plugin'}, shout_plugin=SHOUT, shout_command=COMMAND)
    code = "import sys\nfrom inference_client.__main__ import main\nsys.argv[1:] = ['shout', 'ahoy']\nmain()"
    done = run_python(code, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ('AHOY!\n', '', 0)


# -- broken plugins: named, left out, and everything else works


@pytest.mark.parametrize(
    ('source', 'reason'),
    [
        ('raise RuntimeError("out of luck")', 'RuntimeError: out of luck'),
        ('raise SystemExit("no licence")', 'SystemExit: no licence'),
        ('import no_such_library', "ModuleNotFoundError: No module named 'no_such_library'"),
        (
            "raise ImportError('lost', name='onnxruntime.capi')",
            "it needs onnxruntime, which is not installed: pip install 'inference-client[local]'",
        ),
        (
            "from inference_client import MissingExtraError\nraise MissingExtraError('pip install acme[gpu]')",
            'pip install acme[gpu]',
        ),
        (
            """
            from inference_client import hookimpl

            @hookimpl
            def inference_client_transports():
                return {'pigeon2': 'a:b', 'Pigeon': 'a:b'}
            """,
            "ValueError: 'Pigeon' is no URL scheme: expected lower-case letters",
        ),
        ('this is no Python', 'SyntaxError'),
        (
            """
            from inference_client import hookimpl

            @hookimpl
            def inference_client_taks():
                return {}
            """,
            'inference_client_taks',
        ),
        (
            """
            from inference_client import hookimpl

            @hookimpl
            def inference_client_engine():
                return {}

            @hookimpl
            def inference_client_tasks(model):
                return {}
            """,
            'hookimpl definition: inference_client_tasks(model)',
        ),
        (
            """
            from inference_client import hookimpl

            @hookimpl
            def inference_client_tasks():
                raise KeyError('lost')
            """,
            "KeyError: 'lost'",
        ),
        *(
            (
                f"""
                from inference_client import hookimpl

                @hookimpl
                def inference_client_tasks():
                    return {value}
                """,
                f'TypeError: inference_client_tasks returned {value}: expected a mapping',
            )
            for value in (
                'None',
                "['shout']",
                "'shout'",
                '5',
                "[('shout', 'a:b')]",
                "{1: 'a:b'}",
                "{None: 'a:b'}",
            )
        ),
    ],
)
def test_a_broken_plugin_is_named_and_the_rest_works(site, registry, source, reason):
    site.install_shout()
    site.install_hook('zebra', "return {'zebra': 'zebra:Zebra'}")
    site.install('another-plugin', {'broken': 'another_plugin'}, version='3.1', another_plugin=source)
    failed = failures(registry, 1)
    assert failed.startswith('broken (another-plugin 3.1): ')
    assert reason in failed
    assert {*BUILT_IN['task'], 'shout', 'zebra'} == set(names(registry, 'task'))
    assert registry.get('task', 'shout').name == 'shout'
    assert registry.get('transport', 'pigeon')


def test_a_failure_in_one_hook_leaves_out_the_whole_plugin(site, registry):
    source = """
        from inference_client import hookimpl

        @hookimpl
        def inference_client_tasks():
            return {'half': 'nowhere:Half'}

        @hookimpl
        def inference_client_transports():
            return None
    """
    site.install('half', {'half': 'half'}, half=source)
    assert 'half (half 1.0): TypeError' in failures(registry, 1)
    assert not registry.has('task', 'half')


@pytest.mark.parametrize('entry', ['no_such_module', 'shout_plugin:no_such_object', 'shout_plugin:Shout.gone'])
def test_an_entry_point_that_points_nowhere_is_named(site, registry, entry):
    site.install_shout()
    site.install('lost', {'lost': entry})
    assert failures(registry, 1).startswith('lost (lost 1.0): ')
    assert registry.has('task', 'shout')


def test_one_broken_entry_point_of_a_distribution_leaves_the_others(site, registry):
    site.install('shout-plugin', {'bad': 'no_such_module', 'good': 'shout_plugin', 'worse': ':'}, shout_plugin=SHOUT)
    failures(registry, 2)
    assert registry.has('task', 'shout')


def test_a_module_that_two_entry_points_name_is_loaded_once(site, registry):
    site.install('shout-plugin', {'a': 'shout_plugin', 'b': 'shout_plugin'}, shout_plugin=SHOUT)
    assert 'b (shout-plugin 1.0): ValueError' in failures(registry, 1)
    assert registry.get('task', 'shout').name == 'shout'


@pytest.mark.parametrize('text', ['[inference_client]\nno value\n', b'[inference_client]\n\xff = a\n'])
def test_a_distribution_whose_entry_points_cannot_be_read_is_named(site, registry, text):
    site.install_shout()
    information = site.install('Garbled', '', version='2.0')
    (information / 'entry_points.txt').write_bytes(text if isinstance(text, bytes) else text.encode())
    importlib.invalidate_caches()
    assert failures(registry, 1).startswith('Garbled 2.0: its entry_points.txt cannot be read')
    assert registry.has('task', 'shout')


@pytest.mark.parametrize('metadata', [None, b'', b'Metadata-Version: 2.1\n', b'Name: caf\xe9\n'])
def test_what_an_uninstallation_leaves_is_passed_over(site, registry, metadata):
    site.install_shout()
    information = site.install('gone', '')
    (information / 'METADATA').unlink()
    if metadata is not None:
        (information / 'METADATA').write_bytes(metadata)
    importlib.invalidate_caches()
    assert registry.has('task', 'shout')
    assert registry.failed == []


def test_what_an_uninstallation_leaves_shadows_nothing(site, registry):
    site.install_shout()
    (site.install('Shout-Plugin', '', version='0.9') / 'METADATA').unlink()
    importlib.invalidate_caches()
    assert registry.has('task', 'shout')


def test_warnings_made_errors_leave_the_registry_whole(site, registry):
    site.install_shout()
    site.install('a-broken', {'main': 'a_broken'}, a_broken='raise RuntimeError')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(UserWarning, match='a-broken'):
            registry.has('task', 'shout')
        assert registry.has('task', 'shout')


def test_the_warning_comes_once(site, registry):
    site.install('a-broken', {'main': 'a_broken'}, a_broken='raise RuntimeError')
    failures(registry, 1)
    registry.load_all()
    assert not registry.has('task', 'nothing')
    assert len(registry.failed) == 1


# -- what a plugin's name leads to


@pytest.mark.parametrize(
    ('kind', 'target', 'expected'),
    [
        ('task', 'int', "is <class 'int'>: expected a Task"),
        ('task', 'None', 'is None: expected a Task'),
        ('task', "'collections:OrderedDict'", "is <class 'collections.OrderedDict'>: expected a Task"),
        ('transport', "'inference_client.tasks.encode:EncodeTask'", 'expected a Transport'),
        ('engine', "'inference_client.transports.base:Transport'", 'expected a Engine'),
        ('engine', "'inference_client.engines.base:Engine'", "does not say its 'tasks'"),
        ('task', "'inference_client.tasks.base:Task'", "does not say its 'name'"),
        ('transport', "'inference_client.transports.base:Transport'", 'the class Transport must define send'),
        (
            'engine',
            "type('Text', (__import__('inference_client').MultimodalEngine,), {'tasks': 'encode'})",
            "has tasks = 'encode': expected a set of names, such as frozenset({'encode'})",
        ),
        (
            'engine',
            "type('Lazy', (__import__('inference_client').Engine,), {'tasks': {'encode'}})",
            'Lazy must define run',
        ),
        ('task', "'collections'", 'cannot be imported: AttributeError'),
        ('task', "'collections:Nothing'", 'cannot be imported: AttributeError'),
        ('task', "''", 'cannot be imported: ValueError'),
        (
            'transport',
            "'no_such_library.core:Thing'",
            "cannot be imported: No module named 'no_such_library'",
        ),
        ('engine', "'this:is:odd'", 'cannot be imported'),
    ],
)
def test_a_name_that_leads_to_something_else_says_so_when_asked_for(site, registry, kind, target, expected, capsys):
    site.install_hook('oddity', f"return {{'odd': {target}}}", hook=f'{kind}s', version='0.3')
    assert 'odd' in names(registry, kind)
    with pytest.raises(PluginError) as caught:
        registry.get(kind, 'odd')
    assert f"the {kind} 'odd' of oddity 0.3 " in str(caught.value)
    assert expected in str(caught.value)
    assert registry.get('task', 'encode')


def test_a_command_must_be_a_command(site, registry):
    pytest.importorskip('click')
    site.install_hook('oddity', "return {'odd': print}", hook='commands')
    with pytest.raises(PluginError, match=r"the command 'odd' of oddity 1.0 is .* expected a Command"):
        registry.get('command', 'odd')


def test_a_plugin_that_raises_when_its_class_is_imported(site, registry):
    site.install_hook('late', "return {'late': 'late_class:Late'}")
    (site.path / 'late_class.py').write_text('raise OSError("no licence file")')
    with pytest.raises(
        PluginError, match=r"the task 'late' of late 1.0 cannot be imported: OSError\('no licence file'\)"
    ):
        registry.get('task', 'late')


def test_a_plugin_that_needs_an_extra_of_ours_gets_the_line(site, registry, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tokenizers', None)
    site.install_hook('needy', "return {'needy': 'needy_class:Needy'}", hook='engines')
    (site.path / 'needy_class.py').write_text('import tokenizers')
    with pytest.raises(MissingExtraError, match=r"of needy 1.0 needs tokenizers, .*'inference-client\[local\]'"):
        registry.get('engine', 'needy')


def test_a_plugin_that_says_itself_what_to_install(site, registry):
    site.install_hook('needy', "return {'needy': 'needy_class:Needy'}", hook='engines')
    source = "from inference_client import MissingExtraError\nraise MissingExtraError('it needs a GPU: buy one')"
    (site.path / 'needy_class.py').write_text(source)
    with pytest.raises(MissingExtraError, match=r'^it needs a GPU: buy one$'):
        registry.get('engine', 'needy')


def test_a_plugin_that_ends_the_process_when_its_class_is_imported(site, registry):
    site.install_hook('late', "return {'late': 'late_class:Late'}")
    (site.path / 'late_class.py').write_text('raise SystemExit(3)')
    with pytest.raises(PluginError, match=r"the task 'late' of late 1.0 cannot be imported: SystemExit\(3\)"):
        registry.get('task', 'late')


# -- names that clash


@pytest.mark.parametrize('kind', ['task', 'transport', 'engine', 'command'])
def test_two_plugins_that_claim_one_name_are_both_named(site, registry, kind):
    for name, version in (('alpha', '1.2'), ('beta', '0.9')):
        site.install_hook(name, "return {'both': 'nowhere:Both'}", hook=f'{kind}s', version=version)
    failed = failures(registry, 1)
    with pytest.raises(PluginError) as caught:
        registry.get(kind, 'both')
    for text in (failed, str(caught.value)):
        assert f"the {kind} 'both' is claimed by " in text
        assert 'alpha 1.2' in text
        assert 'beta 0.9' in text
    assert failed.startswith('both (alpha 1.2, beta 0.9): ')
    assert 'INFERENCE_CLIENT_DISABLE_PLUGINS' in failed
    assert names(registry, kind) == BUILT_IN[kind]


@pytest.mark.parametrize(
    ('kind', 'name'),
    [('task', 'encode'), ('transport', 'grpc'), ('engine', 'embedded'), ('command', 'serve')],
)
def test_a_plugin_that_claims_a_built_in_name_does_not_get_it(site, registry, kind, name):
    site.install_hook('usurper', f"return {{{name!r}: 'usurper:Mine'}}", hook=f'{kind}s', version='6.6')
    failed = failures(registry, 1)
    assert failed.startswith(
        f"{name} (usurper 6.6): the {kind} '{name}' is claimed by inference-client {__version__}, "
    )
    assert (
        f'main (usurper 6.6): a plugin that means to replace it announces that in the group {REPLACE}{kind}s' in failed
    )
    (keeper,) = (one for one in registry.listed(kind) if one.name == name)
    assert keeper.distribution == 'inference-client'
    if kind in ('task', 'transport'):
        assert registry.get(kind, name).__module__.startswith('inference_client.')


def test_a_distribution_that_registers_a_name_twice(site, registry):
    source = """
        from inference_client import hookimpl

        class Plugin:
            @hookimpl
            def inference_client_tasks(self):
                return {'twice': 'nowhere:Twice'}

        one, two = Plugin(), Plugin()
    """
    site.install('double', {'one': 'double:one', 'two': 'double:two'}, double=source)
    failed = failures(registry, 1)
    assert "twice (double 1.0): the task 'twice' is claimed by one (double 1.0) and two (double 1.0)" in failed
    with pytest.raises(PluginError, match=r'claimed by one .* and two'):
        registry.get('task', 'twice')


def test_an_entry_point_that_is_there_twice(site, registry):
    site.install_shout()
    text = '[inference_client]\nmain = objects:one\nmain = objects:two\n'
    site.install('double', text, objects='one, two = object(), object()')
    assert 'double 1.0' in failures(registry, 1)
    assert registry.has('task', 'shout')


def test_one_name_of_two_kinds_is_no_clash(site, registry):
    site.install_hook('alpha', "return {'toy': 'nowhere:Toy'}", hook='tasks')
    site.install_hook('beta', "return {'toy': 'nowhere:Toy'}", hook='engines')
    registry.load_all()
    assert registry.failed == []


def test_a_process_has_one_registry():
    assert _plugins.plugins() is _plugins.plugins()
