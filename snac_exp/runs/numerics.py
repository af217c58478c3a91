"""How numbers are computed: by how many threads, with which products of float32, in which order."""

import os

import torch

CUBLAS_WORKSPACE = ":4096:8"
"""Workspace with which cuBLAS adds in one order, one of the two that NVIDIA names: eight buffers of 4 MiB."""


def set_numerics(*, num_threads: int | None, tf32: bool, deterministic: bool) -> None:
    """Set it for the whole process, before CUDA starts; every choice is made, whatever was set before.

    num_threads: of PyTorch on a CPU; None = as it is. tf32: let float32 products and convolutions use TensorFloat-32.
    deterministic: every operation adds in one order; one that cannot ends the run with an error of torch that names it.
    """
    if num_threads is not None:
        # The number of threads decides the order of sums, and with it the last bits of every result.
        torch.set_num_threads(num_threads)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    # A switch of its own, and torch starts with it on: convolutions would use TF32 whatever products do.
    torch.backends.cudnn.allow_tf32 = tf32
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = False  # it chooses by the clock, so two runs may choose differently
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
