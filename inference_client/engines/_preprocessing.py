"""Images as the pixels that a model takes, by the `preprocessor_config.json` that comes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np
from PIL import Image

from .._images import middle
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = 'preprocessor_config.json'


class Preprocessing:
    """What transformers' processors for CLIP do: the middle of an image, scaled and normalised.

    Args:
        settings: what stands in the file.

    Raises:
        ConfigurationError: it says something else.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        try:
            self._read(settings)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f'{FILE} is not one of CLIP ({type(error).__name__}: {error}): expected size, crop_size, image_mean '
                'and image_std'
            ) from error

    def _read(self, settings: Mapping[str, Any]) -> None:
        size = settings['size']
        size = size if isinstance(size, Mapping) else {'shortest_edge': size}
        self._squeezed = 'shortest_edge' not in size
        self._size = (size['height'], size['width']) if self._squeezed else 2 * (size['shortest_edge'],)
        self.height, self.width = self._size
        if settings.get('do_center_crop', True):
            crop = settings['crop_size']
            self.height, self.width = (crop['height'], crop['width']) if isinstance(crop, Mapping) else (crop, crop)
        elif not self._squeezed:
            raise ValueError('images of any shape')
        if not (0 < self.height <= self._size[0] and 0 < self.width <= self._size[1]):
            raise ValueError(f'{self.height} x {self.width} of {self._size[0]} x {self._size[1]} pixels')
        self._resample = Image.Resampling(settings.get('resample', Image.Resampling.BICUBIC))
        self._factor = settings.get('rescale_factor', 1 / 255) if settings.get('do_rescale', True) else 1
        normalises = settings.get('do_normalize', True)
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
            scaled = np.asarray(Image.fromarray(image).resize((width, height), self._resample))
        else:
            scaled = middle(image, height, width, self._resample)
        top, left = (height - self.height) // 2, (width - self.width) // 2
        return scaled[top : top + self.height, left : left + self.width]
