"""The mirror of metrics.jsonl in trackio: one row per line, in trackio's database on this machine.

Rows go into the database itself, as trackio's own local runs put them there, and not through `trackio.init`, which asks
the hub who one is, follows TRACKIO_SPACE_ID and gives rows the time at which they are sent.
"""

import math
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from snac_exp.errors import ConfigError
from snac_exp.system.files import write_text
from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.tracking.mirrors.all_mirrors import one_line
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.wandb.names import RunLabels

_HEADER = ("step", "epoch", "time")  # numbers of a line that are no metrics
_MOST_ROWS = 500  # that wait to be written together
_MOST_SECONDS = 2.0  # that a row waits while others come


class TrackioMirror:
    """Writes each line of metrics.jsonl as one row, each exactly once over any number of kills and resumes.

    Rows are counted by trackio, so that what it has already is known from it. It has no way to take back some rows of a
    run: a resume that takes back any has the run deleted there and written anew. RUN_DIR/trackio_id keeps the id that
    trackio knows the run by. A value that was not finite is NaN. Samples are copies of the wavs and pictures.
    """

    title = "trackio"

    def __init__(self, run_dir: Path, project: str, labels: RunLabels, num_lines: int) -> None:
        """Start or go on, cut back to the first `num_lines` lines.

        Raises:
            ConfigError: trackio cannot write its database, or it lies where databases are not safe.
        """
        self._run_dir, self._project, self._labels = run_dir, project, labels
        self._name = labels.name or run_dir.name
        self._rows: list[tuple[int, Mapping[str, Any]]] = []
        self._written = time.monotonic()
        try:
            self._run_id = _kept_id(run_dir)
            self._storage = _storage()
            self._storage.init_db(project)
            self._num_mirrored = self._cut_back(num_lines)
            self._write_config()
        except ConfigError:
            raise
        except Exception as error:  # the disk's, the database's, trackio's own: whatever it is, there is no mirror
            raise ConfigError(
                f"trackio did not start ({one_line(error)}): see to its folder, which TRACKIO_DIR names, or train "
                "without it: tracker.trackio=false"
            ) from error

    def log(self, number: int, line: Mapping[str, Any]) -> None:
        """Write line `number` (from 1), unless trackio has it; some lines wait for each other."""
        if number <= self._num_mirrored:
            return
        self._rows.append((number, line))
        self._num_mirrored = number
        if len(self._rows) >= _MOST_ROWS or time.monotonic() - self._written > _MOST_SECONDS:
            self._write()

    def rewind(self, num_lines: int) -> None:
        """Take back what comes after line `num_lines`: all that is left is written anew."""
        self._write()
        self._num_mirrored = self._cut_back(num_lines)
        self._write_config()
        for number, line in enumerate(read_metrics(RunFolder(self._run_dir).metrics), start=1):
            self.log(number, line)

    def close(self, failed: bool) -> None:
        """Write what waits; trackio has no word for a run that failed."""
        self._write()

    def _cut_back(self, num_lines: int) -> int:
        """Rows that trackio has and that stay."""
        known = int(self._storage.get_log_count(self._project, run_id=self._run_id))
        if known <= num_lines:
            return known
        if not self._storage.delete_run(self._project, self._name, run_id=self._run_id):
            raise OSError(f"trackio did not delete the run {self._name} of {self._project}, to write it anew")
        return 0

    def _write_config(self) -> None:
        """The resolved config, with what trackio notes of every run of its own."""
        about = {"_Created": datetime.now(UTC).isoformat(), "_Group": self._labels.group, "_Username": None}
        self._config: dict[str, Any] | None = {**self._labels.config, **about}

    def _write(self) -> None:
        rows, self._rows, self._written = self._rows, [], time.monotonic()
        if not rows:
            return
        self._storage.bulk_log(
            project=self._project,
            run=self._name,
            run_id=self._run_id,
            metrics_list=[self._metrics(line) for _, line in rows],
            steps=[line["step"] for _, line in rows],
            timestamps=[datetime.fromtimestamp(line["time"], UTC).isoformat() for _, line in rows],
            log_ids=[f"{self._run_id}-{number}" for number, _ in rows],
            config=self._config,
        )
        self._config = None  # once it is there

    def _metrics(self, line: Mapping[str, Any]) -> dict[str, Any]:
        numbers = {name: value for name, value in line.items() if value is None or isinstance(value, int | float)}
        found: dict[str, Any] = {
            name: math.nan if value is None else value for name, value in numbers.items() if name not in _HEADER
        }
        if line["kind"] == "samples":
            found |= self._media(self._run_dir / line["directory"], line["step"])
        return found

    def _media(self, folder: Path, step: int) -> dict[str, Any]:
        """Wavs and pictures of a folder of samples, copied to where trackio keeps such files."""
        from trackio import Audio, Image

        kinds = {"samples": (Audio, "*.wav"), "pictures": (Image, "*.png")}
        shown = {}
        for name, (kind, pattern) in kinds.items():
            for path in sorted(folder.glob(pattern)):
                media = kind(path)
                media._save(self._project, self._name, step)
                shown[f"{name}/{path.stem}"] = media._to_dict()
        return shown


def _storage() -> Any:
    """trackio's database.

    Raises:
        ConfigError: it lies on a network file system, whose locks do not hold what a database needs.
    """
    from trackio.sqlite_storage import SQLiteStorage
    from trackio.utils import TRACKIO_DIR, get_storage_mode

    if get_storage_mode() != "sqlite":
        raise ConfigError(
            f"tracker.trackio=true: {TRACKIO_DIR} lies on a network file system; set TRACKIO_DIR to a folder of this "
            "machine, or tracker.trackio=false"
        )
    return SQLiteStorage


def _kept_id(run_dir: Path) -> str:
    """The run folder's id in trackio, made on first use and on disk before trackio has it."""
    path = RunFolder(run_dir).trackio_id
    if not path.exists():
        write_text(path, secrets.token_hex(16) + "\n")  # as trackio's own ids
    return path.read_text(encoding="utf-8").strip()
