"""What a token model must beat: a model that knows how often each token comes, and no more."""

import math

import numpy as np
import numpy.typing as npt

from snac_exp.data.tokens.sources import TokenSplits
from snac_exp.data.tokens.windows import WindowSpec

Counts = npt.NDArray[np.float64]


def unigram_metrics(splits: TokenSplits, specs: list[WindowSpec]) -> dict[str, float]:
    """Metrics over the windows `specs` of the validation files, from counts of the training files plus one each.

    Returns:
        `codebook_K/cross_entropy` in nats per token and `bits_per_second` of audio.
    """
    layout = splits.layout
    counts = np.zeros((layout.num_codebooks, max(layout.vocab_sizes)))
    for codebook, size in zip(layout.codebooks, layout.vocab_sizes, strict=True):
        counts[codebook, :size] = 1  # so that a token that never came is possible
    for file in splits.train.files.tolist():
        _add(counts, splits, file, 0, int(splits.train.source.lengths[file]))
    # Columns beyond a smaller codebook have probability 0; they are never found, but 0 * inf would be NaN.
    nats = -np.log(np.maximum(counts / counts.sum(1, keepdims=True), np.finfo(np.float64).tiny))
    found = np.zeros_like(counts)
    for spec in specs:
        # A window may reach beyond its file; padding is not counted.
        left = int(splits.train.source.lengths[spec.file]) - spec.start
        _add(found, splits, spec.file, spec.start, min(left, spec.num_frames))
    values = {
        f"codebook_{k}/cross_entropy": float((found[k] * nats[k]).sum() / found[k].sum()) for k in range(len(found))
    }
    per_token = float((found * nats).sum() / found.sum())
    return values | {"bits_per_second": per_token / math.log(2) * layout.tokens_per_second}


def _add(counts: Counts, splits: TokenSplits, file: int, start: int, num_frames: int) -> None:
    """Add the new tokens of some frames to counts (codebooks, V); a slower stream's repeated ones are not new."""
    layout = splits.layout
    frames = splits.train.source.read(file, start, num_frames)
    for stream, (codebook, period) in enumerate(zip(layout.codebooks, layout.periods, strict=True)):
        counts[codebook] += np.bincount(frames[::period, stream], minlength=counts.shape[1])
