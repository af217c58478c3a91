"""A targets folder whose identity or list of rejections is damaged is refused; nothing is taken for another."""

from pathlib import Path

from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.rejection import Rejection
from snac_exp.data.targets.folder import SETTINGS_NAME, TargetFolder
from tests.campaigns.mutations import harmless, survives


def test_a_damaged_folder_of_targets_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    few = manifest.with_rows(manifest.rows[:3])

    def begun(path: Path) -> tuple[list[str], list[str]]:
        folder = TargetFolder(few, tmp_path, 48000, "flac", {"kind": "resample"})
        return [row.path for row in folder.begin(retry_rejected=False)], sorted(folder.rejected)

    assert begun(tmp_path) == ([row.path for row in few.rows], [])
    folder = TargetFolder(few, tmp_path, 48000, "flac", {"kind": "resample"})
    for row in few.rows[:2]:
        folder.keep(row, Rejection(row.path, "unreadable", "cut off"))
    folder.finish()
    expected = begun(tmp_path)
    assert expected == ([few.rows[2].path], sorted(row.path for row in few.rows[:2]))
    for name in (SETTINGS_NAME, "rejected_targets-00-of-01.parquet"):
        assert harmless(survives(begun, tmp_path / name, expected, 1, 60))
