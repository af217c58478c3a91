"""Aligned slices of codes and audio, as the plan wants them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice

from snac_exp.codec.geometry import Geometry
from snac_exp.config.schema import Experiment
from snac_exp.config.seeding import derive_seed
from snac_exp.data.loader import make_loader
from snac_exp.data.slices.batch import Batch, collate
from snac_exp.data.slices.dataset import SliceDataset
from snac_exp.data.slices.sampling import SliceSampler
from snac_exp.data.slices.splits import Splits
from snac_exp.training.plan import EpochPlan
from snac_exp.training.task import DataModule


@dataclass(frozen=True)
class CodecDataModule(DataModule):
    """Every training row once an epoch, or as often as a mixture takes it, cut at random."""

    experiment: Experiment
    splits: Splits
    geometry: Geometry
    _samplers: dict[int, SliceSampler] = field(default_factory=dict)  # of whole epochs, to count their sources

    def num_items(self, epoch: EpochPlan) -> int:
        """Rows of an epoch, the same in every one."""
        return len(self.splits.train) if self.splits.streams is None else self.splits.streams.num_items

    def item_seconds(self, epoch: EpochPlan) -> float:
        """Length of a slice."""
        rate = self.geometry.sampling_rate
        return self.geometry.audio_samples(epoch.num_tokens, rate) / rate

    def batches(self, epoch: EpochPlan, start_batch: int, rank: int, world_size: int, pin: bool) -> Iterable[Batch]:
        """Batches of slices of the epoch's length, from a loader in this process or with workers."""
        sampler = self._sampler(epoch, start_batch, rank, world_size)
        self._samplers.clear()
        self._samplers[epoch.epoch] = sampler
        settings = self.experiment.trainer
        return make_loader(self.splits.train, sampler, settings.num_workers, pin, settings.prefetch)

    def drawn(self, epoch: EpochPlan, purpose: str, num_batches: int) -> Iterator[Batch]:
        """Batches of whole slices as of an epoch, on the CPU, drawn by (seed, purpose) alone: the same on all ranks and
        whenever they are asked for."""
        seed = derive_seed(self.experiment.seed, purpose)
        passes = (self._sampler(replace(epoch, epoch=i), 0, 0, 1, seed) for i in count(1))
        for specs in islice(chain.from_iterable(passes), num_batches):
            yield collate(self.splits.train.__getitems__(specs))

    def _sampler(
        self, epoch: EpochPlan, start_batch: int, rank: int, world_size: int, seed: int | None = None
    ) -> SliceSampler:
        streams = self.splits.streams
        return SliceSampler(
            self.splits.train.coarse_lengths,
            self.geometry,
            seed=self.experiment.seed if seed is None else seed,
            batch_size=epoch.batch_size,
            num_tokens=epoch.num_tokens,
            context_tokens=self.splits.context_tokens,
            epoch=epoch.epoch,
            start_batch=start_batch,
            rank=rank,
            world_size=world_size,
            augment=self.experiment.augment,
            rows=None if streams is None else streams.epoch_items(epoch.epoch),
        )

    @property
    def source_names(self) -> tuple[str, ...]:
        """The sources of a mixture."""
        return () if self.splits.streams is None else self.splits.streams.names

    def rows_by_source(self, epoch: EpochPlan, batch: int) -> dict[str, int]:
        """Rows of each source in a batch of the epoch that is being read, over all ranks."""
        streams = self.splits.streams
        return {} if streams is None else streams.counted(self._samplers[epoch.epoch].batch_rows(batch))

    def names(self, batch: Batch) -> list[str]:
        """Paths of the batch's rows."""
        return [self.splits.train.path(int(row)) for row in batch.rows]

    def check_stored(self) -> list[str]:
        """Cached codes."""
        datasets = [splits.train for splits in self.splits.by_source().values()]
        return [dataset.table.check() for dataset in datasets if isinstance(dataset, SliceDataset)]

    def described(self) -> str:
        """Rows of both splits, and of a mixture what an epoch takes of each source."""
        rows = f"{len(self.splits.train)} training rows, {len(self.splits.validation)} validation rows"
        return rows if self.splits.streams is None else f"{rows}; {self.splits.streams.described()}"
