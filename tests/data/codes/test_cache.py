"""The code cache: same tokens as encoding each file alone, atomic shards, restarts, and nothing dropped."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.checked_parquet import write_parquet
from snac_exp.data.codes.cache import cache_codes, verify_cache
from snac_exp.data.codes.encoding import exact_float32
from snac_exp.data.codes.shards import read_metadata
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.files.reading import read_mono
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.prepare import prepare
from snac_exp.errors import ConfigError, DataError
from snac_exp.system.environment import provenance
from tests.helpers.commands import verb


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


@pytest.mark.slow
def test_cached_tokens_are_those_of_each_file_encoded_alone(
    manifest: Manifest, cache_dir: Path, codec: LoadedCodec
) -> None:
    table = CodeTable.open(cache_dir)
    rows = {row.path: row for row in manifest.rows}
    assert len(table) == len(rows) == 20
    for i in range(len(table)):
        row = rows[table.path(i)]
        audio = read_mono(manifest.recording(row).path, 24000)
        assert table.num_samples[i] == len(audio)
        with torch.no_grad():
            expected = codec.model.encode(torch.from_numpy(audio)[None, None])
        assert [table.codes(i, k).tolist() for k in range(3)] == [codes[0].tolist() for codes in expected]
        assert table.coarse_lengths[i] == codec.geometry.coarse_tokens_of(len(audio))
        assert table.speaker(i) == row.speaker
    assert {table.path(i) for i in table.rows_of("validation")} == {
        p for p, row in rows.items() if row.split == "validation"
    }


def test_the_files_are_what_they_are_said_to_be(manifest: Manifest, cache_dir: Path, codec: LoadedCodec) -> None:
    names = [path.name for path in sorted(cache_dir.glob("*.parquet"))]
    assert names == ["cache_rejected.parquet", *(f"codes-0000{i}-of-00003.parquet" for i in range(3))]
    shard = cache_dir / names[1]
    schema = pq.read_schema(shard)
    assert [schema.field(f"codes_{i}").type for i in range(3)] == [pa.list_(pa.uint16())] * 3
    assert pq.read_metadata(shard).row_group(0).column(0).compression == "ZSTD"
    spec = read_metadata(shard).spec
    assert spec.codec_fingerprint == codec.fingerprint
    assert spec.geometry == codec.geometry
    assert (spec.codec_name, spec.codebook_size) == ("tiny0", 64)
    assert spec.audio_root == str(manifest.input_dir)
    assert read_metadata(shard).made_on == provenance("cpu")
    assert verify_cache(manifest, cache_dir) == {"cached": 20, "rejected": 0}


@pytest.mark.slow
def test_processes_share_the_shards_and_finished_ones_are_kept(
    manifest: Manifest, cache_dir: Path, codec: LoadedCodec, tmp_path: Path
) -> None:
    second = cache_codes(manifest, codec, tmp_path, rows_per_shard=7, shard_index=1, shard_count=2)
    assert (second.num_shards, second.num_cached) == (1, 7)
    with pytest.raises(DataError, match="2 of 3 shards are missing"):
        verify_cache(manifest, tmp_path)
    first = cache_codes(manifest, codec, tmp_path, rows_per_shard=7, shard_index=0, shard_count=2)
    assert (first.num_shards, first.num_shards_kept, first.num_cached) == (2, 0, 13)
    assert contents(tmp_path) == contents(cache_dir)
    (tmp_path / "codes-00002-of-00003.parquet").unlink()
    again = cache_codes(manifest, codec, tmp_path, rows_per_shard=7)
    assert (again.num_shards, again.num_shards_kept, again.num_cached) == (3, 2, 6)
    assert contents(tmp_path) == contents(cache_dir)
    with pytest.raises(ConfigError, match=r"shard\.index=2 must lie between 0 and shard\.count - 1 = 1"):
        cache_codes(manifest, codec, tmp_path, shard_index=2, shard_count=2)


@pytest.mark.slow
def test_an_interrupted_run_leaves_whole_shards_and_no_others(
    manifest: Manifest, codec: LoadedCodec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []
    write_table = pq.ParquetWriter.write_table

    def write_two(*args: object, **options: object) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(write_table(*args, **options))

    monkeypatch.setattr(pq.ParquetWriter, "write_table", write_two)
    with pytest.raises(KeyboardInterrupt):
        cache_codes(manifest, codec, tmp_path, rows_per_shard=7)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"codes-0000{i}-of-00003.parquet" for i in range(2)]


def test_other_codecs_manifests_and_layouts_are_not_mixed(
    manifest: Manifest, cache_dir: Path, codec: LoadedCodec, make_codec, tmp_path: Path
) -> None:
    shutil.copytree(cache_dir, tmp_path / "codes")
    before = contents(tmp_path / "codes")
    with pytest.raises(DataError, match=r"belongs to another cache: codec_fingerprint .* choose another output folder"):
        cache_codes(manifest, make_codec(seed=1), tmp_path / "codes", rows_per_shard=7)
    fewer = manifest.with_rows(manifest.rows[:-1])
    with pytest.raises(DataError, match="manifest_digest"):
        cache_codes(fewer, codec, tmp_path / "codes", rows_per_shard=7)
    with pytest.raises(DataError, match="made from another manifest"):
        verify_cache(fewer, tmp_path / "codes")
    with pytest.raises(DataError, match="keep rows_per_shard as it was"):
        cache_codes(manifest, codec, tmp_path / "codes", rows_per_shard=5)
    assert contents(tmp_path / "codes") == before


@pytest.mark.parametrize(
    "arguments", [["cache-codes", "data=prepared"], ["tokens", "stats", "cache=prepared/codes_demo"]]
)
def test_an_output_that_is_a_file_is_refused_before_anything_is_read(
    arguments: list[str], corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus_dir)
    (tmp_path / "file").write_text("x")
    done = verb(*arguments, "codec=demo", f"output={tmp_path / 'file'}")
    assert done.status == 2
    assert done.err == f"DataError: {tmp_path / 'file'} is a file of text, not a folder; choose another one\n"


@pytest.mark.slow
def test_s08_bad_files_are_listed_and_counted_when_caching(
    manifest: Manifest, codec: LoadedCodec, tmp_path: Path, corpus_dir: Path
) -> None:
    """Files that were good when the manifest was made: one is gone, one is damaged, one has been replaced."""
    shutil.copytree(corpus_dir / "audio", tmp_path / "audio")
    moved = Manifest(tmp_path / "audio", manifest.settings, manifest.rows)
    gone, damaged, replaced = (moved.recording(row).path for row in manifest.rows[3:6])
    gone.unlink()
    damaged.write_bytes(b"not audio")
    soundfile.write(replaced, np.full(24000, 0.1), 48000)
    summary = cache_codes(moved, codec, tmp_path / "codes", rows_per_shard=7)
    assert (summary.num_cached, summary.num_rejected) == (17, 3)
    listed = {row["path"]: row for row in pq.read_table(tmp_path / "codes" / "cache_rejected.parquet").to_pylist()}
    assert sorted(listed) == sorted(row.path for row in manifest.rows[3:6])
    assert "no such file" in listed[manifest.rows[3].path]["reason"]
    assert listed[manifest.rows[4].path]["kind"] == "unreadable"
    assert listed[manifest.rows[5].path]["kind"] == "changed"
    assert verify_cache(moved, tmp_path / "codes") == {"cached": 17, "rejected": 3}
    shutil.copy(manifest.recording(manifest.rows[3]).path, gone)
    retried = cache_codes(moved, codec, tmp_path / "codes", rows_per_shard=7, retry_rejected=True)
    assert retried.num_rejected == 2
    assert verify_cache(moved, tmp_path / "codes") == {"cached": 18, "rejected": 2}


def test_s08_a_cache_that_lost_a_row_is_found_out(manifest: Manifest, cache_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(cache_dir, tmp_path / "codes")
    shard = tmp_path / "codes" / "codes-00001-of-00003.parquet"
    table = pq.read_table(shard)
    write_parquet(shard, table.slice(1))
    with pytest.raises(DataError, match=f"does not account for {table['path'][0]}"):
        verify_cache(manifest, tmp_path / "codes")


@pytest.mark.slow
def test_codecs_with_attention_windows_are_padded_to_whole_windows(
    manifest: Manifest, make_codec, tmp_path: Path
) -> None:
    codec = make_codec(encoder_rates=[2, 2, 4, 4], decoder_rates=[4, 4, 2, 2], encoder_dim=8, attn_window_size=8)
    assert codec.geometry.coarse_step == 2
    cache_codes(manifest, codec, tmp_path)
    table = CodeTable.open(tmp_path)
    assert set(table.coarse_lengths % 2) == {0}
    row = next(i for i in range(len(table)) if table.num_samples[i] % (64 * 8))
    audio = read_mono(manifest.input_dir / table.path(row), 24000)
    with torch.no_grad():
        expected = codec.model.encode(torch.from_numpy(audio)[None, None])
    assert [table.codes(row, k).tolist() for k in range(3)] == [codes[0].tolist() for codes in expected]


def test_encoding_is_plain_float32_and_settings_come_back() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        cudnn_before = torch.backends.cudnn.allow_tf32
        with exact_float32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32 == cudnn_before
    finally:
        torch.set_float32_matmul_precision("highest")


def test_the_table_holds_what_the_shards_hold_and_notices_wrong_lengths(cache_dir: Path, tmp_path: Path) -> None:
    shards = sorted(cache_dir.glob("codes-*.parquet"))
    rows = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
    table = CodeTable.open(cache_dir)
    for i in (0, 6, 7, 13, 19):
        assert [table.codes(i, k).tolist() for k in range(3)] == [rows[i][f"codes_{k}"] for k in range(3)]
    assert table.codes(0, 0).base is not None  # a view
    shutil.copytree(cache_dir, tmp_path / "codes")
    shard = tmp_path / "codes" / shards[0].name
    broken = pq.read_table(shard)
    column = broken.schema.get_field_index("codes_1")
    shorter = pa.array([codes[:-1] for codes in broken["codes_1"].to_pylist()], pa.list_(pa.uint16()))
    write_parquet(shard, broken.set_column(column, broken.schema.field(column), shorter))
    with pytest.raises(DataError, match="wrong number of tokens in codebook 1"):
        CodeTable.open(tmp_path / "codes")


def test_files_of_any_rate_and_channels_are_cached(codec: LoadedCodec, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i, (rate, channels) in enumerate([(8000, 1), (22050, 2), (44100, 1), (96000, 1)]):
        (tmp_path / "audio" / f"s{i}").mkdir(parents=True)
        soundfile.write(tmp_path / "audio" / f"s{i}" / "a b,=é ع.wav", rng.uniform(-0.5, 0.5, (rate, channels)), rate)
    prepare(tmp_path / "audio", tmp_path / "prepared", split="file", train_ratio=0.7)
    manifest = Manifest.read(tmp_path / "prepared")
    assert cache_codes(manifest, codec, tmp_path / "codes").num_cached == 4
    assert CodeTable.open(tmp_path / "codes").num_samples.tolist() == [24000] * 4
