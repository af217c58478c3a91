"""How loud decoded samples are, and from where on they cannot be audio: with the value, the place and the likely cause.

This module imports no torch: the worker processes of `prepare` start in a fraction of a second.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from snac_exp.errors import ConfigError

Float32Array = npt.NDArray[np.float32]

FAR_OVER = 4.0  # 12 dB over full scale: samples above are counted
FEW = 8  # so many of them are damage; more are another scale
LEAST_RATIO = 1e-20  # -200 dB: of channels that cancel out to the last bit
_SCALES = ((2**15, 16), (2**23, 24), (2**31, 32))  # largest integer and bits


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on levels are no audio's.

    max_peak: of any channel, times full scale. min_mix: of one channel's peak, and of all channels' level, that the sum
    of the channels must keep; less and they cancel out. ConfigError for limits that nothing could keep.
    """

    max_peak: float = 16.0
    min_mix: float = 0.2

    def __post_init__(self) -> None:
        # Written so that NaN is refused too.
        if not self.max_peak >= 1:
            raise ConfigError(f"max_peak={self.max_peak} must be at least 1, full scale")
        if not 0 <= self.min_mix < 1:
            raise ConfigError(f"min_mix={self.min_mix} must lie between 0, anything goes, and 1")


NO_LIMITS = Limits(math.inf, 0.0)
"""For rows that were judged before, by limits that a user may have set."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Of decoded samples (num, channels): peak of the mono mix, of the loudest channel and where, 1.0 = full scale.

    num_over: samples far over full scale. energy, sum_energy: squares of all channels' samples, and of the channels'
    sum, added up; 0 of a single channel.
    """

    peak: float = 0.0
    channel_peak: float = 0.0
    peak_at: int = 0
    finite: bool = True
    num_channels: int = 1
    energy: float = 0.0
    sum_energy: float = 0.0
    num_over: int = 0

    @classmethod
    def of(cls, samples: Float32Array, start: int = 0) -> "Levels":
        """Of a block (num, channels) that begins at sample `start`; peaks are 0 where it is not finite."""
        if samples.size == 0:
            return cls()
        # Of a single channel there is nothing to mix, and slices of whole files are looked at again and again.
        single = samples.shape[1] == 1
        magnitude = np.abs(samples[:, 0]) if single else np.abs(samples).max(axis=1)
        at = int(magnitude.argmax())  # of the first NaN, if there is one
        peak = float(magnitude[at])
        if not math.isfinite(peak):
            return cls(finite=False)
        over = int((magnitude > FAR_OVER).sum()) if peak > FAR_OVER else 0
        if single:
            return cls(peak, peak, start + at, num_over=over)
        # The sum of huge channels may overflow; their file is out of scale anyway.
        with np.errstate(over="ignore"):
            mono = float(np.abs(samples.mean(axis=1)).max())
        energies = _energy(samples), _energy(samples.sum(axis=1))
        return cls(mono, peak, start + at, True, samples.shape[1], *energies, over)

    def joined(self, other: "Levels") -> "Levels":
        """Of both blocks."""
        if not (self.finite and other.finite):
            return Levels(finite=False)
        louder = self if self.channel_peak >= other.channel_peak else other
        return Levels(
            peak=max(self.peak, other.peak),
            channel_peak=louder.channel_peak,
            peak_at=louder.peak_at,
            num_channels=max(self.num_channels, other.num_channels),
            energy=self.energy + other.energy,
            sum_energy=self.sum_energy + other.sum_energy,
            num_over=self.num_over + other.num_over,
        )

    def problem(self, limits: Limits) -> tuple[str, str] | None:
        """(kind, reason) why audio of these levels cannot be used; None for audio that is fine, silence included."""
        if not self.finite:
            return "not_finite", "holds NaN or infinity; clean the file or leave it out"
        if self.channel_peak > limits.max_peak:
            return "out_of_scale", (
                f"sample {self.peak_at} is {self.channel_peak:.4g}, full scale is 1: {self._likely_cause()}"
            )
        # Times the channels, as mono is their mean: one that speaks beside silent ones is no cancellation.
        # By the peak alone a click that is in phase would hide it; by the energy alone, a loud hum.
        cancels = self.peak * self.num_channels < limits.min_mix * self.channel_peak
        if cancels or self.sum_energy < limits.min_mix**2 * self.energy:
            lost = 10 * math.log10(max(self.sum_energy / self.energy, LEAST_RATIO)) if self.energy > 0 else 0.0
            return "antiphase", (
                f"the channels cancel out: their sum has {lost:.0f} dB of their energy, and their mono mix peaks at "
                f"{self.peak:.2e}, one alone at {self.channel_peak:.2e}; invert a channel, or keep one"
            )
        return None

    def _likely_cause(self) -> str:
        if self.num_over <= FEW:
            return f"damage, since only {self.num_over} samples lie far over it; cut them out, or leave the file out"
        found = next(((largest, bits) for largest, bits in _SCALES if self.channel_peak <= largest), None)
        if found is None:
            return "no audio, or written with another type of number; write it anew"
        return f"samples in {found[1]}-bit scale, divide them by {found[0]}"


def _energy(samples: Float32Array) -> float:
    """Sum of squares of samples of any shape, added up in double precision."""
    flat = samples.reshape(-1).astype(np.float64)
    return float(flat @ flat)
