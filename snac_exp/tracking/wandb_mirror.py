"""The mirror of metrics.jsonl in Weights & Biases: one history row per line, one W&B run per run folder."""

import netrc
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from snac_exp.errors import ConfigError
from snac_exp.files import read_json, write_json

STATE_FILE = "wandb.json"
_WAYS_OUT = "run `wandb login` (or set WANDB_API_KEY), or set tracker.mode=offline and upload later with `wandb sync`"


class WandbMirror:
    """Sends the lines of metrics.jsonl to W&B, each exactly once over any number of resumes.

    RUN_DIR/wandb.json keeps the W&B run id and how many lines W&B has seen. After a resume the lines that are logged a
    second time have numbers up to that count and are passed over.
    """

    def __init__(self, run: Any, run_dir: Path, num_mirrored: int) -> None:
        self._run = run
        self._run_dir = run_dir
        self._num_mirrored = num_mirrored

    @classmethod
    def open(
        cls,
        run_dir: Path,
        *,
        online: bool,
        num_mirrored: int,
        project: str,
        entity: str | None,
        name: str | None,
        group: str | None,
        tags: Sequence[str],
        config: Mapping[str, Any],
    ) -> "WandbMirror":
        """Start or continue the W&B run of a run folder; offline nothing touches the network.

        `num_mirrored`: complete lines of metrics.jsonl before it was cut for a resume.

        Raises:
            ConfigError: `online` without a key, or W&B refuses the run.
        """
        if online and not has_key():
            raise ConfigError(f"tracker.mode=online, but there is no W&B key on this machine: {_WAYS_OUT}")
        run_id, num_mirrored = _continued_state(run_dir, num_mirrored)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read at import: no crash reports over the network
        import wandb

        settings = wandb.Settings(silent=True, console="off", save_code=False, x_disable_stats=True)
        try:
            run = wandb.init(
                mode="online" if online else "offline",
                dir=str(run_dir),
                id=run_id,
                resume="allow",
                project=project,
                entity=entity,
                name=name,
                group=group,
                tags=list(tags),
                config=dict(config),
                settings=settings,
            )
        except wandb.errors.Error as error:
            raise ConfigError(f"W&B did not start the run ({error}): {_WAYS_OUT}") from error
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        return cls(run, run_dir, num_mirrored)

    def log(self, number: int, line: Mapping[str, Any]) -> None:
        """Mirror line `number` (from 1) of metrics.jsonl, unless W&B has it."""
        if number <= self._num_mirrored:
            return
        values = {name: value for name, value in line.items() if name not in ("kind", "time", "directory")}
        if line["kind"] == "samples":
            values |= self._media(self._run_dir / line["directory"])
        self._run.log(values)

    def close(self, failed: bool) -> None:
        """Finish the W&B run, as failed or as done."""
        self._run.finish(exit_code=1 if failed else 0)

    @staticmethod
    def _media(folder: Path) -> dict[str, Any]:
        import wandb

        sounds = {f"samples/{path.stem}": wandb.Audio(str(path)) for path in sorted(folder.glob("*.wav"))}
        pictures = {f"pictures/{path.stem}": wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))}
        return sounds | pictures


def has_key() -> bool:
    """Whether W&B would find an API key without asking: in the environment, or stored by `wandb login` in netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    chosen = os.environ.get("NETRC")
    for path in [Path(chosen)] if chosen else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        if path.is_file() and netrc.netrc(str(path)).authenticators(host):
            return True
    return False


def _continued_state(run_dir: Path, num_mirrored: int) -> tuple[str, int]:
    """The run's W&B id and line count, as stored or new; the file is written before W&B starts."""
    path = run_dir / STATE_FILE
    state: dict[str, Any] = read_json(path) if path.exists() else {"id": secrets.token_hex(4), "num_mirrored": 0}
    run_id, num_mirrored = str(state["id"]), max(num_mirrored, int(state["num_mirrored"]))
    write_json(path, {"id": run_id, "num_mirrored": num_mirrored})
    return run_id, num_mirrored
