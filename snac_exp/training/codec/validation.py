"""Validation on slices that are the same for the whole run, whatever the curriculum does."""

from collections.abc import Iterator

import torch
from lightning_fabric import Fabric

from snac_exp.config.schema import Experiment
from snac_exp.data.slices.batch import Batch, collate
from snac_exp.data.slices.splits import Splits
from snac_exp.training.codec.decoder_task import DecoderTask


@torch.no_grad()
def validate(task: DecoderTask, splits: Splits, experiment: Experiment, fabric: Fabric) -> dict[str, float]:
    """Mean of every term over the fixed validation slices, weighted by their valid audio.

    Returns:
        `head/term` for every term (also those of weight 0, so that recipes compare), `head/objective` (the head's terms
        by their weights) and `objective` (heads by `loss.weights`, the same in every phase, so that epochs compare).
        Where codebooks or encoder train, also how the codebooks are used, see `CodebookUsage`.
    """
    with task.counting_codes() as codebook_metrics:
        return _means(task, splits, experiment, fabric) | codebook_metrics()


def _means(task: DecoderTask, splits: Splits, experiment: Experiment, fabric: Fabric) -> dict[str, float]:
    """Terms and objectives, averaged over the valid audio."""
    weights = {head: float(experiment.loss.weights[head] or 0.0) for head in task.model.rates}
    sums: dict[str, float] = {}
    total = 0
    for index, batch in enumerate(validation_batches(splits, experiment.trainer.validation_batch_size)):
        # The same noise at every validation, or it would be part of the difference between epochs.
        task.seed_noise(experiment.seed, "validation", index)
        with fabric.autocast():
            measured = task(batch.to(fabric.device), weights)
        for head in weights:
            # With head weight 1, whatever the recipe gives it: the best model of each head is chosen by this.
            measured[f"{head}/objective"] = task.objective.total(measured, {head: 1.0})
        measured["objective"] = task.objective.total(measured, weights)
        # By valid audio, so that the mean hardly depends on how slices fall into batches.
        weight = int(batch.valid_samples.sum())
        total += weight
        for name, value in measured.items():
            sums[name] = sums.get(name, 0.0) + float(value) * weight
    return {name: value / total for name, value in sums.items()}


def validation_batches(splits: Splits, batch_size: int) -> Iterator[Batch]:
    """The fixed validation slices in batches."""
    specs = splits.validation_specs
    for start in range(0, len(specs), batch_size):
        yield collate(splits.validation.__getitems__(specs[start : start + batch_size]))
