"""The image side of the embedded model: EfficientNet-Lite0, which knows the 1000 ImageNet labels.

Tan and Le, 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"
(arXiv:1905.11946); the Lite variants are the same authors' for small devices.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Sequence

import numpy as np
from PIL import Image

from ..errors import InputError
from ._sessions import session

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL = Path(__file__).parent / 'data' / 'efficientnet-lite0-fp16w.onnx'
LABELS = 1000

_SIDE = 224
_CROP = 224 / 256  # of the short side, as in training
_BATCH = 2  # images; larger batches are no faster and hold more memory


class Classifier:
    """Gives the logits of the ImageNet labels. May be shared by threads.

    Args:
        threads: how many a call computes with; 0 means one a core.

    Raises:
        ImportError: a package of the extra `local` is missing.
    """

    def __init__(self, threads: int = 0) -> None:
        self._session = session(MODEL, threads)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Classify RGB images, each uint8 (height, width, 3); returns logits, float32 of shape (n, 1000)."""
        rows = np.empty((len(images), LABELS), np.float32)
        for start in range(0, len(images), _BATCH):
            batch = np.concatenate([views(image) for image in images[start : start + _BATCH]])
            logits = self._session.run(['logits'], {'image': batch})[0]
            rows[start : start + _BATCH] = logits.reshape(-1, 2, LABELS).mean(axis=1)
        return rows


def views(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Cut an image to what the classifier takes.

    Returns:
        The centre, undistorted, and the whole, squeezed to a square, float32 of shape (2, 3, 224, 224).

    Raises:
        InputError: not an RGB image with at least one pixel.
    """
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f'expected an RGB image of shape (height, width, 3), not {image.shape}')
    picture = Image.fromarray(np.ascontiguousarray(image, np.uint8))
    width, height = picture.size
    side = min(width, height) * _CROP
    left, top = (width - side) / 2, (height - side) / 2
    boxes = [(left, top, left + side, top + side), (0, 0, width, height)]
    cuts = [picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, box) for box in boxes]
    pixels = (np.stack([np.asarray(cut, np.float32) for cut in cuts]) - 127) / 128
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float32]:
    """Turn logits into probabilities, rows that sum to 1; higher temperatures level them."""
    exponentials = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities
