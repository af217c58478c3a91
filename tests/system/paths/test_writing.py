"""What the system refuses to write names the file, whichever library writes it, and leaves the rest as it was."""

import errno
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from snac_exp.data.checked_parquet import write_parquet
from snac_exp.errors import DataError
from snac_exp.system.files import atomic_path, folder_beside, write_text
from snac_exp.system.folder_lock import locked
from snac_exp.system.paths.writing import append_line, naming, require_writable
from snac_exp.verbs.files import with_files
from tests.helpers.full_disk import files_up_to

NOISE = np.random.default_rng(0).uniform(-0.9, 0.9, 200_000)


def npz(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez_compressed(file, NOISE)


WRITERS: dict[str, Callable[[Path], object]] = {
    "torch": lambda path: torch.save({"a": torch.tensor(NOISE)}, path),
    "safetensors": lambda path: save_file({"a": torch.tensor(NOISE)}, path),
    "wav": lambda path: soundfile.write(path, NOISE, 48000, format="WAV"),
    "flac": lambda path: soundfile.write(path, NOISE, 48000, format="FLAC"),
    "npz": npz,
    "text": lambda path: path.write_text("x" * 200_000, encoding="utf-8"),
}


def test_a_folder_that_takes_no_files_is_told_before_the_work(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "deep")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError):
            require_writable(place)
    if Path("/proc").is_dir():  # where nobody can make a file, root neither
        with pytest.raises(OSError, match="/proc/codes"):
            require_writable(Path("/proc/codes"))


@pytest.mark.parametrize("kind", WRITERS)
def test_every_library_names_the_file_and_leaves_the_old_one(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with files_up_to(50_000), pytest.raises(OSError, match="File too large") as refused, atomic_path(path) as temporary:
        WRITERS[kind](temporary)
    assert (refused.value.errno, refused.value.filename) == (errno.EFBIG, str(path))
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("file", "old")]


def test_a_table_names_its_file_and_a_folder_the_file_in_it(tmp_path: Path) -> None:
    with files_up_to(50_000):
        with pytest.raises(OSError, match=r"too large: '.*/table\.parquet'"):
            write_parquet(tmp_path / "table.parquet", pa.table({"a": NOISE}))
        with pytest.raises(OSError, match=r"too large: '.*/codec/card\.md'"), folder_beside(tmp_path / "codec") as made:
            write_text(made / "card.md", "x" * 60_000)
        (tmp_path / "source").write_bytes(b"x" * 40_000)
    with files_up_to(20_000), pytest.raises(OSError, match=r"too large: '.*/copied'"), naming(tmp_path / "copied"):
        shutil.copy2(tmp_path / "source", tmp_path / "copied")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["copied", "source"]


def test_a_line_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, "first")
    with files_up_to(20), pytest.raises(OSError, match=r"too large: '.*/lines'"):
        append_line(path, "second, of which ten bytes would fit")
    append_line(path, "third", sync=True)
    assert path.read_text() == "first\nthird\n"


def test_a_lock_that_cannot_be_written_names_its_file_and_is_free_again(tmp_path: Path) -> None:
    with files_up_to(10), pytest.raises(OSError, match=r"too large: '.*/\.lock'"), locked(tmp_path):
        pass
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith("{")


def test_errors_about_other_files_and_of_other_kinds_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), atomic_path(tmp_path / "a"):
        (tmp_path / "nowhere").read_bytes()
    with pytest.raises(ValueError, match="ours"), atomic_path(tmp_path / "a"):
        raise ValueError("ours")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.ENOSPC, "/a: No space left on device; free disk space and run the command again"),
        (errno.EDQUOT, "/a: Disk quota exceeded; free disk space"),
        (errno.EFBIG, r"/a: File too large; raise the limit \(ulimit -f\)"),
        (errno.EROFS, "/a: Read-only file system; give a path on a file system that is not read-only"),
        (errno.EACCES, "/a: Permission denied; change its permissions, or give another path"),
    ],
)
def test_commands_say_the_mend(number: int, mend: str, tmp_path: Path) -> None:
    def write() -> int:
        with atomic_path(tmp_path / "a") as temporary:
            raise OSError(number, "text of a library", str(temporary))

    with pytest.raises(DataError, match=mend):
        with_files(write)


def test_standard_output_on_a_full_disk_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sys.stdout", Full())
    with pytest.raises(
        DataError, match="standard output, or a file of a library: No space left on device; free disk space"
    ):
        with_files(lambda: 0)
