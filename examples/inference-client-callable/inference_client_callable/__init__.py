"""Plain functions as models.

A module with functions of these names is a model, and so is any other object that has them:

    def encode_text(texts): ...           # list of str -> array of shape (n, d)
    def encode_image(images): ...         # list of uint8 arrays of shape (height, width, 3) -> array of shape (n, d)
    def caption_image(images): ...        # -> list of str
    def answer(images, prompts): ...      # -> list of str

`register.py` says how it gets the name under which it is found.
"""

from __future__ import annotations

from inference_client import hookimpl

from .engine import engine

__all__ = ['engine', 'inference_client_engines']


@hookimpl
def inference_client_engines() -> dict[str, str]:
    from .register import registered

    return {name: f'inference_client_callable.engines:{name}' for name in registered()}
