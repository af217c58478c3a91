"""ONNX models that metrics run."""

from pathlib import Path
from typing import Any


def session(path: Path) -> Any:
    """An inference session on one thread of the CPU: the same input gives the same score on any number of cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
