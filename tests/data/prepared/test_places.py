"""Rows at places within files: the same codes, slices and targets as from files of their own, and their columns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.codes.cache import cache_codes, verify_cache
from snac_exp.data.codes.shards import read_metadata
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.files.recording import Bytes, Segment
from snac_exp.data.prepared.manifest import MANIFEST_NAME, Manifest
from snac_exp.data.prepared.manifest_rows import SCHEMA, ManifestRows
from snac_exp.data.prepared.places import PLACE_SCHEMA, Place, free_name
from snac_exp.data.slices.audio_folder import AudioFolder
from snac_exp.data.slices.cached_codes import CachedCodes
from snac_exp.data.targets.wideband import resample_targets
from snac_exp.errors import DataError

HEADS = {"head_24k": 24_000, "head_48k": 48_000}
COLUMNS = pa.schema([*PLACE_SCHEMA, ("text", pa.string()), ("snr", pa.float64()), ("clean", pa.bool_())])


@pytest.fixture(scope="module")
def shard(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The corpus, the files of each speaker one after the other in one file, with columns of which some are empty."""
    folder, rows = tmp_path_factory.mktemp("shard"), []
    for number, row in enumerate(manifest.rows):
        data = manifest.recording(row).path.read_bytes()
        with open(folder / f"{row.speaker}.bin", "ab") as file:
            place = Place(f"{row.speaker}.bin", Bytes(file.tell(), len(data)))
            file.write(data)
        columns = {"text": None if number % 3 else f"ünï {number}", "snr": number / 3, "clean": number % 2 == 0}
        rows.append(replace(row, placed=place, columns=columns))
    return Manifest(folder, {}, ManifestRows.of(rows, COLUMNS), COLUMNS)


def test_a_manifest_keeps_places_and_columns(shard: Manifest, manifest: Manifest, tmp_path: Path) -> None:
    shard.write(tmp_path / MANIFEST_NAME)
    found = Manifest.read(tmp_path)
    assert found.more == COLUMNS
    assert [row.columns for row in found.rows] == [row.columns for row in shard.rows]
    assert [row.placed.within.first for row in found.rows] == [row.placed.within.first for row in shard.rows]  # type: ignore[union-attr]
    assert found.digest == manifest.digest  # the same rows, wherever they lie
    manifest.write(tmp_path / "files.parquet")
    assert pq.read_schema(tmp_path / "files.parquet").names == SCHEMA.names


def test_files_that_lie_outside_of_the_folder_are_refused(shard: Manifest, tmp_path: Path) -> None:
    rows = [replace(shard.rows[0], placed=Place("../secret.bin", Bytes(0, 10)))]
    shard.with_rows(rows).write(tmp_path / MANIFEST_NAME)
    with pytest.raises(DataError, match=r"unsafe path '\.\./secret\.bin'"):
        Manifest.read(tmp_path)


@pytest.fixture(scope="module")
def cached(shard: Manifest, codec: LoadedCodec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of the shard and its codes."""
    prepared = tmp_path_factory.mktemp("prepared")
    shard.write(prepared / MANIFEST_NAME)
    cache_codes(shard, codec, prepared / "codes", rows_per_shard=7)
    return prepared


@pytest.mark.slow
def test_codes_slices_and_columns_are_those_of_the_files(
    cached: Path, shard: Manifest, manifest: Manifest, cache_dir: Path, codec: LoadedCodec
) -> None:
    assert verify_cache(shard, cached / "codes") == {"cached": 20, "rejected": 0}
    table, own = CodeTable.open(cached / "codes"), CodeTable.open(cache_dir)
    by_path = {row.path: row for row in shard.rows}
    for row in range(len(table)):
        assert table.path(row) == own.path(row)
        assert all(map(torch.equal, table.tensors(row), own.tensors(row)))
        values = {name: column[row].as_py() for name, column in table.more.items()}
        assert values == by_path[table.path(row)].columns
    assert own.more == {}
    one, other = (CachedCodes(str(folder)).open(codec, HEADS, 0).train for folder in (cached / "codes", cache_dir))
    raw = AudioFolder(str(cached)).open(codec, HEADS, 0).train
    raw_row = {raw.path(row): row for row in range(len(raw))}
    for row in range(len(one)):
        for head in HEADS:
            assert torch.equal(one.whole(row)[1][head], other.whole(row)[1][head])
            assert torch.equal(one.whole(row)[1][head], raw.whole(raw_row[one.path(row)])[1][head])
        assert one.sha1(row) == other.sha1(row) == by_path[one.path(row)].sha1


@pytest.mark.slow
def test_segments_train_from_their_offset(
    corpus_dir: Path, manifest: Manifest, codec: LoadedCodec, tmp_path: Path
) -> None:
    """A folder of files in a mixture with segments of these files: slices count from the segment's first sample."""
    train = [row for row in manifest.rows if row.seconds > 1.2]
    rows = []
    for number, row in enumerate(train):
        segment = Segment(10_001, 44_445, row.num_samples)
        placed = Place(row.path, None, segment)
        seconds = (segment.stop - segment.start) / row.rate
        split = "validation" if number == 0 else "train"
        rows.append(replace(row, path=f"cut/{number}", split=split, seconds=seconds, num_samples=34_444, placed=placed))
    segments = Manifest(manifest.input_dir, {}, ManifestRows.of(rows, PLACE_SCHEMA), PLACE_SCHEMA)
    segments.write(tmp_path / MANIFEST_NAME)
    sources = [{"path": str(corpus_dir / "prepared")}, {"path": str(tmp_path)}]
    mixed = AudioFolder(sources=sources).open(codec, HEADS, 0).train
    files = {mixed.path(row): mixed.whole(row)[1]["head_48k"][0, 0] for row in range(len(mixed))}
    for row in rows[1:]:
        whole = files.get(row.place.file)
        if whole is not None:
            np.testing.assert_array_equal(files[row.path].numpy(), whole[10_001:44_445].numpy())
    summary = resample_targets(segments, tmp_path / "targets", rate=48_000, num_workers=1)
    assert (summary.num_made, summary.num_rejected) == (len(rows), 0)


def test_damage_of_further_columns_is_found(cached: Path) -> None:
    CodeTable.open(cached / "codes")
    file = cached / "codes" / "codes.arrow"
    data = file.read_bytes()
    place = data.index("ünï 0".encode())
    file.write_bytes(data[:place] + b"X" + data[place + 1 :])
    try:
        with pytest.raises(DataError, match=r"codes\.arrow: damaged \(its rows do not match their checksum\)"):
            CodeTable.open(cached / "codes")
    finally:
        file.write_bytes(data)


def test_versions_say_what_older_programs_cannot_read(cached: Path, cache_dir: Path) -> None:
    names = [next(folder.glob("codes-*.parquet")) for folder in (cached / "codes", cache_dir)]
    assert [read_metadata(name).version for name in names] == [2, 1]


def test_columns_of_sources_never_take_the_names_of_ours() -> None:
    assert [free_name(name) for name in ("text", "split", "file", "codes_0", "codes")] == [
        "text",
        "given_split",
        "given_file",
        "given_codes_0",
        "codes",
    ]
