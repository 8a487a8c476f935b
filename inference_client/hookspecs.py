"""The hooks of plugins.

A plugin is a module or object with any of these functions, marked with `inference_client.hookimpl`, and
announced by its distribution as an entry point of the group `inference_client`:

    [project.entry-points.inference_client]
    shout = "shout_plugin"

where `shout_plugin.py` holds, say:

    from docarray import Document
    from inference_client import Call, Task, hookimpl

    class ShoutTask(Task):
        name = 'shout'

        def prepare(self, *, text, **parameters):
            return Call([Document(text=text)], parameters)

    @hookimpl
    def inference_client_tasks():
        return {'shout': ShoutTask}

Then `model.shout(text='hi')` sends a document to the endpoint `/shout`. Each hook is called at most
once a process, when a name is looked up that is not built in, or when what is installed is listed. Each
returns a mapping from names to classes, or to import strings `'module:Class'` for what should be imported
only when it is asked for. To replace a name of somebody else takes more than a hook: see docs/plugins.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping

import pluggy

if TYPE_CHECKING:
    import click

    from .engines.base import Engine
    from .tasks.base import Task
    from .transports.base import Transport

GROUP = 'inference_client'

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def inference_client_tasks() -> Mapping[str, type[Task[Any]] | str]:  # type: ignore[empty-body]
    """Tasks by name: `{'upscale': UpscaleTask}` makes `model.upscale(...)`."""


@hookspec
def inference_client_transports() -> Mapping[str, type[Transport] | str]:  # type: ignore[empty-body]
    """Transports by URL scheme: `{'unix': UnixTransport}` makes `get_model('unix:///run/model.sock')`."""


@hookspec
def inference_client_engines() -> Mapping[str, type[Engine] | str]:  # type: ignore[empty-body]
    """Engines by name: `{'my-engine': MyEngine}` makes `get_model('local://my-engine')`.

    A name with `*` is a pattern: `{'mine:*': MyEngine}` makes `MyEngine('mine:a')` for `get_model('local://mine:a')`.
    """


@hookspec
def inference_client_commands() -> Mapping[str, click.Command | str]:  # type: ignore[empty-body]
    """Commands of the command line by name: `{'upscale': command}` makes `inference-client upscale`."""
