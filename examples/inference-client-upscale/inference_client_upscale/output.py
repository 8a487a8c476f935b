"""The files that the caller wants. Only the caller names them; what a server says never does."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Sequence

from inference_client import InputError

if TYPE_CHECKING:
    from docarray import Document


class Output:
    """A file for one image, or a directory for any number.

    A path is a directory if it is one or ends with a slash. Its files are named by the position of
    their image in the input: `000000.jpeg`, `000001.jpeg` and so on. Nothing is overwritten unless it
    is asked for: the file must not exist, the directory must not hold anything.

    Raises:
        InputError: nothing can be written there.
    """

    def __init__(self, path: Any, overwrite: bool) -> None:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise InputError(f'output_path is {path!r}: expected a path')
        self.path = Path(path)
        self.is_directory = self.path.is_dir() or os.fspath(path).endswith(('/', os.sep))
        self._mode = 'wb' if overwrite else 'xb'
        try:
            problem = self._problem(overwrite)
        except OSError as error:
            problem = str(error)
        if problem:
            raise InputError(f'output_path: cannot write to {str(self.path)!r}: {problem}')

    def _problem(self, overwrite: bool) -> str | None:
        if not self.path.parent.is_dir():
            return f'there is no directory {str(self.path.parent)!r}; make it first'
        if self.is_directory and self.path.exists() and not self.path.is_dir():
            return 'it is no directory'
        taken = any(self.path.iterdir()) if self.path.is_dir() else os.path.lexists(self.path)
        if taken and not overwrite:
            what = 'the directory is not empty' if self.is_directory else 'it exists'
            return f'{what}; choose another, or give overwrite=True'
        return None

    def checked(self, documents: Iterable[Document]) -> Iterable[Document]:
        """The documents; one file takes one."""
        if self.is_directory:
            return documents
        first = list(islice(documents, 2))
        if len(first) > 1:
            raise InputError('output_path is a file and there are several images: give a directory, ending with /')
        return first

    @property
    def image_format(self) -> str:
        """What the ending of the file says; `jpeg` where it says nothing."""
        return 'png' if self.path.suffix.lower() == '.png' and not self.is_directory else 'jpeg'

    def write(self, documents: Sequence[Document], ending: str) -> None:
        """Write the images; a document that failed alone (`on_item_error='return'`) has none.

        Raises:
            InputError: a file cannot be written, or came to exist meanwhile.
        """
        try:
            if self.is_directory:
                self.path.mkdir(exist_ok=True)
            for index, document in enumerate(documents):
                if 'error' in document.tags:
                    continue
                path = self.path / f'{index:06d}.{ending}' if self.is_directory else self.path
                with path.open(self._mode) as file:
                    file.write(document.blob)
        except OSError as error:
            raise InputError(f'an image cannot be written: {error}; the results are in error.completed') from error
