"""Runs and sweeps of an earlier version, from the fixtures, as if they had been made where a test puts them."""

import shutil
from pathlib import Path

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_v1"


def copied(name: str, root: Path) -> Path:
    """`runs/finished`, `sweep`, … below `root`, its texts naming the place where it lies now."""
    folder = root / "old" / Path(name).name
    shutil.copytree(FIXTURE / name, folder)
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".yaml"):
            path.write_text(path.read_text(encoding="utf-8").replace("@ROOT@", str(root)), encoding="utf-8")
    return folder
