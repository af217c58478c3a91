"""Damaged shards and a damaged codes.arrow are refused by name, or read as they were written; never otherwise."""

import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from snac_exp.data.codes.arrow_file import MAPPED_NAME
from snac_exp.data.codes.cache import verify_cache
from snac_exp.data.codes.shards import read_metadata
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.errors import DataError
from tests.campaigns.mutations import REFUSED, harmless, survives

FIXTURE = Path(__file__).parents[2] / "fixtures" / "run_v1" / "prepared" / "codes"


@pytest.fixture
def folder(tmp_path: Path, cache_dir: Path) -> Path:
    """A copy of the cache, three shards, not mapped yet."""
    shutil.copytree(cache_dir, tmp_path / "codes", ignore=shutil.ignore_patterns("*.arrow", ".*"))
    return tmp_path / "codes"


def old_cache(folder: Path) -> Path:
    """A cache of an earlier version, mapped, without checksums; its codes.arrow."""
    shutil.copytree(FIXTURE, folder, dirs_exist_ok=True)
    for shard in folder.glob("codes-*.parquet"):
        os.utime(shard, (1_700_000_000, 1_700_000_000))  # by which codes.arrow knows them
    return folder / MAPPED_NAME


def everything(folder: Path) -> list[Any]:
    """All that a cache gives to training."""
    table = CodeTable.open(folder)
    rows = range(len(table))
    return [
        (table.spec, table.spec.audio_root, table.made_on, table.num_samples.tolist()),
        [[table.path(row), table.speaker(row)] for row in rows],
        [table.rows_of(split).tolist() for split in ("train", "validation")],
        [[tokens.tolist() for tokens in table.tensors(row)] for row in rows],
        [[table.codes(row, i).tolist() for i in range(3)] for row in rows],
    ]


def mapped_anew(shard: Path) -> list[Any]:
    (shard.parent / MAPPED_NAME).unlink(missing_ok=True)
    return everything(shard.parent)


@pytest.mark.slow
def test_a_damaged_shard_is_refused_when_it_is_mapped(folder: Path) -> None:
    shard = folder / "codes-00001-of-00003.parquet"
    assert harmless(survives(mapped_anew, shard, everything(folder), 6, 60))


def test_a_damaged_shard_is_refused_by_those_who_count_its_rows(folder: Path, manifest: Manifest) -> None:
    shard = folder / "codes-00001-of-00003.parquet"
    counts = verify_cache(manifest, folder)
    assert survives(lambda path: verify_cache(manifest, path.parent), shard, counts, 2, 60) == {REFUSED: 60}
    assert harmless(survives(read_metadata, shard, read_metadata(shard), 3, 60))


def test_damaged_mapped_codes_are_refused_when_they_are_opened_or_read(folder: Path) -> None:
    expected = everything(folder)
    assert harmless(survives(lambda path: everything(path.parent), folder / MAPPED_NAME, expected, 4, 60))


def flipped(path: Path, content: bytes, at: int = 0) -> None:
    """One bit of a byte of some content of a file, where it lies there last: Arrow writes the header twice."""
    data = bytearray(path.read_bytes())
    data[data.rindex(content) + at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("what", ["paths", "speakers", "splits", "num_samples", "offsets", "row_checksums", "identity"])
def test_whatever_is_no_token_is_checked_when_it_is_opened(folder: Path, what: str) -> None:
    table, path = CodeTable.open(folder), folder / MAPPED_NAME
    contents = {
        "paths": table.path(3).encode(),
        "speakers": "".join(table.speaker(row) for row in range(len(table))).encode(),
        "splits": b"traintrain",
        "num_samples": table.num_samples.tobytes(),
        "offsets": table.offsets[1].tobytes(),
        "row_checksums": table.row_checksums.tobytes() if table.row_checksums is not None else b"",
        "identity": table.spec.codec_fingerprint.encode(),
    }
    flipped(path, contents[what], at=8 if what == "offsets" else 0)
    with pytest.raises(DataError, match=r"codes\.arrow: .*; delete it and the next opening makes it again"):
        CodeTable.open(folder)
    path.unlink()
    assert len(CodeTable.open(folder)) == 20


@pytest.mark.parametrize("column", ["path", "speaker", "codes_0", "codes_2"])
def test_offsets_without_a_checksum_cannot_lead_outside(tmp_path: Path, column: str) -> None:
    path = old_cache(tmp_path)
    batch = pa.ipc.open_file(path.read_bytes()).get_batch(0)
    flipped(path, batch.column(column).buffers()[1].to_pybytes(), at=8 * len(batch) + 4)  # the last one, 2^32 further
    with pytest.raises(DataError, match=r"codes\.arrow: "):
        CodeTable.open(tmp_path)


def test_the_row_whose_tokens_are_damaged_is_named_and_others_are_read(folder: Path) -> None:
    table, path = CodeTable.open(folder), folder / MAPPED_NAME
    data = bytearray(path.read_bytes())
    row = next(row for row in range(2, len(table)) if data.count(table.codes(row, 2).tobytes()) == 1)
    data[data.index(table.codes(row, 2).tobytes())] ^= 1
    path.write_bytes(data)
    table = CodeTable.open(folder)
    assert [len(table.codes(other, 2)) > 0 for other in (row - 1, row - 2)] == [True, True]
    for read in (lambda: table.codes(row, 0), lambda: table.tensors(row), table.check):
        with pytest.raises(DataError, match=rf"codes\.arrow: damaged \(the tokens of {table.path(row)} .* delete it"):
            read()


def test_mapped_codes_without_checksums_are_read_and_nothing_outside_of_them(tmp_path: Path) -> None:
    """Of an earlier version: their values cannot be checked, but no damage ends the process or reads elsewhere."""
    path = old_cache(tmp_path)
    before = path.read_bytes()
    everything(tmp_path)
    assert path.read_bytes() == before, "it is not made again"
    outcomes = survives(lambda path: everything(path.parent), path, everything(tmp_path), 5, 100, without_checksum=True)
    assert set(outcomes) <= {"same", "refused", "wrong values"}


@pytest.mark.slow
def test_shards_without_a_checksum_are_read(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE, tmp_path, dirs_exist_ok=True)
    (tmp_path / MAPPED_NAME).unlink()
    shard = min(tmp_path.glob("codes-*.parquet"))
    assert b"snac_exp_sha256" not in shard.read_bytes()
    expected = everything(tmp_path)
    assert set(survives(mapped_anew, shard, expected, 6, 60, without_checksum=True)) <= {
        "same",
        "refused",
        "wrong values",
    }
