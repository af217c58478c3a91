"""What ranks other than 0 are given in place of a tracker and a console: only rank 0 writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snac_exp.tracking.console import Console, EpochLike
from snac_exp.tracking.tracker import Tracker


class SilentTracker(Tracker):
    """Records nothing."""

    def __init__(self) -> None:
        pass  # not that of Tracker, which opens metrics.jsonl

    def log(self, values: Mapping[str, float], *, step: int, epoch: int, kind: str = "train") -> None:
        """Rank 0 records it."""

    def log_media(self, *, step: int, epoch: int, directory: Path) -> None:
        """Rank 0 records it."""

    def log_model(self, path: Path, *, step: int, epoch: int, aliases: Sequence[str]) -> None:
        """Rank 0 gives it away."""

    def position(self) -> int:
        """Nothing is recorded."""
        return 0

    def rewind(self, position: int) -> None:
        """Rank 0 takes it back."""

    def close(self, failed: bool = False) -> None:
        """Nothing is open."""


class SilentConsole(Console):
    """Shows nothing."""

    def __init__(self, run_dir: Path, **_: Any) -> None:
        pass  # not that of Console, which opens train.log

    def begin(self, plan_text: str) -> None:
        """Rank 0 shows it."""

    def result(self, text: str) -> None:
        """Rank 0 shows it."""

    def took(self, epoch_seconds: float, total_seconds: float) -> None:
        """Rank 0 shows it."""

    def epoch(self, epoch: EpochLike, num_batches: int) -> None:
        """Rank 0 shows it."""

    def step(self, step: int, batch: int, values: Mapping[str, float]) -> None:
        """Rank 0 shows it."""

    def validated(self, values: Mapping[str, float]) -> None:
        """Rank 0 shows it."""

    def note(self, text: str, *, source: str | None = None, level: str = "info", step: int | None = None) -> None:
        """Rank 0 shows it."""

    def seconds_left(self, step: int) -> None:
        """Rank 0 says it."""

    def end(self) -> None:
        """Nothing was begun."""
