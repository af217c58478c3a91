"""Decoding a latent piece by piece: each piece with the frames around it that it depends on, cut to what is certain."""

from collections.abc import Sequence

import torch
from torch import Tensor

from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.data.codes.encoding import exact_float32
from snac_exp.release.streaming.positioned_noise import NoisePosition
from snac_exp.release.streaming.receptive_field import ReceptiveField

Waveforms = dict[str, Tensor]
"""Head -> waveform (B, 1, N at the head's rate)."""


class LatentDecoder:
    """Takes frames of the latent as they come and gives every sample as soon as no later frame can change it.

    Args:
        model: in inference form, its noise blocks reading `position`.
        heads: names of the outputs.
        receptive_field: frames before and after a frame that its output depends on.
        seeds: of the noise, one or one per row; None for no noise.
    """

    def __init__(
        self,
        model: MultiRateSnac,
        heads: Sequence[str],
        receptive_field: ReceptiveField,
        position: NoisePosition,
        seeds: tuple[int, ...] | None,
        dtype: torch.dtype,
    ) -> None:
        self.model, self.heads, self.receptive_field = model, list(heads), receptive_field
        self.position, self.seeds, self.dtype = position, seeds, dtype
        self.window = model.geometry.attn_window_size or 1
        self._latent: Tensor | None = None
        self._first = 0  # number of the first frame that is kept
        self._next = 0  # number of the first frame whose samples are still to come

    def push(self, latent: Tensor) -> Waveforms | None:
        """Further frames (B, C, frames) -> the samples that they make certain; None if there are none yet."""
        self._latent = latent if self._latent is None else torch.cat((self._latent, latent), dim=-1)
        # A window that is not complete yet is withheld: its frames all change with the last one.
        known = (self._first + self._latent.shape[-1]) // self.window * self.window
        return self._emit(known - self.receptive_field.after, known)

    def finish(self) -> Waveforms | None:
        """The samples that waited for frames after them: the signal ends here."""
        if self._latent is None:
            return None
        end = self._first + self._latent.shape[-1]
        # Beyond the end the convolutions see zeros, as in a decode of the whole.
        return self._emit(end, end)

    def _emit(self, stop: int, known: int) -> Waveforms | None:
        """Samples of frames [next, stop) from frames up to `known`."""
        if self._latent is None or stop <= self._next:
            return None
        # Frames before `start` are decoded again as context, and cut off below.
        start, begin = self._next, max(0, self._next - self.receptive_field.before)
        waveforms = self._decode(self._latent[..., begin - self._first : known - self._first], begin)
        self._next = stop
        keep = max(0, stop - self.receptive_field.before)
        # A copy, since a view would keep all frames so far in memory.
        self._latent, self._first = self._latent[..., keep - self._first :].clone(), keep
        hop = self.model.geometry.hop_length
        return {
            name: waveform[..., (start - begin) * hop * multiple : (stop - begin) * hop * multiple]
            for name, waveform in waveforms.items()
            for multiple in (self.model.head(name).multiple,)
        }

    @torch.no_grad()
    def _decode(self, latent: Tensor, start_frame: int) -> Waveforms:
        """Latent (B, C, T) from frame `start_frame` -> head -> waveform (B, 1, N)."""
        # Set for every call: several streams of one codec take turns on the same blocks.
        self.position.seeds, self.position.start_frame = self.seeds, start_frame
        with exact_float32():
            waveforms: Waveforms = self.model(self.model.features(latent.to(self.dtype)), self.heads)
        return waveforms
