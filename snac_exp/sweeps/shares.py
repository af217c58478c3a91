"""Verbs in shares as the jobs of a sweep: `snac-exp sweep cache-codes data=… codec=… shard.count=8`.

Each share is the verb itself with its shard.index, in a folder with status and log like a run's. The verbs skip what is
done already, so a share that was interrupted is simply run again.
"""

import hashlib
import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from snac_exp.config.compose import config_dir, explain
from snac_exp.errors import ConfigError
from snac_exp.sweeps.sweep import TASK_FILE, Question, Sweep, outcome
from snac_exp.system.files import read_json
from snac_exp.system.stop_request import EXIT_PREEMPTED, Stopped, StopRequest
from snac_exp.tracking.run_folder import RunFolder


@dataclass(frozen=True)
class Share:
    """One job: a verb with its arguments."""

    index: int
    overrides: list[str]
    varied: list[str]
    values: dict[str, Any]

    @property
    def hash(self) -> str:
        """Short hash of verb and arguments."""
        return hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()[:6]


def submit_shares(verb: str, arguments: Sequence[str]) -> int:
    """Run a verb in shard.count shares through a launcher; returns 0 when all finished (or were submitted).

    Raises:
        ConfigError: no count, or a verb that is not there.
    """
    from snac_exp import cli
    from snac_exp.sweeps.launcher import open_backend
    from snac_exp.sweeps.multirun import split_switches

    switches, rest = split_switches(list(arguments))
    parts = [item for item in rest if item.lstrip("+").startswith(("hydra/", "hydra."))]
    own = [item for item in rest if item not in parts and not item.startswith(("shard.count=", "output_dir="))]
    given = dict(item.split("=", 1) for item in rest if item.startswith(("shard.count=", "output_dir=")))
    count = given.get("shard.count", "")
    if verb.replace("-", "_") not in cli.verbs() or not count.isdigit() or int(count) < 1:
        raise ConfigError(f"snac-exp sweep {verb} needs a verb that works in shares, and shard.count=N")
    values = {"name": verb.replace("-", "_"), "output_dir": given.get("output_dir", "outputs")}
    shares = []
    for index in range(int(count)):
        whole = [*own, f"shard.index={index}", f"shard.count={count}"]
        facts = values | {"task": [verb, *whole], "trainer": {"devices": 1}}
        shares.append(Share(index, whole, [f"shard.index={index}"], facts))
    if switches["dry_run"]:
        print("\n".join(f"snac-exp {verb} {' '.join(share.overrides)}" for share in shares))
        return 0
    backend = _launcher(parts)
    sweep = Sweep.create(shares, Question(), backend, [verb, *arguments], again=switches["again"])
    print(f"sweep: {sweep.path}", flush=True)
    rows = sweep.add(shares)
    try:
        open_backend(backend).submit(sweep, rows, wait=switches["wait"])
    except Stopped:
        print(f"left; go on with: snac-exp sweep resume={sweep.path}")
        return EXIT_PREEMPTED
    if not switches["wait"]:
        return 0
    status, text = outcome(sweep)
    print(text)
    return status


def run_share(run_dir: Path) -> int:
    """Do the share of a folder, keeping its lock and status; returns the exit status."""
    verb, *arguments = read_json(run_dir / TASK_FILE)
    folder = RunFolder(run_dir)
    with StopRequest() as stop, folder.locked():
        folder.begin()
        try:
            from snac_exp import cli

            status: int = cli.verb_module(verb.replace("-", "_")).main(arguments)
        except Stopped:
            folder.set_status("preempted", stopped_by=stop.signal_name)
            return EXIT_PREEMPTED
        except BaseException as error:
            folder.set_status("failed", error="".join(traceback.format_exception(error)))
            raise
        folder.set_status("finished" if status == 0 else "failed", error=None if status == 0 else f"exit {status}")
    return status


def _launcher(parts: list[str]) -> dict[str, Any]:
    """The backend that hydra/launcher=… and hydra.launcher.…=… choose."""
    from hydra.core.plugins import Plugins
    from hydra.utils import get_class

    from snac_exp.sweeps.multirun import with_parts

    Plugins.instance()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            config = compose("train", overrides=with_parts(parts), return_hydra_config=True)
    except HydraException as error:
        raise ConfigError(explain(error)) from error
    parameters = OmegaConf.to_container(config.hydra.launcher)
    assert isinstance(parameters, dict)
    launcher: Any = get_class(str(parameters.pop("_target_")))
    facts: dict[str, Any] = launcher(**{str(key): value for key, value in parameters.items()}).facts
    return facts
