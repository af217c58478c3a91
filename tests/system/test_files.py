"""What killed processes leave is removed, what others write is not."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from snac_exp.errors import ConfigError
from snac_exp.release.files.job import refuse_existing
from snac_exp.system.files import atomic_path, folder_beside, left_beside, remove_left, remove_left_in


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "codes [1].npz"
    kept = [".codes [1].npz.tmp", ".codes [1].npz.old.x.tmp", ".codes 1.npz.abc.tmp", "codes [1].npz.abc.tmp"]
    for name in (".codes [1].npz.abcdefgh.tmp", *kept):
        (tmp_path / name).write_text("half")
    (tmp_path / ".codes [1].npz.4242.tmp").mkdir()
    (tmp_path / ".codes [1].npz.4242.tmp" / "config.json").write_text("{}")
    refuse_existing(target)
    assert names(tmp_path) == sorted(kept)


def test_what_dead_processes_left_below_a_folder_is_removed_and_no_hidden_file_of_a_user(tmp_path: Path) -> None:
    folder = tmp_path / "samples" / "epoch001"
    folder.mkdir(parents=True)
    for name in (".clip0.png.a_cd3f_h.tmp", ".notes.tmp", ".draft.of.mine.tmp"):
        (folder / name).write_text("half")
    with atomic_path(folder / "clip1.png") as temporary:
        temporary.write_text("whole")
        remove_left_in(tmp_path)
    remove_left_in(tmp_path / "nowhere")
    assert names(folder) == [".draft.of.mine.tmp", ".notes.tmp", "clip1.png"]


def test_what_is_being_written_stays(tmp_path: Path) -> None:
    target = tmp_path / "codes.parquet"
    with atomic_path(target) as first, atomic_path(target) as second, folder_beside(target) as folder:
        assert sorted(left_beside(target)) == sorted([first, second, folder])
        remove_left(left_beside(target))
        assert first.exists()
        assert second.exists()
        assert folder.is_dir()
        second.write_text("whole")
        first.write_text("whole")
    assert names(tmp_path) == ["codes.parquet"]
    with pytest.raises(ConfigError, match="is not overwritten"):
        refuse_existing(target)


def open_below(folder: Path) -> list[str]:
    """Files of a folder that this process has open; of others one may be closed at any moment."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [path for path in found if path.startswith(str(folder))]


def test_descriptors_are_closed(tmp_path: Path) -> None:
    for _ in range(3):
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_text("a")
        with pytest.raises(ValueError, match="told"), atomic_path(tmp_path / "b"):
            raise ValueError("told to fail")
        remove_left(left_beside(tmp_path / "a"))
    assert open_below(tmp_path) == []
    assert names(tmp_path) == ["a"]
