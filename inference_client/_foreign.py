"""Values, paths, bytes and pixels from objects that are not ours, whose code may raise whatever it likes."""

from __future__ import annotations

import inspect
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Iterable, Iterator

import numpy as np
from PIL import Image

from ._images import rgb_from_array, rgb_from_pil
from .errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARRAYS = ('__array__', '__array_interface__')


def has(value: Any, *names: str) -> bool:
    """Whether it has one of these attributes."""
    with suppress(Exception):
        return any(hasattr(value, name) for name in names)
    return False


@contextmanager
def foreign(source: str) -> Iterator[None]:
    """Make an `InputError` of whatever is raised."""
    try:
        yield
    except Exception as error:
        raise InputError(f'{source} cannot be read: {str(error) or type(error).__name__}') from error


def given(values: Iterable[Any]) -> Iterator[Any]:
    """The values of an iterable. An error of a generator names no item of them, for the generator ends with it."""
    iterator = iter(values)
    return _generated(iterator) if inspect.isgenerator(iterator) else iterator


def name_no_item(error: Exception) -> Exception:
    """The error of an iterable, whose item, if it names one, is none of the call that it ends."""
    if isinstance(error, InputError):
        error.item = None
    return error


def path_of(value: Any) -> str:
    """The path that an `os.PathLike` stands for."""
    with foreign('the path'):
        return os.fsdecode(value)


def read(file: Any) -> bytes:
    """Read a file from where it stands to its end, and put it back there if it can seek."""
    with foreign('the image file'):
        position = file.tell() if getattr(file, 'seekable', bool)() else None
        try:
            data = file.read()
        except UnicodeDecodeError:  # as a text file it is no text
            data = ''
        finally:
            if position is not None:
                file.seek(position)
    if not isinstance(data, bytes):
        raise InputError(f'the image file gave {type(data).__name__}: open it in binary mode ("rb")')
    return data


def pixels_of(value: Any, max_pixels: int) -> NDArray[np.uint8] | None:
    """Pixels as RGB from a PIL image, array or tensor; None if it is none of these."""
    if isinstance(value, Image.Image):
        return rgb_from_pil(value, max_pixels)
    if isinstance(value, type) or not has(value, *ARRAYS):
        return None
    with foreign(f'the {type(value).__name__}'):
        if hasattr(value, 'detach'):  # a torch tensor, which may need gradients or live on a device
            value = value.detach().cpu()
        array = np.asarray(value)
    return rgb_from_array(array, max_pixels)


def _generated(values: Iterable[Any]) -> Iterator[Any]:
    try:
        for value in values:  # noqa: UP028 - `yield from` would close the generator, with which its owner may go on
            yield value
    except InputError as error:
        name_no_item(error)
        raise
