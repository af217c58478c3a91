"""Ask a run, or all runs of a sweep, to save and stop.

usage: snac-exp stop RUN_DIR|SWEEP_DIR [wait_seconds=120]

A run finishes its step, saves and leaves; go on with it later: python train.py resume=RUN_DIR, or
snac-exp sweep resume=SWEEP_DIR. Works on this machine, and through SLURM on any other.
"""

from collections.abc import Sequence

from snac_exp.status.stopping import stop
from snac_exp.verbs.arguments import folder_and_options, seconds_of


def main(arguments: Sequence[str]) -> int:
    """Ask, wait until it is so, and say how each run is; returns 1 when one still runs."""
    folder, options = folder_and_options("stop", arguments, {"wait_seconds": "120"}, None, key="run")

    lines, all_stopped = stop(folder, seconds_of(options, "wait_seconds"))
    print("\n".join(lines))
    return 0 if all_stopped else 1
