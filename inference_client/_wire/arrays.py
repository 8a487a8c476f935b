"""Arrays as `NdArrayProto`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from docarray.proto.io.ndarray import flush_ndarray, read_ndarray

from ..errors import ProtocolError


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
        if message.cls_name != 'scipy':
            raise ProtocolError(f'a sparse array of {message.cls_name!r} came: expected scipy or a dense array')
        return read_ndarray(message)
    array = _dense(message.dense)
    return array.tolist() if message.cls_name == 'list' else array


def _dense(message: Any) -> np.ndarray[Any, Any]:
    dtype = np.dtype(message.dtype or 'f8')
    shape = tuple(message.shape)
    if math.prod(shape) * dtype.itemsize != len(message.buffer):
        raise ProtocolError(f'an array of shape {shape} and dtype {dtype} came with {len(message.buffer)} bytes')
    array: np.ndarray[Any, Any] = np.frombuffer(message.buffer, dtype=dtype).reshape(shape).copy()
    return array
