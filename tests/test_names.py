"""Names of models: which engine one leads to, and what is said of one that leads nowhere."""

from __future__ import annotations

import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_client import Client, ConfigurationError, MissingExtraError, ModelNotFoundError, PluginError
from inference_client._plugins import plugins
from inference_client._registered import matches
from inference_client.engines import loader
from inference_client.engines._names import hint, parse_name, require

ENGINES = """
    import numpy as np
    from inference_client import Engine, hookimpl

    class Named(Engine):
        tasks = frozenset({{'encode'}})

        def __init__(self, name='no name'):
            self.name = name

        @classmethod
        def for_name(cls, name):
            return Other if 'other' in name else cls

        def run(self, task, documents, parameters):
            for document in documents:
                document.embedding = np.zeros(1, np.float32)
                document.tags['made'] = f'{{type(self).__name__}} {{self.name}}'
            return documents

    class Other(Named):
        tasks = frozenset({{'encode', 'rank'}})

    @hookimpl
    def inference_client_engines():
        return {{name: Named for name in {names!r}}}
"""


@pytest.fixture
def fresh(monkeypatch):
    """A process that knows no plugin and loaded no engine yet."""
    monkeypatch.setattr(loader, '_loaded', {})
    plugins.cache_clear()
    yield
    plugins.cache_clear()


@pytest.fixture
def install(site, fresh):
    """Installs a plugin with an engine under some names."""

    def installed(*names, plugin='acme'):
        module = f'{plugin}_engines'
        site.install(plugin, {plugin: module}, **{module: ENGINES.format(names=names)})

    return installed


def made(name):
    return Client().get_model(name).encode(text='a')[0].tags['made']


def test_an_engine_of_a_pattern_gets_the_name(install):
    install('acme/*', 'exact')
    assert made('acme/small?device=cpu') == 'Named acme/small?device=cpu'
    assert made('local://acme/a/b') == 'Named acme/a/b'
    assert made('exact') == 'Named no name'


def test_the_class_may_depend_on_the_name(install):
    install('acme/*')
    assert made('acme/other') == 'Other acme/other'
    assert Client().get_model('acme/other').spec.tasks == {'encode', 'rank'}
    assert Client().get_model('acme/one').spec.tasks == {'encode'}


def test_a_name_comes_before_patterns_and_narrow_ones_before_wide_ones(install):
    install('acme/*', 'acme/blip2-*', plugin='wide')
    install('acme/blip2-mine', plugin='exact')
    install('acme/blip2-b*', plugin='narrow')
    assert made('acme/blip2-mine') == 'Named no name'
    assert made('acme/blip2-big') == 'Named acme/blip2-big'  # and not BLIP-2's own, */*blip2*
    assert plugins().find('engine', 'acme/blip2-big').distribution == 'narrow'
    assert plugins().find('engine', 'acme/blip2-a').distribution == 'wide'


@pytest.mark.parametrize(
    ('name', 'pattern'),
    [
        ('clip:/models/a/blip2/x.pt', 'clip:*'),
        ('clip:/a::b', 'clip:*'),
        ('blip2:/models/blip2/x', 'blip2:*'),
        ('a/blip2::b', '*/*blip2*'),
        ('a/b::c', '*::*'),
    ],
)
def test_what_begins_with_more_of_a_pattern_is_narrower(registry, name, pattern):
    assert registry.find('engine', name).name == pattern


def test_two_patterns_as_narrow_as_each_other_are_a_conflict(install):
    install('one*', plugin='first')
    install('one*', plugin='second')
    with pytest.warns(UserWarning, match='is left out'), pytest.raises(
        PluginError, match=r'claimed by second \(second 1\.0\) and first \(first 1\.0\)'
    ):
        Client().get_model('one-two')


def test_a_pattern_may_be_replaced_on_purpose(site, fresh):
    entry = {'inference_client.replace.engines': {'*::*': 'better:Named'}}
    site.install('better', entry, better=ENGINES.format(names=()))
    assert made('ViT-B-32::openai') == 'Named ViT-B-32::openai'


@pytest.mark.parametrize(
    ('pattern', 'name', 'expected'),
    [
        ('*::*', 'ViT-B-32::openai', True),
        ('*::*', 'ViT-B-32::openai?device=cpu', True),
        ('*::*', 'x?a=b::c', False),
        ('*/*blip2*', 'Salesforce/blip2-opt-2.7b', True),
        ('*/*blip2*', 'blip2-opt-2.7b', False),
        ('a.c*', 'abc', False),
        ('[ab]*', 'a', False),
        ('plain', 'plain', False),
        ('a*', 'a\nb', True),
    ],
)
def test_what_a_pattern_stands_for(pattern, name, expected):
    assert matches(pattern, name) is expected


@given(st.text(), st.text(), st.text().filter(lambda text: '?' not in text))
def test_any_characters_may_stand_for_the_star(before, after, middle):
    if '?' not in before + after and '*' not in before + after:
        assert matches(f'{before}*{after}', f'{before}{middle}{after}?x=y')


def test_patterns_are_no_models_to_show(install):
    testing = pytest.importorskip('click.testing')
    from inference_client.cli.info import models

    install('acme/*', 'exact')
    shown = testing.CliRunner().invoke(models).stdout
    assert 'local://exact' in shown
    assert '*' not in shown


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('ViT-B-32', r"'ViT-B-32::openai'.*clip:/"),
        ('openai/clip-vit-base-patch32', r'extra \[clip\]'),
        ('RN50', r'extra \[clip\]'),
        ('coca_ViT-L-14', r'extra \[clip\]'),
        ('blip2', r'extra \[blip2\].*blip2:/directory'),
        ('BLIP-2 OPT', r'extra \[blip2\]'),
        ('127.0.0.1:51000', 'such as grpc://127.0.0.1:51000'),
        ('my-host.example:443', 'such as grpc://my-host.example:443'),
        ('grpc:localhost:51000', 'such as grpc://localhost:51000'),
        ('HTTP:/localhost:8080/', 'such as http://localhost:8080'),
    ],
)
def test_an_unknown_name_that_looks_like_one_of_ours(name, words):
    with pytest.raises(ModelNotFoundError, match=f'no model .*{words}.*api_endpoint='):
        Client().get_model(name)


@pytest.mark.parametrize('name', ['bert', 'embeded', 'acme/small', 'vital', 'host:name', 'host:', ':80', ''])
def test_other_names_look_like_none(name):
    assert hint(name) == ''


@pytest.mark.parametrize(
    ('name', 'module', 'extra'),
    [('ViT-B-32::openai', 'open_clip', 'clip'), ('Salesforce/blip2-opt-2.7b', 'transformers', 'blip2')],
)
@pytest.mark.parametrize('before', ['', 'local://'])
def test_a_name_of_an_extra_that_is_not_installed(name, module, extra, before):
    if importlib.util.find_spec(module):
        pytest.skip(f'{module} is installed')
    with pytest.raises(ModelNotFoundError, match=rf"pip install 'inference-client\[{extra}\]'; or give the URL"):
        Client().get_model(before + name)


def test_what_is_required_is_named():
    with pytest.raises(MissingExtraError, match=r"'x' needs no_such_module, .*pip install 'inference-client\[some\]'"):
        require('x', 'some', ('json', 'no_such_module'))


def test_a_name_is_cut_at_its_options():
    assert parse_name('clip:/a/b.pt?arch=ViT-B-32&device=', ['arch', 'device']) == (
        'clip:/a/b.pt',
        {'arch': 'ViT-B-32', 'device': ''},
    )
    assert parse_name('a::b', []) == ('a::b', {})


@pytest.mark.parametrize(
    ('query', 'words'),
    [('devise=cpu', "the option 'devise': known are arch, device"), ('arch=a&arch=b', 'an option twice')],
)
def test_options_that_do_not_exist(query, words):
    with pytest.raises(ConfigurationError, match=words):
        parse_name(f'a::b?{query}', ['device', 'arch'])
