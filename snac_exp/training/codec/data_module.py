"""Aligned slices of codes and audio, as the plan wants them."""

from collections.abc import Iterable
from dataclasses import dataclass

from snac_exp.codec.geometry import Geometry
from snac_exp.config.schema import Experiment
from snac_exp.data.loader import make_loader
from snac_exp.data.slices.batch import Batch
from snac_exp.data.slices.dataset import SliceDataset
from snac_exp.data.slices.sampling import SliceSampler
from snac_exp.data.slices.splits import Splits
from snac_exp.training.plan import EpochPlan
from snac_exp.training.task import DataModule


@dataclass(frozen=True)
class CodecDataModule(DataModule):
    """Every training row once an epoch, cut at random."""

    experiment: Experiment
    splits: Splits
    geometry: Geometry

    def num_items(self, epoch: EpochPlan) -> int:
        """Training rows, the same in every epoch."""
        return len(self.splits.train)

    def item_seconds(self, epoch: EpochPlan) -> float:
        """Length of a slice."""
        rate = self.geometry.sampling_rate
        return self.geometry.audio_samples(epoch.num_tokens, rate) / rate

    def batches(self, epoch: EpochPlan, start_batch: int, rank: int, world_size: int, pin: bool) -> Iterable[Batch]:
        """Batches of slices of the epoch's length, from a loader in this process or with workers."""
        sampler = SliceSampler(
            self.splits.train.coarse_lengths,
            self.geometry,
            seed=self.experiment.seed,
            batch_size=epoch.batch_size,
            num_tokens=epoch.num_tokens,
            context_tokens=self.splits.context_tokens,
            epoch=epoch.epoch,
            start_batch=start_batch,
            rank=rank,
            world_size=world_size,
            gain_db=self.experiment.augment.gain_db,
        )
        settings = self.experiment.trainer
        return make_loader(self.splits.train, sampler, settings.num_workers, pin, settings.prefetch)

    def names(self, batch: Batch) -> list[str]:
        """Paths of the batch's rows."""
        return [self.splits.train.path(int(row)) for row in batch.rows]

    def check_stored(self) -> list[str]:
        """Cached codes."""
        return [self.splits.train.table.check()] if isinstance(self.splits.train, SliceDataset) else []

    def described(self) -> str:
        """Rows of both splits."""
        return f"{len(self.splits.train)} training rows, {len(self.splits.validation)} validation rows"
