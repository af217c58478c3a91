"""Validation on slices that are the same for the whole run, whatever the curriculum does."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snac_exp.config.schema import Experiment
from snac_exp.data.slices.batch import Batch, collate
from snac_exp.data.slices.splits import Splits
from snac_exp.metrics.spectra import level_db
from snac_exp.metrics.waveform.level import LEVEL
from snac_exp.training.codec.decoder_task import POWER, TARGET_POWER, DecoderTask
from snac_exp.training.collectives import Collectives


@torch.no_grad()
def validate(task: DecoderTask, splits: Splits, experiment: Experiment, fabric: Fabric) -> dict[str, float]:
    """Mean of every term over the fixed validation slices, weighted by their valid audio; ranks share the batches.

    Returns:
        `head/term` for every term (also those of weight 0, so that recipes compare), `head/objective` (the head's terms
        by their weights), `head/level_db` (how loud it is beside its target, in dB) and `objective` (heads by
        `loss.weights`, the same in every phase, so that epochs compare).
        Of a mixture also `source/NAME/...`, the same over the slices of each source; the others are over all of them.
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
    sources: list[str] = []
    for index, source, batch in validation_batches(splits, experiment.trainer.validation_batch_size, fabric):
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
        sources.append(source)
    # One transfer for all batches, which a GPU computes without being waited for in between.
    table = torch.stack([values for values, _ in found]).tolist() if found else []
    audio = [weight for _, weight in found]
    sums = _weighted_sums(names, table, audio)
    for source in filter(None, dict.fromkeys(sources)):
        of_it = [i for i, other in enumerate(sources) if other == source]
        part = _weighted_sums(names, [table[i] for i in of_it], [audio[i] for i in of_it])
        sums |= {f"{SOURCE}{source}/{name}": value for name, value in part.items()}
    return _with_levels(_divided(collectives.named_sums(sums)))


_TOTAL = "valid_samples"  # name of the sum of weights, which no term has
SOURCE = "source/"
"""What the names of metrics of one source of a mixture begin with."""


def _weighted_sums(names: Sequence[str], table: Sequence[Sequence[float]], weights: Sequence[int]) -> dict[str, float]:
    """Values (batches, num_names) times the weight of their batch (batches,), by name, and the weights themselves."""
    sums = {_TOTAL: float(sum(weights))}
    for name, column in zip(names, zip(*table, strict=True), strict=True) if table else ():
        sums[name] = sum(value * weight for value, weight in zip(column, weights, strict=True))
    return sums


def _divided(sums: dict[str, float]) -> dict[str, float]:
    """Means out of weighted sums, each by the weights of its own source or of all."""
    means: dict[str, float] = {}
    for name, value in sums.items():
        prefix = f"{SOURCE}{name.split('/')[1]}/" if name.startswith(SOURCE) else ""
        if name != prefix + _TOTAL:
            means[name] = value / sums[prefix + _TOTAL]
    return means


def _with_levels(means: Mapping[str, float]) -> dict[str, float]:
    """Means with `head/level_db` in dB in place of the two powers; without it where the targets are silent."""
    values: dict[str, float] = {}
    for name, value in means.items():
        prefix, _, last = name.rpartition("/")
        if last == TARGET_POWER:
            level = level_db(value, means[f"{prefix}/{POWER}"])
            values |= {} if level is None else {f"{prefix}/{LEVEL.name}": level}
        elif last != POWER:
            values[name] = value
    return values


def validation_batches(splits: Splits, batch_size: int, fabric: Fabric) -> Iterator[tuple[int, str, Batch]]:
    """The fixed validation slices in batches numbered within their source, whose name comes with them; this rank takes
    every `world_size`-th."""
    # Numbered within the source: its noise, and so its metrics, are those of a run on it alone.
    batches = [
        (number, source, specs[first : first + batch_size])
        for source, specs in splits.validation_groups().items()
        for number, first in enumerate(range(0, len(specs), batch_size))
    ]
    for number, source, specs in batches[fabric.global_rank :: fabric.world_size]:
        yield number, source, collate(splits.validation.__getitems__(specs))
