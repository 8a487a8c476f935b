"""Tensors of the Open Inference Protocol v2: what metadata tells of them, and how they travel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np
import orjson

from ...errors import ConfigurationError, ProtocolError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANY = -1  # a size that is not fixed
TYPES: Mapping[str, str] = {'UINT8': '|u1', 'FP16': '<f2', 'FP32': '<f4', 'FP64': '<f8'}
"""Kinds of numbers, as numpy calls them; on the wire they are little-endian."""


@dataclass(frozen=True)
class Spec:
    """What a model's metadata tells of one tensor.

    Attributes:
        shape: -1 where any size will do.
    """

    name: str
    datatype: str
    shape: Sequence[int]

    def __str__(self) -> str:
        return f'{self.name} ({self.datatype} {list(self.shape)})'

    @property
    def batched(self) -> bool:
        """Whether it takes, or gives, something of several inputs: its first size is free."""
        return bool(self.shape) and self.shape[0] == ANY


def specs(metadata: Any, part: str) -> dict[str, Spec]:
    """The tensors in one part, `inputs` or `outputs`, of a model's metadata, by name.

    Raises:
        ProtocolError: this is no metadata.
    """
    found = metadata.get(part) if isinstance(metadata, dict) else None
    try:
        made = [
            Spec(str(one['name']), str(one['datatype']), [int(size) for size in one['shape']]) for one in found or ()
        ]
    except (TypeError, KeyError, ValueError) as error:
        raise ProtocolError(
            f'the metadata of the model has {part} that cannot be read: expected name, datatype and shape of each'
        ) from error
    return {spec.name: spec for spec in made}


@dataclass(frozen=True)
class Tensor:
    """A tensor to be sent.

    Attributes:
        values: an array of the shape; for BYTES a list of texts, or of bytes, which JSON cannot hold.
    """

    name: str
    datatype: str
    shape: Sequence[int]
    values: Any
    parameters: Mapping[str, Any]

    def json(self) -> dict[str, Any]:
        """The tensor with its values, as JSON has it."""
        data = self.values if isinstance(self.values, list) else self.values.ravel().tolist()
        return {**self._head(self.parameters), 'data': data}

    def binary(self) -> tuple[dict[str, Any], bytes]:
        """The tensor and, apart, its values, as the binary extension has them."""
        if isinstance(self.values, list):
            data = b''.join(len(value).to_bytes(4, 'little') + value for value in self.values)
        else:
            data = self.values.tobytes()
        return self._head({**self.parameters, 'binary_data_size': len(data)}), data

    def _head(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        head = {'name': self.name, 'datatype': self.datatype, 'shape': list(self.shape)}
        return {**head, 'parameters': dict(parameters)} if parameters else head


def text_tensor(spec: Spec, texts: Sequence[str]) -> Tensor:
    """Texts as BYTES; JSON has these as strings.

    Raises:
        ConfigurationError: it takes no texts.
    """
    if spec.datatype != 'BYTES':
        raise ConfigurationError(f'the input {spec} takes no texts: expected BYTES')
    return Tensor(spec.name, 'BYTES', shape_for(spec, len(texts)), list(texts), {})


def shape_for(spec: Spec, count: int) -> list[int]:
    """The shape of a tensor with one element for each of some inputs."""
    return [count, *[1] * (len(spec.shape) - 1)]


def output_of(answer: Any, name: str) -> dict[str, Any]:
    """One tensor of an answer.

    Raises:
        ProtocolError: it is not there, or has no shape.
    """
    found = answer.get('outputs') if isinstance(answer, dict) else None
    for one in found if isinstance(found, list) else ():
        if isinstance(one, dict) and one.get('name') == name:
            shape = one.get('shape')
            if isinstance(shape, list) and all(isinstance(size, int) and 0 <= size < 1 << 40 for size in shape):
                return one
    raise ProtocolError(f'the answer has no output {name!r} with a shape')


def numbers(answer: Any, name: str, count: int) -> NDArray[np.float32]:
    """An output as finite numbers, of shape (count, n).

    Raises:
        ProtocolError: it has another shape, such as one vector for each token, or other values.
    """
    output = output_of(answer, name)
    shape = output['shape']
    rest = shape[1:] if shape[:1] == [count] else shape if count == 1 else None
    size = math.prod(rest) if rest is not None else 0
    if not rest and shape == [count]:
        size = 1  # a number each
    if not size or (rest and size != max(rest)):
        raise ProtocolError(f'the output {name!r} has the shape {shape}: expected {count} and the size of one result')
    try:
        with np.errstate(over='ignore'):
            found = np.asarray(output.get('data'), np.float32).ravel()
    except (TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f'the output {name!r} holds no numbers: {error}') from error
    if found.size != count * size or not np.isfinite(found).all():
        raise ProtocolError(f'the output {name!r} of shape {shape} has {found.size} values, or not finite ones')
    return found.reshape(count, size)


def text(answer: Any, name: str) -> str:
    """An output that is one text.

    Raises:
        ProtocolError: it is something else.
    """
    data = output_of(answer, name).get('data')
    while isinstance(data, list) and len(data) == 1:
        (data,) = data
    if isinstance(data, bytes):
        data = data.decode(errors='replace')
    if not isinstance(data, str):
        raise ProtocolError(f'the output {name!r} is no text')
    return data


def unpacked(content: bytes, head: str | None) -> Any:
    """What an answer says, with the values that came as bytes where JSON has them.

    Args:
        content: its body.
        head: its header `Inference-Header-Content-Length`: how many bytes of it are JSON.

    Raises:
        ProtocolError: it cannot be read.
    """
    try:
        size = len(content) if head is None else int(head)
        answer, rest = orjson.loads(content[:size]), memoryview(content)[size:]
        for output in answer['outputs']:
            length = (output.get('parameters') or {}).get('binary_data_size')
            if length is not None:
                output['data'] = _values(output['datatype'], bytes(rest[:length]))
                rest = rest[length:]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f'the answer is none of the Open Inference Protocol: {error}') from error
    return answer


def _values(datatype: str, data: bytes) -> Any:
    if datatype != 'BYTES':
        return np.frombuffer(data, TYPES[datatype])
    values = []
    while data:
        end = 4 + int.from_bytes(data[:4], 'little')
        values.append(data[4:end])
        data = data[end:]
    return values
