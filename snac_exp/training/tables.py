"""The plan as tables for people."""

from typing import TYPE_CHECKING

from rich.table import Table

from snac_exp.config.schema import Experiment
from snac_exp.training.plan import Plan

if TYPE_CHECKING:  # groups need torch, a plan does not
    from snac_exp.training.groups import NamedParameters, ParameterGroups


def epoch_table(plan: Plan) -> Table:
    """One row per epoch: segment, batch, trainable groups, peak rates, loss weights."""
    table = Table(title="epochs", title_justify="left")
    for column in ("epoch", "stage", "phase"):
        table.add_column(column)
    for column in ("segment s", "tokens", "batch"):
        table.add_column(column, justify="right")
    for column in ("schedule", "trainable", "loss weights"):
        table.add_column(column, overflow="fold")
    for epoch in plan.epochs:
        trained = " ".join(sorted(epoch.trainable)) or "nothing"
        weights = " ".join(f"{head}={weight:g}" for head, weight in epoch.loss_weights.items())
        table.add_row(
            *(str(epoch.epoch), epoch.stage, epoch.phase),
            *(f"{epoch.segment_seconds:g}", str(epoch.num_tokens), str(epoch.batch_size)),
            *(epoch.schedule, trained, weights),
        )
    return table


def group_table(experiment: Experiment, groups: "ParameterGroups | None" = None) -> Table:
    """One row per group: pattern, peak rate per phase (or frozen), and with a model tensors and parameters."""
    table = Table(title="parameter groups (peak learning rate per phase)", title_justify="left")
    table.add_column("group")
    table.add_column("pattern", overflow="fold")
    if groups is not None:
        table.add_column("tensors", justify="right")
        table.add_column("parameters", justify="right")
    for phase, item in experiment.lr.phases.items():
        table.add_column(f"{phase} ({item.schedule})", justify="right")
    for name, pattern in experiment.lr.groups.items():
        if pattern is None:
            continue
        rates = [item.groups[name] for item in experiment.lr.phases.values()]
        counts = [] if groups is None else _counts(groups.groups[name])
        table.add_row(name, pattern, *counts, *("frozen" if rate is None else f"{rate:g}" for rate in rates))
    if groups is not None and groups.frozen:
        table.add_row("(frozen)", "by task", *_counts(groups.frozen), *("frozen" for _ in experiment.lr.phases))
    return table


def _counts(parameters: "NamedParameters") -> list[str]:
    return [str(len(parameters)), f"{sum(item.numel() for item in parameters.values()):,}"]
