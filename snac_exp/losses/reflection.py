"""Signals mirrored at their ends."""

import torch
import torch.nn.functional as F
from torch import Tensor


def reflect(signals: Tensor, before: int, after: int) -> Tensor:
    """(B, C, N) -> (B, C, before + N + after), mirrored about the first and the last sample; N > before and after."""
    if not torch.are_deterministic_algorithms_enabled():
        return F.pad(signals, (before, after), mode="reflect")
    # The library adds gradients of mirrored samples in no fixed order on a GPU, and is refused where one is asked for.
    start, end = signals[..., 1 : before + 1].flip(-1), signals[..., signals.shape[-1] - after - 1 : -1].flip(-1)
    return torch.cat((start, signals, end), dim=-1)
