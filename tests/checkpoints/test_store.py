"""The list of a run's checkpoints is true at any moment, and only whole files are loaded."""

from pathlib import Path
from typing import Any

import pytest
import torch

from snac_exp.checkpoints import store as store_module
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.checkpoints.state import TrainState
from snac_exp.checkpoints.store import CheckpointStore
from snac_exp.errors import CheckpointError
from snac_exp.system.files import read_json


def store(directory: Path, keep_epochs: int | None = None, keep_intermediate: int = 2) -> CheckpointStore:
    return CheckpointStore(directory, keep_epochs, keep_intermediate)


def at(step: int) -> Checkpoint:
    """A checkpoint of this step, without anything that is optional."""
    return Checkpoint({"weight": torch.full((3,), float(step))}, TrainState(step=step), {"name": "c"}, {}, {})


def test_the_newest_checkpoint_comes_back_with_its_values(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    assert checkpoints.load_latest() is None
    checkpoints.save(at(0), epoch=0, finished_epoch=True)
    path = checkpoints.save(at(7), epoch=1, finished_epoch=False)
    assert path.name == "checkpoint_epoch1_iter7.pt"
    loaded = checkpoints.load_latest()
    assert loaded is not None
    assert loaded.state == TrainState(step=7)
    assert torch.equal(loaded.model["weight"], torch.full((3,), 7.0))


def test_retention_counts_epochs_and_intermediate_files_apart(tmp_path: Path) -> None:
    checkpoints = store(tmp_path, keep_epochs=2, keep_intermediate=1)
    for epoch in range(1, 4):
        checkpoints.save(at(10 * epoch - 5), epoch=epoch, finished_epoch=False)
        checkpoints.save(at(10 * epoch), epoch=epoch, finished_epoch=True)
    names = {path.name for path in tmp_path.glob("*.pt")}
    assert names == {"checkpoint_epoch2.pt", "checkpoint_epoch3.pt", "checkpoint_epoch3_iter25.pt"}
    assert {item["file"] for item in read_json(tmp_path / "latest.json")["checkpoints"]} == names


def test_an_altered_file_is_never_loaded_and_the_way_back_is_named(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    checkpoints.save(at(1), epoch=1, finished_epoch=True)
    newest = checkpoints.save(at(2), epoch=2, finished_epoch=True)
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"SHA-256 differs.*go on from checkpoint_epoch1\.pt \(step 1\)"):
        checkpoints.load_latest()
    newest.unlink()
    with pytest.raises(CheckpointError, match=r"named by latest\.json but missing"):
        checkpoints.load_latest()


def test_a_run_with_files_but_no_index_never_starts_from_scratch(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    checkpoints.save(at(1), epoch=1, finished_epoch=True)
    checkpoints.index.unlink()
    with pytest.raises(CheckpointError, match=r"latest\.json is missing but checkpoint_epoch1\.pt"):
        checkpoints.load_latest()


def test_a_save_that_dies_half_way_leaves_the_old_checkpoint_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = store(tmp_path)
    checkpoints.save(at(1), epoch=1, finished_epoch=True)

    def dies(_value: Any, path: Path) -> None:
        path.write_bytes(b"half a checkpoint")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(at(2), epoch=2, finished_epoch=True)
    loaded = checkpoints.load_latest()
    assert loaded is not None
    assert loaded.state == TrainState(step=1)
    assert not list(tmp_path.glob(".*"))


def test_a_kill_between_the_file_and_the_list_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = store(tmp_path)
    checkpoints.save(at(0), epoch=0, finished_epoch=True)

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("snac_exp.checkpoints.store.write_signed_json", dies)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(at(9), epoch=0, finished_epoch=True)
    loaded = checkpoints.load_latest()
    assert loaded is not None
    assert loaded.state == TrainState(step=0)


def test_a_kill_before_an_old_checkpoint_is_removed_leaves_it_to_who_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = CheckpointStore(tmp_path, keep_epochs=None, keep_intermediate=1)
    for step in (3, 6):
        checkpoints.save(at(step), epoch=1, finished_epoch=False)
    (tmp_path / "checkpoint_epoch1_mine.pt").touch()

    unlink = Path.unlink

    def dies(path: Path, **options: Any) -> None:
        if path.name == "checkpoint_epoch1_iter6.pt":
            raise KeyboardInterrupt
        unlink(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(at(9), epoch=1, finished_epoch=False)
    assert (tmp_path / "checkpoint_epoch1_iter6.pt").exists()
    checkpoints.remove_leftovers()
    kept = ["checkpoint_epoch1_iter9.pt", "checkpoint_epoch1_mine.pt", "latest.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    assert [entry.step for entry in checkpoints.entries()] == [9]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    checkpoints = store(tmp_path)
    checkpoints.save(at(0), epoch=0, finished_epoch=True)
    (tmp_path / ".checkpoint_epoch1.pt.abc.tmp").write_bytes(b"half")
    checkpoints.remove_leftovers()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_epoch0.pt", "latest.json"]


def test_a_file_that_was_written_and_not_yet_listed_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its time it would never be written again under the same name, and stay for ever."""
    checkpoints, write = store(tmp_path), store_module.write_checkpoint

    def killed_behind(path: Path, checkpoint: Checkpoint) -> str:
        write(path, checkpoint)
        raise KeyboardInterrupt

    checkpoints.save(at(0), epoch=0, finished_epoch=True)
    monkeypatch.setattr(store_module, "write_checkpoint", killed_behind)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(at(3), epoch=1, finished_epoch=False, by_time=True)
    assert len(list(tmp_path.glob("checkpoint_epoch1_time_*.pt"))) == 1
    newest = checkpoints.load_latest()
    assert newest is not None
    assert newest.state.step == 0
    checkpoints.remove_leftovers()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_epoch0.pt", "latest.json"]
