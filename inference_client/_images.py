"""What an image is: encoded bytes are checked and passed on, pixels become uint8 RGB.

One meaning for every kind of pixels: EXIF orientation is applied, alpha is dropped, grey is repeated
to three channels, 16-bit samples keep their high byte.
"""

from __future__ import annotations

import io
import math
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PIXELS = 80_000_000
"""Larger images are refused: a small file can hold a picture that fills the memory."""

OBLONG = 32
"""Times the length of the other side: what is longer is cut before it is scaled. No photo is."""

CHANNELS = (1, 3, 4)

CLIP_COLOURS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and standard deviation of each channel from 0 to 1, as OpenAI's processor for CLIP has them."""

FORMATS = ('JPEG', 'PNG', 'GIF', 'WEBP', 'BMP', 'TIFF', 'PPM', 'ICO', 'JPEG2000', 'AVIF', 'HEIF')
"""Kinds of files that are taken, where Pillow or a plugin of it reads them: JPEG includes MPO. Pillow knows more,
but some of these start programs (EPS runs Ghostscript) and most are readers that hardly anyone has tested."""


def check_encoded(data: bytes, source: str, max_pixels: int | None = None) -> None:
    """Raise `InputError` unless data starts as an image and has its end; pixels are not decoded."""
    if not data:
        raise InputError(f'{source} is empty: expected an encoded image such as JPEG or PNG')
    with _one_error(source), _open(data, source, max_pixels) as image:
        kind = image.format
        image.verify()
    if kind in ('JPEG', 'MPO') and not _jpeg_has_end(data):
        raise InputError(f'{source} is a truncated JPEG: it has no end; fetch or save it again')


def decode_image(image: bytes | NDArray[Any]) -> NDArray[np.uint8]:
    """Decode an encoded image, or check pixels: uint8, RGB, of shape (height, width, 3)."""
    if isinstance(image, np.ndarray):
        return rgb_from_array(image)
    with _open(image, 'the image') as opened:
        return rgb_from_pil(opened)


def pixel_count(image: bytes | NDArray[Any]) -> int:
    """How many pixels an image has, or at most has; of an encoded one its header says it, and nothing is decoded.

    Raises:
        InputError: it is no image, or has too many.
    """
    if isinstance(image, np.ndarray):
        grey = image.ndim < 3 or 1 in image.shape
        return int(image.size) if grey else int(image.size) // 3
    with _open(image, 'the image') as opened:
        return int(opened.width * opened.height)


def thumbnail(image: bytes | NDArray[Any], side: int, max_pixels: int) -> tuple[Image.Image, int]:
    """A small RGB copy of an image, no side longer than `side`, and how many pixels had to be decoded for it.

    Raises:
        InputError: it is no image, is damaged, or has more than `max_pixels`.
    """
    if isinstance(image, np.ndarray):
        small = Image.fromarray(rgb_from_array(image, max_pixels))
    else:
        with _one_error('the image'):
            opened = _identified(image)
            opened.draft(None, (2 * side, 2 * side))  # a JPEG is decoded at a fraction of its size
        with opened:
            small = Image.fromarray(rgb_from_pil(opened, max_pixels))
    decoded = small.width * small.height
    small.thumbnail((side, side))
    return small, decoded


def media_type(data: bytes, source: str) -> str:
    """The media type of an encoded image, such as `image/jpeg`; pixels are not decoded."""
    with _open(data, source) as image:
        kind = 'JPEG' if image.format == 'MPO' else image.format or ''
    return Image.MIME.get(kind, f'image/{kind.lower()}')


def rgb_from_pil(image: Image.Image, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Pixels of a PIL image as uint8 RGB of shape (height, width, 3); the image is left as it is."""
    _check_size(*image.size, 'the image', max_pixels)
    with _one_error('the image'):
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith('I'):  # 16-bit grey; PIL's own conversion clips it at 255
            grey = np.asarray(upright).astype(np.int64) >> 8
            return _repeat_grey(np.clip(grey, 0, 255).astype(np.uint8))
        if upright.mode == 'P' and 'transparency' in upright.info:
            upright = upright.convert('RGBA')  # PIL warns where a palette with alpha goes straight to RGB
        return np.array(upright.convert('RGB'))


def rgb_from_array(array: NDArray[Any], max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Pixels as uint8 RGB of shape (height, width, 3), from HWC, CHW or HW with 1, 3 or 4 channels.

    An array whose first and last axes could both be channels is read as HWC.
    """
    if array.dtype != np.uint8:
        raise InputError(
            f'an image array has dtype {array.dtype}: expected uint8 from 0 to 255; '
            'scale and convert it, e.g. (x * 255).astype("uint8") for floats from 0 to 1'
        )
    if array.ndim not in (2, 3) or array.size == 0:
        raise InputError(
            f'an image array has shape {array.shape}: expected (height, width, channels), '
            '(channels, height, width) or (height, width), none of them 0; pass several images as a list'
        )
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    elif array.shape[2] not in CHANNELS:
        if array.shape[0] not in CHANNELS:
            raise InputError(f'an image array has shape {array.shape}: expected 1, 3 or 4 channels, first or last')
        array = array.transpose(1, 2, 0)
    _check_size(array.shape[1], array.shape[0], 'the image array', max_pixels)
    if array.shape[2] == 1:
        return _repeat_grey(array[:, :, 0])
    return np.array(array[:, :, :3], order='C')  # a copy: the caller may fill the same buffer again


def core(pixels: NDArray[np.uint8], aspect: float = 1.0) -> NDArray[np.uint8]:
    """The part of an image around its middle that a cut-out of it can show, and `OBLONG` times as much at most.

    Whoever scales a strip until its short side fills a square makes of 1 x 80,000,000 pixels 80,000,000 squares.

    Args:
        pixels: of shape (height, width, 3).
        aspect: width by height of what will be cut out.
    """
    height, width = pixels.shape[:2]
    rows = min(height, math.ceil(OBLONG * width / aspect))
    columns = min(width, math.ceil(OBLONG * height * aspect))
    top, left = (height - rows) // 2, (width - columns) // 2
    return pixels[top : top + rows, left : left + columns]


def filling(
    pixels: NDArray[np.uint8], height: int, width: int, resample: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """An image, or the core of a strip, scaled until it fills height and width; one of them is its own then."""
    pixels = core(pixels, width / height)
    own_height, own_width = pixels.shape[:2]
    if height * own_width >= width * own_height:
        size = height * own_width // own_height, height
    else:
        size = width, width * own_height // own_width
    return Image.fromarray(pixels).resize(size, resample)


def centre(image: Image.Image, height: int, width: int) -> NDArray[np.uint8]:
    """The middle of an image that is no smaller than this; so CLIP's processor cuts it."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)))


def middle(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The middle of an image, scaled so that it fills height and width."""
    return centre(filling(pixels, height, width), height, width)


def _open(data: bytes, source: str, max_pixels: int | None = None) -> Image.Image:
    with _one_error(source):
        image = _identified(data)
    _check_size(*image.size, source, max_pixels)
    return image


def _identified(data: bytes) -> Image.Image:
    """As `Image.open`, whose limit of pixels is one for the whole process, and half of the time a warning."""
    for name in _formats():
        factory, accepts = Image.OPEN[name]
        with suppress(SyntaxError, IndexError, TypeError, struct.error):  # what readers raise at another kind
            accepted = accepts is None or accepts(data[:16])
            if accepted and not isinstance(accepted, str):  # a str is the reason for which it cannot
                return factory(io.BytesIO(data), '')
    raise UnidentifiedImageError('no reader knows it')


def _formats() -> list[str]:
    """Those of `FORMATS` that can be read here; any other name is a `KeyError` to Pillow."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@contextmanager
def _one_error(source: str) -> Iterator[None]:
    """Make an `InputError` of whatever a damaged file leads PIL's readers to raise."""
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        kinds = ', '.join(_formats())
        raise InputError(
            f'{source} is not an image: expected an encoded image such as JPEG or PNG; those taken are {kinds}'
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{source} is over the limit of Pillow's own PIL.Image.MAX_IMAGE_PIXELS: {error}") from error
    except Exception as error:
        raise InputError(f'{source} is damaged ({error}): fetch or save it again') from error


def _check_size(width: int, height: int, source: str, max_pixels: int | None) -> None:
    """Where no limit is given, it is that of a model, which those who ask it cannot raise."""
    if width * height == 0:
        raise InputError(f'{source} has {width} x {height} pixels: expected at least one')
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if width * height > limit:
        advice = 'scale it down' if max_pixels is None else 'scale it down, or use Image(..., max_pixels=...)'
        raise InputError(f'{source} has {width} x {height} pixels: at most {limit:,} are taken; {advice}')


def _repeat_grey(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def _jpeg_has_end(data: bytes) -> bool:
    """Whether an end marker follows the first scan; one before it belongs to an embedded thumbnail."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker == 0xDA:
            return data.rfind(b'\xff\xd9', position) >= 0
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], 'big')
    return False
