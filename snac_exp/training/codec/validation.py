"""Validation on slices that are the same for the whole run, whatever the curriculum does."""

from collections.abc import Iterator, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snac_exp.config.schema import Experiment
from snac_exp.data.slices.batch import Batch, collate
from snac_exp.data.slices.splits import Splits
from snac_exp.training.codec.decoder_task import DecoderTask
from snac_exp.training.collectives import Collectives


@torch.no_grad()
def validate(task: DecoderTask, splits: Splits, experiment: Experiment, fabric: Fabric) -> dict[str, float]:
    """Mean of every term over the fixed validation slices, weighted by their valid audio; ranks share the batches.

    Returns:
        `head/term` for every term (also those of weight 0, so that recipes compare), `head/objective` (the head's terms
        by their weights) and `objective` (heads by `loss.weights`, the same in every phase, so that epochs compare).
        Where codebooks or encoder train, also how the codebooks are used, see `CodebookUsage`.
    """
    collectives = Collectives(fabric)
    with task.counting_codes() as codebook_metrics:
        return _means(task, splits, experiment, fabric, collectives) | codebook_metrics(collectives.total)


def _means(
    task: DecoderTask, splits: Splits, experiment: Experiment, fabric: Fabric, collectives: Collectives
) -> dict[str, float]:
    """Terms and objectives, averaged over the valid audio."""
    weights = {head: float(experiment.loss.weights[head] or 0.0) for head in task.model.rates}
    names: tuple[str, ...] = ()
    found: list[tuple[Tensor, int]] = []
    for index, batch in validation_batches(splits, experiment.trainer.validation_batch_size, fabric):
        # The same noise at every validation, or it would be part of the difference between epochs.
        task.seed_noise(experiment.seed, "validation", index)
        with fabric.autocast():
            measured = task(batch.to(fabric.device), weights)
        for head in weights:
            # With head weight 1, whatever the recipe gives it: the best model of each head is chosen by this.
            measured[f"{head}/objective"] = task.objective.total(measured, {head: 1.0})
        measured["objective"] = task.objective.total(measured, weights)
        # By valid audio, so that the mean hardly depends on how slices fall into batches.
        names = tuple(measured)
        found.append((torch.stack(list(measured.values())), int(batch.valid_samples.sum())))
    sums = collectives.named_sums(_weighted_sums(names, found))
    total = sums.pop(_TOTAL)
    return {name: value / total for name, value in sums.items()}


_TOTAL = ""  # name of the sum of weights, which no term has


def _weighted_sums(names: Sequence[str], found: Sequence[tuple[Tensor, int]]) -> dict[str, float]:
    """Values (num_names,) of each batch times its weight, by name, and the weights themselves."""
    if not found:
        return {_TOTAL: 0.0}
    # One transfer for all batches, which a GPU computes without being waited for in between.
    table = torch.stack([values for values, _ in found]).tolist()
    weights = [weight for _, weight in found]
    sums = {_TOTAL: float(sum(weights))}
    for name, column in zip(names, zip(*table, strict=True), strict=True):
        sums[name] = sum(value * weight for value, weight in zip(column, weights, strict=True))
    return sums


def validation_batches(splits: Splits, batch_size: int, fabric: Fabric) -> Iterator[tuple[int, Batch]]:
    """The fixed validation slices in numbered batches, of which this rank takes every `world_size`-th."""
    specs = splits.validation_specs
    starts = range(0, len(specs), batch_size)
    for index in range(fabric.global_rank, len(starts), fabric.world_size):
        yield index, collate(splits.validation.__getitems__(specs[starts[index] : starts[index] + batch_size]))
