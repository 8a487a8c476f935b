"""Arrays as `NdArrayProto`."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from docarray.proto.io.ndarray import flush_ndarray

from ..errors import ProtocolError

MAX_SIDE = 1 << 24  # rows or columns of a sparse matrix, which take memory though nothing is in them


def write_array(message: Any, value: Any) -> None:
    """Write any array that docarray knows into a `NdArrayProto`."""
    if isinstance(value, np.ndarray):
        message.cls_name = 'numpy'
        message.dense.buffer = value.tobytes()
        message.dense.shape.extend(value.shape)
        message.dense.dtype = value.dtype.str
    else:
        flush_ndarray(message, value)


def read_array(message: Any) -> Any:
    """Read a `NdArrayProto`: a numpy array of one's own, a list if one was sent, or a sparse matrix.

    What was dense in another framework comes as numpy, so that no server can make a client import one.
    """
    if message.WhichOneof('content') == 'sparse':
        return _sparse(message)
    array = _dense(message.dense)
    return array.tolist() if message.cls_name == 'list' else array


def _sparse(message: Any) -> Any:
    if message.cls_name != 'scipy':
        raise ProtocolError(f'a sparse array of {message.cls_name!r} came: expected scipy or a dense array')
    shape = tuple(message.sparse.shape)
    if len(shape) != 2 or max(shape) > MAX_SIDE:
        raise ProtocolError(f'a sparse array of shape {shape} came: expected 2 sides of at most {MAX_SIDE:,}')
    indices, values = _dense(message.sparse.indices), _dense(message.sparse.values)
    if indices.shape != (values.size, 2) or indices.dtype.kind not in 'iu' or values.dtype.kind not in 'biufc':
        raise ProtocolError('a sparse array came whose indices do not go with its values')
    from scipy.sparse import coo_matrix

    kind = message.parameters.fields['sparse_format'].string_value
    return coo_matrix((values, indices.T), shape=shape).asformat(kind or 'coo')


def _dense(message: Any) -> np.ndarray[Any, Any]:
    dtype = _dtype(message.dtype or 'f8')
    shape, buffer = message.shape, message.buffer  # looked up once: each time makes another copy
    flat = len(shape) == 1
    if (shape[0] if flat else math.prod(shape)) * dtype.itemsize != len(buffer):
        raise ProtocolError(f'an array of shape {tuple(shape)} and dtype {dtype} came with {len(buffer)} bytes')
    # Writable like a copy, but numpy's own lets other threads run, and then waits for its turn again.
    array: np.ndarray[Any, Any] = np.frombuffer(bytearray(buffer), dtype)
    return array if flat else array.reshape(tuple(shape))


_dtype = functools.lru_cache(maxsize=64)(np.dtype)
