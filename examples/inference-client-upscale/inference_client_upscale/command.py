"""The command `upscale`."""

from __future__ import annotations

import json
from typing import Any

import click

from inference_client.cli.options import CLIENT, take_client, with_options

from .task import SIZE


@click.command()
@click.argument('images', nargs=-1, required=True)
@click.option('--scale', required=True, metavar='WIDTH:HEIGHT', help='Pixels; 0: as it is, -1 or -n: in proportion.')
@click.option('--format', 'image_format', type=click.Choice(['jpeg', 'png']), help='Else by the ending of --output.')
@click.option('--quality', type=int, help='Of a JPEG, 1 to 100.  [default: 90]')
@click.option('--output', required=True, metavar='PATH', help='A file for one image, a directory/ for several.')
@click.option('--overwrite', is_flag=True, help='Replace files that exist.')
@click.option('--model', default='local://upscale', show_default=True, metavar='NAME_OR_URL', help='Which model.')
@click.option('--timeout', type=float, default=120, show_default=True, help='Seconds for each request.')
@with_options(CLIENT)
def upscale(
    images: tuple[str, ...],
    output: str,
    model: str,
    **arguments: Any,
) -> None:
    """Write larger versions of IMAGES, and show their sizes as JSON lines.

    \b
    Example: inference-client upscale photo.jpg --scale 1600:-1 --output large.png
    """
    image = images[0] if len(images) == 1 else list(images)
    with take_client(arguments) as client:
        answered = client.get_model(model).upscale(image=image, output_path=output, **arguments)
    for name, document in zip(images, answered):
        size = {side: document.tags[side] for side in SIZE}
        click.echo(json.dumps({'input': name, **size}, ensure_ascii=False))
