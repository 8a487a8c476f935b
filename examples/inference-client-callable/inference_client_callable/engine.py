"""An engine of functions."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

import numpy as np

from inference_client import InputError, MultimodalEngine

if TYPE_CHECKING:
    from numpy.typing import NDArray

Function = Callable[..., Any]

TASKS = {
    'encode_text': ('encode', 'rank'),
    'encode_image': ('encode', 'rank'),
    'caption_image': ('caption',),
    'answer': ('vqa',),
}
"""What each function makes possible."""


def engine(**functions: Function) -> type[MultimodalEngine]:
    """The class of an engine that answers with functions.

    Each is called with a list of what one request holds, by several threads at once, and with those of the
    caller's other keywords that its signature names. Those travel as parameters: over a wire, all numbers are
    floats.

    Args:
        functions: `encode_text(texts)`, `encode_image(images)`, `caption_image(images)` and
            `answer(images, prompts)`, or some of these; an image is uint8 of shape (height, width, 3).

    Raises:
        ValueError: there is no function, or one of another name.
    """
    unknown = sorted(functions.keys() - TASKS.keys())
    if unknown or not functions:
        got = repr(unknown[0]) if unknown else 'none'
        raise ValueError(f'expected functions of the names {", ".join(TASKS)}: got {got}')
    for name, function in functions.items():
        if not callable(function):
            raise ValueError(f'{name} is a {type(function).__name__}: expected a function')

    class CallableEngine(_CallableEngine):
        tasks = frozenset(task for name in functions for task in TASKS[name])
        _functions = functions

    return CallableEngine


class _CallableEngine(MultimodalEngine):
    _functions: Mapping[str, Function]

    def encode_text(self, texts: Sequence[str], parameters: Mapping[str, Any]) -> NDArray[np.float32]:
        return self._embeddings('encode_text', texts, parameters)

    def encode_image(self, images: Sequence[NDArray[np.uint8]], parameters: Mapping[str, Any]) -> NDArray[np.float32]:
        return self._embeddings('encode_image', images, parameters)

    def caption_image(self, images: Sequence[NDArray[np.uint8]], parameters: Mapping[str, Any]) -> list[str]:
        return self._call('caption_image', [images], parameters)  # type: ignore[no-any-return]

    def answer(
        self, images: Sequence[NDArray[np.uint8]], prompts: Sequence[str], parameters: Mapping[str, Any]
    ) -> list[str]:
        return self._call('answer', [images, prompts], parameters)  # type: ignore[no-any-return]

    def _embeddings(self, name: str, values: Sequence[Any], parameters: Mapping[str, Any]) -> NDArray[np.float32]:
        return np.asarray(self._call(name, [values], parameters), np.float32)

    def _call(self, name: str, batches: Sequence[Sequence[Any]], parameters: Mapping[str, Any]) -> Any:
        function = self._functions.get(name)
        if function is None:
            raise NotImplementedError(f'it has no function {name}')
        _check_named(name, function, len(batches), parameters)
        return function(*map(list, batches), **parameters)


def _check_named(name: str, function: Function, taken: int, parameters: Mapping[str, Any]) -> None:
    """Raise `InputError` unless the function takes the parameters."""
    if not parameters:  # some builtins tell nothing of their signature
        return
    rest = list(inspect.signature(function).parameters.values())
    if any(one.kind is one.VAR_KEYWORD for one in rest):
        return
    named = [one.name for one in rest[taken:] if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    unknown = sorted(parameters.keys() - set(named))
    if unknown:
        has = f'it has {", ".join(named)}' if named else 'it has none'
        raise InputError(f'{name} has no parameter {unknown[0]!r}: {has}')
