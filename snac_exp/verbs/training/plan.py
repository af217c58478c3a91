"""Print what a recipe will do, epoch by epoch; nothing is loaded or run.

usage: snac-exp plan [the overrides of train.py] [format=table|json]
"""

import json
from collections.abc import Sequence

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import Experiment
from snac_exp.errors import ConfigError
from snac_exp.system.terminal import Console
from snac_exp.training.plan import planned_geometry, unroll
from snac_exp.training.plan_table import KERNELS, epoch_table, group_table, hardware_line, preflight_line


def main(arguments: Sequence[str]) -> int:
    """Print the epoch table and the group table, or both as JSON."""
    style = next((item.split("=", 1)[1] for item in arguments if item.startswith("format=")), "table")
    if style not in ("table", "json"):
        raise ConfigError(f"format={style} is not possible; there is: table, json")
    overrides = hydra_overrides([item for item in arguments if not item.startswith("format=")])
    # Not complete: a recipe can be planned before its data is there.
    experiment, _ = compose_experiment(overrides, complete=False)

    plan = unroll(experiment, planned_geometry(experiment))
    if style == "json":
        # What is asked for: which checks pass, and which kernels work, the run itself finds out.
        proofs = {"preflight": experiment.trainer.preflight, "kernels": experiment.trainer.kernels}
        print(
            json.dumps({"name": experiment.name, **plan.to_json(), "groups": _groups(experiment), **proofs}, indent=2)
        )
        return 0
    console = Console(soft_wrap=False)
    console.print(epoch_table(plan), group_table(experiment))
    console.print(hardware_line(experiment))
    if experiment.lm is None:
        console.print(f"kernels: {KERNELS[experiment.trainer.kernels]}")
    if (line := preflight_line(experiment)) is not None:
        console.print(line)
    return 0


def _groups(experiment: Experiment) -> dict[str, object]:
    return {
        name: {"pattern": pattern, "rates": {phase: item.groups[name] for phase, item in experiment.lr.phases.items()}}
        for name, pattern in experiment.lr.groups.items()
        if pattern is not None
    }
