"""The mirror of metrics.jsonl in Weights & Biases: one history row per line, one W&B run per run folder."""

import netrc
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from snac_exp.errors import ConfigError
from snac_exp.files import write_text
from snac_exp.tracking.wandb_file import history

ID_FILE = "wandb_id"
_WAYS_OUT = "run `wandb login` (or set WANDB_API_KEY), or set tracker.mode=offline and upload later with `wandb sync`"


class WandbMirror:
    """Sends the lines of metrics.jsonl to W&B, each exactly once over any number of kills and resumes.

    RUN_DIR/wandb_id keeps the W&B run id. W&B's own `_step` of a row is the number of its line, so what W&B has already
    is known from W&B itself: a killed process loses rows that W&B had not written yet, and repeats others.
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
        project: str,
        entity: str | None,
        name: str | None,
        group: str | None,
        tags: Sequence[str],
        config: Mapping[str, Any],
    ) -> "WandbMirror":
        """Start or continue the W&B run of a run folder; offline nothing touches the network.

        Raises:
            ConfigError: `online` without a key, or W&B refuses the run.
        """
        if online and not has_key():
            raise ConfigError(f"tracker.mode=online, but there is no W&B key on this machine: {_WAYS_OUT}")
        run_id = _kept_id(run_dir)
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
        return cls(run, run_dir, run.step - 1 if online else _last_offline_line(run_dir, run_id))

    def log(self, number: int, line: Mapping[str, Any]) -> None:
        """Mirror line `number` (from 1) of metrics.jsonl, unless W&B has it."""
        if number <= self._num_mirrored:
            return
        values = {name: value for name, value in line.items() if name not in ("kind", "time", "directory")}
        if line["kind"] == "samples":
            values |= self._media(self._run_dir / line["directory"])
        self._run.log(values, step=number, commit=True)

    def close(self, failed: bool) -> None:
        """Finish the W&B run, as failed or as done, and wait until its file is complete."""
        import wandb

        exit_code = 1 if failed else 0
        self._run.finish(exit_code=exit_code)
        wandb.teardown(exit_code=exit_code)  # finish returns before W&B's own process has written an offline run

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


def _kept_id(run_dir: Path) -> str:
    """The run folder's W&B run id, made on first use and on disk before W&B starts."""
    path = run_dir / ID_FILE
    if not path.exists():
        write_text(path, secrets.token_hex(4) + "\n")
    return path.read_text(encoding="utf-8").strip()


def _last_offline_line(run_dir: Path, run_id: str) -> int:
    """Number of the last line that offline files of this run hold; 0 if there are none."""
    files = run_dir.glob(f"wandb/offline-run-*/run-{run_id}.wandb")
    return max((row["_step"] for file in files for row in history(file)), default=0)
