"""The mapped copy of the codes: made once, whole or absent, made again when the shards change."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snac_exp.data.checked_parquet import write_parquet
from snac_exp.data.codes import mapped_codes
from snac_exp.data.codes.arrow_file import read_mapped
from snac_exp.data.codes.table import CodeTable
from snac_exp.errors import DataError
from tests.helpers.commands import python_process


@pytest.fixture
def folder(tmp_path: Path, cache_dir: Path) -> Path:
    """A copy of the cache, three shards, not mapped yet."""
    shutil.copytree(cache_dir, tmp_path / "codes", ignore=shutil.ignore_patterns("*.arrow", ".*"))
    return tmp_path / "codes"


def rewrite(shard: Path, codebook: int, change: object) -> None:
    table = pq.read_table(shard)
    column = table.schema.get_field_index(f"codes_{codebook}")
    lists = pa.array([change(codes) for codes in table[f"codes_{codebook}"].to_pylist()], pa.list_(pa.uint16()))
    write_parquet(shard, table.set_column(column, table.schema.field(column), lists))


def all_codes(table: CodeTable) -> list[list[int]]:
    return [table.codes(row, i).tolist() for row in range(len(table)) for i in range(3)]


def test_it_holds_what_the_shards_hold_in_mapped_memory(folder: Path) -> None:
    table = CodeTable.open(folder)
    rows = [row for shard in sorted(folder.glob("codes-*.parquet")) for row in pq.read_table(shard).to_pylist()]
    assert all_codes(table) == [row[f"codes_{i}"] for row in rows for i in range(3)]
    assert [table.path(i) for i in range(20)] == [row["path"] for row in rows]
    assert [table.speaker(i) for i in range(20)] == [row["speaker"] for row in rows]
    assert table.num_samples.tolist() == [row["num_samples"] for row in rows]
    assert not any(array.flags.owndata for array in (*table.values, *table.offsets, table.num_samples))
    address = table.values[0].__array_interface__["data"][0]
    ranges = [line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]
    assert any(int(low, 16) <= address < int(high, 16) for low, high in (item.split("-") for item in ranges))
    assert not list(folder.glob(".codes.arrow.building*"))


def test_the_second_opening_reads_no_shard_and_a_changed_shard_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_codes(CodeTable.open(folder))
    reads: list[Path] = []
    read = mapped_codes._read_shard
    monkeypatch.setattr(mapped_codes, "_read_shard", lambda path: reads.append(path) or read(path))
    assert all_codes(CodeTable.open(folder)) == before
    assert reads == []
    shard = folder / "codes-00001-of-00003.parquet"
    rewrite(shard, 0, lambda codes: [(token + 1) % 64 for token in codes])
    after = all_codes(CodeTable.open(folder))
    assert len(reads) == 3
    changed = [number for number, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    assert changed == list(range(21, 42, 3))  # codebook 0 of the seven rows of the second shard


def test_an_interrupted_conversion_goes_on_where_it_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_codes, "SHARDS_PER_CHECKPOINT", 1)
    check, checked = mapped_codes._check_shard, []

    def stop_at_the_third(path: Path, *rest: object) -> None:
        if len(checked) == 2:
            raise KeyboardInterrupt
        checked.append(path.name)
        check(path, *rest)

    monkeypatch.setattr(mapped_codes, "_check_shard", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        CodeTable.open(folder)
    assert not (folder / "codes.arrow").exists()
    flat = folder / ".codes.arrow.building" / "codes_0.u16"
    complete = flat.read_bytes()
    flat.write_bytes(complete + b"half a shard")
    monkeypatch.setattr(mapped_codes, "_check_shard", lambda path, *rest: checked.append(path.name))
    resumed = all_codes(CodeTable.open(folder))
    assert checked == [f"codes-0000{i}-of-00003.parquet" for i in range(3)]
    rows = [row for shard in sorted(folder.glob("codes-*.parquet")) for row in pq.read_table(shard).to_pylist()]
    assert resumed == [row[f"codes_{i}"] for row in rows for i in range(3)]


@pytest.mark.slow
def test_a_conversion_that_is_killed_is_taken_up_by_the_next_opening_and_leaves_nothing(folder: Path) -> None:
    files = sorted(path.name for path in folder.iterdir())
    code = (
        "import sys; from pathlib import Path; from snac_exp.data.codes.table import CodeTable\n"
        "from tests.helpers.killed import kill_at; kill_at('os.rename', sys.argv[2]); CodeTable.open(Path(sys.argv[1]))"
    )
    for name in (".codes.arrow.building/state.json", "codes.arrow"):
        assert python_process("-c", code, str(folder), str(folder / name)).status == -signal.SIGKILL
        assert (folder / ".codes.arrow.building").is_dir()
    assert list(folder.glob(".codes.arrow.*.tmp"))
    rows = [row for shard in sorted(folder.glob("codes-*.parquet")) for row in pq.read_table(shard).to_pylist()]
    assert all_codes(CodeTable.open(folder)) == [row[f"codes_{i}"] for row in rows for i in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*files, ".codes.arrow.lock", "codes.arrow"])


def test_shards_that_change_meanwhile_start_the_conversion_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = folder / "codes-00000-of-00003.parquet"
    write = mapped_codes._write

    def touch_then_write(*arguments: object) -> None:
        os.utime(shard, ns=(1, 1))
        write(*arguments)

    monkeypatch.setattr(mapped_codes, "_write", touch_then_write)
    CodeTable.open(folder)
    monkeypatch.setattr(mapped_codes, "_write", write)
    stamp = mapped_codes._stamp(sorted(folder.glob("codes-*.parquet")))
    assert read_mapped(folder / "codes.arrow", stamp) is None
    assert len(CodeTable.open(folder)) == 20


@pytest.mark.parametrize(
    ("codebook", "change", "message"),
    [
        (1, lambda codes: codes[:-1], "a wrong number of tokens in codebook 1"),
        (2, lambda codes: [*codes[:-1], 64], "token 64 in a codebook of 64"),
    ],
)
def test_damaged_codes_are_named_and_nothing_is_mapped(
    folder: Path, codebook: int, change: object, message: str
) -> None:
    rewrite(folder / "codes-00002-of-00003.parquet", codebook, change)
    with pytest.raises(DataError, match=rf"codes-00002-of-00003\.parquet: .*{message}"):
        CodeTable.open(folder)
    assert not (folder / "codes.arrow").exists()


def test_a_folder_that_cannot_be_written_to_says_who_can_help(folder: Path) -> None:
    (folder / ".codes.arrow.lock").mkdir()
    with pytest.raises(DataError, match=r"cannot be written to .* merge=true"):
        CodeTable.open(folder)


def test_empty_shards_are_no_hindrance(folder: Path) -> None:
    """A shard all of whose rows were rejected has no rows."""
    shard = folder / "codes-00000-of-00003.parquet"
    write_parquet(shard, pq.read_table(shard).slice(0, 0))
    table = CodeTable.open(folder)
    assert len(table) == 13
    assert np.array_equal(np.diff(table.offsets[2]), 4 * table.coarse_lengths)
