"""Plugins to install on `sys.path`, and what a registry makes of them."""

from __future__ import annotations

import pytest
from isolated import write_distribution

BUILT_IN = {
    'task': ['caption', 'encode', 'rank', 'vqa'],
    'transport': [
        'grpc',
        'grpcs',
        'http',
        'https',
        'infinity+http',
        'infinity+https',
        'jinaai',
        'kserve+http',
        'kserve+https',
        'local',
        'openai+http',
        'openai+https',
        'tei+http',
        'tei+https',
        'ws',
        'wss',
    ],
    'engine': ['*/*blip2*', '*::*', 'blip2:*', 'clip:*', 'echo', 'embedded', 'onnx:*'],
    'command': [
        'caption',
        'completion',
        'demo',
        'encode',
        'export',
        'login',
        'logout',
        'models',
        'playground',
        'plugins',
        'profile',
        'rank',
        'serve',
        'token',
        'version',
        'vqa',
    ],
}


SHOUT = '''
    """A plugin with one of each kind."""

    from inference_client import Call, Engine, Response, Task, Transport, hookimpl


    class Shout(Task):
        name = 'shout'

        def prepare(self, *, text, **parameters):
            from docarray import Document

            return Call([Document(text=text)], parameters)


    class ShoutEngine(Engine):
        tasks = frozenset({'shout'})

        def run(self, task, documents, parameters):
            for document in documents:
                document.text = document.text.upper() + '!' * int(parameters.get('marks', 1))
            return documents


    class Pigeon(Transport):
        def send(self, request, timeouts):
            return Response(request.id, request.documents)


    @hookimpl
    def inference_client_tasks():
        return {'shout': Shout}


    @hookimpl
    def inference_client_engines():
        return {'shouter': ShoutEngine}


    @hookimpl
    def inference_client_transports():
        return {'pigeon': Pigeon}


    @hookimpl
    def inference_client_commands():
        return {'shout': 'shout_command:shout'}
'''

COMMAND = '''
    import click


    @click.command()
    @click.argument('text')
    def shout(text):
        """Say it loud."""
        from inference_client import Client

        click.echo(Client().get_model('local://shouter').shout(text=text)[0].text)
'''


class Site:
    """Installed distributions, each in a directory of its own: the last one installed is loaded first."""

    def __init__(self, path, monkeypatch):
        self.path, self._monkeypatch = path, monkeypatch

    def install(self, name, entry_points, **details):
        """Gives the directory of the distribution's metadata."""
        folder = self.path / f'lib-of-{name}'
        folder.mkdir()
        self._monkeypatch.syspath_prepend(str(folder))
        return write_distribution(folder, name, entry_points, **details)

    def install_hook(self, name, body, *, hook='tasks', version='1.0'):
        """A distribution whose only module has one hook."""
        module = name.replace('-', '_')
        function = f'@hookimpl\ndef inference_client_{hook}():\n    {body}\n'
        source = f'from inference_client import hookimpl\n\n{function}'
        self.install(name, {'main': module}, version=version, **{module: source})

    def install_shout(self):
        self.install('shout-plugin', {'shout': 'shout_plugin'}, shout_plugin=SHOUT, shout_command=COMMAND)


def names(registry, kind):
    return [one.name for one in registry.listed(kind)]


def failures(registry, expected):
    """What failed, as text; it is also warned of."""
    with pytest.warns(UserWarning, match='is left out') as caught:
        registry.load_all()
    assert [str(one.message) for one in caught] == [
        f'plugin {what} is left out: {why}' for what, why in registry.failed
    ]
    assert len(registry.failed) == expected
    return ' '.join(': '.join(failed) for failed in registry.failed)
