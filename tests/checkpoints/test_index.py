"""latest.json: damaged it is refused, and the first checkpoint of a run is as safe as the later ones."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from snac_exp.checkpoints import store as store_module
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.checkpoints.state import TrainState
from snac_exp.checkpoints.store import CheckpointStore
from snac_exp.errors import CheckpointError
from tests.campaigns.mutations import harmless, survives


def at(step: int) -> Checkpoint:
    return Checkpoint({"weight": torch.full((3,), float(step))}, TrainState(step=step), {"name": "c"}, {}, {})


def filled(directory: Path) -> CheckpointStore:
    store = CheckpointStore(directory, None, 2)
    store.save(at(0), epoch=0, finished_epoch=True)
    store.save(at(7), epoch=1, finished_epoch=True)
    return store


def test_a_damaged_index_is_refused_or_lists_the_same(tmp_path: Path) -> None:
    store = filled(tmp_path)
    outcomes = survives(lambda _: store.entries(), store.index, store.entries(), seed=0, count=60)
    assert harmless(outcomes), outcomes


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "null",
        "[" * 9999,
        '{"checkpoints": 1}',
        '{"checkpoints": [1]}',
        '{"checkpoints": [{"file": 1}]}',
    ],
)
def test_an_index_of_another_shape_is_named_with_its_mend(content: str, tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.index.write_text(content)
    with pytest.raises(CheckpointError, match=r"latest\.json is damaged \(.*\); restore it, or begin a new run"):
        store.load_latest()


def test_an_older_checkpoint_is_gone_back_to_as_the_message_says(tmp_path: Path) -> None:
    store = filled(tmp_path)
    (tmp_path / "checkpoint_epoch1.pt").unlink()
    with pytest.raises(CheckpointError, match=r"remove the first entry of .*, and the line `sha256` above it"):
        store.load_latest()
    lines = store.index.read_text().splitlines()
    values = json.loads("\n".join(line for line in lines if not line.startswith('  "sha256"')))
    store.index.write_text(json.dumps({"checkpoints": values["checkpoints"][1:]}))
    loaded = store.load_latest()
    assert loaded is not None
    assert loaded.state == TrainState(step=0)


@pytest.mark.parametrize("event", ["before the file", "after the file"])
def test_a_kill_around_the_first_checkpoint_lets_the_run_begin_again(
    event: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = store_module.write_checkpoint

    def dies(path: Path, checkpoint: Checkpoint) -> Any:
        if event == "after the file":
            write(path, checkpoint)
        raise KeyboardInterrupt

    store = CheckpointStore(tmp_path, None, 2)
    monkeypatch.setattr(store_module, "write_checkpoint", dies)
    with pytest.raises(KeyboardInterrupt):
        store.save(at(0), epoch=0, finished_epoch=True)
    (tmp_path / "best_model.pt").write_bytes(b"of step 0, written beside it")
    monkeypatch.undo()
    assert store.load_latest() is None
    store.save(at(0), epoch=0, finished_epoch=True)
    assert [entry.file for entry in store.entries()] == ["checkpoint_epoch0.pt"]
    assert store.load_latest() is not None
