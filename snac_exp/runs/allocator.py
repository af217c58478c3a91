"""How torch keeps memory of a GPU, chosen before torch is imported, which may read it then. No torch here."""

import os
import sys
from importlib.metadata import version

OLD, NEW = "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"
"""The variable's name; from torch 2.9 on it is the second, and the first one is warned about."""

GROWING = "expandable_segments:True"


def prefer_growing_segments() -> None:
    """Let blocks of memory grow; what the user has set stays.

    Every stage of a curriculum has tensors of other sizes, for which blocks of fixed sizes would lie half empty.
    """
    if sys.platform != "linux" or OLD in os.environ or NEW in os.environ:  # other systems have none
        return
    major, minor = (int(number) for number in version("torch").split(".")[:2])
    os.environ[NEW if (major, minor) >= (2, 9) else OLD] = GROWING
