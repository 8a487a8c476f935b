"""Calls of a model over the Open Inference Protocol v2: tensors as a body, in JSON or as bytes behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from .http import HttpCall, post
from .tensors import TYPES, Spec, Tensor

HEAD = 'Inference-Header-Content-Length'  # of a body whose JSON is followed by the values of tensors


@dataclass(frozen=True)
class InferCall(HttpCall):
    """A call of a model, and the output that is wanted."""

    output: str = ''


def infer_call(
    path: str, output: Spec, tensors: Sequence[Tensor], binary: bool, inputs: int, parameters: Mapping[str, Any]
) -> InferCall:
    """The call that gives tensors to a model.

    Args:
        path: of the model, to infer.
        output: which is wanted.
        tensors: its inputs.
        binary: whether the server takes and gives values as bytes.
        inputs: how many texts and images there are in the tensors.
        parameters: of the request.
    """
    heads, bodies = zip(*(_packed(tensor, binary) for tensor in tensors))
    wanted: dict[str, Any] = {'name': output.name}
    if binary and output.datatype in TYPES:
        wanted['parameters'] = {'binary_data': True}
    body: dict[str, Any] = {'inputs': heads, 'outputs': [wanted]}
    if parameters:
        body['parameters'] = dict(parameters)
    call = post(path, body)
    data = b''.join(bodies)
    headers = {HEAD: str(len(call.data)), 'Content-Type': 'application/octet-stream'} if data else {}
    return InferCall(call.method, call.path, call.data + data, inputs, headers, output=output.name)


def output_name(call: HttpCall) -> str:
    """The output that a call wants."""
    return call.output if isinstance(call, InferCall) else ''


def _packed(tensor: Tensor, binary: bool) -> tuple[dict[str, Any], bytes]:
    """A tensor in JSON, and what of it comes behind that."""
    texts = tensor.datatype == 'BYTES' and isinstance(tensor.values[0], str)
    return tensor.binary() if binary and not texts else (tensor.json(), b'')
