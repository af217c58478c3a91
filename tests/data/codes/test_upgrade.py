"""First-generation caches: rewritten token for token, and whatever does not fit is listed and counted."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snac_exp import cli
from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.codes.cache import verify_cache
from snac_exp.data.codes.first_generation import upgrade_cache
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.slices.cached_codes import CachedCodes
from snac_exp.errors import ConfigError, DataError
from tests.data.conftest import write_noise


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, codec: LoadedCodec) -> Path:
    """Seven files, `prepared`, and `new`, their cache; names are unique but for three utt.wav, two of equal length."""
    folder = tmp_path_factory.mktemp("upgrade, old")
    lengths = {"a/one.wav": 0.5, "a/two.flac": 0.8, "b/three.wav": 0.5, "b/four.wav": 1.1}
    lengths |= {"a/utt.wav": 0.6, "b/utt.wav": 0.9, "c/utt.wav": 0.9}
    for seed, (path, seconds) in enumerate(lengths.items()):
        write_noise(folder / "audio" / path, seconds, seed)
    prepare(folder / "audio", folder / "prepared", validation_speakers=["c"])
    from snac_exp.data.codes.cache import cache_codes

    cache_codes(Manifest.read(folder / "prepared"), codec, folder / "new")
    return folder


@pytest.fixture
def manifest(folder: Path) -> Manifest:
    return Manifest.read(folder / "prepared")


Row = dict[str, Any]


def old_rows(folder: Path) -> dict[str, Row]:
    """What the first generation would have written of each file, by path."""
    table = CodeTable.open(folder / "new")
    rows = {}
    for i in range(len(table)):
        codes = [table.codes(i, k).tolist() for k in range(3)]
        row: Row = {"file_path": Path(table.path(i)).name, "audio_length": int(table.num_samples[i])}
        row |= {f"codes_scale_{k}": tokens for k, tokens in enumerate(codes)}
        row |= {f"shape_scale_{k}": [1, len(tokens)] for k, tokens in enumerate(codes)}
        rows[table.path(i)] = row
    return rows


def write_old(folder: Path, *files: list[Row], scalar_shapes: bool = False) -> Path:
    folder.mkdir(parents=True)
    for number, rows in enumerate(files):
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        if scalar_shapes:
            columns |= {f"shape_scale_{k}": [row[f"shape_scale_{k}"][-1] for row in rows] for k in range(3)}
        table = pa.table(columns)
        assert table.schema.field("codes_scale_0").type == pa.list_(pa.int64())
        pq.write_table(table, folder / f"codes_batch_gpu{number % 2}_{number // 2}.parquet")
    return folder


def listed(folder: Path, name: str) -> list[tuple[str, str]]:
    return sorted(
        (row["name" if "name" in row else "path"], row["kind"]) for row in pq.read_table(folder / name).to_pylist()
    )


UNIQUE = ("a/one.wav", "a/two.flac", "b/three.wav", "b/four.wav", "a/utt.wav")


@pytest.mark.slow
@pytest.mark.parametrize("scalar_shapes", [False, True])
def test_codes_come_over_token_for_token(
    folder: Path, manifest: Manifest, codec: LoadedCodec, tmp_path: Path, scalar_shapes: bool
) -> None:
    rows = old_rows(folder)
    old = write_old(
        tmp_path / "old", [rows[p] for p in UNIQUE[:2]], [rows[p] for p in UNIQUE[2:]], scalar_shapes=scalar_shapes
    )
    summary = upgrade_cache(manifest, codec, old, tmp_path / "codes")
    assert (summary.num_files, summary.num_old_rows, summary.num_cached, summary.rejected) == (2, 5, 5, {})
    assert summary.agreement == 1.0
    table, expected = CodeTable.open(tmp_path / "codes"), CodeTable.open(folder / "new")
    whole = {expected.path(i): [expected.codes(i, k).tolist() for k in range(3)] for i in range(len(expected))}
    assert {table.path(i): [table.codes(i, k).tolist() for k in range(3)] for i in range(len(table))} == {
        path: whole[path]
        for path in UNIQUE  # a/utt.wav is told from its namesakes by its length
    }
    assert verify_cache(manifest, tmp_path / "codes") == {"cached": 5, "rejected": 2}
    assert listed(tmp_path / "codes", "cache_rejected.parquet") == [
        ("b/utt.wav", "no_codes"),
        ("c/utt.wav", "no_codes"),
    ]
    assert table.made_on == {("first-generation cache",)}


def test_s08_what_does_not_fit_is_listed_with_its_reason(
    folder: Path, manifest: Manifest, codec: LoadedCodec, tmp_path: Path
) -> None:
    rows = old_rows(folder)
    short = {**rows["a/two.flac"], "codes_scale_1": rows["a/two.flac"]["codes_scale_1"][:-1]}
    outside = {**rows["b/three.wav"], "codes_scale_2": [*rows["b/three.wav"]["codes_scale_2"][:-1], 64]}
    misshapen = {**rows["b/four.wav"], "shape_scale_0": [1, 99]}
    elsewhere = {**rows["a/one.wav"], "file_path": "gone.wav"}
    longer = {**rows["a/utt.wav"], "audio_length": 20000}
    old = write_old(
        tmp_path / "old",
        [rows["a/one.wav"], short, outside, misshapen],
        [rows["a/one.wav"], elsewhere, rows["b/utt.wav"], longer],
    )
    (old / "codes_batch_gpu0_7.parquet").write_bytes(b"cut off")
    summary = upgrade_cache(manifest, codec, old, tmp_path / "codes")
    kinds = ("token_count", "token_range", "shape", "repeated", "no_audio", "ambiguous", "length", "unreadable")
    assert summary.rejected == dict.fromkeys(kinds, 1)
    assert (summary.num_cached, summary.num_rows_without_codes) == (1, 6)
    assert listed(tmp_path / "codes", "upgrade_rejected.parquet") == [
        ("", "unreadable"),
        ("four.wav", "shape"),
        ("gone.wav", "no_audio"),
        ("one.wav", "repeated"),
        ("three.wav", "token_range"),
        ("two.flac", "token_count"),
        ("utt.wav", "ambiguous"),
        ("utt.wav", "length"),
    ]
    assert verify_cache(manifest, tmp_path / "codes") == {"cached": 1, "rejected": 6}
    again = upgrade_cache(manifest, codec, old, tmp_path / "codes", verify_rows=0)
    assert (again.num_cached, again.rejected, again.agreement) == (1, summary.rejected, None)


@pytest.mark.slow
def test_an_interrupted_upgrade_keeps_finished_shards(
    folder: Path, manifest: Manifest, codec: LoadedCodec, tmp_path: Path
) -> None:
    rows = old_rows(folder)
    old = write_old(tmp_path / "old", [rows[p] for p in UNIQUE[:2]], [rows[p] for p in UNIQUE[2:]])
    upgrade_cache(manifest, codec, old, tmp_path / "codes")
    before = {path.name: path.read_bytes() for path in (tmp_path / "codes").glob("codes-*")}
    (tmp_path / "codes" / "codes-00001-of-00003.parquet").unlink()
    stamp = (tmp_path / "codes" / "codes-00000-of-00003.parquet").stat().st_mtime_ns
    assert upgrade_cache(manifest, codec, old, tmp_path / "codes").num_cached == 5
    assert {path.name: path.read_bytes() for path in (tmp_path / "codes").glob("codes-*")} == before
    assert (tmp_path / "codes" / "codes-00000-of-00003.parquet").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_codes_of_another_codec_or_other_audio_are_refused_before_anything_is_written(
    folder: Path, manifest: Manifest, codec: LoadedCodec, make_codec: Callable[..., LoadedCodec], tmp_path: Path
) -> None:
    old = write_old(tmp_path / "old", [old_rows(folder)[path] for path in UNIQUE])
    with pytest.raises(DataError, match=r"of the tokens of 5 sampled rows are reproduced .* encoded with tiny1"):
        upgrade_cache(manifest, make_codec(seed=1), old, tmp_path / "codes")
    write_noise(tmp_path / "audio" / "a" / "x.wav", 0.5, 0)
    write_noise(tmp_path / "audio" / "b" / "y.wav", 0.5, 1)
    prepare(tmp_path / "audio", tmp_path / "prepared")
    with pytest.raises(DataError, match=r"none of its 5 rows fits .*\{'no_audio': 5\}.*folder of its audio"):
        upgrade_cache(Manifest.read(tmp_path / "prepared"), codec, old, tmp_path / "codes")
    with pytest.raises(DataError, match="no first-generation cache there"):
        upgrade_cache(manifest, codec, folder / "new", tmp_path / "codes")
    assert not (tmp_path / "codes").exists()


def test_training_on_an_old_cache_says_how_to_upgrade_it(folder: Path, codec: LoadedCodec, tmp_path: Path) -> None:
    old = write_old(tmp_path / "old", [old_rows(folder)["a/one.wav"]])
    with pytest.raises(DataError, match=r"first-generation cache; rewrite it once with: snac-exp cache-codes upgrade="):
        CachedCodes(str(old)).open(codec, {"head_24k": 24000}, seed=0)


@pytest.mark.slow
def test_the_verb_upgrades_from_a_folder_of_audio(
    folder: Path, tmp_path: Path, codec: LoadedCodec, capsys: pytest.CaptureFixture[str]
) -> None:
    from snac_exp.codec.checkpoint import save_snac

    save_snac(codec.model, tmp_path / "codec")
    shutil.copytree(folder / "audio", tmp_path / "audio")
    old = write_old(tmp_path / "old codes", [old_rows(folder)[path] for path in UNIQUE])
    command = ["cache-codes", f"upgrade={old}", f"output={tmp_path / 'new'}", "codec=demo", "codec.name=tiny"]
    command += [f"codec.path={tmp_path / 'codec'}"]
    assert cli.run([*command, f"audio={tmp_path / 'audio'}"]) == 0
    said = capsys.readouterr().out
    assert "5 rows in 1 first-generation files, 5 taken over" in said
    assert "complete: 5 rows cached, 2 rejected, every manifest row accounted for" in said
    assert (tmp_path / "new" / "codes.arrow").exists()
    assert np.sum(CodeTable.open(tmp_path / "new").coarse_lengths) > 0
    for wrong in ([], [f"audio={tmp_path / 'audio'}", f"data={folder / 'prepared'}"]):
        with pytest.raises(ConfigError, match="upgrade= needs the audio of the codes"):
            cli.run([*command, *wrong])
