"""Images as the pixels that a model takes, by the `preprocessor_config.json` that comes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np
from PIL import Image

from .._images import CLIP_COLOURS, centre, filling
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = 'preprocessor_config.json'

_DEFAULTS = {  # of transformers' processors for CLIP
    'size': 224,
    'crop_size': 224,
    'image_mean': CLIP_COLOURS[0],
    'image_std': CLIP_COLOURS[1],
    'resample': Image.Resampling.BICUBIC,
    'rescale_factor': 1 / 255,
    'do_resize': True,
    'do_center_crop': True,
    'do_rescale': True,
    'do_normalize': True,
    'do_pad': False,
}


class Preprocessing:
    """What transformers' processors for CLIP do: the middle of an image, scaled and normalised.

    Args:
        settings: what stands in the file; what it does not say is as for OpenAI's models.

    Raises:
        ConfigurationError: it says something else.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        try:
            self._read({**_DEFAULTS, **settings})
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f'{FILE} is not one of CLIP ({error}): expected that images are scaled to a size, that crop_size is '
                'cut out, and image_mean and image_std of three numbers each'
            ) from error

    def _read(self, settings: Mapping[str, Any]) -> None:
        if settings['do_pad'] or not settings['do_resize']:
            raise ValueError('images are padded, or not scaled')
        size = settings['size']
        self._squeezed = isinstance(size, Mapping) and 'shortest_edge' not in size
        self._size = _sides('size', size, 'shortest_edge')
        self.height, self.width = self._size
        if settings['do_center_crop']:
            self.height, self.width = _sides('crop_size', settings['crop_size'])
        elif not self._squeezed:
            raise ValueError('images keep any shape')
        if self.height > self._size[0] or self.width > self._size[1]:
            raise ValueError(f'{self.height} x {self.width} of {self._size[0]} x {self._size[1]} pixels')
        self._resample = Image.Resampling(settings['resample'])
        self._factor = float(settings['rescale_factor']) if settings['do_rescale'] else 1.0
        normalises = settings['do_normalize']
        self._mean = np.asarray(settings['image_mean'] if normalises else (0, 0, 0), np.float32).reshape(3)
        self._deviation = np.asarray(settings['image_std'] if normalises else (1, 1, 1), np.float32).reshape(3)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Prepare RGB images, each uint8 (height, width, 3); returns float32 of shape (n, 3, height, width)."""
        pixels = np.stack([self._cut(image) for image in images]).astype(np.float32)
        pixels = (pixels * np.float32(self._factor) - self._mean) / self._deviation
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))

    def _cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = self._size
        if self._squeezed:
            scaled = Image.fromarray(image).resize((width, height), self._resample)
        else:
            scaled = filling(image, height, width, self._resample)
        return centre(scaled, self.height, self.width)


def _sides(name: str, value: Any, both: str = '') -> tuple[int, int]:
    """Height and width, of a number for both, or an object with `height` and `width` or with a key for both alone."""
    keys = set(value) if isinstance(value, Mapping) else set()
    if both and keys == {both}:
        value = value[both]
    sides = (value['height'], value['width']) if keys == {'height', 'width'} else (value, value)
    if not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(f'{name} is {value!r}')
    return sides
