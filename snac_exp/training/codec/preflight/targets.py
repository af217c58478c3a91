"""Do separate targets lie where their sources do? Row by row, to a fraction of a millisecond.

Source and target of a row are both real audio of one utterance, so their delay is the peak of a cross-correlation, of
the waveforms where the target kept them, else of changes of level every millisecond (a restoration model draws new
phases). Measured at the loudest words of either half, two delays also give the drift of a stretched target.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import numpy as np
import numpy.typing as npt
import torch

from snac_exp.data.slices.dataset import AlignedDataset
from snac_exp.errors import PreflightError
from snac_exp.training.codec.preflight.rows import RowVerdict, holds_of_all, refuse

MEND = "make the targets again"

Float = npt.NDArray[np.float64]

RATE = 24_000  # Hz, of both signals when they are compared: the band that every source has
LONGEST_SECONDS = 12.0  # of a row that is looked at
MAX_DELAY_SECONDS = 0.002  # of a row whose waveform was kept, and of the median of others
MAX_DRIFT = 0.0002  # of a row whose waveform was kept
MAX_ROUGH_DELAY_SECONDS = 0.012  # of a single row by its envelopes, which say no more than that
SEARCHED_SECONDS = 0.4  # in either direction
WINDOW_SECONDS = 0.6  # of waveforms: long enough for a word, short enough for a stretched one
WAVEFORM_KEPT = 0.6  # correlation above which the target has its source's waveform
SAME_UTTERANCE = 0.27  # correlation of changes of level; other utterances reach 0.18, a codec of 1 kbps has 0.36
FRAME = RATE // 1000  # samples, of an envelope's frame
CHANGE_FRAMES = 20  # over which a change of level is taken: 20 ms, an onset
BAND_EDGES_HZ = (80.0, 500.0, 1500.0, 3500.0, 8000.0)
SILENT_DB = -90.0  # of full scale, RMS
LEVEL_DIFFERENCE_DB = 30.0  # of a target from its source
LARGEST_PEAK = 16.0  # times full scale


@dataclass(frozen=True)
class Delay:
    """How a target lies against its source.

    seconds: positive = the target is late, in the middle of the row. drift: seconds that are gained per second. exact:
    from waveforms. correlation: of what was compared.
    """

    seconds: float
    drift: float
    exact: bool
    correlation: float


def prove_targets(dataset: AlignedDataset, head: str, rate: int, split: str, rows: Sequence[int]) -> str:
    """The targets of a head are in time with their sources; one line that says so with the largest delay.

    Raises:
        PreflightError: rows whose targets are late, stretched, implausible or of other audio.
    """
    bad, delays = [], []
    for row in rows:
        source, target = read_pair(dataset, row, rate)
        cause = implausible(source, target)
        found = None if cause is not None else measure_delay(source, target)
        if found is not None:
            delays.append(found)
            cause = wrong_place(found)
        if cause is not None:
            bad.append(RowVerdict(dataset.path(row), -abs(found.seconds) if found else -1.0, cause))
    what = f"targets of {head} are not in time with their sources"
    declared = dataset.folders_of(rows[0]).target_delay_seconds
    refuse(what, split, bad, len(rows), len(dataset), MEND + _constant_delay(delays, declared))
    # Many delays that are each uncertain by some milliseconds still have a certain median.
    typical = median(delay.seconds for delay in delays)
    if abs(typical) > MAX_DELAY_SECONDS:
        raise PreflightError(
            f"{what}: half of the {split} targets are {typical * 1000:+.1f} ms late or more (at most "
            f"{MAX_DELAY_SECONDS * 1000:.0f} ms); {MEND}{_constant_delay(delays, declared)}"
        )
    taken_back = f", {declared * 1000:g} ms that are declared taken back" if declared else ""
    return (
        f"{split} targets of {head} lie {typical * 1000:+.2f} ms from their sources{taken_back}, none further than "
        f"{max(abs(delay.seconds) for delay in delays) * 1000:.1f} ms: {holds_of_all(len(rows), len(dataset))}"
    )


def _constant_delay(delays: Sequence[Delay], declared: float) -> str:
    """What to write where all rows lie equally late, as behind a model with a delay of its own."""
    steady = [delay for delay in delays if delay.correlation >= SAME_UTTERANCE and abs(delay.drift) <= MAX_DRIFT]
    if len(steady) < max(len(delays), 2):
        return ""
    seconds = [delay.seconds for delay in steady]
    allowed = MAX_DELAY_SECONDS if all(delay.exact for delay in steady) else 2 * MAX_ROUGH_DELAY_SECONDS
    if max(seconds) - min(seconds) > allowed:
        return ""
    total = declared + median(seconds)
    return f", or declare the delay that all of them have: data.target_delay_seconds={total:.5f}"


def read_pair(dataset: AlignedDataset, row: int, rate: int) -> tuple[Float, Float]:
    """Source and target (N,) of a row at `RATE`, a declared delay taken back; at most `LONGEST_SECONDS`."""
    whole = int(dataset.num_samples[row]) * RATE // dataset.geometry.sampling_rate
    num = min(whole, int(LONGEST_SECONDS * RATE))
    # Without the check of their length: a stretched target is told of as such.
    source = replace(dataset.source_rows(row), check=None).read(row, RATE, 0, num).samples
    target = replace(dataset.audio_rows(row, rate), check=None).read(row, RATE, 0, num).samples
    return source.astype(np.float64), target.astype(np.float64)


def implausible(source: Float, target: Float) -> str | None:
    """What is wrong with samples (N,) that cannot be the target of a source (N,), or None."""
    peak = float(np.abs(target).max(initial=0.0))
    if not np.isfinite(target).all() or peak > LARGEST_PEAK:
        return f"its target has a peak of {peak:.3g}, where full scale is 1"
    source_db, target_db = _level_db(source), _level_db(target)
    if target_db < SILENT_DB <= source_db:
        return f"its target is silent ({target_db:.0f} dB), its source is not ({source_db:.0f} dB)"
    if source_db >= SILENT_DB and abs(target_db - source_db) > LEVEL_DIFFERENCE_DB:
        return f"its target lies {target_db - source_db:+.0f} dB from its source in level"
    return None


def wrong_place(found: Delay) -> str | None:
    """Why a delay is beyond the promise, or None."""
    if not found.exact and found.correlation < SAME_UTTERANCE:
        return f"its target is of other audio (correlation of changes of level {found.correlation:.2f})"
    limit = MAX_DELAY_SECONDS if found.exact else MAX_ROUGH_DELAY_SECONDS
    if abs(found.drift) > MAX_DRIFT and found.exact:
        return f"its target is stretched by {found.drift:+.3%} (at most {MAX_DRIFT:.2%})"
    if abs(found.seconds) > limit:
        return f"its target is {found.seconds * 1000:+.1f} ms late (at most {limit * 1000:.0f} ms)"
    return None


def measure_delay(source: Float, target: Float) -> Delay:
    """Delay of a target (N,) behind its source (N,), both at `RATE`: from waveforms, else from changes of level."""
    num = min(len(source), len(target))
    middle = num // 2
    # The loudest place of either half: there is speech, and the two are far apart.
    places = [_loudest(target[:middle]), middle + _loudest(target[middle:num])]
    first, second = (_waveform_delay(source, target, place) for place in places)
    if min(first[1], second[1]) >= WAVEFORM_KEPT:
        apart = (places[1] - places[0]) / RATE
        # Two windows that overlap say nothing about drift.
        drift = (second[0] - first[0]) / apart if apart > WINDOW_SECONDS else 0.0
        return Delay((first[0] + second[0]) / 2, drift, True, min(first[1], second[1]))
    seconds, correlation = _envelope_delay(source[:num], target[:num])
    return Delay(seconds, 0.0, False, correlation)


def _loudest(samples: Float) -> int:
    """First sample of the window of most energy in samples (N,)."""
    width = min(int(WINDOW_SECONDS * RATE), len(samples))
    # Sums of all windows in one pass.
    energy = np.concatenate([[0.0], np.cumsum(samples**2)])
    sums = energy[width:] - energy[:-width] if width else np.zeros(1)
    return int(sums.argmax())


def _waveform_delay(source: Float, target: Float, place: int) -> tuple[float, float]:
    """Seconds that the window of the target (N,) at `place` lies behind the source (N,), and their correlation."""
    window = target[place : place + int(WINDOW_SECONDS * RATE)]
    reach = int(SEARCHED_SECONDS * RATE)
    padded = np.pad(source, (reach, reach + len(window)))
    searched = padded[place : place + len(window) + 2 * reach]
    scores = _normalised(searched, window)
    found, correlation = _peak(scores)
    return (reach - found) / RATE, correlation


def _normalised(searched: Float, window: Float) -> Float:
    """Correlation of a window (W,) with every stretch of its length in `searched` (W + 2 R,) -> (2 R + 1,)."""
    size = 1 << (len(searched) - 1).bit_length()  # a circle long enough that no valid product wraps around
    spectrum = np.fft.rfft(searched, size) * np.fft.rfft(window, size).conj()
    products = np.fft.irfft(spectrum, size)[: len(searched) - len(window) + 1]
    energy = np.concatenate([[0.0], np.cumsum(searched**2)])
    power = (energy[len(window) :] - energy[: -len(window)]).clip(min=0.0)
    # A stretch far quieter than the window could win by rounding alone.
    floor = 1e-6 * float((window**2).sum()) + 1e-20
    scores: Float = products / np.sqrt((power + floor) * ((window**2).sum() + floor))
    return scores


def _peak(scores: Float) -> tuple[float, float]:
    """Where scores (M,) are largest, between samples by a parabola through the neighbours, and the largest score."""
    best = int(scores[1:-1].argmax()) + 1
    before, peak, after = scores[best - 1 : best + 2]
    curve = before - 2 * peak + after
    return best + (0.5 * (before - after) / curve if curve else 0.0), float(peak)


def _envelope_delay(source: Float, target: Float) -> tuple[float, float]:
    """Seconds that a target (N,) lies behind its source (N,) by changes of level in four bands, and the correlation."""
    first, second = _changes(source), _changes(target)
    num = min(first.shape[1], second.shape[1])
    reach = min(int(SEARCHED_SECONDS * RATE / FRAME), num // 4)
    if reach < 2:
        return 0.0, 0.0
    # The same frames of the target at every lag, so that scores are comparable.
    core = second[:, reach : num - reach]
    core = core - core.mean(1, keepdims=True)
    scores = []
    for late in range(-reach, reach + 1):
        part = first[:, reach - late : num - reach - late]
        part = part - part.mean(1, keepdims=True)
        scores.append((part * core).sum() / np.sqrt((part**2).sum() * (core**2).sum() + 1e-20))
    found, correlation = _peak(np.asarray(scores))
    return (found - reach) * FRAME / RATE, correlation


def _changes(samples: Float) -> Float:
    """Changes of log energy over 20 ms in four bands, every millisecond, of samples (N,) -> (4, frames)."""
    size = 15 * FRAME  # 15 ms: a pitch period fits in, an onset stays sharp
    window = torch.hann_window(size, dtype=torch.float64)
    spectrum = torch.stft(
        torch.from_numpy(samples), size, FRAME, window=window / window.sum(), pad_mode="constant", return_complex=True
    )
    frequencies, power = np.fft.rfftfreq(size, 1 / RATE), spectrum.abs().square().numpy()
    bands = [power[(frequencies >= low) & (frequencies < high)].sum(0) for low, high in pairwise(BAND_EDGES_HZ)]
    energy = np.stack(bands)
    logs = np.log(energy + energy.max(initial=0.0) * 1e-5 + 1e-20)  # 50 dB of range: silence must not dominate
    changes: Float = logs[:, CHANGE_FRAMES:] - logs[:, :-CHANGE_FRAMES]
    return changes


def _level_db(samples: Float) -> float:
    """RMS of samples (N,) in dB of full scale."""
    return float(10 * np.log10(np.mean(samples**2) + 1e-20))
