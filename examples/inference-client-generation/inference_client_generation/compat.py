"""Bare values for plain inputs, as releases 0.0.7 and 0.0.8 of the original gave them.

    from inference_client_generation.compat import unboxed

    model = unboxed(Client().get_model('grpc://127.0.0.1:51000'))
    model.encode(text='a cat')            # an array, in place of documents
    model.generate('Once upon a time')    # a str

What is given as `docs=` comes back as documents; what is None counts as not given.
"""

from __future__ import annotations

from typing import Any, Callable

from inference_client import Model, Text


def unboxed(model: Model) -> Unboxed:
    """A model whose tasks give bare values."""
    return Unboxed(model)


class Unboxed:
    """The tasks of the original's `Model`, with its arguments and results.

    Attributes:
        model: that runs them.
        model_name: its name.
        host: where it is.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.model_name = model.spec.name
        self.host = model.url

    def encode(self, **arguments: Any) -> Any:
        """An embedding for a text or an image, or a matrix for several."""
        given = arguments.get('image') if arguments.get('text') is None else arguments['text']
        alone = isinstance(given, (str, bytes)) or hasattr(given, 'shape')
        return self._run('encode', arguments, lambda found: found[0].embedding if alone else found.embeddings)

    def rank(self, *, text: Any = None, image: Any = None, **arguments: Any) -> Any:
        """Pairs (content or name of a candidate, its scores), best first."""
        if text is not None:
            arguments['reference'] = Text(text)
        elif image is not None:
            arguments['reference'] = image
        return self._run(
            'rank', arguments, lambda found: [(one.uri or one.content, one.scores) for one in found[0].matches]
        )

    def caption(self, **arguments: Any) -> Any:
        """The caption of an image."""
        return self._run('caption', arguments, _response)

    def vqa(self, **arguments: Any) -> Any:
        """The answer to a question about an image."""
        return self._run('vqa', arguments, _response)

    def upscale(self, **arguments: Any) -> Any:
        """The bytes of an image; needs the plugin inference-client-upscale."""
        named = arguments.get('image_format')
        if isinstance(named, str):
            arguments['image_format'] = 'jpeg' if named.lower() == 'jpg' else named.lower()
        return self._run('upscale', arguments, lambda found: found[0].blob)

    def generate(self, prompt: Any = None, **arguments: Any) -> Any:
        """The text for a prompt, or a list of texts."""
        arguments = arguments if prompt is None else {'prompt': prompt, **arguments}
        return self._run('generate', arguments, lambda found: _alone([one.tags['response'] for one in found]))

    def text_to_image(self, prompt: Any = None, **arguments: Any) -> Any:
        """The image for a prompt, or a list of images: encoded bytes, or arrays where the model gives these."""
        return self._run('text_to_image', {'prompt': prompt, **arguments}, _images)

    def image_to_image(self, image: Any = None, prompt: Any = None, **arguments: Any) -> Any:
        """The image made of an image and a prompt, or a list of images."""
        return self._run('image_to_image', {'image': image, 'prompt': prompt, **arguments}, _images)

    def _run(self, task: str, arguments: dict[str, Any], unbox: Callable[[Any], Any]) -> Any:
        given = {name: value for name, value in arguments.items() if value is not None}
        arguments = {**given.pop('parameters', {}), **given}
        if 'request_size' in arguments:
            arguments['batch_size'] = arguments.pop('request_size')
        found = self.model.run(task, **arguments)
        return found if arguments.get('docs') is not None else unbox(found)


def _response(found: Any) -> Any:
    return found[0].tags['response']


def _images(found: Any) -> Any:
    return _alone([one.blob or one.tensor for one in found[0].matches])


def _alone(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
