"""Hypothesis strategies, and the images and snapshots that tests of input share."""

from __future__ import annotations

import base64
import copy
import io

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

SURROGATES = st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF)


def texts(min_size=1):
    """Any text that can be sent."""
    return st.text(st.characters(blacklist_categories=('Cs',)), min_size=min_size)


def surrogate_texts():
    """Text with a lone surrogate in it, which UTF-8 cannot hold."""
    return st.builds('{}{}{}'.format, texts(0), SURROGATES, texts(0))


def hostile_names():
    """Strings that name no image: NULs, lone surrogates, and beginnings of data URIs and URLs."""
    starts = [
        '',
        '\0',
        'data:',
        'data:,',
        'data:image/png,',
        'data:image/png;base64,',
        'DATA:;',
        'file://',
        'http://[',
    ]
    return st.builds('{}{}'.format, st.sampled_from(starts), st.one_of(texts(0), surrogate_texts()))


def junk():
    """Values that are no text, image or document, nested in lists or not."""
    atoms = st.one_of(
        st.booleans(),
        st.integers(),
        st.floats(),
        st.complex_numbers(),
        st.binary(),
        hostile_names(),
        st.dictionaries(texts(0), st.integers(), max_size=2),
        st.frozensets(st.integers(), max_size=2),
        st.sampled_from(
            [
                object(),
                object,
                np.ndarray,
                Image.Image,
                io.BytesIO,
                io,
                len,
                ...,
                range(3),
                np.array([None, 'a']),
            ]
        ),
        hnp.arrays(st.sampled_from([bool, np.int64, np.float32]), hnp.array_shapes(min_dims=0, max_side=4)),
    )
    return st.recursive(atoms, lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=5)


def pixels(channels=(1, 3, 4)):
    """uint8 arrays of shape (height, width, channels)."""
    sides = st.integers(1, 12)
    return st.tuples(sides, sides, st.sampled_from(channels)).flatmap(lambda shape: hnp.arrays(np.uint8, shape))


def tags():
    """What people keep in a document's tags."""
    values = st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), texts(0)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts(), inner, max_size=3)),
        max_leaves=5,
    )
    return st.dictionaries(texts(), values, max_size=3)


def encoded(image, kind='PNG', **options):
    """The bytes of an image file, from a PIL image or an array of one."""
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height=40, width=30, channels=3):
    """Pixels that no codec can simplify; the same ones each time."""
    return np.random.RandomState(7).randint(0, 256, (height, width, channels)).astype(np.uint8)


def data_uri(data, kind='image/png'):
    """A data URI of bytes."""
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def snapshot(document):
    """All that a document holds, to compare before and after."""
    held = {}
    for name in document.non_empty_fields:
        value = getattr(document, name)
        if name in ('matches', 'chunks'):
            held[name] = [snapshot(inner) for inner in value]
        elif name == 'scores':
            held[name] = {key: score.value for key, score in value.items()}
        elif isinstance(value, np.ndarray):
            held[name] = (value.dtype, value.shape, value.tobytes())
        else:
            held[name] = copy.deepcopy(value)
    return held
