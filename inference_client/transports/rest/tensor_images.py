"""Images as tensors take them: encoded ones as they are, or pixels of the size and kind that a model wants."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np
from docarray import Document

from ..._images import CLIP_COLOURS, decode_image, middle
from ...errors import ConfigurationError
from .content import encoded_image
from .tensors import ANY, TYPES, Spec, Tensor, shape_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORMALIZATIONS: Mapping[str, tuple[Sequence[float], Sequence[float]]] = {
    'none': ((0, 0, 0), (1, 1, 1)),
    'clip': CLIP_COLOURS,
    'siglip': ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    'imagenet': ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and standard deviation of each channel from 0 to 1, as the processors of these models have them."""


def most_images(spec: Spec) -> int | None:
    """The most images that fit into one tensor; None if there is no such number.

    Raises:
        ConfigurationError: it takes none at all.
    """
    if spec.datatype == 'BYTES':
        return None if spec.batched else 1
    if spec.datatype == 'UINT8' and len(spec.shape) in (1, 2):  # encoded ones, and no two are of one length
        return 1
    _, height, width = _layout(spec)
    return None if len(spec.shape) == 4 and spec.batched and ANY not in (height, width) else 1


def image_tensor(spec: Spec, documents: Sequence[Document], raw: bool, normalize: str | None) -> Tensor:
    """Images as the tensor takes them: encoded in BYTES or UINT8 of one dimension, else as pixels.

    Args:
        spec: of the input.
        documents: as many as fit, see `most_images`.
        raw: whether BYTES are encoded images as they are, for the binary extension; else they are base64.
        normalize: a key of `NORMALIZATIONS`, which pixels that are no integers need.
    """
    if spec.datatype == 'BYTES':
        files = [encoded_image(document)[1] for document in documents]
        shape = shape_for(spec, len(files))
        if raw:
            return Tensor(spec.name, 'BYTES', shape, files, {})
        letters = [base64.b64encode(file).decode() for file in files]
        return Tensor(spec.name, 'BYTES', shape, letters, {'content_type': 'base64'})  # so MLServer decodes it
    if spec.datatype == 'UINT8' and len(spec.shape) in (1, 2):
        (document,) = documents
        values = np.frombuffer(encoded_image(document)[1], np.uint8)
        values = values.reshape((1, -1)[2 - len(spec.shape) :])
    else:
        values = np.stack([_pixels(spec, document, normalize) for document in documents])
        values = values if len(spec.shape) == 4 else values[0]
    return Tensor(spec.name, spec.datatype, values.shape, values, {})


def _layout(spec: Spec) -> tuple[bool, int, int]:
    """Whether channels come first, then height and width of the images that a tensor takes."""
    if spec.datatype in TYPES and len(spec.shape) in (3, 4):
        first, second, third = spec.shape[-3:]
        if first == 3:
            return True, second, third
        if third == 3:
            return False, first, second
    raise ConfigurationError(
        f'the input {spec} takes no images: expected BYTES, UINT8 of one dimension (both for encoded images), '
        'or UINT8, FP16, FP32 or FP64 with 3 channels (for pixels)'
    )


def _pixels(spec: Spec, document: Document, normalize: str | None) -> NDArray[Any]:
    """One image of the size, the layout and the kind of numbers that a tensor takes."""
    channels_first, height, width = _layout(spec)
    data = document._data
    pixels = decode_image(data.blob or data.tensor)
    if ANY not in (height, width):
        pixels = middle(pixels, height, width)
    elif (height, width) != (ANY, ANY):
        raise ConfigurationError(f'the input {spec} has one free side: expected a fixed size of images, or none')
    if spec.datatype != 'UINT8':
        if normalize is None:
            kinds = ', '.join(sorted(NORMALIZATIONS))
            raise ConfigurationError(
                f'the input {spec} takes pixels in a range that is not told: add ?normalize= ({kinds})'
            )
        mean, deviation = NORMALIZATIONS[normalize]
        pixels = ((pixels / 255 - mean) / deviation).astype(TYPES[spec.datatype])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1) if channels_first else pixels)
