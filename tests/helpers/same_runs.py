"""Whether two runs came to the same: the newest checkpoint with all its state, and every logged value."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.tracking.metrics_file import read_metrics


def outcome(folder: Path) -> dict[str, Any]:
    """The newest checkpoint with all state, without what depends on the clock."""
    entry = json.loads((folder / "checkpoints" / "latest.json").read_text())["checkpoints"][0]
    saved = asdict(read_checkpoint(folder / "checkpoints" / entry["file"]))
    for clock in ("elapsed_seconds", "metrics_position"):  # lines hold times, whose digits vary
        del saved["state"][clock]
    return {name: part for name, part in saved.items() if name not in ("config", "environment")}


def logged(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without times."""
    return [
        {key: value for key, value in line.items() if key != "time" and not key.startswith("speed/")}
        for line in read_metrics(folder)
    ]


def assert_equal(ours: Any, theirs: Any, where: str = "") -> None:
    """Exact equality of nested containers with tensors."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), where
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            assert_equal(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), where
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_equal(one, other, f"{where}[{index}]")
    else:
        assert ours == theirs, where
