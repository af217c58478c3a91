"""Whether a run was made already, and what came of it."""

from collections.abc import Mapping
from typing import Any

from snac_exp.lineage.repeated import finished_runs_of_hash
from snac_exp.sweeps.job_state import best_of
from snac_exp.sweeps.settings import SweepSettings
from snac_exp.tracking.json_files import read_plan
from snac_exp.tracking.run_folder import RunFolder


def run_of_same_meaning(values: Mapping[str, Any]) -> RunFolder | None:
    """The newest finished run in `output_dir` that means the same as a resolved config, here and now.

    Raises:
        ConfigError: a file of a run with its hash is damaged. DataError, OSError: data cannot be read.
    """
    runs = finished_runs_of_hash(values)
    if not runs:
        return None
    # Most starts are of something new, and reading what data is there imports much.
    from snac_exp.lineage.meaning import is_meant_by, meaning_of

    return next((run for run in reversed(runs) if is_meant_by(meaning_of(run), values)), None)


def place_and_result(run: RunFolder) -> str:
    """Where a finished run lies and what it came to, in words.

    Raises:
        ConfigError: its metrics.jsonl or plan.json is damaged.
    """
    best = best_of(run.path, settings := SweepSettings())
    came_to = "" if best is None else f" with {settings.metric} {best:.6g} at its best"
    return f"{run.path}, finished after {read_plan(run.plan).get('num_steps')} steps{came_to}"
