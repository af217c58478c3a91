"""How numbers are computed: by how many threads, and with which products of float32 on a GPU."""

import torch


def set_numerics(*, num_threads: int | None, tf32: bool) -> None:
    """Set it for the whole process; every choice is made, whatever was set before.

    num_threads: of PyTorch on a CPU; None = as it is. tf32: let float32 products and convolutions use TensorFloat-32.
    """
    if num_threads is not None:
        # The number of threads decides the order of sums, and with it the last bits of every result.
        torch.set_num_threads(num_threads)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    # A switch of its own, and torch starts with it on: convolutions would use TF32 whatever products do.
    torch.backends.cudnn.allow_tf32 = tf32
