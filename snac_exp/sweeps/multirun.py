"""`python train.py -m …`: Hydra expands the sweep, our launchers check all of it, then submit it.

Hydra is used for what it does well, expanding and choosing sweeper and launcher. It never runs a job: a launcher
makes a run folder per job, and every job is the process `resume=RUN_DIR`, from the sweep's snapshot.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import config_dir, explain
from snac_exp.config.structure import nearest
from snac_exp.errors import ConfigError
from snac_exp.sweeps.bayesian.search import resume as resume_search
from snac_exp.sweeps.launcher import Session, is_of_the_sweep, session
from snac_exp.sweeps.outcome import outcome
from snac_exp.system.stop_request import EXIT_PREEMPTED, Stopped

# The default launcher and sweeper. Hydra's own ones of the name basic would run jobs in this process.
PARTS = {"hydra/launcher": "one_by_one", "hydra/sweeper": "grid"}
SWITCHES = {"dry_run": False, "wait": True, "again": False}


def multirun(arguments: Sequence[str]) -> int:
    """Run a sweep; returns 0 when all jobs finished (or were submitted), 1 when not, with the others named."""
    switches, rest = split_switches([item for item in arguments if item not in ("-m", "--multirun")])
    overrides = with_parts([_about_sweep(item) for item in hydra_overrides(rest, sweeping=True)])
    command = Session(overrides, switches["dry_run"], switches["wait"], switches["again"])
    token = session.set(command)
    try:
        _hand_over(command.overrides)
    except Stopped as stopped:
        print(f"{stopped}: left; go on with: snac-exp sweep resume={command.sweep.path if command.sweep else 'DIR'}")
        return EXIT_PREEMPTED
    finally:
        # Reset, so that a second sweep in one process (a test, a notebook) begins without this one.
        session.reset(token)
    if command.sweep is None:
        return 0
    if command.sweep.search is not None:
        return resume_search(command.sweep, wait=command.wait)
    if not command.wait:
        return 0
    status, text = outcome(command.sweep)
    print(text)
    return status


def _about_sweep(override: str) -> str:
    """sweep.metric=… may stand alone or change what +sweep=NAME sets."""
    key = override.partition("=")[0]
    # ++ sets a key whether it is there or not: without +sweep=NAME the config has no node sweep.
    return f"++{override.lstrip('+')}" if is_of_the_sweep(key) and "." in key else override


def split_switches(arguments: list[str]) -> tuple[dict[str, bool], list[str]]:
    """Our own keys of a sweep, which are no config of a run."""
    chosen, rest = dict(SWITCHES), []
    for item in arguments:
        name, _, value = item.partition("=")
        if name in SWITCHES:
            if value not in ("true", "false"):
                raise ConfigError(f"{item} is not valid; choose one of: {name}=true, {name}=false")
            chosen[name] = value == "true"
        else:
            rest.append(item)
    return chosen, rest


def with_parts(overrides: list[str]) -> list[str]:
    """The overrides with our launcher and sweeper where the user chose none.

    Raises:
        ConfigError: a launcher or sweeper that is not ours; it would not check, snapshot or account for the jobs.
    """
    added = []
    # Without a choice of ours Hydra would run the jobs itself, unchecked and in this process.
    for group, default in PARTS.items():
        chosen = [item.partition("=")[2] for item in overrides if item.partition("=")[0] == group]
        ours = sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
        for name in chosen:
            if name not in ours:
                raise ConfigError(f"{group}={name} is none of this program's{nearest(name, ours)}")
        if not chosen:
            added.append(f"{group}={default}")
    return [*added, *overrides]


def _hand_over(overrides: list[str]) -> None:
    """Hydra's own entry point; what it writes itself goes to a folder that is thrown away."""

    @hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")
    def never(_: DictConfig) -> None:
        raise AssertionError("jobs are processes of their own; Hydra runs none")

    with (
        tempfile.TemporaryDirectory(prefix="snac-exp-sweep-") as folder,
        _command_line(
            # Quoted, since a temporary folder's path may hold what Hydra's grammar takes apart.
            ["-m", *overrides, f"hydra.sweep.dir='{folder}'", "hydra.output_subdir=null", "hydra/hydra_logging=none"]
        ),
    ):
        try:
            never()
        except HydraException as error:
            raise ConfigError(explain(error)) from error


@contextmanager
def _command_line(arguments: list[str]) -> Iterator[None]:
    """Hydra reads sys.argv, and lets errors through only when asked for all of them."""
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = [before[0], *arguments], "1"
    try:
        yield
    finally:
        sys.argv = before
        del os.environ["HYDRA_FULL_ERROR"]
        if full is not None:
            os.environ["HYDRA_FULL_ERROR"] = full
