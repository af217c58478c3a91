"""Train, resume a run, or begin a sweep.

usage: snac-exp train ARGUMENTS, which from a checkout is also python train.py ARGUMENTS:
       python train.py [GROUP=CHOICE | KEY=VALUE | +experiment=NAME | +debug=fast]…
       python train.py … background=true          detach; look with snac-exp status, end with snac-exp stop
       python train.py -m KEY=VALUE,VALUE… [+sweep=NAME] [hydra/launcher=local_processes|slurm] [dry_run=true]
       python train.py -m hydra/sweeper=random|optuna 'KEY=interval(LOW,HIGH)'… [sweep.metric=NAME]
       python train.py resume=RUN_DIR
       python train.py --cfg job [OVERRIDES]      print the composed config, run nothing

With -m, commas separate values, also in paths, unless a file or folder of that name exists; quote a path that contains
commas: data.cache_dir="'A,1',B". Keys of the command itself: dry_run, wait (false submits and returns), again.
A run with the config, code and data of a finished run in its output_dir is rejected, with the path of that run;
again=true runs it nevertheless.
Without arguments this is the demo. To see first what a run does: snac-exp plan OVERRIDES, snac-exp check OVERRIDES.
Exit status: 0 done, 2 an error that you can fix, 75 stopped on request and saved.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from snac_exp.config.arguments import hydra_overrides
from snac_exp.config.compose import compose_config, compose_experiment, config_dir, experiment_of
from snac_exp.errors import ConfigError, guarded
from snac_exp.runs.allocator import prefer_growing_segments
from snac_exp.runs.background import start_detached
from snac_exp.tracking.alerts.alerts import require_address
from snac_exp.tracking.mirrors.packages import require_trackers
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.verbs.discovery import verb_module
from snac_exp.verbs.files import with_files
from snac_exp.verbs.repeated import place_and_result, run_of_same_meaning

SWITCHES = ("background", "again")


def main(arguments: Sequence[str]) -> int:
    """Train, resume or explain; returns the exit status."""
    return guarded(lambda: with_files(lambda: _main(list(arguments))))


def _main(arguments: list[str]) -> int:
    if any(item in ("-h", "--help") for item in arguments):
        print(f"{__doc__}\n{_groups()}")
        return 0
    if "--cfg" in arguments:
        # What stands behind --cfg is its kind; overrides may stand on both sides.
        place = arguments.index("--cfg")
        return _print_config(arguments[place + 1 :] + arguments[:place])
    if any(item in ("-m", "--multirun") for item in arguments):
        from snac_exp.sweeps.multirun import multirun

        return multirun(arguments)
    # Hydra's own options would be taken for overrides, and fail with its messages.
    flags = [item for item in arguments if item.startswith("-")]
    if flags:
        raise ConfigError(f"{flags[0]} is no option of train.py; see python train.py --help")
    resumed = [item.split("=", 1)[1] for item in arguments if item.startswith("resume=")]
    if resumed:
        return _resume(arguments, Path(resumed[0]).expanduser())
    return _start(arguments)


def _start(arguments: list[str]) -> int:
    switches, rest = _switches(arguments)
    overrides = hydra_overrides(rest)
    experiment, values = compose_experiment(overrides)
    # Asked for before a process is detached, which could ask nobody.
    require_trackers(experiment.tracker)
    require_address(experiment.alerts)
    if not switches["again"]:
        _refuse_repeated(values)
    if switches["background"]:
        return start_detached(values, overrides)
    prefer_growing_segments()
    # torch is imported here, after the whole config has passed.
    from snac_exp.runs.run import start

    return start(experiment, values, overrides)


def _switches(arguments: list[str]) -> tuple[dict[str, bool], list[str]]:
    """Our own keys of a single run, which are no config of it, and the other arguments."""
    chosen, rest = dict.fromkeys(SWITCHES, False), []
    for item in arguments:
        name, _, value = item.partition("=")
        if name in SWITCHES and value not in ("true", "false"):
            raise ConfigError(f"{item} is not valid; choose one of: {name}=true, {name}=false")
        if name in SWITCHES:
            chosen[name] = value == "true"
        else:
            rest.append(item)
    return chosen, rest


def _refuse_repeated(values: dict[str, Any]) -> None:
    """What was made already is not made again without being asked for.

    Raises:
        ConfigError: names the newest finished run that means the same, and its result.
    """
    run = run_of_same_meaning(values)
    if run is not None:
        raise ConfigError(
            f"an identical run has finished already: {place_and_result(run)}. See {run.report}; or add again=true to "
            "make it a second time"
        )


def _resume(arguments: list[str], run_dir: Path) -> int:
    if len(arguments) != 1:
        others = [item for item in arguments if not item.startswith("resume=")]
        raise ConfigError(
            f"resume= takes no other arguments: a run continues with its stored config; leave out {' '.join(others)}"
        )
    return resume_run(run_dir)


def resume_run(run_dir: Path) -> int:
    """Begin or go on with the run in a folder, from what lies there alone; returns the exit status."""
    folder = RunFolder(run_dir)
    # The job of a verb in shards has no experiment to resume; it is run again and skips what is done.
    if folder.task.exists():
        from snac_exp.sweeps.shards import run_task

        return run_task(folder, verb_module)
    values = RunFolder.open(run_dir).values()
    try:
        experiment = experiment_of(values)
    except ConfigError as error:
        raise ConfigError(f"{folder.config}: {error}") from error
    prefer_growing_segments()
    from snac_exp.sweeps.bayesian.trial_run import resume_judged

    return resume_judged(experiment, folder)


def _print_config(arguments: list[str]) -> int:
    kind = arguments[0] if arguments else ""
    if kind != "job":
        raise ConfigError(f"--cfg {kind}: only --cfg job is there, the config of the run")
    print(OmegaConf.to_yaml(compose_config("train", hydra_overrides(arguments[1:]))), end="")
    return 0


def _groups() -> str:
    """The choices of every config group, read from conf/."""
    lines = ["groups:"]
    # local and hydra are of the machine and of sweeps: no recipe chooses them.
    for folder in sorted(
        path for path in config_dir().iterdir() if path.is_dir() and path.name not in ("local", "hydra")
    ):
        choices = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
        lines.append(f"  {'+' if folder.name in ('experiment', 'debug') else ''}{folder.name}: {choices}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
