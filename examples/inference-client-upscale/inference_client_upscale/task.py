"""The task: an image in, a larger one out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inference_client import Call, ProtocolError, Task
from inference_client.inputs import documents, image_documents, image_from_document
from inference_client.tasks.base import not_answered, one_of

from .settings import SIGNATURES, Settings

if TYPE_CHECKING:
    from docarray import Document

SIZE = ('width', 'height')


class UpscaleTask(Task):
    """A larger image for each image, encoded, in `.blob`; its size is in `tags['width']` and `tags['height']`."""

    name = 'upscale'

    def prepare(
        self,
        *,
        image: Any = None,
        docs: Any = None,
        scale: Any = None,
        image_format: Any = None,
        quality: Any = None,
        **parameters: Any,
    ) -> Call:
        wished = {'scale': scale, 'image_format': image_format, 'quality': quality}
        wished = {name: value for name, value in wished.items() if value is not None}
        self._format = Settings.read(wished).image_format
        given = one_of(image=image, docs=docs)
        found = image_documents(image) if given == 'image' else documents(docs, image_from_document)
        return Call(map(_blank, found), {**parameters, **wished})

    def accept(self, document: Document) -> Document:
        size = {name: document.tags.get(name) for name in SIZE}
        if not document.blob or not all(isinstance(side, (int, float)) and 1 <= side < 1e6 for side in size.values()):
            raise not_answered("image in .blob with its size in tags['width'] and tags['height']")
        if not document.blob.startswith(SIGNATURES[self._format]):
            raise ProtocolError(f'the answer is no {self._format}, which was asked for: is the server one for upscale?')
        document.tags.update({name: int(side) for name, side in size.items()})  # a float over a wire
        return document


def _blank(document: Document) -> Document:
    """The document without the name and the size that are only the original's."""
    document.uri = None
    for name in SIZE:
        document.tags.pop(name, None)
    return document
