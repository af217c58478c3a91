"""A verb in shards, as the jobs of a sweep: `snac-exp sweep cache-codes data=… codec=… shard.count=8`.

Each job is the verb with its own shard.index, in a folder with status and log like a run's. The verbs skip what is done
already, so a job that was interrupted is simply run again.
"""

import hashlib
import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import OmegaConf

from snac_exp.config.compose import config_dir, explain
from snac_exp.errors import ConfigError
from snac_exp.sweeps.launcher import open_backend
from snac_exp.sweeps.multirun import split_switches, with_parts
from snac_exp.sweeps.outcome import outcome
from snac_exp.sweeps.settings import SweepSettings
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.stop_request import EXIT_PREEMPTED, Stopped, StopRequest
from snac_exp.tracking.run_folder import RunFolder


@dataclass(frozen=True)
class ShardJob:
    """One job: a verb with its arguments."""

    index: int
    overrides: list[str]
    varied: list[str]
    values: dict[str, Any]

    @property
    def hash(self) -> str:
        """Short hash of verb and arguments."""
        return hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()[:6]


def submit_shards(verb: str, arguments: Sequence[str]) -> int:
    """Run a verb in shard.count jobs through a launcher; returns 0 when all finished (or were submitted).

    Raises:
        ConfigError: no count.
    """
    switches, rest = split_switches(list(arguments))
    choices = [item for item in rest if item.lstrip("+").startswith(("hydra/", "hydra."))]
    jobs = _jobs(verb, [item for item in rest if item not in choices])
    if switches["dry_run"]:
        print("\n".join(f"snac-exp {verb} {' '.join(job.overrides)}" for job in jobs))
        return 0
    backend = _backend(choices)
    sweep = Sweep.create(jobs, SweepSettings(), backend, [verb, *arguments], again=switches["again"])
    print(f"sweep: {sweep.path}", flush=True)
    try:
        open_backend(backend).submit(sweep, sweep.rows(), wait=switches["wait"])
    except Stopped:
        print(f"left; go on with: snac-exp sweep resume={sweep.path}")
        return EXIT_PREEMPTED
    if not switches["wait"]:
        return 0
    status, text = outcome(sweep)
    print(text)
    return status


def _jobs(verb: str, arguments: list[str]) -> list[ShardJob]:
    """The verb once for every shard, from its arguments and shard.count."""
    keys = ("shard.count=", "output_dir=")
    named = dict(item.split("=", 1) for item in arguments if item.startswith(keys))
    count = named.get("shard.count", "")
    if not count.isdigit() or int(count) < 1:
        raise ConfigError(f"snac-exp sweep {verb} needs a verb that works in shards, and shard.count=N")
    own = [item for item in arguments if not item.startswith(keys)]
    common = {"name": verb.replace("-", "_"), "output_dir": named.get("output_dir", "outputs")}
    jobs = []
    for index in range(int(count)):
        whole = [*own, f"shard.index={index}", f"shard.count={count}"]
        # The launchers read trainer.devices of every job.
        values = common | {"task": [verb, *whole], "trainer": {"devices": 1}}
        jobs.append(ShardJob(index, whole, [f"shard.index={index}"], values))
    return jobs


def run_task(folder: RunFolder, verb_module: Callable[[str], Any]) -> int:
    """Run the verb of a job's folder, keeping its lock and status; returns the exit status.

    `verb_module` gives the module of a verb by its name.
    """
    task = folder.values().get("task")  # task.json says the same to people
    if not (isinstance(task, list) and task and all(isinstance(item, str) for item in task)):
        raise ConfigError(f"{folder.config} names no verb as its task; restore it")
    verb, *arguments = task
    # The lock is held for the whole task, so that two processes never fill one shard.
    with StopRequest() as stop, folder.locked():
        folder.begin()
        try:
            status: int = verb_module(verb).main(arguments)
        except Stopped:
            folder.set_status("preempted", stopped_by=stop.signal_name)
            return EXIT_PREEMPTED
        # Also SystemExit and KeyboardInterrupt: without a status the job would count as lost.
        except BaseException as error:
            folder.set_status("failed", error="".join(traceback.format_exception(error)))
            raise
        folder.set_status("finished" if status == 0 else "failed", error=None if status == 0 else f"exit {status}")
    return status


def _backend(choices: list[str]) -> dict[str, Any]:
    """The backend that hydra/launcher=… and hydra.launcher.…=… choose."""
    # Registers our launchers, which Hydra finds only through its plugins.
    Plugins.instance()
    # An earlier compose of this process leaves Hydra initialised, and a second one is refused.
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            config = compose("train", overrides=with_parts(choices), return_hydra_config=True)
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    parameters = OmegaConf.to_container(config.hydra.launcher)
    assert isinstance(parameters, dict)
    launcher: Any = get_class(str(parameters.pop("_target_")))
    spec: dict[str, Any] = launcher(**{str(key): value for key, value in parameters.items()}).backend_spec
    return spec
