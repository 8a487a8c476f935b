"""Files by name or pattern, of this machine or of a store such as `s3://`, and images that are read from stores."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections import deque
from operator import length_hint
from pathlib import Path
from typing import Any, Iterable, Iterator

from docarray import Document

from ._fetch import looks_like_image, shorten
from ._foreign import given
from ._inputs import Image
from ._registered import missing_extra
from .errors import InferenceError, InputError, MissingExtraError

AHEAD = 32  # images that are read from a store at the same time
OWN = ('file', 'http', 'https')  # what an image is fetched from anyway
# Where a name tells a bucket, not the address of a machine, which might be a private one.
STORES = ('abfs', 'abfss', 'az', 'gcs', 'gs', 'hf', 'memory', 'oss', 's3', 's3a')

ITEMS_FAULT = (InputError, FileNotFoundError, IsADirectoryError, PermissionError)


def is_remote(name: str) -> bool:
    """Whether a name is one of another file system than this machine's, by its scheme."""
    scheme = re.match(r'([a-z][a-z0-9+.-]*)://', name, re.IGNORECASE)
    return scheme is not None and scheme[1].lower() not in OWN


def is_pattern(name: str) -> bool:
    """Whether a name stands for all files that match it, of which there may be one; it may be that of a file itself."""
    if not glob.has_magic(name) or name[:5].lower() == 'data:':
        return False
    if is_remote(name):
        return True
    return '://' not in name and not os.path.exists(name)  # noqa: PTH110 - that of Path raises for long names


def files(pattern: str) -> list[str]:
    """The files that a pattern stands for, sorted; a name that is none stands for itself.

    Args:
        pattern: a path or the URL of a store, with `*`, `?`, `[...]`, and `**` for directories of any depth.

    Raises:
        InputError: there are none, or the store cannot be asked.
        MissingExtraError: the store needs a package that is not installed.
    """
    if not is_pattern(pattern):
        return [pattern]
    if is_remote(pattern):
        system, path = file_system(pattern)
        with explained(pattern, 'listed'):
            details = system.glob(path, detail=True)
        found = [system.unstrip_protocol(name) for name, one in details.items() if one['type'] == 'file']
    else:
        names = glob.iglob(pattern, recursive=True)  # noqa: PTH207 - that of Path takes no absolute patterns
        found = [name for name in names if Path(name).is_file()]
    if not found:
        raise InputError(f'no file matches {shorten(pattern)}: check the pattern and the directory')
    return sorted(found)


def file_system(name: str) -> tuple[Any, str]:
    """The file system that a name belongs to, by fsspec, and the name in it.

    Raises:
        InputError: there is none for its scheme.
        MissingExtraError: fsspec, or the package for the scheme, is not installed.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise missing_extra(shorten(name), error) from error
    if is_remote(name):
        scheme, _, rest = name.partition('://')
        name = f'{scheme.lower()}://{rest}'
    try:
        system, path = url_to_fs(name)
    except ImportError as error:
        raise MissingExtraError(f'{shorten(name)} needs a package of its own ({error}): install it with pip') from error
    except Exception as error:  # some connect here
        told = ' '.join(str(error).split()) or type(error).__name__
        raise InputError(
            f'{shorten(name)} cannot be opened ({told}): expected a path, or the URL of a store that can be reached'
        ) from error
    return system, path


@contextlib.contextmanager
def explained(name: str, verb: str) -> Iterator[None]:
    """Make errors of this package of what goes wrong with files in the `with` block.

    Args:
        name: of the file.
        verb: what cannot be done with it then, such as 'read'.
    """
    try:
        yield
    except InferenceError:
        raise
    except FileNotFoundError as error:
        raise InputError(f'{shorten(name)} cannot be {verb}: there is no such file or directory') from error
    except Exception as error:  # whatever a file system raises
        told = ' '.join(str(error).split()) or type(error).__name__
        raise InputError(
            f'{shorten(name)} cannot be {verb} ({told}): check the name, and what you may do there'
        ) from error


class Contents:
    """An iterator over inputs of a stream, in which images of stores are read, some at the same time.

    It goes on after an `InputError` that has an `item`: the image of that input cannot be read.

    Args:
        inputs: pairs and lists are looked into.
    """

    def __init__(self, inputs: Iterable[Any]) -> None:
        self._given = inputs
        self._inputs = given(inputs)
        self._ready: deque[Any] = deque()
        self._failure: Exception | None = None  # of the inputs, which comes after those that are ready
        self._contents: dict[str, Any] = {}

    def __iter__(self) -> Iterator[Any]:
        return self

    def __length_hint__(self) -> int:
        return length_hint(self._given)

    def __next__(self) -> Any:
        if not self._ready and self._failure is None:
            self._read_ahead()
        if not self._ready:
            failure, self._failure = self._failure, None
            raise StopIteration if failure is None else failure
        item = self._ready.popleft()
        return self._filled(item, item)

    def _read_ahead(self) -> None:
        """Pull inputs up to the first without an image of a store."""
        names: list[str] = []
        try:
            for item in self._inputs:
                self._ready.append(item)
                found = list(_remote_names(item))
                names += found
                if not found or len(names) >= AHEAD:
                    break
        except Exception as error:  # noqa: BLE001 - it is raised in its turn
            self._failure = error
        self._contents = _read(names) if names else {}

    def _filled(self, value: Any, item: Any) -> Any:
        if isinstance(value, (tuple, list)):
            filled = [self._filled(one, item) for one in value]
            return tuple(filled) if isinstance(value, tuple) else filled
        image = _remote_image(value)
        if image is None:
            return value
        document = Document(uri=image.value, blob=self._content(image.value, item))
        return Image(document, image.allow_private, image.max_pixels)

    def _content(self, name: str, item: Any) -> bytes:
        found = self._contents.get(name)
        if isinstance(found, bytes):
            return found
        if found is None:
            scheme = name.partition('://')[0]
            error = InputError(
                f'{shorten(name)} may be at a private address: if it is to be trusted, allow the scheme {scheme!r} '
                'with Image(url, allow_private=True), or --allow-private on the command line'
            )
        elif isinstance(found, InputError):
            error = InputError(str(found))
        elif isinstance(found, FileNotFoundError):
            error = InputError(f'no such image file: {shorten(name)}')
        else:
            error = InputError(f'{shorten(name)} cannot be read ({type(found).__name__}: {found})')
        if found is None or isinstance(found, ITEMS_FAULT):
            error.item = item  # anything else is the fault of the store or the way to it
        raise error from found


def _remote_image(value: Any) -> Image | None:
    """The image that a value stands for, if its content is in another file system."""
    if isinstance(value, str) and looks_like_image(value):
        value = Image(value)
    return value if isinstance(value, Image) and isinstance(value.value, str) and is_remote(value.value) else None


def _remote_names(value: Any) -> Iterator[str]:
    """Names of the images within an input that may be read from other file systems."""
    if isinstance(value, (tuple, list)):
        for one in value:
            yield from _remote_names(one)
        return
    image = _remote_image(value)
    if image is not None and (image.allow_private or image.value.partition('://')[0].lower() in STORES):
        yield image.value


def _read(names: list[str]) -> dict[str, Any]:
    """Contents by name, or what went wrong."""
    found: dict[str, Any] = {}
    by_system: dict[Any, list[tuple[str, str]]] = {}
    for name in names:
        try:
            system, path = file_system(name)
        except InputError as error:
            if not isinstance(error.__cause__, ValueError):  # which says that the name is of no use
                raise
            found[name] = error
            continue
        by_system.setdefault(system, []).append((name, path))
    for system, ones in by_system.items():
        paths = [path for _, path in ones]
        with explained(ones[0][0], 'read'):
            contents = system.cat_ranges(paths, [None] * len(paths), [None] * len(paths), on_error='return')
        found.update(zip((name for name, _ in ones), contents))
    return found
