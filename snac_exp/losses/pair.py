"""A prediction and its target, with padding cut away and spectra computed once for all terms."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from snac_exp.errors import ConfigError
from snac_exp.losses.reflection import reflect


class SignalPair:
    """What a loss term sees: two batches of signals, how much of each is real, and how spectra are to be taken.

    Both signals are zeroed beyond `valid_samples`, so what stands in the padding has no influence and gets no gradient.

    Args:
        prediction, target: (B, 1, N) float32.
        valid_samples: (B,) number of leading samples that are real, at this pair's rate.
        sample_rate: in Hz.
        n_ffts: STFT sizes in samples; the hop is a quarter of the size.
        window: None for a rectangular window (torch.stft's default), or 'hann'.
        normalized: divide spectra by sqrt(n_fft).
    """

    def __init__(
        self,
        prediction: Tensor,
        target: Tensor,
        valid_samples: Tensor,
        sample_rate: int,
        n_ffts: Sequence[int],
        window: str | None = None,
        normalized: bool = False,
    ) -> None:
        """Signals (B, 1, N) and valid_samples (B,); ValueError for other shapes."""
        if prediction.shape != target.shape or prediction.dim() != 3 or prediction.shape[1] != 1:
            shapes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
            raise ValueError(f"prediction and target must both have shape (B, 1, N), not {shapes}")
        self.valid_samples = valid_samples.to(prediction.device)
        self.sample_rate = sample_rate
        self.n_ffts = tuple(n_ffts)
        self.window = window
        self.normalized = normalized
        self.num_samples = prediction.shape[-1]
        padding = ~self.valid_mask[:, None]
        # Filled rather than multiplied: a NaN in the padding would outlive a 0.
        self.prediction = prediction.masked_fill(padding, 0.0)
        self.target = target.masked_fill(padding, 0.0)
        self._spectra: dict[tuple[int, str | None, bool], tuple[Tensor, Tensor]] = {}

    @cached_property
    def valid_mask(self) -> Tensor:
        """(B, N), true where a sample is real."""
        return torch.arange(self.num_samples, device=self.valid_samples.device) < self.valid_samples[:, None]

    def sample_mean(self, values: Tensor) -> Tensor:
        """Mean of (B, 1, N) over the valid samples."""
        return _masked_mean(values[:, 0], self.valid_mask)

    def frame_mean(self, values: Tensor, n_fft: int) -> Tensor:
        """Mean of (B, frames, ...) over the frames whose centre is real, the very end included."""
        centres = torch.arange(values.shape[1], device=values.device) * (n_fft // 4)
        valid = self.valid_samples[:, None]
        # An item without a valid sample would otherwise count its frame centred at 0.
        return _masked_mean(values.flatten(2).mean(dim=-1), (centres <= valid) & (valid > 0))

    def stft(self, n_fft: int) -> tuple[Tensor, Tensor]:
        """Spectra (B, frames, n_fft / 2 + 1) of prediction and target in this pair's window and scale.

        As torch.stft(signal, n_fft, n_fft // 4), transposed.

        Raises:
            ConfigError: the signal is too short to be reflected at its ends.
        """
        return self._spectrum(n_fft, self.window, self.normalized)

    def hann_stft(self, n_fft: int) -> tuple[Tensor, Tensor]:
        """Spectra (B, frames, n_fft / 2 + 1) as of `stft`, but always with a Hann window and not normalized."""
        return self._spectrum(n_fft, "hann", False)

    def _spectrum(self, n_fft: int, window: str | None, normalized: bool) -> tuple[Tensor, Tensor]:
        """Spectra (B, frames, n_fft / 2 + 1) of prediction and target, computed once for all terms."""
        key = (n_fft, window, normalized)
        if key not in self._spectra:
            # A term that is only measured may ask first, without a graph; one that is trained needs the graph later.
            with torch.enable_grad():
                prediction = _stft(self.prediction, n_fft, window, normalized)
            target = _stft(self.target, n_fft, window, normalized)
            self._spectra[key] = (prediction, target)
        return self._spectra[key]


def _stft(signals: Tensor, n_fft: int, window: str | None, normalized: bool) -> Tensor:
    """(B, 1, N) -> (B, frames, n_fft / 2 + 1); frames centred at multiples of n_fft // 4, reflected at the ends."""
    if signals.shape[-1] <= n_fft // 2:
        raise ConfigError(
            f"signals of {signals.shape[-1]} samples are too short for an STFT of n_fft={n_fft}: "
            f"they need more than {n_fft // 2}; use longer segments or smaller sizes in loss.n_ffts"
        )
    if window not in (None, "hann"):
        raise ConfigError(f"loss.window={window!r} is not valid: choose null (rectangular) or hann")
    # As torch.stft does with center=True.
    padded = reflect(signals, n_fft // 2, n_fft // 2)[:, 0]
    taper = None if window is None else torch.hann_window(n_fft, device=signals.device, dtype=signals.dtype)
    if n_fft % 4:  # the frames do not lie on a grid of hops
        frames = padded.unfold(-1, n_fft, n_fft // 4)
        library: Tensor = torch.fft.rfft(
            frames if taper is None else frames * taper, norm="ortho" if normalized else "backward"
        )
        return library
    spectrum: Tensor = _FrameSpectra.apply(padded, n_fft, taper, normalized)  # type: ignore[no-untyped-call]
    return spectrum


class _FrameSpectra(torch.autograd.Function):
    """Real FFTs of overlapping frames. The library's backward pass would run complex FFTs of the full length and add up
    the frames sample by sample; here they are real ones, and the four frames over a stretch are added whole."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, n_fft: int, taper: Tensor | None, normalized: bool) -> Tensor:
        """(B, L) -> (B, frames, n_fft / 2 + 1); backward needs nothing of it but the window."""
        ctx.length, ctx.n_fft, ctx.taper, ctx.normalized = padded.shape[1], n_fft, taper, normalized
        frames = padded.unfold(-1, n_fft, n_fft // 4)
        frames = frames if taper is None else frames * taper
        spectrum: Tensor = torch.fft.rfft(frames, norm="ortho" if normalized else "backward")
        return spectrum

    @staticmethod
    # The backward pass records no graph: a second derivative, as of a gradient penalty, is refused.
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """dL/dx[n] = Re sum_k G[k] exp(2 pi i k n / n_fft), over half the bins: a real inverse FFT that counts the
        bins between the first and the last once instead of twice."""
        hop, num_frames = ctx.n_fft // 4, grad.shape[1]
        halved = grad * 0.5
        halved[..., 0], halved[..., -1] = grad[..., 0], grad[..., -1]
        # "forward" leaves out the 1 / n_fft of the inverse, which the gradient of an unscaled transform does not have.
        frames = torch.fft.irfft(halved, ctx.n_fft, norm="ortho" if ctx.normalized else "forward")
        parts = (frames if ctx.taper is None else frames * ctx.taper).unflatten(-1, (4, hop))
        total = parts.new_zeros(grad.shape[0], num_frames + 3, hop)
        for k in range(4):
            total[:, k : k + num_frames] += parts[:, :, k]
        # Samples behind the last whole frame are in no frame and have no gradient.
        return F.pad(total.flatten(1), (0, ctx.length - total[0].numel())), None, None, None


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (B, L) where the mask (B, L) is true, a scalar; 0 where it never is."""
    # Over all valid elements, not a mean of the items' means: so batches combine by their valid samples.
    return (values * mask).sum() / mask.sum().clamp_min(1)
