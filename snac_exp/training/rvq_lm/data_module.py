"""Windows of token frames, as the plan wants them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from snac_exp.config.schema import Experiment
from snac_exp.data.mixture.streams import Streams
from snac_exp.data.tokens.batch import CurrentBatches, TokenBatch, make_window_loader
from snac_exp.data.tokens.sources import TokenSplits
from snac_exp.data.tokens.windows import WindowIndex, WindowSampler
from snac_exp.training.plan import EpochPlan
from snac_exp.training.task import DataModule


@dataclass(frozen=True)
class TokenDataModule(DataModule):
    """Every window of the epoch's length once, or as often as a mixture takes it.

    The index of a length is made once, and so is the loader: its workers serve all epochs.
    """

    experiment: Experiment
    splits: TokenSplits
    _indices: dict[int, tuple[WindowIndex, Streams | None]] = field(default_factory=dict)
    _samplers: dict[int, WindowSampler] = field(default_factory=dict)  # of the epoch under way, to count its sources
    _loaders: dict[bool, Any] = field(default_factory=dict)
    _current: CurrentBatches = field(default_factory=CurrentBatches)

    def num_items(self, epoch: EpochPlan) -> int:
        """Windows of an epoch of this length."""
        index, streams = self._index(epoch)
        return len(index) if streams is None else streams.num_items

    def item_seconds(self, epoch: EpochPlan) -> float:
        """Length of a window."""
        return epoch.num_tokens / self.splits.layout.frames_per_second

    def batches(
        self, epoch: EpochPlan, start_batch: int, rank: int, world_size: int, pin: bool
    ) -> Iterable[TokenBatch]:
        """Batches of windows, from a loader in this process or with workers."""
        seed, settings = self.experiment.seed, self.experiment.trainer
        # Workers are kept over epochs: the loader asks this object anew for the batches of each.
        index, streams = self._index(epoch)
        windows = None if streams is None else streams.epoch_items(epoch.epoch)
        sampler = WindowSampler(
            index, seed, epoch.batch_size, epoch.epoch, start_batch, rank, world_size, windows=windows
        )
        self._samplers.clear()
        self._samplers[epoch.epoch] = self._current.batches = sampler
        if pin not in self._loaders:
            self._loaders[pin] = make_window_loader(
                self.splits.train, self._current, settings.num_workers, pin, settings.prefetch
            )
        loader: Iterable[TokenBatch] = self._loaders[pin]
        return loader

    @property
    def source_names(self) -> tuple[str, ...]:
        """The sources of a mixture."""
        return tuple(self.splits.sources)

    def rows_by_source(self, epoch: EpochPlan, batch: int) -> dict[str, int]:
        """Windows of each source in a batch of the epoch that is being read, over all ranks."""
        _, streams = self._index(epoch)
        return {} if streams is None else streams.counted(self._samplers[epoch.epoch].batch_windows(batch))

    def names(self, batch: TokenBatch) -> list[str]:
        """Names of the files that the batch's windows are of."""
        return [self.splits.train.source.name(int(file)) for file in batch.files]

    def check_stored(self) -> list[str]:
        """Token files, or cached codes."""
        return [self.splits.train.source.check()]

    def described(self) -> str:
        """Frames and rejected files."""
        train, validation = (part.num_frames for part in (self.splits.train, self.splits.validation))
        rejected = f", {len(self.splits.rejected)} files rejected" if self.splits.rejected else ""
        return f"{train} training frames, {validation} validation frames{rejected}"

    def _index(self, epoch: EpochPlan) -> tuple[WindowIndex, Streams | None]:
        if epoch.num_tokens not in self._indices:
            index = self.splits.train_index(epoch.num_tokens)
            self._indices[epoch.num_tokens] = index, self.splits.streams(index)
        return self._indices[epoch.num_tokens]
