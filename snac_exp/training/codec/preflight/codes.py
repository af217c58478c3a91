"""Do the cached codes belong to the audio? Row by row, by encoding the audio again.

A window of each row is encoded with as much audio around it as the encoder sees, and compared with the cached tokens of
the same place. Equal tokens need no ear, so this holds for a codec of any quality, random weights included.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.codec.geometry import decoder_context_tokens
from snac_exp.config.seeding import generator
from snac_exp.data.slices.dataset import SliceDataset
from snac_exp.errors import PreflightError
from snac_exp.system.environment import provenance
from snac_exp.training.codec.preflight.rows import RowVerdict, holds_of_all, refuse

WINDOW_SECONDS = 2.0
ROW_AGREEMENT = 0.8  # below it a row's codes are of other audio; rounding on another device costs a few percent
MEAN_AGREEMENT = 0.99  # over all windows, where the cache is of another device, thread count or version
LARGEST_SHIFT = 12  # coarse tokens in either direction that a bad row is searched for


@dataclass(frozen=True)
class EncodedWindow:
    """Codes of one window: fresh[i], cached[i] (T_i,) of codebook i, from coarse token `start` of the row on."""

    row: int
    start: int
    num_coarse: int
    fresh: list[Tensor]
    cached: list[Tensor]

    @property
    def agreement(self) -> float:
        """Fraction of equal tokens over all codebooks."""
        equal = sum(int((new == old).sum()) for new, old in zip(self.fresh, self.cached, strict=True))
        return equal / sum(len(old) for old in self.cached)


def prove_codes(codec: LoadedCodec, dataset: SliceDataset, split: str, rows: Sequence[int], seed: int) -> str:
    """The cached codes of rows of a split are reproduced when their audio is encoded again; one line that says so.

    Raises:
        PreflightError: rows whose codes are shifted, of another row, or of other audio; or too many single tokens that
            differ.
    """
    check_lengths(dataset, split)
    windows = [encode_window(codec, dataset, row, seed) for row in rows]
    bad = [window for window in windows if window.agreement < ROW_AGREEMENT]
    verdicts = [
        RowVerdict(dataset.path(window.row), window.agreement, cause_of(window, windows, dataset)) for window in bad
    ]
    mend = "cache the codes again from these files"
    refuse("cached codes do not belong to the audio", split, verdicts, len(rows), len(dataset), mend)
    mean = sum(window.agreement for window in windows) / len(windows)
    if mean < MEAN_AGREEMENT:
        raise PreflightError(
            f"only {mean:.2%} of the cached tokens of {len(rows)} {split} rows are reproduced when their audio is "
            f"encoded again ({MEAN_AGREEMENT:.0%} expected); the audio or the codec changed since: cache the codes "
            "again"
        )
    same = "in the cache's own environment" if dataset.table.made_on == {provenance("cpu")} else "made elsewhere"
    looked_at = holds_of_all(len(rows), len(dataset))
    return f"{split} codes are reproduced from their audio, {mean:.2%} equal ({same}): {looked_at}"


def check_lengths(dataset: SliceDataset, split: str) -> None:
    """Every row of a split has as many coarse tokens as its audio needs; all rows, since no file is opened for it.

    Raises:
        PreflightError: names the first rows that do not.
    """
    geometry = dataset.geometry
    step = geometry.coarse_hop * geometry.coarse_step
    expected = -(-dataset.num_samples // step) * geometry.coarse_step
    wrong = (expected != dataset.coarse_lengths).nonzero()[0]
    verdicts = [
        RowVerdict(
            dataset.path(int(row)), 0.0, f"{dataset.coarse_lengths[row]} coarse tokens where {expected[row]} belong"
        )
        # A cache of another codec is wrong in all of its rows, perhaps millions; five are named.
        for row in wrong[:1000]
    ]
    mend = "the cache is damaged or another codec's: cache the codes again"
    refuse("codes and audio have different lengths", split, verdicts, len(dataset), len(dataset), mend)


@torch.no_grad()
def encode_window(codec: LoadedCodec, dataset: SliceDataset, row: int, seed: int) -> EncodedWindow:
    """Encode one window of a row again: at a place of its own, so that drift along a row cannot hide."""
    geometry = codec.geometry
    length = int(dataset.coarse_lengths[row])
    wanted = min(geometry.coarse_tokens_in(WINDOW_SECONDS), length)
    # Windows of the first and the last tokens come as often as all others together: drift is largest at the end.
    place = generator(seed, "preflight/window", row).choice(
        (0.0, 1.0, generator(seed, "preflight/place", row).random())
    )
    start = int(place * (length - wanted)) // geometry.coarse_step * geometry.coarse_step
    # The encoder sees no further than the decoder.
    context = decoder_context_tokens(codec.config) + geometry.coarse_step
    first, last = max(start - context, 0), min(start + wanted + context, length)
    # The last coarse token may reach beyond the end of the file.
    samples = min(last * geometry.coarse_hop, int(dataset.num_samples[row])) - first * geometry.coarse_hop
    rows = replace(dataset.source_rows(row), check=None)
    audio = rows.read(row, geometry.sampling_rate, first * geometry.coarse_hop, samples).samples
    codes = codec.model.encode(torch.from_numpy(audio)[None, None])
    whole = dataset.whole_codes(row)
    fresh, cached = [], []
    for index, tokens in enumerate(codes):
        fresh.append(tokens[0][geometry.codebook_slice(index, start - first, wanted)])
        cached.append(whole[index][geometry.codebook_slice(index, start, wanted)])
    return EncodedWindow(row, start, wanted, fresh, cached)


def cause_of(window: EncodedWindow, windows: Iterable[EncodedWindow], dataset: SliceDataset) -> str:
    """Why a window's codes do not come back: shifted, those of another row, or of other audio."""
    geometry, tokens = dataset.geometry, f"{window.agreement:.0%} of its tokens are reproduced"
    whole = dataset.whole_codes(window.row)
    # The nearest first: steady sounds may fit at several shifts.
    for shift in sorted(range(-LARGEST_SHIFT, LARGEST_SHIFT + 1), key=abs):
        if shift and _agreement_at(whole, window, window.start + shift, dataset) >= ROW_AGREEMENT:
            seconds = shift * geometry.coarse_hop / geometry.sampling_rate
            return f"its codes lie {shift:+d} coarse tokens ({seconds * 1000:+.0f} ms) late"
    # Only among the rows that were looked at, which finds two that were swapped.
    for other in windows:
        if other.row != window.row and _agreement_at(dataset.whole_codes(other.row), window, window.start, dataset) >= (
            ROW_AGREEMENT
        ):
            return f"its codes are stored for {dataset.path(other.row)}; {tokens}"
    return f"{tokens}: its codes are of other audio, or damaged"


def _agreement_at(whole: Sequence[Tensor], window: EncodedWindow, start: int, dataset: SliceDataset) -> float:
    """Fraction of equal tokens if the window's audio belonged at coarse token `start` of whole[i] (T_i,).

    Over what lies inside the row, which must be half of the window at least, else 0.
    """
    geometry = dataset.geometry
    first, last = max(start, 0), min(start + window.num_coarse, len(whole[0]))
    # A few tokens may agree by chance.
    if 2 * (last - first) < window.num_coarse:
        return 0.0
    equal = total = 0
    for index, tokens in enumerate(whole):
        there = tokens[geometry.codebook_slice(index, first, last - first)]
        fresh = window.fresh[index][geometry.codebook_slice(index, first - start, last - first)]
        equal += int((there == fresh).sum())
        total += len(there)
    return equal / total
