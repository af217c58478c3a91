"""Every JSON that this package writes and reads again carries a digest; what carries none, and why."""

import json
import re
from pathlib import Path

import pytest

from snac_exp.errors import ConfigError
from snac_exp.report.run.notes import read_notes
from snac_exp.system.folder_lock import LOCK_FILE, holder_of, locked
from snac_exp.tracking.clip_rows import CLIPS_FILE, read_clip_rows, write_clip_rows
from snac_exp.tracking.console import Console
from snac_exp.tracking.run_folder import RunFolder
from tests.campaigns.mutations import harmless, survives
from tests.helpers.commands import ROOT

PLAIN = {
    "codec/checkpoint.py": "config.json in upstream's layout, which its package reads; an export lists its SHA-256",
    "data/tokens/rows/hf.py": "datasets reads these; export.json lists the SHA-256 of every file",
    "release/export/onnx.py": "onnx.json is for whoever runs the graphs; an export lists its SHA-256",
    "report/compare/folder.py": "key.json is for people: the page holds the key itself",
    "sweeps/sweep.py": "task.json is for people: the job reads its config.yaml",
    "verbs/data/tokens.py": "tokens.json is for people: nothing here reads it again",
}
"""Files of the package that write JSON without a digest."""
PLAIN_LINES = {
    "data/measuring/journal.py": "lines of the journal have a CRC-32 before them",
    "data/tokens/rows/files.py": "rows are for other programs; export.json lists the SHA-256 of every file",
    "sweeps/ledger.py": "its lines are signed before they are joined",
}
"""Files of the package that append or join lines of JSON by themselves."""


def sources_with(pattern: str) -> set[str]:
    package = ROOT / "snac_exp"
    found = {path for path in package.rglob("*.py") if re.search(pattern, path.read_text(encoding="utf-8"))}
    return {path.relative_to(package).as_posix() for path in found} - {"system/files.py"}


def test_json_without_a_digest_is_written_for_others_alone() -> None:
    assert sources_with(r"\bwrite_json\(") == set(PLAIN)
    assert sources_with(r"json\.dump\(") == set()
    # A line of JSON that is written as it is, and not by `signed_line`.
    assert sources_with(r'json\.dumps\([^\n]*\) ?\+ ?"\\n"|append_line\([^\n]*json\.dumps') == set(PLAIN_LINES)


def test_damaged_rows_of_clips_are_refused_and_those_of_earlier_versions_read(tmp_path: Path) -> None:
    rows = [{"clip": "clip0", "signal": signal, "l1": 0.125, "stoi": 0.5} for signal in ("24k", "48k")]
    write_clip_rows(tmp_path, rows)
    path = tmp_path / CLIPS_FILE
    assert harmless(survives(lambda path: read_clip_rows(path.parent), path, rows, 0, 60))
    path.write_text(json.dumps(rows))
    assert read_clip_rows(tmp_path) == rows
    path.write_text("[1]")
    with pytest.raises(ConfigError, match=r"clips\.json is damaged \(it holds no rows\); remove it"):
        read_clip_rows(tmp_path)


def test_a_damaged_note_is_told_and_never_another(tmp_path: Path) -> None:
    console = Console(tmp_path, num_epochs=1, num_steps=1, quiet=True)
    for text in ("seen at 3", "seen at 5"):
        console.note(text, source="guard", level="warning", step=3)
    path = RunFolder(tmp_path).notes
    path.write_text(path.read_text().replace("seen at 3", "seen at 4"))
    assert [(note.text, note.step) for note in read_notes(tmp_path, "").others] == [
        ("line 1 is damaged", None), ("seen at 5", 3)
    ]  # fmt: skip


def test_a_lock_of_another_process_than_was_written_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path):
        path = tmp_path / LOCK_FILE
        path.write_text(path.read_text().replace('"pid": ', '"pid": 1'))
        with pytest.raises(ConfigError, match=r"\.lock is damaged"):
            holder_of(tmp_path)
