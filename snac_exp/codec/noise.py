"""Noise blocks whose noise has a seed of its own."""

import torch
from snac.layers import NoiseBlock
from torch import Tensor


class SeededNoiseBlock(NoiseBlock):  # type: ignore[misc]
    """Upstream's NoiseBlock with noise that depends on `noise_seed` and the shape alone.

    It neither reads nor moves torch's global generator, so a model with this block draws the same noise elsewhere as
    one without it; and it has no state that a checkpoint would have to keep: seed it before every call that should
    differ.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.noise_seed = 0

    def draw(self, batch_size: int, num_samples: int, like: Tensor) -> Tensor:
        """Noise (batch_size, 1, num_samples) of the seed, on the device and in the type of `like`."""
        generator = torch.Generator(device=like.device).manual_seed(self.noise_seed)
        return torch.randn((batch_size, 1, num_samples), device=like.device, dtype=like.dtype, generator=generator)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """x (B, C, T) + noise (B, 1, T) * linear(x), with noise that was drawn before or is drawn now."""
        noise = self.draw(x.shape[0], x.shape[2], x) if noise is None else noise.to(x.dtype)
        result: Tensor = x + noise * self.linear(x)
        return result
