"""Random changes of training slices: their level, and what rooms and microphones do to a spectrum."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snac_exp.config.schema import Augment
from snac_exp.config.seeding import generator

OCTAVES_HZ = tuple(62.5 * 2**k for k in range(9))
"""Where an equaliser's levels are drawn, from 62.5 Hz to 16 kHz; between them it is linear in dB over octaves."""

_RING_SECONDS = 0.02  # silence behind a slice for what the equaliser leaves there, which would come round to its start


@dataclass(frozen=True, slots=True)
class Change:
    """One slice's change. gain_db: of its level. octaves_db (9,): of the level at each of OCTAVES_HZ; empty = none."""

    gain_db: float = 0.0
    octaves_db: tuple[float, ...] = ()

    def applied(self, audio: Tensor, rate: int) -> Tensor:
        """Audio (N,) at `rate` Hz, changed: input and targets of any rate alike, but for 20 ms at the edges of a slice
        whose context the decoder sees."""
        if self.octaves_db:
            audio = self._equalized(audio, rate)
        return audio * 10 ** (self.gain_db / 20) if self.gain_db else audio

    def _equalized(self, audio: Tensor, rate: int) -> Tensor:
        num = len(audio) + int(_RING_SECONDS * rate)
        hz = np.fft.rfftfreq(num, 1 / rate).clip(OCTAVES_HZ[0])
        gains = 10 ** (np.interp(np.log2(hz), np.log2(OCTAVES_HZ), self.octaves_db) / 20)
        spectrum = torch.fft.rfft(audio, num) * torch.from_numpy(gains).to(audio.dtype)
        changed: Tensor = torch.fft.irfft(spectrum, num)[: len(audio)]
        return changed


UNCHANGED = Change()


def draw_changes(augment: Augment, seed: int, epoch: int, num_items: int) -> Callable[[int], Change]:
    """The change at every position of an epoch of `num_items`: a function of (seed, epoch, position) alone."""
    # The purposes are part of the draws: renaming one changes every slice of every recipe.
    gains = None
    if augment.gain_db is not None:
        gains = generator(seed, "augment/gain", epoch).uniform(*augment.gain_db, num_items)

    def change(position: int) -> Change:
        return Change(
            gain_db=0.0 if gains is None else float(gains[position]),
            octaves_db=() if augment.equalizer_db is None else _octaves(augment.equalizer_db, seed, epoch, position),
        )

    return change


def _octaves(deviation_db: float, seed: int, epoch: int, position: int) -> tuple[float, ...]:
    """Levels in dB, normally distributed, the highest of them 0: no frequency gets louder."""
    drawn = deviation_db * generator(seed, "augment/equalizer", epoch, position).standard_normal(len(OCTAVES_HZ))
    return tuple((drawn - drawn.max()).tolist())
