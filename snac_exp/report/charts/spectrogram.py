"""Log-spectrograms without axes: the page draws those, in its own colours and at its own size."""

import numpy as np
from matplotlib import colormaps
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from snac_exp.report.listening.media import Sound

RANGE_DB = 80.0
"""Depth of the pictures below the reference's peak."""

COLOURS = "magma"
WIDTH, HEIGHT = 640, 192
"""Of a picture in pixels; the height stands for the whole band."""

_WINDOW_SECONDS = 2048 / 48_000  # as of the log-spectral distance, whatever the rate
_SILENCE = 1e-10  # -100 dB: keeps the logarithm finite


def powers(sound: Sound) -> NDArray[np.float32]:
    """|STFT|^2 with a Hann window of 43 ms, full scale = 1: (bins, frames), at most 640 frames."""
    # Even, so that the centre of a window lies on a sample.
    n_fft = 2 * round(_WINDOW_SECONDS * sound.rate / 2)
    # Half a window on either side: the first and the last sample are in the middle of a frame.
    samples = np.pad(sound.samples, (n_fft // 2, n_fft // 2 + max(0, n_fft - len(sound.samples))))
    # A longer sound gets a larger hop: the picture has 640 columns at most.
    hop = max(n_fft // 8, -(-len(sound.samples) // WIDTH))
    # The window is periodic, as in torch.stft: one sample longer and cut.
    frames = sliding_window_view(samples, n_fft)[::hop] * np.hanning(n_fft + 1)[:-1].astype(np.float32)
    # A sine of amplitude 1 has the magnitude n_fft / 4 under a Hann window.
    spectrum = np.fft.rfft(frames, axis=1) / (n_fft / 4)
    power: NDArray[np.float32] = (np.abs(spectrum) ** 2).astype(np.float32).T
    return power


def picture(power: NDArray[np.float32], rate: int, peak: float, top_hz: float) -> NDArray[np.uint8]:
    """RGBA pixels (192, frames, 4) of a spectrogram from 0 to `top_hz`, 80 dB below `peak` upwards.

    Where the signal has no band, above half its rate, the picture is transparent: no data is not silence.
    """
    # The height stands for the whole axis; a lower rate fills only the bottom of it.
    rows = max(1, min(HEIGHT, round(HEIGHT * rate / 2 / top_hz)))
    edges = np.linspace(0, power.shape[0], rows + 1).astype(int)
    # Powers are averaged, not levels: a single strong bin stays visible among weak ones.
    merged = np.add.reduceat(power, edges[:-1], axis=0) / np.diff(edges)[:, None]
    level = 10 * np.log10(np.maximum(merged / max(peak, _SILENCE), _SILENCE))
    colours = colormaps[COLOURS](np.clip(1 + level / RANGE_DB, 0, 1), bytes=True)
    pixels = np.zeros((HEIGHT, power.shape[1], 4), np.uint8)
    # The first row of a picture is its top, the first bin the lowest frequency.
    pixels[HEIGHT - rows :] = colours[::-1]
    return pixels
