"""The values that a run logs: metrics.jsonl is authoritative, trackers mirror it."""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from snac_exp.config.schema import Tracker as Settings
from snac_exp.errors import ConfigError
from snac_exp.system.checksums.json_digest import LINE_KEY
from snac_exp.system.checksums.json_lines import signed_line
from snac_exp.system.files import sha256_of_file
from snac_exp.system.paths.writing import write_whole
from snac_exp.tracking.metrics_file import read_metrics, rewind
from snac_exp.tracking.mirrors.all_mirrors import AllMirrors
from snac_exp.tracking.mirrors.tensorboard import TensorBoardMirror
from snac_exp.tracking.mirrors.trackio import TrackioMirror
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.wandb.key import require_key
from snac_exp.tracking.wandb.mirror import WandbMirror
from snac_exp.tracking.wandb.names import RunLabels, labels_of

MODES = ("off", "offline", "online")
_HEADER = (LINE_KEY, "step", "epoch", "kind", "time")  # keys that every line has


class Tracker:
    """Appends one JSON line per event to RUN_DIR/metrics.jsonl and hands the same line to the trackers.

    A line is `{"line_sha256", "step", "epoch", "kind", "time", ...values}`: a digest of the rest, and values named by
    section: `train/head_48k/l1`, `val/...`, `lr/...`, `speed/...`. It is given to the operating system in a single
    write before `log` returns, so a killed process loses no complete line; what `position()` has counted also survives
    a power cut.
    A value that is not finite is written as null, since JSON knows no NaN; stopping the run for it is the guards' task.
    """

    def __init__(self, run_dir: Path, mirrors: AllMirrors, gives_models: bool = False) -> None:
        self.path = RunFolder(Path(run_dir)).metrics
        self._mirrors = mirrors
        self._gives_models = gives_models
        self._num_lines = 0
        for line in read_metrics(self.path) if self.path.exists() else []:
            self._mirrored(line)  # what trackers lost when the process was killed
        # Unbuffered: a line is with the operating system when `log` returns, whatever becomes of this process.
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (open for the life of the run)

    @classmethod
    def of_run(
        cls,
        run_dir: Path,
        settings: Settings,
        values: Mapping[str, Any],
        *,
        verb: str = "train",
        resume_at: int | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> "Tracker":
        """The record of a run with the resolved config `values`: W&B lists it by what that says, see `labels_of`.

        `verb` is what makes the run, its job type in W&B; the rest and the errors are those of `open`.
        """
        about = labels_of(values, run_dir, verb)
        return cls.open(
            run_dir,
            mode=settings.mode,
            project=settings.project,
            entity=settings.entity,
            run_name=about.name,
            group=about.group,
            job_type=about.job_type,
            tags=about.tags,
            config=about.config,
            artifacts=settings.artifacts,
            tensorboard=settings.tensorboard,
            trackio=settings.trackio,
            resume_at=resume_at,
            tell=tell,
        )

    @classmethod
    def open(
        cls,
        run_dir: Path,
        *,
        mode: str = "offline",
        project: str = "snac-exp",
        entity: str | None = None,
        run_name: str | None = None,
        group: str | None = None,
        job_type: str = "train",
        tags: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        artifacts: str = "none",
        tensorboard: bool = False,
        trackio: bool = False,
        resume_at: int | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> "Tracker":
        """Start a run's record, or take it up again at byte `resume_at`, the `position()` in the checkpoint.

        What was written after that checkpoint is cut off, a half-written last line included: the steps are about to be
        done and logged again. Trackers get every line once: those they have are passed over, those they lost are made
        up for. `tell` is given a line when a tracker fails later, which ends no run; default: standard error.

        Raises:
            CheckpointError: the file is shorter than the checkpoint says, or was altered.
            ConfigError: a new run in a folder that has metrics, an unknown mode, mode online without a key, or a
                tracker that does not start.
        """
        run_dir = Path(run_dir)
        if mode not in MODES:
            raise ConfigError(f"tracker.mode is one of {', '.join(MODES)}, not {mode!r}")
        # Before anything is made or cut back: a refused start changes nothing.
        require_key(mode)
        run_dir.mkdir(parents=True, exist_ok=True)
        num_lines = rewind(RunFolder(run_dir).metrics, resume_at)
        mirrors = AllMirrors(tell or (lambda text: print(text, file=sys.stderr)))
        labels = RunLabels(run_name, group, job_type, list(tags), dict(config or {}))
        if tensorboard:
            mirrors.add(TensorBoardMirror(run_dir, config or {}, num_lines))
        if trackio:
            mirrors.add(TrackioMirror(run_dir, project, labels, num_lines))
        if mode != "off":
            mirrors.add(WandbMirror.open(run_dir, project, labels, num_lines, online=mode == "online", entity=entity))
        return cls(run_dir, mirrors, gives_models=mode != "off" and artifacts == "best")

    def log(self, values: Mapping[str, float], *, step: int, epoch: int, kind: str = "train") -> None:
        """Record flat named values, e.g. `{"train/head_48k/l1": 0.03}`, of a kind: train, validation, ..."""
        self._write({name: _number(value) for name, value in values.items()}, step, epoch, kind)

    def log_media(self, *, step: int, epoch: int, directory: Path) -> None:
        """Record a folder of samples: one line with its path; its .wav and .png files go to the trackers."""
        relative = os.path.relpath(directory, self.path.parent)
        self._write({"directory": Path(relative).as_posix()}, step, epoch, "samples")

    def log_model(self, path: Path, *, step: int, epoch: int, aliases: Sequence[str]) -> None:
        """Give a checkpoint file of the run to W&B as a version of its artifact, where tracker.artifacts asks for it.

        W&B adds the alias `latest` itself. The line says the file's SHA-256, so that a resumed run which has to make up
        for it does not take a later file for it.
        """
        if not self._gives_models:
            return
        relative = Path(os.path.relpath(path, self.path.parent)).as_posix()
        values: dict[str, float | str | list[str] | None] = {
            "file": relative,
            "sha256": sha256_of_file(path),
            "aliases": list(aliases),
        }
        self._write(values, step, epoch, "model")

    def position(self) -> int:
        """Length of the record in bytes, all of it on disk: a checkpoint stores it for `open(resume_at=...)`."""
        # A checkpoint must not outlive the lines that it counts.
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def rewind(self, position: int) -> None:
        """Take back what was recorded after byte `position`: the run goes on from the checkpoint that stored it.

        Raises:
            CheckpointError: `position` is not the end of a line.
        """
        # The open file appends, so it goes on at the new end by itself.
        self._num_lines = rewind(self.path, position)
        self._mirrors.rewind(self._num_lines)

    def close(self, failed: bool = False) -> None:
        """Close the record and the trackers, which mark the run failed if it did."""
        self._file.close()
        self._mirrors.close(failed)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self, error: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close(failed=error is not None)

    def _write(self, values: Mapping[str, float | str | list[str] | None], step: int, epoch: int, kind: str) -> None:
        taken = set(values) & set(_HEADER)
        if taken:
            raise ValueError(f"metrics may not be named {', '.join(sorted(taken))}: every line has that field")
        line = {"step": step, "epoch": epoch, "kind": kind, "time": round(time.time(), 3), **values}
        # The file first: what a tracker has not got is made up for from it.
        write_whole(self._file, f"{signed_line(line, LINE_KEY)}\n".encode(), self.path)
        self._mirrored(line)

    def _mirrored(self, line: Mapping[str, Any]) -> None:
        self._num_lines += 1
        self._mirrors.log(self._num_lines, line)


def _number(value: float) -> float | None:
    if isinstance(value, int):
        return value
    number = float(value)  # also unpacks tensors and NumPy scalars
    return number if math.isfinite(number) else None
