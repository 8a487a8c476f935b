"""The engine: Pillow's Lanczos filter."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Mapping

from PIL import Image

from inference_client import Engine, InputError
from inference_client.engines.base import read_image

from .settings import Settings

if TYPE_CHECKING:
    from docarray import DocumentArray

MAX_SIDE = 16_384
MAX_PIXELS = 64_000_000
"""Strangers choose the size, and a pixel takes four bytes while it is scaled."""


class UpscaleEngine(Engine):
    """Scales images; the result is in `.blob`, its size in `tags['width']` and `tags['height']`."""

    tasks = frozenset({'upscale'})

    def run(self, task: str, documents: DocumentArray, parameters: Mapping[str, Any]) -> DocumentArray:
        settings = Settings.read(parameters)
        for document in documents:
            pixels = read_image(document)
            size = settings.size(pixels.shape[1], pixels.shape[0])
            check_bounds(*size, pixels.shape[0])
            scaled = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
            document.blob = _encoded(scaled, settings)
            document.tags['width'], document.tags['height'] = size
        return documents


def check_bounds(width: int, height: int, source_height: int) -> None:
    """Raise `InputError` for a size that would take too much memory.

    Pillow changes the width first, so the new width at the old height is in memory, too.
    """
    if max(width, height) > MAX_SIDE:
        raise InputError(f'{width} x {height} pixels are too many: a side may have {MAX_SIDE:,}; scale less')
    if width * max(height, source_height) > MAX_PIXELS:
        raise InputError(
            f'{width} x {max(height, source_height)} pixels are too many on the way to {width} x {height}: '
            f'{MAX_PIXELS:,} are taken; scale less'
        )


def _encoded(image: Image.Image, settings: Settings) -> bytes:
    file = io.BytesIO()
    options = {'quality': settings.quality} if settings.image_format == 'jpeg' else {}
    image.save(file, settings.image_format.upper(), **options)
    return file.getvalue()
