"""Hypothesis strategies, how many examples they make, and the images and snapshots that tests of input share."""

from __future__ import annotations

import base64
import copy
import io
import os

import numpy as np
from docarray import Document
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

SECONDARY = bool(os.environ.get('TEST_SECONDARY'))
"""Whether another interpreter, the main one, runs all of the tests, so that this one may leave some out."""


def share(examples):
    """How many of so many examples are made here: on the main interpreter all, elsewhere a quarter."""
    return max(1, examples // 4) if SECONDARY else examples


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


# Texts that something on the way may be tempted to change.
ODD_TEXTS = (
    '\0',
    'a\0b\0',
    ' ',
    '\r\n\t',
    '\ufeffwith a mark',
    'e\u0301 is not \xe9, \u212b is not \xc5',
    '\ufb01 \u2460 \uff21',
    '\u202eright to left',
    '\U0001f468\u200d\U0001f469\u200d\U0001f467',
    '\ufffe\uffff\U0010ffff\x7f\x80\x85\u2028',
    '"\\u0000\\ud800 %s {} $ </script>',
    'data:text/plain,x',
    'null',
)


def odd_texts():
    """Those, and what hypothesis thinks of."""
    return st.one_of(st.sampled_from(ODD_TEXTS), texts())


class Tensor:
    """What a torch tensor looks like from outside: pixels only after detach() and cpu()."""

    def __init__(self, pixels, steps=()):
        self.pixels, self.steps = pixels, steps

    def detach(self):
        return Tensor(self.pixels, (*self.steps, 'detach'))

    def cpu(self):
        return Tensor(self.pixels, (*self.steps, 'cpu'))

    def __array__(self, dtype=None, copy=None):
        if self.steps != ('detach', 'cpu'):
            raise TypeError('needs gradients or is on a device')
        return self.pixels

    def __iter__(self):
        raise AssertionError('a tensor is one image')


def image_forms(png, pixels, path):
    """One image in every form that is taken: those that are sent as bytes, and those that are sent as pixels."""
    path.write_bytes(png)
    as_bytes = [
        str(path),
        path,
        path.as_uri(),
        data_uri(png),
        png,
        bytearray(png),
        memoryview(png),
        io.BytesIO(png),
        Document(blob=png),
        Document(uri=str(path)),
    ]
    as_pixels = [
        pixels,
        np.asfortranarray(pixels),
        np.ascontiguousarray(pixels[::-1, ::-1])[::-1, ::-1],
        Image.fromarray(pixels),
        Image.open(io.BytesIO(png)),
        Tensor(pixels),
        Document(tensor=pixels),
    ]
    if pixels.shape[1] not in (1, 3, 4):  # else the last axis is taken for the channels
        as_pixels += [pixels.transpose(2, 0, 1), Tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))]
    return as_bytes, as_pixels


class Hostile:
    """Raises whenever one of its attributes is used; `asked` is the one that raises when it is looked for."""

    def __init__(self, *names, asked=None, error=RuntimeError):
        self.names, self.asked, self.error = names, asked, error

    def __getattr__(self, name):
        if name == self.asked:
            raise self.error('hostile')
        if name in self.names:
            return self
        raise AttributeError(name)

    def __call__(self, *arguments, **named):
        raise self.error('hostile')


class HostilePath(Hostile):
    def __fspath__(self):
        raise self.error('hostile')


class HostileArray(Hostile):
    def __array__(self, *arguments, **named):
        raise self.error('hostile')


def hostile():
    """Objects that look like something that is taken, until they are used."""
    errors = st.sampled_from([RuntimeError, KeyError, TypeError, AttributeError, MemoryError, RecursionError, OSError])
    attributes = ['read', 'seekable', 'tell', 'seek', 'detach', 'cpu', '__array_interface__', '__array__']
    return st.builds(
        lambda kind, names, asked, error: kind(*names, asked=asked, error=error),
        st.sampled_from([Hostile, HostilePath, HostileArray]),
        st.lists(st.sampled_from(attributes), unique=True),
        st.none() | st.sampled_from(attributes),
        errors,
    )


def released():
    """A memoryview of which nothing is left."""
    view = memoryview(b'x')
    view.release()
    return view


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
        hostile(),
        st.builds(released),
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


DTYPES = (
    *('?', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8', 'c8', 'c16'),
    *('>i2', '>i4', '>u8', '>f2', '>f4', '>f8', '>c8', 'S3', 'U2', '>U2', 'M8[s]', 'm8[ms]'),
)
REAL = ('u1', 'i2', 'i8', 'f2', 'f4', 'f8', '>f4', '?')


@st.composite
def arrays(draw, dtypes=DTYPES, min_side=0):
    """Arrays of every element type, also of no dimension, without elements, and with gaps in memory."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    finite = {'allow_nan': False, 'allow_infinity': False} if dtype.kind in 'fc' else {}
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=min_side, max_side=4))
    array = draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(dtype, **finite)))
    return draw(st.sampled_from([array, array.T, array[::-1] if array.ndim else array, np.asfortranarray(array)]))


def plain_values():
    """Tags and parameters as they are after a journey: all numbers are floats."""
    return st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | texts(0),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(0), inner, max_size=3),
        max_leaves=8,
    )


@st.composite
def documents(draw, depth=1, dtypes=DTYPES):
    """Documents with any of their fields set, and others within them."""
    words, names = st.text(st.characters(blacklist_categories=['Cs']), max_size=20), st.text('abc_', min_size=1)
    document = Document(id=draw(texts()), **draw(_contents(dtypes)))
    if draw(st.booleans()):
        document.embedding = draw(arrays(dtypes, min_side=1))
    document.tags = draw(st.dictionaries(texts(0), plain_values(), max_size=3))
    if draw(st.booleans()):
        document.uri, document.weight, document.location = draw(words), 0.5, [1.0, 2.5]
        document.granularity, document.modality, document.offset = 2, draw(words), 0.25
        document.parent_id, document.adjacency = draw(words), 3
    for name in draw(st.lists(names, max_size=2, unique=True)):
        document.scores[name].value = draw(st.floats(width=32, allow_nan=False, allow_infinity=False))
        document.scores[name].op_name = draw(words)
        document.scores[name].description = draw(words)
        document.evaluations[name].ref_id = draw(words)
    if depth:
        document.matches = draw(st.lists(documents(depth - 1, dtypes), max_size=2))
        document.chunks = draw(st.lists(documents(depth - 1, dtypes), max_size=2))
    return document


def _contents(dtypes):
    return st.one_of(
        st.just({}),
        st.builds(dict, text=texts()),
        st.builds(dict, blob=st.binary(min_size=1, max_size=20)),
        st.builds(dict, tensor=arrays(dtypes, min_side=1)),  # docarray makes float64 of those without elements
    )


SCALARS = {
    'cls_name': st.sampled_from(['numpy', 'list', 'scipy', 'torch', 'tensorflow', 'paddle', '']),
    'dtype': st.sampled_from(
        [*DTYPES, '', 'O', '|O', 'f4,O', 'f4,i2', '2f4', 'V3', 'a3', 'U', 'float', '>', 'f99', '?b']
    ),
    'shape': st.sampled_from([0, 1, 2, 3, 2**31, 2**32 - 1]),
    'sparse_format': st.sampled_from(['csr', 'coo', 'bsr', 'csc', 'x']),
}


@st.composite
def messages(draw, kind, depth=3):
    """Messages with any of their fields set to anything; those that arrays are made of to what may be dangerous."""
    message = kind()
    for field in draw(
        st.lists(st.sampled_from(list(kind.DESCRIPTOR.fields)), max_size=5, unique_by=lambda one: one.name)
    ):
        _fill(draw, message, field, depth)
    return message


def _fill(draw, message, field, depth):
    held = getattr(message, field.name)
    repeated = not isinstance(held, (str, bytes, int, float)) and not hasattr(held, 'ListFields')
    if field.message_type is None:
        value = draw(SCALARS[field.name] if field.name in SCALARS else _scalar(field))
        if repeated:
            held.extend([value] * draw(st.integers(1, 3)))
        else:
            setattr(message, field.name, value)
    elif field.message_type.GetOptions().map_entry and not hasattr(held, 'get_or_create'):  # a map of strings
        held.update(draw(st.dictionaries(texts(0), texts(0), max_size=2)))
    elif hasattr(held, 'get_or_create'):  # a map of messages
        inner = held.get_or_create(draw(st.sampled_from(['sparse_format', 'a', ''])))
        if depth:
            inner.CopyFrom(draw(messages(type(inner), depth - 1)))
    elif depth:
        inner = held.add() if repeated else held
        inner.CopyFrom(draw(messages(type(inner), depth - 1)))


def _scalar(field):
    kinds = {
        field.CPPTYPE_STRING: st.binary(max_size=40) if field.type == field.TYPE_BYTES else texts(0),
        field.CPPTYPE_DOUBLE: st.floats(),
        field.CPPTYPE_FLOAT: st.floats(width=32),
        field.CPPTYPE_BOOL: st.booleans(),
    }
    return kinds.get(field.cpp_type, st.integers(0, 3))


@st.composite
def damaged(draw, data):
    """Bytes of which some are changed, left out or doubled."""
    for _ in range(draw(st.integers(1, 4))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(0, 8))
        filling = draw(st.sampled_from([b'', data[at : at + size] * 2]) | st.binary(max_size=size))
        data = data[:at] + filling + data[at + size :]
    return data


def encoded(image, kind='PNG', **options):
    """The bytes of an image file, from a PIL image or an array of one."""
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height=40, width=30, channels=3):
    """Pixels that no codec can simplify; the same ones each time."""
    return np.random.RandomState(7).randint(0, 256, (height, width, channels)).astype(np.uint8)


def texts_and_images(task):
    """Documents for `encode`, or for `rank` with candidates; the same ones each time."""
    generator = np.random.RandomState(1)
    pixels = [generator.randint(0, 256, (30, 40, 3)).astype(np.uint8) for _ in range(4)]
    documents = [Document(text='a cat'), Document(tensor=pixels[0]), Document(text='a dog'), Document(tensor=pixels[1])]
    if task == 'rank':
        for document in documents:
            document.matches = [Document(text='a'), Document(tensor=pixels[2]), Document(tensor=pixels[3])]
    return documents


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
