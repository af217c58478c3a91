"""Windows of frames: every batch of an epoch as a function of (seed, epoch, position) alone.

Windows start every `step_frames`; in training the last one of a file ends with it, and a file shorter than a window is
one padded window. Splits are drawn by file: overlapping windows of one file on both sides would leak.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from snac_exp.config.seeding import generator
from snac_exp.data.epoch_batches import EpochBatches
from snac_exp.data.prepared.split import draw_validation
from snac_exp.data.tokens.val_list import read_val_list
from snac_exp.errors import ConfigError, DataError

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Frames [start, start + num_frames) of a file; what lies beyond the end of the file is padding."""

    file: int
    start: int
    num_frames: int


class WindowIndex:
    """All windows of some files, numbered; found by arithmetic, so that millions of them cost nothing.

    files (F,): numbers of the source's files. lengths (F,): their frames. With `pad_tail` the last window of a file
    starts a step after the one before like all others and is padded, so that with a step of `num_frames` no frame comes
    twice.
    """

    def __init__(
        self,
        files: Int64Array,
        lengths: Int64Array,
        num_frames: int,
        step_frames: int,
        alignment: int = 1,
        pad_tail: bool = False,
    ) -> None:
        if num_frames < alignment or num_frames % alignment or step_frames < alignment or step_frames % alignment:
            raise ConfigError(
                f"windows of {num_frames} frames every {step_frames} must be multiples of {alignment} frames"
            )
        self.files, self.lengths = np.asarray(files, np.int64), np.asarray(lengths, np.int64)
        self.num_frames, self.step_frames, self.pad_tail = num_frames, step_frames, pad_tail
        # Of each file: one window, and one more for every step begun beyond it.
        beyond = np.maximum(self.lengths - num_frames, 0)
        self._ends = np.cumsum(-(-beyond // step_frames) + 1)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def windows_per_file(self) -> Int64Array:
        """How many windows each file has (F,)."""
        return np.diff(self._ends, prepend=0)

    def specs(self, windows: Int64Array) -> list[WindowSpec]:
        """Windows by their numbers (n,)."""
        place = np.searchsorted(self._ends, windows, side="right")
        first = np.concatenate([[0], self._ends])[place]
        starts = (np.asarray(windows) - first) * self.step_frames
        if not self.pad_tail:
            # The last window ends with its file.
            starts = np.minimum(starts, np.maximum(self.lengths[place] - self.num_frames, 0))
        pairs = zip(self.files[place].tolist(), starts.tolist(), strict=True)
        return [WindowSpec(file, start, self.num_frames) for file, start in pairs]


class WindowSampler:
    """The batches of one epoch, each window exactly once, as lists of WindowSpec.

    windows (items,): the windows that the epoch holds, where it does not hold each once. batch_size (over all ranks and
    all micro-batches), start_batch, rank, world_size: see `EpochBatches`.
    """

    def __init__(
        self,
        index: WindowIndex,
        seed: int,
        batch_size: int,
        epoch: int,
        start_batch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        windows: Int64Array | None = None,
    ) -> None:
        num_items = len(index) if windows is None else len(windows)
        self.batches = EpochBatches(num_items, batch_size, start_batch, rank, world_size, noun="windows")
        self.index, self.seed, self.epoch, self.windows = index, seed, epoch, windows

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[WindowSpec]]:
        for positions in self.batches:
            yield self.index.specs(self.order[positions])

    @cached_property
    def order(self) -> Int64Array:
        """The windows at the positions of the epoch (items,)."""
        order = self.batches.order(self.seed, "windows", self.epoch)
        return order if self.windows is None else self.windows[order]

    def batch_windows(self, batch: int) -> Int64Array:
        """The windows (n,) of one batch, over all ranks."""
        return self.order[self.batches.whole(batch)]


def validation_windows(index: WindowIndex, seed: int, limit: int | None) -> list[WindowSpec]:
    """The windows every validation of a run measures: all of them, or `limit` drawn by the seed."""
    chosen = generator(seed, "validation_windows").permutation(len(index))[:limit]
    return index.specs(np.sort(chosen))


def split_files(
    names: Sequence[str], lengths: Int64Array, train_ratio: float, seed: int, val_list: Path | None = None
) -> tuple[Int64Array, Int64Array]:
    """Numbers of the training and of the validation files.

    val_list: a text file that names the validation files, one relative path a line (with or without suffix); without
    it they are drawn by the seed so that train has its share of the frames.

    Raises:
        DataError: a listed file is not there, or one side would be empty.
    """
    if val_list is None:
        # Frames stand for seconds: all that counts is their proportion.
        chosen = draw_validation(dict(zip(names, map(float, lengths), strict=True)), train_ratio, seed)
    else:
        chosen = _listed(names, val_list)
    validation = np.array([name in chosen for name in names])
    if validation.all() or not validation.any():
        raise DataError(
            f"{val_list}: leaves no file to {'train' if validation.all() else 'validate'} on; change the list"
        )
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def _listed(names: Sequence[str], val_list: Path) -> set[str]:
    by_name = {name: name for name in names} | {str(Path(name).with_suffix("")): name for name in names}
    chosen = set()
    for line in read_val_list(val_list):
        name = by_name.get(line) or by_name.get(str(Path(line).with_suffix("")))
        if name is None:
            raise DataError(f"{val_list}: there is no usable file '{line}'; paths are relative to the folder")
        chosen.add(name)
    return chosen
