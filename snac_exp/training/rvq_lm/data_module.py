"""Windows of token frames, as the plan wants them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from snac_exp.config.schema import Experiment
from snac_exp.data.tokens.batch import CurrentBatches, TokenBatch, make_window_loader
from snac_exp.data.tokens.sources import TokenSplits
from snac_exp.data.tokens.windows import WindowIndex, WindowSampler
from snac_exp.training.plan import EpochPlan
from snac_exp.training.task import DataModule


@dataclass(frozen=True)
class TokenDataModule(DataModule):
    """Every window of the epoch's length once.

    The index of a length is made once, and so is the loader: its workers serve all epochs.
    """

    experiment: Experiment
    splits: TokenSplits
    _indices: dict[int, WindowIndex] = field(default_factory=dict)
    _loaders: dict[bool, Any] = field(default_factory=dict)
    _current: CurrentBatches = field(default_factory=CurrentBatches)

    def num_items(self, epoch: EpochPlan) -> int:
        """Training windows of the epoch's length."""
        return len(self._index(epoch))

    def item_seconds(self, epoch: EpochPlan) -> float:
        """Length of a window."""
        return epoch.num_tokens / self.splits.layout.frames_per_second

    def batches(
        self, epoch: EpochPlan, start_batch: int, rank: int, world_size: int, pin: bool
    ) -> Iterable[TokenBatch]:
        """Batches of windows, from a loader in this process or with workers."""
        seed, settings = self.experiment.seed, self.experiment.trainer
        # Workers are kept over epochs: the loader asks this object anew for the batches of each.
        self._current.batches = WindowSampler(
            self._index(epoch), seed, epoch.batch_size, epoch.epoch, start_batch, rank, world_size
        )
        if pin not in self._loaders:
            self._loaders[pin] = make_window_loader(
                self.splits.train, self._current, settings.num_workers, pin, settings.prefetch
            )
        loader: Iterable[TokenBatch] = self._loaders[pin]
        return loader

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

    def _index(self, epoch: EpochPlan) -> WindowIndex:
        if epoch.num_tokens not in self._indices:
            self._indices[epoch.num_tokens] = self.splits.train_index(epoch.num_tokens)
        return self._indices[epoch.num_tokens]
