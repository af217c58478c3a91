"""Products of a 1x1 convolution on a CPU, by whichever of the library's two ways is faster.

On one thread PyTorch sends 1x1 convolutions to its matrix product, and convolutions with a dilation to oneDNN. On AMD's
processors, which the matrix product's library does not know, oneDNN's kernels are up to twice as fast for 256 channels
and more; on Intel's the matrix product is faster by a quarter to a half for every number of channels. To a kernel of
one tap a dilation means nothing, so it serves to ask for oneDNN; measured in benchmarks/step.py.
"""

import llvmlite.binding
import torch
import torch.nn.functional as F
from torch import Tensor

MIN_CHANNELS = 256
ANY_DILATION = 2
ONEDNN_IS_FASTER = str(llvmlite.binding.get_host_cpu_name()).startswith(("znver", "bdver", "btver"))  # AMD's


def product(matrix: Tensor, signal: Tensor) -> Tensor:
    """matrix (D, C) @ signal (C, n)."""
    if not ONEDNN_IS_FASTER or len(matrix) < MIN_CHANNELS:
        return matrix @ signal
    return F.conv1d(signal[None], matrix[:, :, None], dilation=ANY_DILATION)[0]


def batched_product(matrix: Tensor, signals: Tensor) -> Tensor:
    """matrix (D, C) @ signals (B, C, n), of operations that a compiler sees through."""
    if not ONEDNN_IS_FASTER or len(matrix) < MIN_CHANNELS:
        return matrix.expand(len(signals), -1, -1) @ signals
    return F.conv1d(signals, matrix[:, :, None], dilation=ANY_DILATION)


def add_product(total: Tensor, matrix: Tensor, signal: Tensor) -> None:
    """Add matrix (D, C) @ signal (C, n) to `total` (D, n)."""
    if ONEDNN_IS_FASTER:
        total.add_(product(matrix, signal))
    else:
        total.addmm_(matrix, signal)


def outer_product(grad: Tensor, signal: Tensor) -> Tensor:
    """grad (D, n) @ signal (C, n)^T, the gradient of the matrix above."""
    if not ONEDNN_IS_FASTER or len(grad) < MIN_CHANNELS:
        return grad @ signal.t()
    # The backward pass of a convolution wants a weight for its shape alone; nothing reads its values.
    shape = torch.empty((len(grad), len(signal), 1), dtype=grad.dtype)
    options = ([1], [0], [ANY_DILATION], False, [0], 1, [False, True, False])
    found: Tensor = torch.ops.aten.convolution_backward(grad[None], signal[None], shape, None, *options)[1]
    return found[:, :, 0]
