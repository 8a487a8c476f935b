"""The command that shows what the package does."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator

import click

if TYPE_CHECKING:
    from ..model import Model

PHOTOS = Path(__file__).resolve().parents[1] / 'data' / 'photos'
TRANSPORTS = ('grpc', 'http', 'ws')


@click.command()
@click.option(
    '--transport',
    type=click.Choice(['local', *TRANSPORTS, 'all']),
    default='local',
    show_default=True,
    help='In this process, or through a server that the demo starts (extra [server]).',
)
def demo(transport: str) -> None:
    """Show the four tasks on two photos with the embedded model.

    The table has what each gave, and how long it took.

    \b
    Example: inference-client demo --transport all
    """
    from rich.console import Console

    console = Console()
    with _urls(transport) as urls:
        for url in urls:
            console.print(_table(url))
    console.print('The embedded model is small, for trying things out: CLIP and BLIP-2 see far more.', highlight=False)


@contextlib.contextmanager
def _urls(transport: str) -> Iterator[list[str]]:
    local = ['local://embedded'] if transport in ('local', 'all') else []
    schemes = [scheme for scheme in TRANSPORTS if transport in (scheme, 'all')]
    if not schemes:
        yield local
        return
    from ..server.process import served

    with served() as served_urls:
        yield [*local, *(served_urls[scheme] for scheme in schemes)]


def _table(url: str) -> Any:
    from rich.table import Table

    from .. import Client

    table = Table(title=f'Embedded model on {url}', title_justify='left')
    for name, style in (('task', 'cyan'), ('input', ''), ('result', 'bold')):
        table.add_column(name, style=style, overflow='fold')
    table.add_column('ms', style='green', justify='right')
    with Client(trust_env=False) as client:
        model = client.get_model(url)
        _timed(model, *next(_examples()))  # loads the model and opens the connection, which is not timed
        for example in _examples():
            table.add_row(*_timed(model, *example))
    return table


def _examples() -> Iterator[tuple[str, dict[str, Any], Callable[[Any], str]]]:
    """Task, its arguments, and what to show of the answer."""
    cat, rocket = str(PHOTOS / 'chelsea.png'), str(PHOTOS / 'rocket.jpg')
    candidates = ['a photo of a cat', 'a rocket on its launch pad', 'a cup of coffee']
    yield 'encode', {'text': 'a photo of a cat'}, _embedding
    yield 'encode', {'image': cat}, _embedding
    for photo in (cat, rocket):
        yield 'rank', {'reference': photo, 'candidates': candidates}, _ranking
    for photo in (cat, rocket):
        yield 'caption', {'image': photo}, _response
    yield 'vqa', {'image': cat, 'question': 'Is it a cat or a dog?'}, _response
    yield 'vqa', {'image': rocket, 'question': 'What is this?'}, _response


def _timed(model: Model, task: str, arguments: dict[str, Any], show: Callable[[Any], str]) -> tuple[str, str, str, str]:
    start = time.perf_counter()
    answered = model.run(task, **arguments)
    milliseconds = (time.perf_counter() - start) * 1000
    inputs = [_short(value) for name, value in arguments.items() if name != 'candidates']
    return task, '\n'.join(inputs), show(answered[0]), f'{milliseconds:.1f}'


def _short(value: str) -> str:
    return Path(value).name if value.startswith(str(PHOTOS)) else value


def _embedding(document: Any) -> str:
    first = ', '.join(f'{number:.3f}' for number in document.embedding[:3])
    return f'{document.embedding.dtype} of shape {document.embedding.shape}: {first}, ...'


def _ranking(document: Any) -> str:
    return '\n'.join(f'{m.scores["clip_score_cosine"].value:+.2f} {m.text}' for m in document.matches)


def _response(document: Any) -> str:
    return str(document.tags['response'])
