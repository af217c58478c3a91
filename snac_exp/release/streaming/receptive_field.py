"""How far encoder and heads see, measured: NaN in one place comes out wherever that place matters.

A measured field needs no list of layers, so it holds for any head, stride and attention window. Zero weights pass NaN
on too, so the field is that of the structure, never less than what the weights use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from snac_exp.codec.multirate import MultiRateSnac

_FIRST_PROBE_UNITS = 12  # on either side of the NaN
_LARGEST_PROBE_UNITS = 1536  # the probe grows no further


@dataclass(frozen=True)
class ReceptiveField:
    """Frames before and after a frame that its output depends on; whole units (attention windows, else frames)."""

    before: int
    after: int


@dataclass(frozen=True)
class Probe:
    """A function in time: `run` takes (1, C, units * in_per_unit) to (..., units * out_per_unit)."""

    run: Callable[[Tensor], Tensor]
    num_channels: int
    in_per_unit: int
    out_per_unit: int
    frames_per_unit: int


@torch.no_grad()
def measure_receptive_field(probe: Probe, device: torch.device, dtype: torch.dtype = torch.float32) -> ReceptiveField:
    """Put NaN into one unit and see which units of the output it reaches.

    Raises:
        ValueError: the field has no end (a layer normalises over time, say), so nothing can be done in chunks.
    """
    around = _FIRST_PROBE_UNITS
    while around <= _LARGEST_PROBE_UNITS:
        signal = torch.zeros(1, probe.num_channels, (2 * around + 1) * probe.in_per_unit, device=device, dtype=dtype)
        signal[..., around * probe.in_per_unit : (around + 1) * probe.in_per_unit] = torch.nan
        output = probe.run(signal)
        reached = output.isnan().flatten(end_dim=-2).any(dim=0).nonzero().flatten() // probe.out_per_unit
        low, high = int(reached.min()), int(reached.max())
        # At the border of the probe it may reach further still.
        if low > 0 and high < 2 * around:
            # What unit `around` reaches before itself is what a unit must know of the units after it.
            return ReceptiveField((high - around) * probe.frames_per_unit, (around - low) * probe.frames_per_unit)
        around *= 4  # 12, 48, 192, 768
    raise ValueError("the receptive field has no end within the probe, so this model cannot work in chunks")


def encoder_receptive_field(model: MultiRateSnac, device: torch.device) -> ReceptiveField:
    """Frames around a frame that its tokens depend on."""
    # Within an attention window every frame sees every other, so nothing smaller than a window can be told apart.
    window = model.geometry.attn_window_size or 1
    probe = Probe(model.encoder, 1, window * model.geometry.hop_length, window, window)
    return measure_receptive_field(probe, device)


def latent_channels(model: MultiRateSnac) -> int:
    """Channels of the quantized latent (B, C, frames)."""
    return int(cast(Any, model.quantizer.quantizers)[0].out_proj.weight.shape[0])
