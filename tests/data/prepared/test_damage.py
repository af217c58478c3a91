"""A damaged manifest or list is refused by name; files whose line of the journal is damaged are measured again."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from snac_exp.data.prepared.manifest import MANIFEST_NAME, REJECTED_NAME, Manifest, read_manifest_table
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.rejection import Rejection, read_rejections, write_rejections
from tests.campaigns.mutations import REFUSED, SAME, WRONG, survives

FIXTURE = Path(__file__).parents[2] / "fixtures" / "run_v1" / "prepared"


def read(path: Path) -> list[Any]:
    rows, header = read_manifest_table(path)
    return [Manifest.read(path.parent), rows.to_pylist(), header]


def test_a_damaged_manifest_is_refused(corpus_dir: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(corpus_dir / "prepared" / MANIFEST_NAME, tmp_path))
    assert survives(read, path, read(path), 1, 60) == {REFUSED: 60}


def test_a_manifest_without_a_checksum_is_read(tmp_path: Path) -> None:
    path = Path(shutil.copy(FIXTURE / MANIFEST_NAME, tmp_path))
    assert b"snac_exp_sha256" not in path.read_bytes()
    assert len(read(path)[0].rows) == pq.read_metadata(path).num_rows
    # Other texts and numbers cannot be told from right ones, and a path out of the folder names the folder.
    outcomes = survives(read, path, read(path), 2, 100, without_checksum=True)
    assert set(outcomes) <= {SAME, REFUSED, WRONG, "refused without naming the file"}


def test_a_damaged_list_of_rejections_is_refused(tmp_path: Path) -> None:
    path, rejected = tmp_path / REJECTED_NAME, [Rejection(f"{i}.wav", "silent", f"peak {i}") for i in range(20)]
    write_rejections(path, rejected)
    assert read_rejections(path) == rejected
    assert survives(read_rejections, path, rejected, 3, 60) == {REFUSED: 60}


@pytest.mark.slow
def test_a_damaged_journal_gives_the_same_measurements(corpus_dir: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    shutil.copytree(corpus_dir / "prepared", prepared)
    known = []

    def prepared_again(journal: Path) -> tuple[bytes, bytes]:
        (prepared / MANIFEST_NAME).unlink(missing_ok=True)
        known.append(prepare(corpus_dir / "audio", prepared, validation_speakers=["speaker3"], num_workers=1).num_known)
        return (prepared / MANIFEST_NAME).read_bytes(), (prepared / REJECTED_NAME).read_bytes()

    journal = prepared / "scan.jsonl"
    outcomes = survives(prepared_again, journal, prepared_again(journal), 4, 30)
    assert set(outcomes) <= {SAME, REFUSED}
    assert {18, 19} <= set(known), "files of damaged lines are measured again"
    written = journal.read_bytes()
    journal.write_bytes(written.replace(b'"num_samples": 33600', b'"num_samples": 33601', 1))
    assert prepared_again(journal) == prepared_again(journal)
    assert known[-2:] == [19, 20], "another number is no measurement"
    header, *lines = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([header, *(line.partition(b" ")[2] for line in lines), b""]))
    prepared_again(journal)
    assert known[-1] == 20, "lines of earlier versions, without a checksum"
