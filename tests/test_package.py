"""The package as a whole: its names, that importing it costs nothing, and what imports what."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
from isolated import PACKAGE, output_of

import inference_client

HEAVY = {
    'PIL',
    'click',
    'docarray',
    'google',
    'grpc',
    'hubble',
    'jina',
    'numpy',
    'onnxruntime',
    'orjson',
    'pluggy',
    'requests',
    'tokenizers',
    'torch',
    'urllib3',
    'websockets',
}

# From the bottom up. A module imports what is below it, and its neighbours of the same entry.
LAYERS = [
    {'_addresses', '_private_file', '_version', 'errors'},
    {'_logins', '_otel', '_tls'},
    {
        '_config',
        '_documents',
        '_http',
        '_images',
        '_messages',
        '_policies',
        '_scores',
        '_spec',
        '_telemetry',
        '_threads',
        '_throttle',
        'hookspecs',
    },
    {'_echo', '_fetch', '_foreign', '_http_aio', '_installed', '_options', '_plan', '_registered'},
    {'_shown', 'results'},
    {'_html', '_text', 'plot'},
    {'_batches', '_builtins', '_inputs', '_login', '_wire', 'engines.base', 'tasks.base', 'transports.base'},
    {
        '_checks',
        '_again',
        '_directory',
        '_drivers',
        '_exchange',
        '_files',
        '_packing',
        '_plugins',
        '_profile',
        '_progress',
        '_source',
        'inputs',
    },
    {'_drivers_aio', '_journal', '_run', 'parquet'},
    {'engines', 'tasks'},
    {'transports'},
    {'_base_client', '_calls'},
    {'model'},
    {'client'},
    {'aio', 'ray'},
    {'testing'},
    {'server'},
    {'playground'},
    {'cli'},
    {'__main__'},
    {''},  # the package itself: it imports all of them, at their first use
]


def module_name(path):
    """Dotted name within the package; '' for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob('*.py'))}
TREES = {name: ast.parse(path.read_text(encoding='utf-8')) for name, path in MODULES.items()}


def is_type_checking(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == 'TYPE_CHECKING'


def module_level_imports(node):
    """Import statements that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif is_type_checking(child):
            for statement in child.orelse:
                yield from module_level_imports(statement)
        else:
            yield from module_level_imports(child)


def imported_modules(name):
    """Modules of this package that a module imports when it is imported itself."""
    package = name if MODULES[name].name == '__init__.py' else name.rpartition('.')[0]
    found = set()
    for statement in module_level_imports(TREES[name]):
        if isinstance(statement, ast.Import):
            targets = [alias.name for alias in statement.names]
            prefix = 'inference_client.'
            found |= {target[len(prefix) :] for target in targets if target.startswith(prefix)}
            found |= {'' for target in targets if target == 'inference_client'}
            continue
        if statement.level:
            above = package.split('.') if package else []
            base = above[: len(above) - statement.level + 1] + ([statement.module] if statement.module else [])
        elif (statement.module or '').partition('.')[0] == 'inference_client':
            base = statement.module.split('.')[1:]
        else:
            continue
        base = '.'.join(base)
        for alias in statement.names:
            submodule = f'{base}.{alias.name}'.strip('.')
            found.add(submodule if submodule in MODULES else base)
    return found


def layer(name):
    """Index of the layer and the entry in it: the longest that the module is or is in."""
    for end in range(name.count('.') + 1, 0, -1):
        entry = '.'.join(name.split('.')[:end])
        for index, entries in enumerate(LAYERS):
            if entry in entries:
                return index, entry
    assert name == '', f'{name} is in no layer: give it a place in LAYERS'
    return len(LAYERS) - 1, ''


# -- names


def test_all_is_sorted_and_without_repeats():
    assert inference_client.__all__ == sorted(set(inference_client.__all__))


@pytest.mark.parametrize('name', inference_client.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(importlib.import_module('inference_client'), name) is not None


def test_star_import_gives_all_public_names():
    namespace = {}
    exec('from inference_client import *', namespace)
    assert set(namespace) - {'__builtins__'} == set(inference_client.__all__)


def test_type_checkers_see_the_same_names():
    block = next(node for node in TREES[''].body if is_type_checking(node))
    seen = {alias.asname or alias.name for statement in block.body for alias in statement.names}
    assert seen == set(inference_client.__all__)


@pytest.mark.parametrize(
    'module',
    ['client', 'model', 'errors', 'engines.base', 'tasks.base', 'transports.base', '_spec', '_messages'],
)
def test_no_public_class_is_missing(module):
    loaded = importlib.import_module(f'inference_client.{module}')
    public = {
        name
        for name, value in vars(loaded).items()
        if inspect.isclass(value) and value.__module__ == loaded.__name__ and not name.startswith('_')
    }
    assert public <= set(inference_client.__all__)


def test_dir_lists_the_public_names():
    assert dir(inference_client) == inference_client.__all__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match='no_such_name'):
        _ = inference_client.no_such_name
    assert not hasattr(inference_client, '_private')


def test_version():
    assert re.fullmatch(r'\d+\.\d+\.\d+([a-z.]+\d+)?', inference_client.__version__)


def test_the_type_marker_is_beside_the_package():
    assert (PACKAGE / 'py.typed').is_file()


# -- docstrings


@pytest.mark.parametrize('name', [name for name in MODULES if not name.rpartition('.')[2].startswith('_')])
def test_every_public_module_class_and_function_has_a_docstring(name):
    tree = TREES[name]
    found = [(name or 'inference_client', tree)]
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found += [(node.name, node)] * (not node.name.startswith('_'))
    assert [label for label, node in found if not ast.get_docstring(node)] == []


@pytest.mark.parametrize('name', inference_client.__all__)
def test_every_public_method_has_a_docstring(name):
    public = getattr(inference_client, name)
    if not inspect.isclass(public):
        pytest.skip('no class')
    methods = {key: value for key, value in inspect.getmembers(public) if not key.startswith('_')}
    own = {key: value for key, value in methods.items() if 'docarray' not in getattr(value, '__module__', '')}
    undocumented = [key for key, value in own.items() if callable(value) and not inspect.getdoc(value)]
    assert undocumented == []


# -- imports


def test_importing_the_package_imports_and_touches_nothing(tmp_path):
    home = tmp_path / 'home'
    home.mkdir()
    printed = output_of(
        """
        import os, sys
        before = set(sys.modules)
        home, touched = os.environ['HOME'], []

        def watch(event, arguments):
            if event.startswith('socket.') or any(home in str(one) for one in arguments):
                touched.append((event, arguments))

        sys.addaudithook(watch)
        import inference_client
        print(sorted({name.partition('.')[0] for name in set(sys.modules) - before if name[0] != '_'}))
        print([name for name in sys.modules if name.startswith('inference_client.')], touched)
        """,
        HOME=str(home),
        USERPROFILE=str(home),
        JINA_AUTH_TOKEN='token',
    )
    loaded, own = printed.splitlines()
    assert not HEAVY & set(ast.literal_eval(loaded))
    assert own == '[] []'
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ('names', 'allowed'),
    [
        ('__version__, InferenceError, ModelSpec, Request, Task, Transport, TransportOptions', set()),
        ('Client, hookimpl', {'pluggy', 'requests', 'urllib3'}),
        ('Engine', {'numpy', 'PIL'}),
    ],
)
def test_a_name_imports_only_what_it_needs(names, allowed):
    loaded = output_of(f'import sys\nfrom inference_client import {names}\nprint(*{HEAVY} & set(sys.modules))')
    assert set(loaded.split()) <= allowed


def test_making_a_client_writes_nothing(tmp_path):
    """Only the first model may: it imports docarray, whose login library makes its directory at import."""
    home = tmp_path / 'home'
    home.mkdir()
    output_of(
        """
        from inference_client import Client, ModelNotFoundError
        with Client() as client:
            try:
                client.get_model('no such model')
            except ModelNotFoundError:
                print(client)
        """,
        HOME=str(home),
        USERPROFILE=str(home),
        JINA_HUB_ROOT=str(home / '.jina'),
    )
    assert list(home.iterdir()) == []


# -- layers


@pytest.mark.parametrize('name', MODULES)
def test_imports_point_downwards(name):
    index, entry = layer(name)
    for imported in imported_modules(name):
        below, other = layer(imported)
        assert below < index or other == entry, f'{name} imports {imported}, which is not below it'


def test_the_imports_are_seen():
    """Else the tests around this one would pass on anything."""
    assert {'_plugins', '_spec', 'errors', 'transports.base'} <= imported_modules('_base_client')
    assert {'_builtins', 'hookspecs'} <= imported_modules('_plugins')
    assert '_wire.status' in imported_modules('transports._http_shared')
    assert 'model' not in imported_modules('client')  # that is for type checkers, and within a function


def test_no_module_imports_itself_in_a_circle():
    done, path = set(), []

    def visit(name):
        assert name not in path, ' -> '.join([*path, name])
        if name in done:
            return
        path.append(name)
        for imported in imported_modules(name):
            visit(imported)
        done.add(path.pop())

    for name in MODULES:
        visit(name)


def test_every_layer_is_named_once():
    entries = [entry for layer_ in LAYERS for entry in layer_]
    assert len(entries) == len(set(entries))


@pytest.mark.parametrize('name', MODULES)
def test_work_at_import_is_left_to_functions(name):
    """No file, socket or environment variable is read while a module is imported."""
    calls = [
        ast.unparse(node.func) if sys.version_info >= (3, 9) else ast.dump(node.func)
        for statement in TREES[name].body
        if isinstance(statement, (ast.Expr, ast.Assign, ast.AnnAssign))
        for node in ast.walk(statement)
        if isinstance(node, ast.Call)
    ]
    forbidden = re.compile(r'environ|getenv|open|read_text|read_bytes|basicConfig|socket')
    assert [call for call in calls if forbidden.search(call)] == []


def test_the_oldest_environment_has_the_declared_lower_bounds():
    project = (Path(__file__).parents[1] / 'pyproject.toml').read_text(encoding='utf-8')
    core = (
        project.partition('dependencies = [')[2].partition(']')[0] + project.partition('cli = [')[2].partition(']')[0]
    )
    declared = dict(re.findall(r'"([a-z0-9-]+)>=([0-9.]+)', core))
    pinned = dict(
        re.findall(r'^([a-z0-9-]+)==([0-9.]+)$', (Path(__file__).parent / 'oldest.txt').read_text(), re.MULTILINE)
    )
    assert set(declared) == set(pinned)
    for name, bound in declared.items():
        assert pinned[name] == bound or pinned[name].startswith(f'{bound}.'), name
