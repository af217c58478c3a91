"""Discriminators that see a waveform in several ways: samples a period apart, and bands of complex spectra.

Both kinds are those of the DAC recipe (Kumar et al. 2023, "High-Fidelity Audio Compression with Improved RVQGAN",
arXiv:2306.06546, section 3.4). Periods were introduced by HiFi-GAN (Kong et al. 2020, arXiv:2010.05646). Nothing
depends on the sample rate: periods and windows are in samples, bands are fractions of half the rate.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from snac_exp.config.schema import Adversary
from snac_exp.errors import ConfigError
from snac_exp.losses.reflection import reflect

Features = list[Tensor]
"""Outputs of all layers of one discriminator; the last is its score map."""

PEAK = 0.8  # of full scale, that every item is brought to, as in the DAC recipe
QUIETEST_PEAK = 0.01  # items quieter than this are not raised to it: their gradients would be raised as much

_SLOPE = 0.1  # of leaky ReLUs, as in DAC


class Discriminators(nn.Module):
    """All discriminators of one head.

    Every item is brought to the same peak first, since the level should not tell them apart. The published recipe
    also subtracts each item's mean; here what lies beyond the end of an utterance is zero and stays zero.
    """

    def __init__(self, settings: Adversary) -> None:
        super().__init__()
        by_period = [PeriodDiscriminator(period, settings.period_channels) for period in settings.periods]
        by_band = [BandDiscriminator(size, settings.band_edges, settings.band_channels) for size in settings.fft_sizes]
        self.discriminators = nn.ModuleList([*by_period, *by_band])

    def forward(self, waveforms: Tensor) -> list[Features]:
        """(B, 1, N) -> features of each discriminator.

        Raises:
            ConfigError: the signals are too short to be reflected at their ends.
        """
        peak = waveforms.abs().amax(dim=-1, keepdim=True)
        levelled = PEAK * waveforms / peak.clamp_min(QUIETEST_PEAK)
        return [discriminator(levelled) for discriminator in self.discriminators]


class PeriodDiscriminator(nn.Module):
    """Sees a waveform folded into columns of samples `period` apart, and never across columns.

    Convolutions of 5 along the column, each of stride 3 but the last, then one of 3 to the score; leaky ReLU between.
    """

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.period = period
        strides = [3] * (len(channels) - 1) + [1]
        self.layers = nn.ModuleList(
            _conv(before, after, (5, 1), (stride, 1))
            for (before, after), stride in zip(pairwise((1, *channels)), strides, strict=True)
        )
        self.score = _conv(channels[-1], 1, (3, 1))

    def forward(self, waveforms: Tensor) -> Features:
        """(B, 1, N) -> (B, channels, rows, period) of every layer, and the score (B, 1, rows, period)."""
        missing = -waveforms.shape[-1] % self.period
        padded = _reflect(waveforms, 0, missing, f"adversary.periods={self.period}")
        return _through(padded.unflatten(-1, (-1, self.period)), self.layers, self.score)  # type: ignore[no-untyped-call]


class BandDiscriminator(nn.Module):
    """Sees real and imaginary parts of a spectrogram (Hann window, hop of a quarter), each band with layers of its own.

    Every hop of the signal has one frame, centred on it. In a band: a convolution of 3 frames x 9 frequencies, three
    more with a stride of 2 over the frequencies, one of 3 x 3; the bands then lie side by side under one score layer.
    """

    window: Tensor

    def __init__(self, fft_size: int, band_edges: Sequence[float], channels: int) -> None:
        super().__init__()
        self.fft_size, self.hop = fft_size, fft_size // 4
        num_bins = fft_size // 2 + 1
        self.bands = list(pairwise(int(edge * num_bins) for edge in band_edges))
        self.stacks = nn.ModuleList(_band_layers(channels) for _ in self.bands)
        self.score = _conv(channels, 1, (3, 3))
        # Not persistent: it follows from fft_size.
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)

    def forward(self, waveforms: Tensor) -> Features:
        """(B, 1, N) -> (B, channels, frames, frequencies) of every layer of every band, and the score."""
        spectrogram = self.spectrogram(waveforms)
        features: Features = []
        ends = []
        for (low, high), stack in zip(self.bands, self.stacks, strict=True):
            features += _through(spectrogram[..., low:high], cast(nn.ModuleList, stack))
            ends.append(features[-1])
        return [*features, self.score(torch.cat(ends, dim=-1))]

    def spectrogram(self, waveforms: Tensor) -> Tensor:
        """(B, 1, N) -> real and imaginary parts (B, 2, ceil(N / hop), fft_size / 2 + 1)."""
        # Padded by hand: torch.stft centres frames on multiples of the hop, which gives one frame more than hops.
        side = (self.fft_size - self.hop) // 2
        missing = -waveforms.shape[-1] % self.hop
        padded = _reflect(waveforms, side, side + missing, f"adversary.fft_sizes={self.fft_size}")
        spectrum = torch.stft(
            padded[:, 0], self.fft_size, self.hop, window=self.window, center=False, return_complex=True
        )
        # (B, bins, frames, 2) -> (B, 2, frames, bins).
        return torch.view_as_real(spectrum).permute(0, 3, 2, 1)


def _band_layers(channels: int) -> nn.ModuleList:
    """The convolutions of one band, see `BandDiscriminator`."""
    wide = [_conv(2, channels, (3, 9)), *(_conv(channels, channels, (3, 9), (1, 2)) for _ in range(3))]
    return nn.ModuleList([*wide, _conv(channels, channels, (3, 3))])


def _conv(before: int, after: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)) -> nn.Module:
    """A weight-normed convolution that keeps the size, up to its stride."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv: nn.Module = weight_norm(nn.Conv2d(before, after, kernel, stride, padding))
    return conv


def _through(x: Tensor, layers: nn.ModuleList, score: nn.Module | None = None) -> Features:
    """Outputs of all layers for x (B, C, height, width), each after its leaky ReLU; the score, if wanted, without."""
    features: Features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), _SLOPE)
        features.append(x)
    return features if score is None else [*features, score(x)]


def _reflect(waveforms: Tensor, before: int, after: int, what: str) -> Tensor:
    """(B, 1, N), mirrored at both ends -> (B, 1, before + N + after); ConfigError where it is too short for that."""
    length = waveforms.shape[-1]
    if length <= max(before, after):
        raise ConfigError(
            f"signals of {length} samples are too short for {what}: they need more than {max(before, after)}; "
            "use longer segments in curriculum.stages, or smaller sizes"
        )
    return reflect(waveforms, before, after)
