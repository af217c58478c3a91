"""Audio that users hand in, of any layout, type and rate, as (B, 1, N) float32 at the codec's rate."""

import math
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor

from snac_exp.data.files.reading import MAX_KERNEL_ELEMENTS
from snac_exp.data.files.resampling import resample
from snac_exp.errors import DataError
from snac_exp.release.codes import is_whole

Layout = Literal["auto", "channels_first", "channels_last"]

MAX_CHANNELS = 32  # more is a transposed array far more often than a recording
_INTEGER_SCALES = {torch.uint8: 2**7, torch.int16: 2**15, torch.int32: 2**31}  # uint8 as in WAV: 128 is silence


def mono_batch(audio: Any, layout: Layout = "auto") -> Tensor:
    """Audio as (B, 1, N) float32 with full scale at 1; channels are averaged.

    Args:
        audio: array or tensor of shape (N,), (channels, N), (N, channels) or (B, channels, N); floating point, or
            integers of 8 (unsigned), 16 or 32 bits.
        layout: which axis of a two-dimensional array holds the channels; "auto" takes the shorter one.

    Raises:
        DataError: another shape, layout or type, no samples, more than 32 channels, NaN or infinity.
    """
    if layout not in get_args(Layout):
        raise DataError(f"layout={layout!r} must be one of {', '.join(get_args(Layout))}")
    samples = _floating(_tensor(audio))
    if samples.ndim == 2:
        samples = _channels_first(samples, layout)[None]
    elif samples.ndim == 1:
        samples = samples[None, None]
    if samples.ndim != 3 or 0 in samples.shape:
        raise DataError(
            f"audio has shape {list(samples.shape)}; give (samples,), (channels, samples), (samples, channels) or "
            "(batch, channels, samples), with at least one sample"
        )
    if samples.shape[1] > MAX_CHANNELS:
        raise DataError(
            f"audio has {samples.shape[1]} channels, at most {MAX_CHANNELS} are averaged; is it transposed?"
        )
    if not torch.isfinite(samples).all():
        raise DataError("audio holds NaN or infinity; clean it first")
    return samples.mean(dim=1, keepdim=True)


def resampled(audio: Tensor, sample_rate: int, rate: int) -> Tensor:
    """(B, 1, N) at `sample_rate` -> (B, 1, ceil(N * rate / sample_rate)), on the CPU.

    Raises:
        DataError: the rate is no positive whole number or has no small ratio to the codec's.
    """
    check_rate(sample_rate, rate)
    if sample_rate == rate:
        return audio
    rows = [resample(row.cpu().numpy(), sample_rate, rate) for row in audio[:, 0]]
    return torch.from_numpy(np.stack(rows))[:, None]


def to_numpy(waveform: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The first row of a waveform (B, 1, N) as an array (N,)."""
    return cast("np.ndarray[Any, np.dtype[np.float32]]", waveform[0, 0].float().cpu().numpy())


def check_rate(sample_rate: int, rate: int) -> None:
    """DataError unless audio at `sample_rate` can be resampled to `rate`."""
    if not is_whole(sample_rate) or sample_rate < 1:
        raise DataError(f"sample_rate={sample_rate!r} must be a positive whole number of Hz")
    gcd = math.gcd(int(sample_rate), rate)
    # The resampler's filter bank grows with the product of the reduced rates, so the size is refused beforehand.
    if (sample_rate // gcd) * (rate // gcd) > MAX_KERNEL_ELEMENTS:
        raise DataError(
            f"{sample_rate} Hz has no small ratio to {rate} Hz; resample the audio first, e.g. to {rate} Hz"
        )


def _tensor(audio: Any) -> Tensor:
    """Numbers of any shape as a tensor of that shape, without a graph."""
    if isinstance(audio, Tensor) and audio.layout == torch.strided and not audio.is_meta:
        return audio.detach()
    try:
        array = np.asarray(audio, order="C")  # no negative strides, and in this machine's byte order
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except (TypeError, ValueError, NotImplementedError) as error:
        kind = type(audio).__name__
        raise DataError(
            f"audio is a {kind}; give a tensor or an array of numbers, for a file what soundfile.read gives ({error})"
        ) from None


def _floating(samples: Tensor) -> Tensor:
    """Samples of any shape as float32 with full scale at 1."""
    if samples.is_floating_point():
        return samples.float()
    if samples.dtype not in _INTEGER_SCALES:
        raise DataError(
            f"audio of type {samples.dtype} has no full scale; give floats, or int16, int32 or uint8 samples"
        )
    scale = _INTEGER_SCALES[samples.dtype]
    # In double, since float32 rounds 32-bit samples before they are scaled.
    centred = samples.double() - (scale if samples.dtype == torch.uint8 else 0)
    return (centred / scale).float()


def _channels_first(samples: Tensor, layout: Layout) -> Tensor:
    """(channels, N) of (channels, N) or (N, channels)."""
    if layout == "auto":
        rows, columns = samples.shape
        # Either axis may be the channels here, and the wrong one would be averaged silently.
        if max(rows, columns) <= MAX_CHANNELS:
            raise DataError(
                f"audio of shape {[rows, columns]} is ambiguous; say layout='channels_first' or 'channels_last'"
            )
        layout = "channels_first" if rows <= columns else "channels_last"
    return samples if layout == "channels_first" else samples.T
