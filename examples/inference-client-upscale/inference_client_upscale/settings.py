"""What an image is scaled to. The caller's side and the engine check it with the same code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Mapping

from inference_client import InputError

SIGNATURES = {'jpeg': b'\xff\xd8\xff', 'png': b'\x89PNG\r\n\x1a\n'}
"""How a file of each format starts."""

KNOWN = ('scale', 'image_format', 'quality')
_SCALE = re.compile(r'(-?[0-9]{1,6}):(-?[0-9]{1,6})')  # six digits: no image is larger


@dataclass(frozen=True)
class Settings:
    """A checked wish.

    Attributes:
        width: pixels, or 0 or -n: see `size`.
        height: likewise.
        image_format: `jpeg` or `png`.
        quality: of a JPEG, from 1 to 100.
    """

    width: int
    height: int
    image_format: str
    quality: int

    @classmethod
    def read(cls, parameters: Mapping[str, Any]) -> Settings:
        """Check the parameters of a request; over a wire, whole numbers come as floats.

        Raises:
            InputError: one is missing, unknown, or of no use.
        """
        unknown = sorted(parameters.keys() - set(KNOWN))
        if unknown:
            raise InputError(f'upscale has no parameter {unknown[0]!r}: it has {", ".join(KNOWN)}')
        width, height = _scale(parameters.get('scale'))
        image_format = parameters.get('image_format', 'jpeg')
        if not isinstance(image_format, str) or image_format not in ('jpeg', 'png'):
            raise InputError(f"image_format is {image_format!r}: expected 'jpeg' or 'png'")
        if image_format == 'png' and 'quality' in parameters:
            raise InputError('quality= goes with jpeg: a PNG loses nothing; leave it out')
        return cls(width, height, image_format, _quality(parameters.get('quality', 90)))

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height for an image of the given ones, by the rules of ffmpeg's scale filter.

        0 stands for the image's own; -n for what keeps its proportions, rounded to a multiple of n. Two
        negative numbers stand for the image's own size.
        """
        if self.width < 0 and self.height < 0:
            return width, height
        new_width, new_height = self.width or width, self.height or height
        if new_width < 0:
            new_width = _in_proportion(new_height * width, height, -new_width)
        elif new_height < 0:
            new_height = _in_proportion(new_width * height, width, -new_height)
        return new_width, new_height


def _in_proportion(product: int, divisor: int, multiple: int) -> int:
    """The multiple nearest to the quotient, the larger of two that are as near, and at least one."""
    step = divisor * multiple
    return max(1, (2 * product + step) // (2 * step)) * multiple


def _scale(scale: Any) -> tuple[int, int]:
    found = _SCALE.fullmatch(scale) if isinstance(scale, str) else None
    if not found:
        raise InputError(
            f"scale is {scale!r}: expected 'width:height' in pixels, such as '800:600'; "
            "0 stands for the image's own, -1 for what keeps its proportions, -n for that as a multiple of n"
        )
    return int(found.group(1)), int(found.group(2))


def _quality(quality: Any) -> int:
    if isinstance(quality, bool) or not isinstance(quality, (int, float)) or quality not in range(1, 101):
        raise InputError(f'quality is {quality!r}: expected a whole number from 1 to 100')
    return int(quality)
