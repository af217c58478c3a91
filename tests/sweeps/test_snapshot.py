"""The snapshot holds what ran at submission, and later edits do not reach it."""

import subprocess
import sys
from pathlib import Path

import pytest

from snac_exp.sweeps import snapshot
from snac_exp.sweeps.snapshot import take_snapshot
from snac_exp.system.process import code_environment
from snac_exp.tracking.sweep_folder import SweepFolder


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository with an edit, untracked files, an ignored one and a deletion."""
    root = tmp_path / "checkout"
    for name, text in {
        "snac_exp/__init__.py": "VALUE = 1\n", "snac_exp/gone.py": "", "conf/train.yaml": "seed: 0\n",
        "tests/test_x.py": "", ".gitignore": "conf/local/default.yaml\n*.bin\n",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    (root / "snac_exp/__init__.py").write_text("VALUE = 2\n")
    (root / "snac_exp/gone.py").unlink()
    for name in (
        "snac_exp/new.py",
        "conf/experiment/mine.yaml",
        "conf/local/default.yaml",
        "snac_exp/big.bin",
        "notes",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x = 1\n")
    monkeypatch.setattr(snapshot, "code_root", lambda: root)
    monkeypatch.setattr(snapshot, "config_dir", lambda: root / "conf")
    return root


def test_it_holds_edits_untracked_code_and_all_of_conf(checkout: Path, tmp_path: Path) -> None:
    target = take_snapshot(SweepFolder(tmp_path / "sweep"))
    names = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert names == {
        "snac_exp/__init__.py", "snac_exp/new.py", "conf/train.yaml", "conf/experiment/mine.yaml",
        "conf/local/default.yaml", "tests/test_x.py", ".gitignore",
    }  # fmt: skip
    assert (target / "snac_exp/__init__.py").read_text() == "VALUE = 2\n"
    assert "+VALUE = 2" in (tmp_path / "sweep/uncommitted.diff").read_text()
    assert len((tmp_path / "sweep/commit.txt").read_text().strip()) == 40


def test_a_process_of_the_snapshot_imports_it_even_from_the_checkout(checkout: Path, tmp_path: Path) -> None:
    target = take_snapshot(SweepFolder(tmp_path / "sweep"))
    (checkout / "snac_exp/__init__.py").write_text("VALUE = 3\n")
    done = subprocess.run(
        [sys.executable, "-c", "import snac_exp; print(snac_exp.VALUE)"],
        cwd=checkout, env=code_environment(target), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "2\n"


def test_what_is_compiled_is_not_compiled_again(checkout: Path, tmp_path: Path) -> None:
    """Numba takes its files for a source of the same time and size."""
    source = checkout / "snac_exp" / "new.py"
    cached = source.parent / "__pycache__" / "new.f-1.py311.nbi"
    cached.parent.mkdir()
    cached.write_text("machine code")
    target = take_snapshot(SweepFolder(tmp_path / "sweep"))
    assert (target / cached.relative_to(checkout)).read_text() == "machine code"
    assert (target / source.relative_to(checkout)).stat().st_mtime_ns == source.stat().st_mtime_ns


def test_an_installed_package_is_copied_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "site-packages"
    (root / "snac_exp/conf").mkdir(parents=True)
    (root / "snac_exp/__init__.py").touch()
    (root / "snac_exp/conf/train.yaml").touch()
    (root / "torch").mkdir()
    monkeypatch.setattr(snapshot, "code_root", lambda: root)
    monkeypatch.setattr(snapshot, "config_dir", lambda: root / "snac_exp/conf")
    target = take_snapshot(SweepFolder(tmp_path / "sweep"))
    assert sorted(path.name for path in target.iterdir()) == ["snac_exp"]
    assert (target / "snac_exp/conf/train.yaml").is_file()
