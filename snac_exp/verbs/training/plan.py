"""Print what a recipe will do, epoch by epoch; nothing is loaded or run.

usage: snac-exp plan [the overrides of train.py] [rows=N] [hash=true] [format=table|json]

rows=N: number of training rows (for a token model: windows); with it the plan shows both epochs and steps, in whichever
unit the recipe counts. hash=true: prints the hash with which the name of the run folder ends, and a finished run of the
same config, code and data, if there is one; then every value must be set.
"""

import json
from collections.abc import Sequence
from typing import Any

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_experiment
from snac_exp.config.meaning.digest import meaning_digest, meaning_hash
from snac_exp.config.schema import Experiment
from snac_exp.errors import ConfigError
from snac_exp.system.terminal import Console
from snac_exp.tracking.mirrors.packages import require_trackers
from snac_exp.training.plan import planned_geometry, unroll
from snac_exp.training.plan_table import (
    KERNELS,
    cadence_line,
    epoch_table,
    group_table,
    hardware_line,
    phases_line,
    preflight_line,
    silence_line,
    start_line,
)
from snac_exp.verbs.repeated import place_and_result, run_of_same_meaning

KEYS = ("format=", "rows=", "hash=")


def main(arguments: Sequence[str]) -> int:
    """Print the epoch table and the group table, or both as JSON."""
    own = dict(item.split("=", 1) for item in arguments if item.startswith(KEYS))
    style, num_rows, hashed = own.get("format", "table"), _number(own.get("rows")), own.get("hash", "false")
    if style not in ("table", "json"):
        raise ConfigError(f"format={style} is not valid; choose one of: table, json")
    if hashed not in ("true", "false"):
        raise ConfigError(f"hash={hashed} is not valid; choose one of: hash=true, hash=false")
    overrides = hydra_overrides([item for item in arguments if not item.startswith(KEYS)])
    # Not complete: a recipe can be planned before its data is there; what is left open has no hash.
    experiment, values = compose_experiment(overrides, complete=hashed == "true")
    meaning = _meaning(values) if hashed == "true" else {}
    require_trackers(experiment.tracker)
    plan = unroll(experiment, planned_geometry(experiment))
    plan = plan if num_rows is None else plan.counted(lambda _: num_rows)
    if style == "json":
        # What is asked for: which checks pass, and which kernels work, the run itself finds out.
        proofs = {"preflight": experiment.trainer.preflight, "kernels": experiment.trainer.kernels}
        print(
            json.dumps(
                {"name": experiment.name, **plan.to_json(), "groups": _groups(experiment), **proofs, **meaning},
                indent=2,
            )
        )
        return 0
    console = Console(soft_wrap=False)
    console.print(epoch_table(plan), group_table(experiment))
    console.print(cadence_line(experiment))
    console.print(hardware_line(experiment))
    if experiment.lm is None:
        console.print(f"kernels: {KERNELS[experiment.trainer.kernels]}")
    lines = (start_line(experiment), phases_line(experiment), preflight_line(experiment), silence_line(experiment))
    for line in lines:
        if line is not None:
            console.print(line)
    for name, value in meaning.items():
        console.print(f"{name}: {value}")
    return 0


def _meaning(values: dict[str, Any]) -> dict[str, str]:
    """The hash, the digest that it is the beginning of, and where a run of this meaning lies."""
    run = run_of_same_meaning(values)
    found = {} if run is None else {"same run": place_and_result(run)}
    return {"hash": meaning_hash(values), "sha256": meaning_digest(values), **found}


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
