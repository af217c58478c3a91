"""Bayesian search: a sweep whose jobs are proposed by Optuna from the results of those before.

`study_of` opens a search for Optuna's own plots: optuna.visualization.plot_param_importances(study_of(sweep)).
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override

from snac_exp.config.structure import structure
from snac_exp.errors import ConfigError, guarded
from snac_exp.sweeps.bayesian.proposals import Refused, Search, propose, study_of_rows
from snac_exp.sweeps.bayesian.pruning import Curve, Pruning, Trials, refuse_unmeasured
from snac_exp.sweeps.bayesian.space import Dimension, corners
from snac_exp.sweeps.driver import run_driver
from snac_exp.sweeps.jobs import Job, JobChecker, job_table
from snac_exp.sweeps.launcher import SweepLauncher, open_backend, session
from snac_exp.sweeps.outcome import outcome
from snac_exp.sweeps.settings import Goal
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.folder_lock import locked
from snac_exp.system.stop_request import EXIT_PREEMPTED, Stopped
from snac_exp.system.terminal import console

if TYPE_CHECKING:
    from optuna import Study

PRUNING = tuple(item.name for item in fields(Pruning))
MOST_FAILED = 3  # so many trials failed and none finished: the recipe is at fault, not its numbers


def begin(launcher: SweepLauncher, overrides: Sequence[Override], settings: dict[str, Any]) -> None:
    """Prove that every choice and both ends of every interval make a job; then make the sweep, without jobs yet.

    Raises:
        ConfigError: Optuna is not installed, nothing varies, a corner of the space could not start or does not measure
            the metric, or a key about pruning is not possible.
    """
    _require_optuna()
    command, sweep_settings = session.get(), launcher.sweep_settings()
    # Opened only to be refused now, not when the first trials are submitted.
    open_backend(launcher.backend_spec)
    pruning = structure(Pruning, {name: settings.pop(name) for name in PRUNING if name in settings}, "hydra.sweeper")
    last = {override.get_key_element(): override for override in overrides}
    space = [Dimension.of(override) for override in last.values() if override.is_sweep_override()]
    if not space:
        raise ConfigError("a search needs something to vary: KEY=interval(low,high), KEY=range(0,5) or KEY=a,b,c")
    same = [f"{key}={item.get_value_element_as_str()}" for key, item in last.items() if not item.is_sweep_override()]
    # What holds at both ends of every interval is taken to hold in between.
    jobs = command.checked([[*same, *corner] for corner in corners(space)], 0)
    refuse_unmeasured(sweep_settings.metric, jobs)
    settled = pruning.for_trials(jobs)
    varying = {dimension.key for dimension in space}
    fixed = [item for item in jobs[0].overrides if item.partition("=")[0] not in varying]
    described = {"space": [asdict(item) for item in space], "fixed": fixed}
    # Only where there is one: a search that does not prune is the same search as before pruning was there.
    described |= {} if settled is None else {"pruning": asdict(settled)}
    search = structure(Search, settings | described, "hydra.sweeper")
    if command.dry_run:
        _show_first(search, sweep_settings.goal, command.checker)
        return
    command.sweep = Sweep.create(
        jobs, sweep_settings, launcher.backend_spec, command.overrides, again=command.again, search=settings | described
    )
    print(f"sweep: {command.sweep.path}", flush=True)


def resume(sweep: Sweep, *, wait: bool, num_trials: int | None = None) -> int:
    """Go on with a search, in a process of its own that composes with the snapshot's configs."""
    _require_optuna()
    if num_trials is not None:
        if num_trials < len(sweep.rows()):
            raise ConfigError(f"num_trials={num_trials}: there are {len(sweep.rows())} trials already")
        sweep.set_num_trials(num_trials)
    return run_driver(sweep, "snac_exp.sweeps.bayesian.search", str(sweep.path), wait=wait)


def drive(sweep: Sweep) -> None:
    """Run what is missing or failed, then new trials until there are as many as asked for.

    Raises:
        ConfigError: no run logs the metric, or all of the first trials failed.
    """
    search, checker, backend = _search(sweep), JobChecker(), open_backend(sweep.backend)
    # Held from one batch to the next: a second process would propose the same trials.
    with locked(sweep.path):
        # First what an interruption left over: its results belong to what the next trials are proposed from.
        backend.submit(sweep, sweep.to_run(), wait=True)
        while (missing := search.num_trials - _num_trials(sweep)) > 0:
            count, curves = min(missing, search.parallel), curves_of(sweep)
            proposed = propose(search, sweep.settings.goal, sweep.rows(), count, checker, curves)
            if not proposed:
                print(f"the space holds no other trial than the {len(sweep.rows())} there are")
                # Stored, so that a sweep that holds all there is counts as done.
                sweep.set_num_trials(len(sweep.rows()))
                return
            for item in proposed:
                if isinstance(item, Refused):
                    # A row of its own, so that it is counted, and not proposed again.
                    sweep.refuse(item.index, item.varied, item.reason)
            backend.submit(sweep, sweep.add([item for item in proposed if isinstance(item, Job)]), wait=True)
            if any(row.state in ("queued", "running") for row in sweep.refresh()):
                return  # waiting for them was interrupted


def study_of(sweep: Sweep) -> "Study":
    """The trials of a search so far, as an Optuna study in memory."""
    return study_of_rows(_search(sweep), sweep.settings.goal, sweep.refresh(), curves_of(sweep))


def curves_of(sweep: Sweep) -> dict[str, Curve]:
    """What the trials have measured at their validations, by the hashes of their jobs."""
    return {trial.row.hash: trial.curve for trial in Trials(sweep).look()}


def _num_trials(sweep: Sweep) -> int:
    """The number of trials so far, if going on makes sense."""
    rows, metric = sweep.refresh(), sweep.settings.metric
    finished = [row for row in rows if row.state == "finished"]
    failed = [row for row in rows if row.state == "failed"]
    # Said at once: the other trials would be drawn blindly.
    if finished and all(row.best is None for row in finished):
        raise ConfigError(f"no run has logged {metric}, so nothing tells which is best; begin anew with sweep.metric=…")
    if not finished and len(failed) >= MOST_FAILED:
        raise ConfigError(f"the first {len(failed)} trials failed; fix the recipe first. {failed[-1].error}")
    best = sweep.best()
    if best is not None:
        total = _search(sweep).num_trials
        print(f"{len(rows)} of {total} trials; best {metric}: {best.best:.6g} by {best.title}", flush=True)
    return len(rows)


def _search(sweep: Sweep) -> Search:
    if sweep.search is None:
        raise ConfigError(f"{sweep.path} is no Bayesian search: its jobs are all known")
    return structure(Search, sweep.search, "hydra.sweeper")


def _show_first(search: Search, goal: Goal, checker: JobChecker) -> None:
    """The jobs that do not depend on results."""
    # Startup trials are random, so they are known without results.
    proposed = propose(search, goal, [], min(search.num_trials, search.startup_trials), checker)
    jobs = [item for item in proposed if isinstance(item, Job)]
    title = f"dry run: nothing is submitted; {len(jobs)} of {search.num_trials} trials, the others wait for results"
    console().print(job_table(jobs, title))


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ConfigError("a search needs Optuna: pip install 'snac_exp[optuna]'") from error


def main(sweep_dir: Path) -> int:
    """Drive a search to its end; returns the sweep's exit status."""
    sweep = Sweep.open(sweep_dir)
    try:
        drive(sweep)
    except Stopped:
        print(f"left; go on with: snac-exp sweep resume={sweep.path}")
        return EXIT_PREEMPTED
    status, text = outcome(sweep)
    print(text)
    return status


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(Path(sys.argv[1]))))
