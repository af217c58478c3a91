"""Which row, where and how long: every slice of an epoch as a function of (seed, epoch, position) alone.

All positions and lengths are coarse tokens, i.e. tokens of codebook 0. Nothing here has a state, so a resumed run asks
for the rest of its epoch and gets exactly the slices it would have had.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from snac_exp.codec.geometry import Geometry
from snac_exp.config.schema import Augment
from snac_exp.config.seeding import generator
from snac_exp.data.epoch_batches import EpochBatches
from snac_exp.data.slices.augmenting import UNCHANGED, Change, draw_changes
from snac_exp.errors import DataError

Int64Array = npt.NDArray[np.int64]
AS_IT_IS = Augment()


@dataclass(frozen=True, slots=True)
class SliceSpec:
    """One slice of one row: the decoded window [window_start, window_start + window_tokens) holds the scored slice
    [start, start + num_tokens). The window may reach beyond the end of the utterance, which is padded then.
    change: of input and targets alike."""

    row: int
    window_start: int
    window_tokens: int
    start: int
    num_tokens: int
    change: Change = UNCHANGED

    @property
    def offset(self) -> int:
        """Coarse tokens from the start of the window to the start of the slice."""
        return self.start - self.window_start


class SliceSampler:
    """The batches of one epoch, each row exactly once, as lists of SliceSpec.

    rows (items,): the rows that the epoch holds, perhaps some several times, where it does not hold each once.
    batch_size (over all ranks), start_batch, rank, world_size: see `EpochBatches`. augment: what changes at random.
    """

    def __init__(
        self,
        coarse_lengths: Sequence[int] | Int64Array,
        geometry: Geometry,
        seed: int,
        batch_size: int,
        num_tokens: int,
        context_tokens: int,
        epoch: int,
        start_batch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        augment: Augment = AS_IT_IS,
        rows: Int64Array | None = None,
    ) -> None:
        self.lengths, self.rows = np.asarray(coarse_lengths, dtype=np.int64), rows
        num_items = len(self.lengths if rows is None else rows)
        self.batches = EpochBatches(num_items, batch_size, start_batch, rank, world_size)
        _check_steps(geometry, num_tokens, self.lengths)
        self.geometry, self.seed, self.epoch = geometry, seed, epoch
        self.num_tokens, self.context_tokens, self.augment = num_tokens, context_tokens, augment

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[SliceSpec]]:
        num_items, order = self.batches.num_items, self.order
        # One draw per position in [0, 1): the same whatever the batch size, the rank and the slice length.
        draws = generator(self.seed, "slice", self.epoch).random(num_items)
        change = draw_changes(self.augment, self.seed, self.epoch, num_items)
        for positions in self.batches:
            rows = order[positions]
            starts = draw_starts(self.lengths[rows], draws[positions], self.num_tokens, self.geometry.coarse_step)
            specs = [self._spec(int(row), int(start)) for row, start in zip(rows, starts, strict=True)]
            yield [replace(spec, change=change(i)) for i, spec in enumerate(specs, start=positions.start)]

    @cached_property
    def order(self) -> Int64Array:
        """The rows at the positions of the epoch (items,)."""
        # The purpose is part of the draw: renaming one changes every slice of every recipe.
        order = self.batches.order(self.seed, "shuffle", self.epoch)
        return order if self.rows is None else self.rows[order]

    def batch_rows(self, batch: int) -> Int64Array:
        """The rows (n,) of one batch, over all ranks."""
        return self.order[self.batches.whole(batch)]

    def _spec(self, row: int, start: int) -> SliceSpec:
        return place(row, start, int(self.lengths[row]), self.num_tokens, self.context_tokens, self.geometry)


def validation_specs(
    coarse_lengths: Sequence[int] | Int64Array,
    geometry: Geometry,
    seed: int,
    num_tokens: int,
    num_slices: int,
    context_tokens: int,
) -> list[SliceSpec]:
    """The slices every validation of a run measures, whatever the epoch and the curriculum.

    Different rows as long as there are any, then further slices of the same rows; a slice never comes twice, so short
    utterances may leave fewer than `num_slices`.
    """
    lengths = np.asarray(coarse_lengths, dtype=np.int64)
    if len(lengths) == 0:
        raise DataError("no validation rows; prepare the folder with a smaller train_ratio or name validation_speakers")
    _check_steps(geometry, num_tokens, lengths)
    # np.resize repeats the permutation, so each row comes once before any comes again.
    order = np.resize(generator(seed, "validation_rows").permutation(len(lengths)), num_slices)
    draws = generator(seed, "validation_slice").random(num_slices)
    starts = draw_starts(lengths[order], draws, num_tokens, geometry.coarse_step)
    specs = (
        place(int(row), int(start), int(lengths[row]), num_tokens, context_tokens, geometry)
        for row, start in zip(order, starts, strict=True)
    )
    # An utterance with a single place for the slice gives the same spec each time it comes.
    return list(dict.fromkeys(specs))


def draw_starts(lengths: Int64Array, draws: npt.NDArray[np.float64], num_tokens: int, coarse_step: int) -> Int64Array:
    """Starts of slices of `num_tokens` in utterances of `lengths` (n,), uniform over the admissible multiples of the
    step; `draws` (n,) lie in [0, 1). Utterances shorter than the slice start at 0."""
    num_choices = np.maximum(lengths - num_tokens, 0) // coarse_step + 1
    # A draw just below 1 may round up to the number of choices itself.
    choices: Int64Array = np.minimum((draws * num_choices).astype(np.int64), num_choices - 1)
    return choices * coarse_step


def place(row: int, start: int, length: int, num_tokens: int, context_tokens: int, geometry: Geometry) -> SliceSpec:
    """The slice at `start` with `context_tokens` (rounded up to whole steps) around it where the utterance has them.

    At the ends of the utterance the window keeps its length and its end is the true end, so the slice lies off-centre.
    """
    step = geometry.coarse_step
    # Whole attention windows: starting within one, its frames would attend to other neighbours than in the whole.
    context = -(-context_tokens // step) * step
    window_tokens = num_tokens + 2 * context
    window_start = min(max(start - context, 0), max(length - window_tokens, 0))
    return SliceSpec(row, window_start, window_tokens, start, num_tokens)


def _check_steps(geometry: Geometry, num_tokens: int, lengths: Int64Array) -> None:
    step = geometry.coarse_step
    if num_tokens < step or num_tokens % step:
        raise ValueError(f"a slice of {num_tokens} coarse tokens is not a whole number of steps of {step}")
    if (lengths < step).any() or (lengths % step).any():
        raise ValueError(f"utterances must have whole steps of {step} coarse tokens")
