"""Do codes and audio line up? Band envelopes of decoded codes against the target, measured as a lag.

The windows go through the very path of training (slice specs, dataset, batch), so a wrong geometry shows here, as
drift: right at the start of utterances, wrong at their end. Single rows are proved by their codes and targets; this is
about the path that all rows share, and takes the mean. It holds for a codec of 1 kbps and for targets that another
model made, since it asks only when energy comes and goes in four bands, not what the waveform looks like.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.config.seeding import generator
from snac_exp.data.slices.batch import collate
from snac_exp.data.slices.dataset import AlignedDataset
from snac_exp.data.slices.sampling import SliceSpec, place
from snac_exp.errors import PreflightError

FRAME_SECONDS = 0.010  # of an envelope; the resolution of the lag
BAND_EDGES_HZ = (80.0, 500.0, 1500.0, 3500.0, 8000.0)
MAX_LAG_SECONDS = 0.400  # in either direction
WINDOW_SECONDS = 2.0


@dataclass(frozen=True)
class Lag:
    """Where decoded codes and target correlate best: positive = the codes come late."""

    seconds: float
    correlation: float


def band_envelopes(waveform: Tensor, rate: int) -> Tensor:
    """Log energy in four bands every 10 ms: (..., N) -> (..., 4, frames), zero mean over time."""
    hop = round(rate * FRAME_SECONDS)
    size = 2 * hop
    window = torch.hann_window(size, device=waveform.device)
    flat = waveform.reshape(-1, waveform.shape[-1]).float()
    power = torch.stft(flat, size, hop, window=window, center=True, return_complex=True).abs().square()
    frequencies = torch.fft.rfftfreq(size, 1 / rate).to(waveform.device)
    bands = [power[:, (frequencies >= low) & (frequencies < high)].sum(1) for low, high in pairwise(BAND_EDGES_HZ)]
    energy = torch.stack(bands, 1)
    floor = energy.amax((1, 2), keepdim=True) * 1e-6 + 1e-12  # 60 dB of range: digital silence must not dominate
    envelopes = torch.log(energy + floor)
    return (envelopes - envelopes.mean(-1, keepdim=True)).reshape(*waveform.shape[:-1], len(bands), -1)


def lag(decoded: Tensor, decoded_rate: int, target: Tensor, target_rate: int) -> Lag:
    """Lag of decoded audio (rows, N) behind its target (rows, M): the peak of their envelopes' mean cross-correlation.

    The mean is over rows and bands. Correlations are unbiased over the overlap, so that short windows do not pull the
    peak towards zero.
    """
    first, second = band_envelopes(decoded, decoded_rate), band_envelopes(target, target_rate)
    frames = min(first.shape[-1], second.shape[-1])
    first, second = first[..., :frames], second[..., :frames]
    # At least half of the frames overlap at every lag.
    max_frames = min(round(MAX_LAG_SECONDS / FRAME_SECONDS), frames // 2)
    lags = range(-max_frames, max_frames + 1)
    scores = torch.stack([_correlation(_shift(first, -item), _shift(second, item)) for item in lags])
    best = int(scores.argmax())
    return Lag((best - max_frames) * FRAME_SECONDS, float(scores[best]))


def _shift(envelopes: Tensor, by: int) -> Tensor:
    """(..., frames) -> (..., frames - |by|): without the last `by` frames, or without the first if `by` is negative."""
    frames = envelopes.shape[-1]
    return envelopes[..., : frames - by] if by >= 0 else envelopes[..., -by:]


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Mean correlation of envelopes (rows, 4, frames) over rows and bands, a scalar."""
    # Anew over the overlap: the mean of the whole window is not that of a part.
    first = first - first.mean(-1, keepdim=True)
    second = second - second.mean(-1, keepdim=True)
    norm = (first.square().sum(-1) * second.square().sum(-1)).sqrt().clamp_min(1e-9)
    return ((first * second).sum(-1) / norm).mean()


def check_lag(measured: Lag, where: str, max_lag_seconds: float = 0.020, min_correlation: float = 0.2) -> str:
    """One line about a lag within the promise.

    Raises:
        PreflightError: codes and audio are shifted, or do not belong together at all.
    """
    if measured.correlation < min_correlation:
        raise PreflightError(
            f"{where}: decoded codes and audio do not belong together (correlation of envelopes "
            f"{measured.correlation:.2f}, at least {min_correlation} expected); cache the codes again from these files"
        )
    # Lags are multiples of 10 ms, so the limit itself is reached, up to rounding.
    if abs(measured.seconds) > max_lag_seconds + 1e-9:
        raise PreflightError(
            f"{where}: decoded codes lie {measured.seconds * 1000:+.0f} ms from the audio (at most "
            f"{max_lag_seconds * 1000:.0f} ms allowed); cache the codes again, or make the targets again"
        )
    return f"{where}: lag {measured.seconds * 1000:+.0f} ms, correlation {measured.correlation:.2f}"


def prove_sound(
    codec: LoadedCodec,
    dataset: AlignedDataset,
    rates: Mapping[str, int],
    split: str,
    context_tokens: int,
    num_rows: int,
    seed: int,
) -> Iterator[str]:
    """Lag of decoded codes against the target of every head (name -> rate in Hz), a line for each end of utterances.

    Raises:
        PreflightError: decoded codes are late, early, or of other audio.
    """
    rows = _long_rows(dataset, num_rows, seed)
    for where in ("start", "end"):
        specs = [_window(dataset, row, context_tokens, at_end=where == "end") for row in rows]
        for head, measured in _lags(codec, dataset, specs, rates).items():
            yield check_lag(measured, f"target of {head} at the {where} of {len(rows)} {split} utterances")


def _long_rows(dataset: AlignedDataset, count: int, seed: int) -> list[int]:
    """Rows drawn without replacement, preferring those that hold a whole window."""
    order = generator(seed, "preflight").permutation(len(dataset))
    needed = dataset.geometry.coarse_tokens_in(WINDOW_SECONDS)
    long_first = sorted(order.tolist(), key=lambda row: min(int(dataset.coarse_lengths[row]), needed), reverse=True)
    return long_first[:count]


def _window(dataset: AlignedDataset, row: int, context_tokens: int, *, at_end: bool) -> SliceSpec:
    length = int(dataset.coarse_lengths[row])
    tokens = dataset.geometry.coarse_tokens_in(WINDOW_SECONDS)
    start = max(0, length - tokens) if at_end else 0
    return place(row, start, length, tokens, context_tokens, dataset.geometry)


@torch.no_grad()
def _lags(
    codec: LoadedCodec, dataset: AlignedDataset, specs: Sequence[SliceSpec], rates: Mapping[str, int]
) -> dict[str, Lag]:
    """Lag of the pretrained decoder's sound behind every head's target, over slices of one length."""
    batch = collate(dataset.__getitems__(specs))
    torch.manual_seed(0)  # of the decoder's noise
    codes = batch.codes if batch.source is None else codec.model.encode(batch.source)
    decoded = codec.model.decode(codes)[:, 0]
    hop = codec.geometry.coarse_hop
    length = specs[0].num_tokens * hop
    starts = (batch.slice_offset * hop).tolist()
    scored = torch.stack([row[start : start + length] for row, start in zip(decoded, starts, strict=True)])
    # Token 0 is a real code: what is decoded from padding is not silence, as the target is there.
    scored = scored * (torch.arange(length) < batch.valid_samples[:, None])
    rate = codec.geometry.sampling_rate
    return {head: lag(scored, rate, batch.audio[head][:, 0], rates[head]) for head in rates}
