"""Print what a recipe will do, epoch by epoch; nothing is loaded or run.

usage: snac-exp plan [the overrides of train.py] [rows=N] [format=table|json]

rows=N: training rows of the data (windows of a token model); with it the plan has epochs and steps, however the recipe
counts.
"""

import json
from collections.abc import Sequence

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import Experiment
from snac_exp.errors import ConfigError
from snac_exp.system.terminal import Console
from snac_exp.tracking.mirrors.packages import require_packages
from snac_exp.training.plan import planned_geometry, unroll
from snac_exp.training.plan_table import (
    KERNELS,
    cadence_line,
    epoch_table,
    group_table,
    hardware_line,
    preflight_line,
    silence_line,
)


def main(arguments: Sequence[str]) -> int:
    """Print the epoch table and the group table, or both as JSON."""
    own = dict(item.split("=", 1) for item in arguments if item.startswith(("format=", "rows=")))
    style, num_rows = own.get("format", "table"), _number(own.get("rows"))
    if style not in ("table", "json"):
        raise ConfigError(f"format={style} is not possible; there is: table, json")
    overrides = hydra_overrides([item for item in arguments if not item.startswith(("format=", "rows="))])
    # Not complete: a recipe can be planned before its data is there.
    experiment, _ = compose_experiment(overrides, complete=False)
    require_packages(experiment.tracker)
    plan = unroll(experiment, planned_geometry(experiment))
    plan = plan if num_rows is None else plan.counted(lambda _: num_rows)
    if style == "json":
        # What is asked for: which checks pass, and which kernels work, the run itself finds out.
        proofs = {"preflight": experiment.trainer.preflight, "kernels": experiment.trainer.kernels}
        print(
            json.dumps({"name": experiment.name, **plan.to_json(), "groups": _groups(experiment), **proofs}, indent=2)
        )
        return 0
    console = Console(soft_wrap=False)
    console.print(epoch_table(plan), group_table(experiment))
    console.print(cadence_line(experiment))
    console.print(hardware_line(experiment))
    if experiment.lm is None:
        console.print(f"kernels: {KERNELS[experiment.trainer.kernels]}")
    if (line := preflight_line(experiment)) is not None:
        console.print(line)
    if (line := silence_line(experiment)) is not None:
        console.print(line)
    return 0


def _number(rows: str | None) -> int | None:
    if rows is not None and (not rows.isdecimal() or int(rows) < 1):
        raise ConfigError(f"rows={rows} must be a whole number above 0: the training rows of the data")
    return None if rows is None else int(rows)


def _groups(experiment: Experiment) -> dict[str, object]:
    return {
        name: {"pattern": pattern, "rates": {phase: item.groups[name] for phase, item in experiment.lr.phases.items()}}
        for name, pattern in experiment.lr.groups.items()
        if pattern is not None
    }
