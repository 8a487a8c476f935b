"""The task: an image in, a larger one out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Sequence

from inference_client import Call, InputError, ProtocolError, Task
from inference_client.inputs import documents, image_documents, image_from_document
from inference_client.tasks.base import not_answered, one_of

from .output import Output
from .settings import SIGNATURES, Settings

if TYPE_CHECKING:
    from docarray import Document, DocumentArray

SIZE = ('width', 'height')


class UpscaleTask(Task['DocumentArray']):
    """A larger image for each image, encoded, in `.blob`; its size is in `tags['width']` and `tags['height']`.

    With `output_path=`, which is never sent, the images are also written once all are there.
    """

    name = 'upscale'

    def prepare(
        self,
        *,
        image: Any = None,
        docs: Any = None,
        scale: Any = None,
        image_format: Any = None,
        quality: Any = None,
        output_path: Any = None,
        overwrite: bool = False,
        **parameters: Any,
    ) -> Call:
        self._output = None if output_path is None else Output(output_path, overwrite)
        if image_format is None and self._output:
            image_format = self._output.image_format
        wished = {'scale': scale, 'image_format': image_format, 'quality': quality}
        wished = {name: value for name, value in wished.items() if value is not None}
        self._format = Settings.read(wished).image_format
        given = one_of(image=image, docs=docs)
        found = image_documents(image) if given == 'image' else documents(docs, image_from_document)
        limited = self._output.checked(found) if self._output else found
        return Call(map(_blank, limited), {**parameters, **wished})

    def prepare_stream(self, inputs: Iterable[Any], /, *, output_path: Any = None, **arguments: Any) -> Call:
        if output_path is not None:
            raise InputError('output_path= does not go with a stream: write each image as it comes')
        return self.prepare(image=iter(inputs), **arguments)

    def accept(self, document: Document) -> Document:
        size = {name: document.tags.get(name) for name in SIZE}
        if not document.blob or not all(isinstance(side, (int, float)) and 1 <= side < 1e6 for side in size.values()):
            raise not_answered("image in .blob with its size in tags['width'] and tags['height']")
        if not document.blob.startswith(SIGNATURES[self._format]):
            raise ProtocolError(f'the answer is no {self._format}, which was asked for: is the server one for upscale?')
        document.tags.update({name: int(side) for name, side in size.items()})  # floats over a wire
        document.tags.pop('error', None)  # only this side says what failed: see `Output.write`
        return document

    def collect(self, documents: Sequence[Document]) -> DocumentArray:
        answered = super().collect(documents)
        if self._output:
            self._output.write(answered, self._format)
        return answered


def _blank(document: Document) -> Document:
    """The document without what is only the original's, or an earlier call's."""
    document.uri = None
    for name in (*SIZE, 'error'):
        document.tags.pop(name, None)
    return document
