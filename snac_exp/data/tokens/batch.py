"""Batches of token windows: read straight into one array, in this process or in workers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from snac_exp.data.loader import QuietStart, leave_signals_to_the_parent
from snac_exp.data.tokens.files import TokenSource
from snac_exp.data.tokens.windows import WindowIndex, WindowSpec

Int64Array = npt.NDArray[np.int64]


@dataclass(slots=True)
class TokenBatch:
    """Windows of equal length; not frozen, since Fabric's mixed precision sets every field of what a model is given.

    frames (B, T, K) int64, zero beyond the end of a file. valid_frames (B,): frames that are real; only these may carry
    loss. files (B,): their files' numbers in the source. frames_per_second in Hz.
    """

    frames: Tensor
    valid_frames: Tensor
    files: Tensor
    frames_per_second: float

    def __len__(self) -> int:
        return len(self.files)

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio in all windows, padding included: what the model has to work through."""
        return self.frames.shape[0] * self.frames.shape[1] / self.frames_per_second

    def to(self, device: torch.device | str) -> "TokenBatch":
        """The same batch on a device; copies from pinned memory do not block."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "TokenBatch":
        """The same batch in page-locked memory; the DataLoader calls this by name."""
        return self._map(lambda tensor: tensor.pin_memory())

    def micro_batches(self, size: int) -> "list[TokenBatch]":
        """Consecutive parts of exactly `size` windows, the last filled up with empty windows: shapes stay static."""
        # No frame of an empty window is valid, so it carries no loss.
        missing = -len(self) % size
        padded = self._map(lambda tensor: torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])]))
        return [padded._map(lambda tensor, i=i: tensor[i : i + size]) for i in range(0, len(padded), size)]  # type: ignore[misc]

    def _map(self, function: Callable[[Tensor], Tensor]) -> "TokenBatch":
        """The batch with every tensor, of whatever shape, replaced by `function` of it."""
        return replace(
            self,
            frames=function(self.frames),
            valid_frames=function(self.valid_frames),
            files=function(self.files),
        )


class TokenWindows(Dataset[TokenBatch]):
    """Some files of a source; a batch is asked for by its specs and read straight into one array."""

    def __init__(self, source: TokenSource, files: Int64Array) -> None:
        self.source, self.files = source, np.asarray(files, np.int64)
        self._lengths = source.lengths

    def index(self, num_frames: int, step_frames: int, pad_tail: bool = False) -> WindowIndex:
        """All windows of these files."""
        lengths = self._lengths[self.files]
        return WindowIndex(self.files, lengths, num_frames, step_frames, self.source.layout.alignment, pad_tail)

    @property
    def num_frames(self) -> int:
        """Frames of these files."""
        return int(self._lengths[self.files].sum())

    @property
    def num_seconds(self) -> float:
        """Seconds of audio in these files."""
        return self.num_frames / self.source.layout.frames_per_second

    def batch(self, specs: Sequence[WindowSpec]) -> TokenBatch:
        """Windows of equal length as one batch; DataError names the file that cannot be read."""
        layout, num_frames = self.source.layout, specs[0].num_frames
        # Every element is written below.
        frames = np.empty((len(specs), num_frames, layout.num_streams), np.int64)
        valid = [min(int(self._lengths[spec.file]) - spec.start, num_frames) for spec in specs]
        for window, spec, num in zip(frames, specs, valid, strict=True):
            window[:num] = self.source.read(spec.file, spec.start, num)
            window[num:] = 0
        files = torch.tensor([spec.file for spec in specs])
        return TokenBatch(torch.from_numpy(frames), torch.tensor(valid), files, layout.frames_per_second)

    # PyTorch's fetcher calls this once per batch, where there is one, instead of `__getitem__` per item.
    def __getitems__(self, specs: Sequence[WindowSpec]) -> TokenBatch:
        return self.batch(specs)

    def __getitem__(self, spec: WindowSpec) -> TokenBatch:
        return self.batch([spec])


@dataclass
class CurrentBatches:
    """The batches of whichever epoch is under way, so that one loader, with the same workers, serves them all."""

    batches: Iterable[list[WindowSpec]] = ()

    def __iter__(self) -> Iterator[list[WindowSpec]]:
        return iter(self.batches)


def make_window_loader(
    windows: TokenWindows,
    batches: Iterable[list[WindowSpec]],
    num_workers: int = 0,
    pin_memory: bool = False,
    prefetch: int | None = None,
) -> "DataLoader[TokenBatch]":
    """A DataLoader that yields one TokenBatch per list of specs, in order; `prefetch` batches per worker, None = 2.

    Workers live as long as the loader: iterating again asks the same ones, also where the last round was left early.
    """
    return QuietStart(
        windows,
        batch_sampler=batches,
        collate_fn=_as_it_is,
        num_workers=num_workers,
        pin_memory=pin_memory,
        prefetch_factor=prefetch if num_workers else None,
        persistent_workers=num_workers > 0,
        worker_init_fn=leave_signals_to_the_parent if num_workers else None,
        # Its own, as in `make_loader`: the default would draw from torch's global generator.
        generator=torch.Generator(),
    )


def _as_it_is(batch: Any) -> Any:
    """What `TokenWindows` gives is a batch already."""
    return batch
