"""Resume a sweep, or run a command in shards.

usage: snac-exp sweep resume=SWEEP_DIR [wait=true|false] [num_trials=N]
       snac-exp sweep cache-codes data=PREPARED codec=CODEC shard.count=8 [hydra/launcher=slurm] [dry_run=true]

Missing and failed jobs are run, finished ones are not touched. Jobs run as they were submitted: from the snapshot of
the sweep, with its launcher; a failed job continues from its last checkpoint. A Bayesian search then runs the remaining
trials of its num_trials, which can be raised here. To start a sweep of trainings: python train.py -m KEY=VALUE,VALUE …
(or +sweep=NAME)
"""

from collections.abc import Sequence
from pathlib import Path

from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError
from snac_exp.sweeps.bayesian import search
from snac_exp.sweeps.launcher import open_backend
from snac_exp.sweeps.outcome import outcome
from snac_exp.sweeps.shards import submit_shards
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.stop_request import EXIT_PREEMPTED, Stopped
from snac_exp.verbs.arguments import folder_and_options
from snac_exp.verbs.discovery import verb_files


def main(arguments: Sequence[str]) -> int:
    """Submit what is left; returns 0 when all jobs are finished (or submitted), else 1."""
    # A folder of a verb's name is taken for the sweep.
    if arguments and "=" not in arguments[0] and not Path(arguments[0]).is_dir():
        return _submit_shards(*arguments)
    folder, options = folder_and_options("sweep", arguments, {"wait": "true", "num_trials": ""}, None, key="resume")
    if options["wait"] not in ("true", "false"):
        raise ConfigError(f"wait={options['wait']} is not valid; choose one of: true, false")
    sweep, wait, trials = Sweep.open(folder), options["wait"] == "true", options["num_trials"]
    if sweep.search is not None:
        if trials and not trials.isdigit():
            raise ConfigError(f"num_trials={trials} is no number of trials")
        return search.resume(sweep, wait=wait, num_trials=int(trials) if trials else None)
    if trials:
        raise ConfigError(f"num_trials= is of a Bayesian search; the jobs of {folder} are all known")
    return _resume(sweep, folder, wait=wait)


def _submit_shards(verb: str, *arguments: str) -> int:
    if verb.replace("_", "-") not in verb_files():
        raise ConfigError(f"snac-exp sweep {verb}: there is no such verb{nearest(verb, verb_files())}, and no folder")
    return submit_shards(verb, arguments)


def _resume(sweep: Sweep, folder: Path, *, wait: bool) -> int:
    # A ledger without rows: the folder was made, and the process ended before the first job.
    if not sweep.rows():
        raise ConfigError(f"{folder} has no jobs: it was interrupted before they were made; begin it anew")
    # Jobs that SLURM is still ending count as in the queue, and would not be chosen below.
    sweep.wait_for_endings()
    rows = sweep.to_run()
    try:
        # With wait, jobs of an earlier call that are still in the queue are waited for too.
        if rows or (wait and sweep.is_in_a_queue()):
            open_backend(sweep.backend).submit(sweep, rows, wait=wait)
    except Stopped:
        print(f"left; go on with: snac-exp sweep resume={sweep.path}")
        return EXIT_PREEMPTED
    if rows and not wait:
        return 0
    status, text = outcome(sweep)
    print(text)
    return status
