"""The mirror of metrics.jsonl in Weights & Biases: one history row per line, one W&B run per run folder."""

import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snac_exp.errors import ConfigError
from snac_exp.system.files import sha256_of_file, write_text
from snac_exp.tracking.clip_rows import read_clip_rows
from snac_exp.tracking.mirrors.all_mirrors import one_line
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.sections import define_axes
from snac_exp.tracking.wandb.file import history, rewind
from snac_exp.tracking.wandb.key import WAYS_OUT, require_key
from snac_exp.tracking.wandb.names import RunLabels

_STAGING = "WANDB_DATA_DIR"  # where W&B keeps artifacts until they are uploaded


class WandbMirror:
    """Sends the lines of metrics.jsonl to W&B, each exactly once over any number of kills and resumes.

    RUN_DIR/wandb_id keeps the W&B run id. W&B's own `_step` of a row is the number of its line, so what W&B has already
    is known from W&B itself: a killed process loses rows that W&B had not written yet. Rows that a resume takes back
    are cut from the offline files too. Rows that a server has cannot be taken back: there the steps that are done a
    second time keep the values of the first.
    """

    title = "W&B"

    def __init__(self, run_dir: Path, online: bool, project: str, entity: str | None, labels: RunLabels) -> None:
        self._run_dir, self._online, self._labels = run_dir, online, labels
        self._project, self._entity = project, entity
        self._run_id = _kept_id(run_dir)
        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # no advice on stderr where some library was imported
        self._owns_staging = False
        self._num_mirrored = 0
        self._run: Any = None

    @classmethod
    def open(
        cls, run_dir: Path, project: str, labels: RunLabels, num_lines: int, *, online: bool, entity: str | None
    ) -> "WandbMirror":
        """Start or continue the W&B run of a run folder, whose metrics.jsonl has `num_lines` lines by now.

        Offline nothing touches the network, and all that is to be uploaded lies in the run folder.

        Raises:
            ConfigError: `online` without a key, or W&B refuses the run.
        """
        require_key("online" if online else "offline")
        mirror = cls(run_dir, online, project, entity, labels)
        mirror._start(num_lines)
        return mirror

    def _start(self, num_lines: int) -> None:
        if not self._online:
            self._num_mirrored = _rewound(self._run_dir, self._run_id, num_lines)
            _await_another_second(self._run_dir, self._run_id)
        os.environ.pop("WANDB_SERVICE", None)  # of a parent's; it would hold the run beyond the death of this process
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read at import: no crash reports over the network
        self._owns_staging = _STAGING not in os.environ
        if self._owns_staging:  # else artifacts wait for their upload in the home folder
            os.environ[_STAGING] = str(RunFolder(self._run_dir).wandb / "data")
        import wandb

        about = self._labels
        try:
            self._run = wandb.init(
                mode="online" if self._online else "offline",
                dir=str(self._run_dir),
                id=self._run_id,
                resume="allow",  # goes on with the run of this id where there is one
                project=self._project,
                entity=self._entity,
                name=about.name,
                group=about.group,
                job_type=about.job_type,
                tags=about.tags,
                config=about.config,
                settings=_settings(about),
            )
        except Exception as error:  # W&B's own, pydantic's, the network's: whatever it is, the run has no mirror
            without = "or train without W&B: tracker.mode=off"
            raise ConfigError(f"W&B did not start the run ({one_line(error)}): {WAYS_OUT}, {without}") from error
        by_step = (about.config.get("trainer") or {}).get("validate_every_steps")
        define_axes(self._run, about.config.get("heads") or {}, "step" if by_step else "epoch")
        if self._online:
            # `step` is that of the next row; the server knows which rows it has.
            self._num_mirrored = self._run.step - 1

    def rewind(self, num_lines: int) -> None:
        """Take back what comes after line `num_lines`; lines of the same numbers follow, and other ones perhaps.

        A server cannot take rows back: online the steps that are done again keep the values of the first time.
        """
        if not self._online and num_lines < self._num_mirrored:
            # The file can only be cut while W&B does not write it.
            self.close(failed=False)
            self._start(num_lines)

    def log(self, number: int, line: Mapping[str, Any]) -> None:
        """Mirror line `number` (from 1) of metrics.jsonl, unless W&B has it."""
        if number <= self._num_mirrored:
            return
        values = {name: value for name, value in line.items() if value is None or isinstance(value, int | float)}
        # W&B's time of the row: that of the event, also where the row is made up for later.
        values["_timestamp"] = values.pop("time")
        if line["kind"] == "samples":
            values |= _media(self._run_dir / line["directory"])
        if line["kind"] == "model":
            self._give_model(line)
        self._run.log(values, step=number, commit=True)
        self._num_mirrored = number

    def close(self, failed: bool) -> None:
        """Finish the W&B run, as failed or as done, and wait until its file is complete."""
        import wandb

        exit_code = 1 if failed else 0
        self._run.finish(exit_code=exit_code)
        wandb.teardown(exit_code=exit_code)  # finish returns before W&B's own process has written an offline run
        if self._owns_staging:
            del os.environ[_STAGING]

    def _give_model(self, line: Mapping[str, Any]) -> None:
        """A checkpoint as a version of the run's artifact, unless a later best one has taken its place since."""
        import wandb

        path = self._run_dir / line["file"]
        if not path.is_file() or sha256_of_file(path) != line["sha256"]:
            return
        metadata = {name: line[name] for name in ("step", "epoch", "sha256")}
        artifact = wandb.Artifact(f"model-{self._run.id}", type="model", metadata=metadata)
        artifact.add_file(str(path), name=path.name)  # copied, since the next best one replaces the file
        self._run.log_artifact(artifact, aliases=list(line["aliases"]))


def _settings(labels: RunLabels) -> Any:
    """Quiet, and without W&B's own look at the code: it would describe the folder one stands in."""
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        save_code=False,
        disable_code=True,
        disable_git=True,
        git_commit=labels.config.get("code", {}).get("commit"),
        x_disable_stats=True,
    )


def _media(folder: Path) -> dict[str, Any]:
    import wandb

    sounds = {f"samples/{path.stem}": wandb.Audio(str(path)) for path in sorted(folder.glob("*.wav"))}
    pictures = {f"pictures/{path.stem}": wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))}
    rows = read_clip_rows(folder)
    # Rows may have different metrics: one of a narrow signal has none of the high band.
    columns: list[str | int] = list(dict.fromkeys(name for row in rows for name in row))
    table = wandb.Table(columns=columns, data=[[row.get(str(name)) for name in columns] for row in rows])
    return sounds | pictures | ({"clips/metrics": table} if rows else {})


def _kept_id(run_dir: Path) -> str:
    """The run folder's W&B run id, made on first use and on disk before W&B starts."""
    path = RunFolder(run_dir).wandb_id
    if not path.exists():
        write_text(path, secrets.token_hex(4) + "\n")  # eight characters, as W&B's own ids
    return path.read_text(encoding="utf-8").strip()


def _await_another_second(run_dir: Path, run_id: str) -> None:
    """W&B names the folder of an offline run by the second, and would write over one of the same name."""
    while (RunFolder(run_dir).wandb / f"offline-run-{time.strftime('%Y%m%d_%H%M%S')}-{run_id}").exists():
        time.sleep(0.05)


def _rewound(run_dir: Path, run_id: str, num_lines: int) -> int:
    """Cut this run's offline files back to its first `num_lines` lines; the number of the last one that they hold.

    A file that `wandb sync` has uploaded stays as it is, since the server has its rows.
    """
    last = 0
    for path in sorted(RunFolder(run_dir).wandb.glob(f"offline-run-*/run-{run_id}.wandb")):
        # The mark that `wandb sync` leaves.
        is_uploaded = path.with_suffix(".wandb.synced").exists()
        last = max(last, max((row["_step"] for row in history(path)), default=0) if is_uploaded else 0)
        last = last if is_uploaded else max(last, rewind(path, num_lines))
    return last
