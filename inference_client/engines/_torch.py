"""Where PyTorch computes and with what numbers. It is imported by the functions, not with this module."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Mapping

from ..errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OPTIONS = ('device', 'precision')  # that a name may have after its `?`
DEVICE_VARIABLE = 'INFERENCE_DEVICE'
PRECISION_VARIABLE = 'INFERENCE_PRECISION'
PRECISIONS = ('fp32', 'fp16', 'bf16')
_DEVICE = re.compile(r'auto|cpu|mps|cuda(:\d+)?')


def device_of(options: Mapping[str, str]) -> str:
    """The device for a model: the option `device`, else `INFERENCE_DEVICE`, else `auto`: the first GPU, if any.

    Raises:
        ConfigurationError: there is no such device.
    """
    import torch

    wanted = options.get('device') or os.environ.get(DEVICE_VARIABLE) or 'auto'
    if not _DEVICE.fullmatch(wanted):
        raise ConfigurationError(f'there is no device {wanted!r}: expected auto, cpu, cuda, cuda:NUMBER or mps')
    count, mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    if wanted == 'auto':
        return 'cuda' if count else 'mps' if mps else 'cpu'
    here = {'cpu': True, 'mps': mps}.get(wanted, int(wanted.partition(':')[2] or 0) < count)
    if not here:
        there = ', '.join(['cpu', *['mps'] * mps, *(f'cuda:{number}' for number in range(count))])
        raise ConfigurationError(f'PyTorch sees no device {wanted!r} here: it has {there}')
    return wanted


def precision_of(options: Mapping[str, str], device: str, half: str = 'fp16') -> str:
    """The numbers to compute with: the option `precision`, else `INFERENCE_PRECISION`, else half on CUDA.

    Args:
        options: of the name.
        device: where.
        half: which of the two kinds of half precision the model takes.

    Raises:
        ConfigurationError: there are no such numbers.
    """
    default = half if device.startswith('cuda') else 'fp32'
    wanted = options.get('precision') or os.environ.get(PRECISION_VARIABLE) or default
    if wanted not in PRECISIONS:
        raise ConfigurationError(f'there is no precision {wanted!r}: expected {", ".join(PRECISIONS)}')
    return wanted


def dtype_of(precision: str) -> Any:
    """PyTorch's type for a precision."""
    import torch

    return {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}[precision]


def rows_of(tensor: Any) -> NDArray[np.float32]:
    """A tensor as float32 in this machine's memory."""
    rows: NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    return rows
