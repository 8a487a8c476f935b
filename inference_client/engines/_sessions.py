"""Models in ONNX files, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def session(model: Path | bytes, threads: int = 0) -> Any:
    """Load a model; what is returned may be shared by threads.

    Args:
        model: the file, or what stands in it.
        threads: how many a call computes with; 0 means one a core.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    content = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
