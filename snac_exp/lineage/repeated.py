"""Runs that may have made already what is to begin, found by the names of their folders."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from snac_exp.config.meaning.digest import meaning_hash
from snac_exp.tracking.run_folder import RunFolder


def finished_runs_of_hash(values: Mapping[str, Any]) -> list[RunFolder]:
    """Finished runs of `output_dir`, jobs of sweeps among them, whose hash is that of a resolved config, by name.

    Nothing else is opened, so that this takes little time among thousands of runs.

    Raises:
        ConfigError: the status of such a run is damaged.
    """
    found = sorted(_of_hash(Path(str(values["output_dir"])), meaning_hash(values)))
    return [run for run in map(RunFolder, found) if run.exists and (run.status() or {}).get("state") == "finished"]


def _of_hash(output_dir: Path, digits: str) -> Iterator[Path]:
    # Two runs that begin in one second are called TIME-HASH and TIME-HASH-2; a job of a sweep HASH alone.
    yield from output_dir.glob(f"*/*-{digits}")
    yield from output_dir.glob(f"*/*-{digits}-*")
    yield from output_dir.glob(f"sweeps/*/*/{digits}")
