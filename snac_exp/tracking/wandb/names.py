"""Under which name, group and tags W&B lists a run: read off its config and its folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snac_exp.config.limits.wandb import MAX_NAME_CHARACTERS, MAX_TAG_CHARACTERS
from snac_exp.system.code_version import code_version
from snac_exp.tracking.sweep_folder import SweepFolder


@dataclass(frozen=True)
class RunLabels:
    """What W&B shows of a run beside its metrics.

    group: the sweep's NAME/TIME-HASH, so that a sweep folds into one line; None for a run of its own.
    job_type: the verb that made it. config: the resolved config, and under `code` the version of the code.
    """

    name: str | None
    group: str | None
    job_type: str
    tags: list[str]
    config: dict[str, Any]


def labels_of(values: Mapping[str, Any], run_dir: Path, verb: str = "train") -> RunLabels:
    """The labels of a run with the resolved config `values` in its folder."""
    run_dir = Path(run_dir).resolve()
    # TIME-HASH alone would tell nobody which sweep it is.
    group = f"{run_dir.parent.parent.name}/{run_dir.parent.name}" if SweepFolder(run_dir.parent).exists else None
    group = None if group is None else group[-MAX_NAME_CHARACTERS:]  # its end tells sweeps apart
    config = dict(values) | {"code": code_version().as_dict()}
    return RunLabels(f"{values['name']}/{run_dir.name}", group, verb, tags_of(values), config)


def tags_of(values: Mapping[str, Any]) -> list[str]:
    """`phase:…`, `heads:…`, `init:…`, `codec:…` where the recipe has such a part, then the user's own `tracker.tags`.

    The phase is phase10, phase11, … for recipes whose name begins so, else the recipe's name.
    """
    name = str(values["name"])
    phase = re.match(r"phase\d+", name)
    parts = {
        "phase": phase[0] if phase else name,
        "heads": "+".join(sorted(values.get("heads") or {})),
        "init": (values.get("init") or {}).get("name"),
        "codec": (values.get("codec") or {}).get("name"),
    }
    own = [f"{key}:{value}"[:MAX_TAG_CHARACTERS] for key, value in parts.items() if value]
    return list(dict.fromkeys([*own, *(values.get("tracker") or {}).get("tags", [])]))
