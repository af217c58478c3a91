"""Sound and pictures of fixed clips: WAV files and aligned log-spectrograms."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray
from torch import Tensor

from snac_exp.system.files import atomic_path

Signals = Mapping[str, tuple[Tensor, int]]
"""Label -> (waveform (N,), sampling rate in Hz); the first one is the reference."""

RANGE_DB = 80.0
"""Depth of the pictures below the reference's peak."""

VOICE_KHZ = 2.0
"""Top of the right column, where the harmonics of a voice lie apart."""

_WINDOW_SECONDS = 2048 / 48_000  # 43 ms: resolves the harmonics of a voice
_DPI = 100  # pixels per inch: figures of 10 inches are 1000 pixels wide
_SILENT_DB = -100.0
"""The peak that is assumed for a reference of digital silence, which has none."""


def write_clips(directory: Path, clip_name: str, signals: Signals, title: str = "") -> dict[str, int]:
    """Write `CLIP_LABEL.wav` (16 bit) for every signal and `CLIP.png` with all spectrograms, each file atomically.

    Samples beyond full scale are clipped, never wrapped; returns how many, by label.
    """
    num_clipped = {
        label: _write_wav(directory / f"{clip_name}_{label}.wav", *signal) for label, signal in signals.items()
    }
    spectrogram_panel(directory / f"{clip_name}.png", signals, title or clip_name)
    return num_clipped


def spectrogram_panel(path: Path, signals: Signals, title: str) -> None:
    """One PNG, 1000 pixels wide: a log-spectrogram per signal over one time axis, and its lowest 2 kHz beside it.

    On the left the frequency axis goes to the highest Nyquist frequency (24 kHz); a dashed line marks the lowest
    (12 kHz), where the codec's own band ends. All share one scale, dB below the peak of the first signal, so equal
    colour means equal level. Grey is not silence but no data: above half the rate of a signal, or after its end.
    """
    figure, axes, scale = _figure(len(signals), title)
    levels = {label: _level_db(*signal) for label, signal in signals.items()}
    # One peak for all panels: a quiet estimate must look quiet.
    peak_db = max(float(next(iter(levels.values())).max()), _SILENT_DB)
    nyquists = [rate / 2000 for _, rate in signals.values()]  # kHz
    for (band, voice), (label, level) in zip(axes, levels.items(), strict=True):
        waveform, rate = signals[label]
        image = _draw(band, level - peak_db, rate / 2000, waveform.numel() / rate)
        _decorate(band, _readable(label), max(nyquists), spacing=4)
        _mark(band, min(nyquists), max(nyquists))
        _draw(voice, *_lowest(level - peak_db, rate / 2000), waveform.numel() / rate)
        _decorate(voice, f"up to {VOICE_KHZ:g} kHz", VOICE_KHZ, spacing=0.5)
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
        axis.set_xlim(0, max(waveform.numel() / rate for waveform, rate in signals.values()))
    bar = figure.colorbar(image, cax=scale)
    bar.set_label(f"level (dB below the peak of {_readable(next(iter(signals)))})")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _figure(num: int, title: str) -> tuple[Figure, NDArray[np.object_], Axes]:
    """A figure with so many pairs of axes (num, 2) below one another, and those of the scale beside them."""
    height = 0.9 + 2.1 * num
    # Fixed, in inches: a layout that finds its margins draws all of it twice, a second of a processor.
    above, below, between = 0.447, 0.477, 0.321
    each = (height - above - below - between * (num - 1)) / num
    top, bottom = 1 - above / height, below / height
    figure = Figure(figsize=(10, height), dpi=_DPI)
    # Not pyplot, which keeps every figure and may ask for a display.
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12, y=1 - 0.03 / height, va="top")
    places = {"left": 0.052, "right": 0.896, "top": top, "bottom": bottom, "hspace": between / each}
    places |= {"wspace": 0.16}
    axes = figure.subplots(num, 2, sharex=True, squeeze=False, width_ratios=(3, 2), gridspec_kw=places)
    return figure, axes, figure.add_axes((0.915, bottom, 0.0205, top - bottom))


def _draw(axis: Axes, level_db: NDArray[np.float32], top_khz: float, seconds: float) -> AxesImage:
    return axis.imshow(
        level_db,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, top_khz),
        cmap="magma",
        vmin=-RANGE_DB,
        vmax=0,
        interpolation="antialiased",
    )


def _lowest(level_db: NDArray[np.float32], nyquist_khz: float) -> tuple[NDArray[np.float32], float]:
    """The bins (bins, frames) up to `VOICE_KHZ` and a little above, and where in kHz the last of them ends."""
    num = min(len(level_db), math.ceil(VOICE_KHZ / nyquist_khz * len(level_db)) + 1)
    return level_db[:num], num / len(level_db) * nyquist_khz


def _decorate(axis: Axes, title: str, top_khz: float, spacing: float) -> None:
    axis.set_title(title, loc="left", fontsize=10, pad=3)
    axis.set_facecolor("0.45")
    axis.set_ylim(0, top_khz)
    axis.yaxis.set_major_locator(MultipleLocator(spacing))
    axis.set_ylabel("kHz")


def _mark(axis: Axes, line_khz: float, top_khz: float) -> None:
    """A dashed line with its frequency."""
    axis.axhline(line_khz, color="white", linewidth=0.9, linestyle=(0, (6, 4)))
    axis.text(
        0.004,
        line_khz + 0.02 * top_khz,
        f"{line_khz:g} kHz",
        color="white",
        fontsize=8,
        transform=axis.get_yaxis_transform(),
    )


def _readable(label: str) -> str:
    return label.replace("_", " ")


def _level_db(waveform: Tensor, rate: int) -> NDArray[np.float32]:
    """Power in dB, (bins, frames); one window length in seconds and full scale = 1, so rates are comparable."""
    # Even, so that the last bin lies at half the rate.
    n_fft = 2 * round(_WINDOW_SECONDS * rate / 2)
    filled = F.pad(waveform.detach().cpu().float(), (0, max(0, n_fft - waveform.numel())))
    spectrum = torch.stft(filled, n_fft, n_fft // 8, window=torch.hann_window(n_fft), return_complex=True)
    # A full-scale sine is 1: a Hann window sums up to n_fft / 2, and half of it is at a negative frequency.
    power = (spectrum.abs() / (n_fft / 4)).square()
    level: NDArray[np.float32] = (10 * power.clamp_min(1e-12).log10()).numpy()
    return level


def _write_wav(path: Path, waveform: Tensor, rate: int) -> int:
    """Write a waveform (N,) as 16 bit; returns how many samples are beyond full scale."""
    samples = waveform.detach().cpu().float().numpy()
    with atomic_path(path) as temporary:
        soundfile.write(temporary, np.clip(samples, -1.0, 1.0), rate, subtype="PCM_16", format="WAV")
    return int(np.count_nonzero(np.abs(samples) > 1.0))
