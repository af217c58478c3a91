"""Noise that depends on its seed and its absolute position alone.

Upstream draws a new normal sequence for each decode, so a part of a file decoded on its own would get other noise than
the same part of the whole. Here a noise block adds samples of an endless sequence of its own: sample n is a function of
(seed, name of the block, n) alone. Chunks, streams, batches and whole files therefore add the very same numbers.
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from snac.layers import NoiseBlock
from torch import Tensor, nn

from snac_exp.config.seeding import generator
from snac_exp.errors import DataError

BLOCK_SAMPLES = 4096  # 16 KB of float32
"""The sequence is drawn in blocks of this many samples, each from a generator seeded by its number."""


@dataclass
class NoisePosition:
    """What the noise blocks of a model add in the next call, and where that call lies.

    Attributes:
        seeds: one seed per row of the batch, or None for no noise at all.
        start_frame: frames of the latent, or parts of one, between the start of the signal and the start of the call.
    """

    seeds: tuple[int, ...] | None = None
    start_frame: int | Fraction = 0


class PositionedNoiseBlock(NoiseBlock):  # type: ignore[misc]
    """Upstream's noise block on noise of `noise_sequence`; made by `position_noise`."""

    noise_name: str
    samples_per_frame: int
    position: NoisePosition

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, T) + noise (B, 1, T) * linear(x)."""
        if self.position.seeds is None:
            return x
        result: Tensor = x + self._noise(x) * self.linear(x)
        return result

    def _noise(self, x: Tensor) -> Tensor:
        """(B or 1, 1, T) in the dtype of x."""
        start = int(self.position.start_frame * self.samples_per_frame)
        rows = [noise_sequence(seed, self.noise_name, start, x.shape[-1]) for seed in self.position.seeds or ()]
        return torch.from_numpy(np.stack(rows)).to(x)[:, None]


def position_noise(module: nn.Module, position: NoisePosition) -> list[PositionedNoiseBlock]:
    """Let all noise blocks inside read their noise from `position`; their rates are set by `measure_noise_rates`."""
    blocks = []
    for name, child in module.named_modules():
        if isinstance(child, NoiseBlock):
            # The class alone is changed, so that parameters, their names and the state dict stay upstream's.
            child.__class__ = PositionedNoiseBlock
            child.noise_name, child.position, child.samples_per_frame = name, position, 1
            blocks.append(child)
    return blocks


@torch.no_grad()
def measure_noise_rates(blocks: Sequence[PositionedNoiseBlock], run: Callable[[], object], num_frames: int) -> None:
    """Tell every block its samples per frame, from the shapes that it meets while `run` decodes `num_frames` frames."""

    def note(block: Any, inputs: tuple[Tensor, ...]) -> None:
        """inputs[0] (B, C, T), T whole frames."""
        # Heads run at multiples of the codec's rate, so only the shapes tell; no list of strides is needed.
        block.samples_per_frame = inputs[0].shape[-1] // num_frames

    hooks = [block.register_forward_pre_hook(note) for block in blocks]
    run()
    for hook in hooks:
        hook.remove()


def noise_sequence(seed: int, name: str, start: int, num_samples: int) -> npt.NDArray[np.float32]:
    """Samples [start, start + num_samples) of the standard normal sequence of one noise block."""
    first, last = start // BLOCK_SAMPLES, (start + num_samples - 1) // BLOCK_SAMPLES
    blocks = [_noise_block(seed, name, index) for index in range(first, last + 1)]
    offset = start - first * BLOCK_SAMPLES
    return np.concatenate(blocks)[offset : offset + num_samples]


@lru_cache(maxsize=1024)  # 16 MB; neighbouring chunks of a stream share most of their noise
def _noise_block(seed: int, name: str, index: int) -> npt.NDArray[np.float32]:
    # Addressed by number rather than drawn in order: no block depends on what was decoded before.
    return generator(seed, f"noise/{name}", index).standard_normal(BLOCK_SAMPLES, dtype=np.float32)


def row_seeds(seed: int | Sequence[int] | None, batch_size: int) -> tuple[int, ...]:
    """One seed for all rows, or one per row; without a seed one is drawn from torch's generator.

    Rows of one seed get the same noise, so a row sounds the same whatever shares its batch.

    Raises:
        DataError: it is no whole number, or there are neither one nor as many as rows.
    """
    if seed is None:
        seed = int(torch.randint(2**62, ()).item())
    items: list[Any] = list(seed) if isinstance(seed, Iterable) else [seed]
    try:
        # operator.index takes NumPy integers and refuses floats.
        seeds = tuple(operator.index(item) for item in items)
    except TypeError:
        raise DataError(f"seed={seed!r} must be a whole number, or one per row") from None
    if not isinstance(seed, Iterable):
        return seeds * batch_size
    if len(seeds) != batch_size:
        raise DataError(f"{len(seeds)} seeds for a batch of {batch_size}; give one, or one per row")
    return seeds
