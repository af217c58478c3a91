"""A trash gives back what it was given, or nothing, and deletes no run that somebody begins."""

import re
import time
from pathlib import Path

import pytest

from snac_exp.cleaning.trash import Trash
from snac_exp.errors import ConfigError
from snac_exp.system.files import read_json, write_signed_json
from snac_exp.system.folder_lock import locked
from snac_exp.tracking.run_folder import RunFolder
from tests.cleaning.outputs import NO_RULE, clean, files_of, refused
from tests.helpers.commands import verb

pytestmark = pytest.mark.slow


def test_a_trash_that_is_a_link_is_refused(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (outputs / ".trash").symlink_to(tmp_path / "precious")
    for options in ([*NO_RULE, "apply=true"], ["empty=true"], ["undo=last"]):
        assert "no folder of its own" in refused("clean", outputs, *options)


def test_an_undo_overwrites_nothing_and_moves_all_or_nothing(outputs: Path, run: Path) -> None:
    ident = clean(outputs, *NO_RULE, "apply=true")["trash"]
    run.mkdir()
    assert "is there again" in refused("clean", outputs, f"undo={ident}")
    assert not any(run.iterdir())
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    run.rmdir()
    run.parent.rmdir()
    run.parent.symlink_to(outputs.parent)
    assert "is a link" in refused("clean", outputs, f"undo={ident}")
    run.parent.unlink()
    verb("clean", str(outputs), f"undo={ident}").succeeded()
    assert run.exists()


def test_a_changed_manifest_moves_and_deletes_nothing(outputs: Path, tmp_path: Path) -> None:
    ident = clean(outputs, *NO_RULE, "apply=true")["trash"]
    manifest = outputs / ".trash" / ident / "manifest.json"
    whole, before = manifest.read_text(), files_of(outputs / ".trash" / ident / "files")
    manifest.write_text(whole.replace("toy/", "../y"))
    for options in (f"undo={ident}", "empty=true"):
        assert "manifest.json is damaged" in refused("clean", outputs, options)
    manifest.write_text(whole)
    known = read_json(manifest)
    for path in ("../precious", "/etc", ".trash/x"):
        write_signed_json(manifest, known | {"moves": [known["moves"][0] | {"path": path}]})
        with pytest.raises(ConfigError, match="leads out of the folder"):
            Trash(outputs.resolve()).undo(ident)
    assert files_of(outputs / ".trash" / ident / "files") == before
    for other in ("../toy", ident[:-1], "."):
        with pytest.raises(ConfigError, match=f"undo={re.escape(other)}: "):
            Trash(outputs.resolve()).undo(other)


def test_a_run_that_was_begun_in_the_trash_is_not_deleted(outputs: Path, run: Path) -> None:
    ident = clean(outputs, *NO_RULE, "apply=true")["trash"]
    there = Trash(outputs.resolve()).place(ident, run.relative_to(outputs))
    with RunFolder(there).locked():
        assert "nothing was deleted" in refused("clean", outputs, "empty=true")
    verb("clean", str(outputs), "empty=true").succeeded()


def test_two_cleans_at_once_are_one(outputs: Path) -> None:
    (outputs / ".trash").mkdir()
    with locked(outputs / ".trash"):
        assert "is being written by" in refused("clean", outputs, *NO_RULE, "apply=true")
    assert len(clean(outputs, *NO_RULE)["moves"]) == 2


@pytest.mark.parametrize("clock", [["02", "02"], ["02", "01"]], ids=["in one second", "while the clock goes back"])
def test_the_last_clean_is_undone_first(clock: list[str], outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trash, runs = Trash(outputs.resolve()), sorted((outputs / "toy").iterdir())
    for second, keep in zip(clock, ("1", "0"), strict=True):
        monkeypatch.setattr(time, "strftime", lambda form, second=second: f"2026-01-01_00-00-{second}")
        clean(outputs, *NO_RULE, f"keep_last={keep}", "apply=true")
    assert [ident[-6:] for ident in trash.ids()] == ["000001", "000002"]
    later = {move.path for move in trash.contents(trash.ids()[1])}
    assert set(trash.undo("last")) == later
    assert trash.ids()[0].endswith("-000001")
    trash.undo("last")
    assert sorted((outputs / "toy").iterdir()) == runs
