"""Training-free baselines of a wide head: 48 kHz made from a 24 kHz waveform by rule."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from snac_exp.codec.interpolation import interpolate2x
from snac_exp.errors import DataError
from snac_exp.metrics.spectra import FLOOR_DB, HIGH_BANDS, high_band_power, power_spectrogram

NOISE_FIT_UTTERANCES = 200
"""Training utterances that the mean spectrum is taken of, evenly spread."""

_N_FFT, _HOP = 2048, 512  # in samples, as in lsd_high_db


def interpolated(native: Tensor, factor: int = 2) -> Tensor:
    """Band-limited interpolation: (N,) -> (N * factor,), with nothing above the old Nyquist frequency.

    `factor` is a power of two. It is the codec's own interpolation, so a residual head starts exactly here.
    """
    if factor < 1 or factor & (factor - 1):
        raise ValueError(f"a factor that is a power of two is needed, not {factor}")
    waveform = native[None, None]
    for _ in range(factor.bit_length() - 1):
        waveform = interpolate2x(waveform)
    return waveform[0, 0]


@dataclass(frozen=True)
class MeanSpectrumNoise:
    """The training set's mean spectrum above 12 kHz, as noise that never changes with the speech.

    `levels_db`: (32,) mean level of each band of `lsd_high_db`, in dB relative to the utterance's peak below 12 kHz.

    The mean is taken of levels in dB over active frames (a band exceeds the floor), clamped 80 dB below the peak, much
    as the measure does: hardly any other constant spectrum fares better there. A mean of powers follows the loudest
    fricatives and does worse than plain interpolation on real speech (11.7 against 9.1 dB): no use as a yardstick.
    """

    levels_db: Tensor

    @classmethod
    def fitted(cls, waveforms: Iterable[Tensor]) -> "MeanSpectrumNoise":
        """Measure 48 kHz training audio, an iterable of (N,); every active frame counts the same.

        Raises:
            DataError: all of it is silent, or there is none.
        """
        total, num_frames = torch.zeros(HIGH_BANDS, dtype=torch.float64), 0
        for waveform in waveforms:
            power = power_spectrogram(waveform, _N_FFT, _HOP).cpu()
            peak = _low_peak(power)
            # A silent waveform has no peak to be relative to.
            if peak > 0:
                relative_db = 10 * (high_band_power(power) / peak).clamp_min(10 ** (-FLOOR_DB / 10)).log10()
                # Pauses say nothing of the spectrum of speech, and would pull the mean to the floor.
                active = (relative_db > -FLOOR_DB).any(dim=0)
                total += relative_db[:, active].double().sum(dim=1)  # a float32 sum over hours loses digits
                num_frames += int(active.sum())
        if num_frames == 0:
            raise DataError(
                "no mean spectrum: no audio above 12 kHz in the training set; check the manifest, or make targets"
            )
        return cls((total / num_frames).float())

    def added_to(self, waveform: Tensor, reference: Tensor, seed: int) -> Tensor:
        """Add the noise to an interpolated waveform (N,); the same seed gives the same noise.

        It uses the reference's peak level (an oracle): its spectrum is scaled to the peak of the reference (N,).
        """
        # On the CPU, since a GPU's generator draws other numbers of the same seed.
        generator = torch.Generator().manual_seed(seed)
        white = torch.randn(waveform.shape[0], generator=generator)
        window = torch.hann_window(_N_FFT)
        spectrum = torch.stft(white, _N_FFT, _HOP, window=window, pad_mode="constant", return_complex=True)
        power = _low_peak(power_spectrogram(reference, _N_FFT, _HOP)).cpu() * 10 ** (self.levels_db / 10)
        shaped = spectrum * self._gain(power, window).unsqueeze(1)
        noise = torch.istft(shaped, _N_FFT, _HOP, window=window, length=waveform.shape[0])
        return waveform + noise.to(waveform)

    def _gain(self, power: Tensor, window: Tensor) -> Tensor:
        """Factor per bin that gives white noise of variance 1 (power = sum of window^2) the wanted power: (1025,)."""
        # Bins from a quarter of the rate to half of it, 12 to 24 kHz at 48 kHz; below, the gain stays 0.
        half = _N_FFT // 4
        gain = torch.zeros(_N_FFT // 2 + 1)
        gain[half : 2 * half] = (power / window.square().sum()).sqrt().repeat_interleave(half // HIGH_BANDS)
        return gain


def _low_peak(power: Tensor) -> Tensor:
    """power (F, T) -> scalar, the largest power of a bin in the lower half of the spectrum."""
    return power[: (power.shape[0] - 1) // 2].max()
