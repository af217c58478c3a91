"""Go on with a sweep, or run a verb in shares.

usage: snac-exp sweep resume=SWEEP_DIR [wait=true|false]
       snac-exp sweep cache-codes data=PREPARED codec=CODEC shard.count=8 [hydra/launcher=slurm] [dry_run=true]

What is missing or failed runs, what is finished is not touched. Jobs run as they were submitted: from the sweep's
snapshot, through the launcher it was begun with; a job that failed goes on from its last checkpoint.
Begin a sweep of trainings with: python train.py -m KEY=VALUE,VALUE … (or +sweep=NAME)
"""

from collections.abc import Sequence
from pathlib import Path

from snac_exp.errors import ConfigError
from snac_exp.runs.folder_arguments import folder_and_options


def main(arguments: Sequence[str]) -> int:
    """Submit what is left; returns 0 when all jobs are finished (or submitted), else 1."""
    if arguments and "=" not in arguments[0] and not Path(arguments[0]).is_dir():
        from snac_exp.runs.shards import submit_shares

        return submit_shares(arguments[0], arguments[1:])
    folder, options = folder_and_options("sweep", arguments, {"wait": "true"}, None, key="resume")
    if options["wait"] not in ("true", "false"):
        raise ConfigError(f"wait={options['wait']} is not possible; there is: true, false")
    from snac_exp.runs.sweep import Sweep, outcome

    sweep, wait = Sweep.open(folder), options["wait"] == "true"
    if not sweep.rows():
        raise ConfigError(f"{folder} has no jobs: it was interrupted before they were made; begin it anew")
    rows = sweep.to_run()
    if rows:
        from snac_exp.runs.multirun import open_backend

        open_backend(sweep.backend).submit(sweep, rows, wait=wait)
    if rows and not wait:
        return 0
    status, text = outcome(sweep)
    print(text)
    return status
