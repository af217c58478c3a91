"""A packed folder is the prepared folder in few large files: the same rows, bytes, codes and slices."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.codes.cache import cache_codes
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.packed.folder import PackSummary, pack_folder
from snac_exp.data.packed.names import SHARD_NAME
from snac_exp.data.packed.plan import PackOptions
from snac_exp.data.prepared.manifest import Manifest, open_manifest_table, read_manifest_table
from snac_exp.data.prepared.mapped_table import MAPPED_ROWS_NAME
from snac_exp.data.rows import manifest_rows
from snac_exp.data.slices.audio_folder import AudioFolder
from snac_exp.errors import ConfigError, DataError
from tests.helpers.commands import verb

SMALL = PackOptions(shard_bytes=400_000)


@pytest.fixture(scope="module")
def packed(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus in shards of 0.4 MB; not to be changed by tests."""
    folder = tmp_path_factory.mktemp("pack") / "packed"
    pack_folder(corpus_dir / "prepared", folder, SMALL)
    return folder


def shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if SHARD_NAME.fullmatch(path.name))


def test_every_row_has_its_bytes_and_the_digest_is_the_same(packed: Path, manifest: Manifest, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(packed, moved)
    found = Manifest.with_audio(moved)
    assert found.input_dir == moved
    assert 2 < len(shards(moved)) < 8
    assert found.digest == manifest.digest
    assert [row.path for row in found.rows] == [row.path for row in manifest.rows]
    for row, own in zip(found.rows, manifest.rows, strict=True):
        with found.recording(row).open() as file:
            assert file.read() == manifest.recording(own).path.read_bytes()


def test_slices_are_those_of_the_files(packed: Path, manifest: Manifest) -> None:
    found = Manifest.with_audio(packed)
    for row, own in zip(found.rows[::3], manifest.rows[::3], strict=True):
        one = manifest_rows(found).read(row, 24000, 1000, 4000)
        other = manifest_rows(manifest).read(own, 24000, 1000, 4000)
        assert np.array_equal(one.samples, other.samples)
        assert one.info == other.info


@pytest.mark.slow
def test_codes_are_those_of_the_files(packed: Path, cache_dir: Path, codec: LoadedCodec, tmp_path: Path) -> None:
    cache_codes(Manifest.with_audio(packed), codec, tmp_path / "codes", rows_per_shard=7)
    one, other = CodeTable.open(tmp_path / "codes"), CodeTable.open(cache_dir)
    for row in range(len(other)):
        assert all(map(torch.equal, one.tensors(row), other.tensors(row)))


def test_rows_are_mapped_and_those_of_the_manifest(packed: Path, tmp_path: Path) -> None:
    mapped, header = open_manifest_table(packed)
    read, other = read_manifest_table(packed)
    assert header == other
    assert mapped.to_pylist() == read.to_pylist()
    before = pa.total_allocated_bytes()
    open_manifest_table(packed)
    assert pa.total_allocated_bytes() - before < 1000  # the rest lies in the file
    shutil.copytree(packed, tmp_path / "copy")
    damaged = bytearray((tmp_path / "copy" / MAPPED_ROWS_NAME).read_bytes())
    place = damaged.index(b"speaker1/utt")
    damaged[place] ^= 1
    (tmp_path / "copy" / MAPPED_ROWS_NAME).write_bytes(damaged)
    with pytest.raises(DataError, match=r"rows\.arrow: damaged"):
        open_manifest_table(tmp_path / "copy")
    # One of another manifest is passed over.
    pack_folder(packed, tmp_path / "again", PackOptions(order="shuffled", shard_bytes=10**6))
    shutil.copy(tmp_path / "again" / MAPPED_ROWS_NAME, tmp_path / "copy" / MAPPED_ROWS_NAME)
    assert open_manifest_table(tmp_path / "copy")[0].to_pylist() == read.to_pylist()


def test_what_is_there_is_kept_and_what_is_missing_is_made(packed: Path, corpus_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "packed")
    first, second, *_ = shards(tmp_path / "packed")
    content, inode = second.read_bytes(), first.stat().st_ino
    second.unlink()
    (tmp_path / "packed" / "manifest.parquet").unlink()
    (tmp_path / "packed" / f".{second.name}.abcdefgh.tmp").write_bytes(content[:1000])  # as kill -9 leaves it
    summary = pack_folder(corpus_dir / "prepared", tmp_path / "packed", SMALL, check=True)
    assert (summary.num_written, summary.num_missing, summary.num_checked) == (1, 0, 20)
    assert second.read_bytes() == content
    assert first.stat().st_ino == inode
    assert {path.name: path.read_bytes() for path in (tmp_path / "packed").iterdir()} == {
        path.name: path.read_bytes() for path in packed.iterdir()
    }


def test_parts_write_shards_each_and_one_merges(packed: Path, corpus_dir: Path, tmp_path: Path) -> None:
    def part(index: int, merge: bool = False) -> PackSummary:
        return pack_folder(corpus_dir / "prepared", tmp_path / "p", SMALL, shard=(index, 2), merge=merge)

    part(0)
    assert not (tmp_path / "p" / "manifest.parquet").exists()
    with pytest.raises(DataError, match=r"audio-00001-of-\d+\.arrow is missing"):
        part(0, merge=True)
    part(1)
    assert part(0, merge=True).num_missing == 0
    assert (tmp_path / "p" / "manifest.parquet").read_bytes() == (packed / "manifest.parquet").read_bytes()
    with pytest.raises(ConfigError, match=r"shard\.index=2"):
        part(2)


def test_damage_is_found_by_the_sha256_of_its_row(packed: Path, corpus_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "packed")
    found = Manifest.with_audio(tmp_path / "packed")
    row = found.rows[7]
    path, within = found.recording(row).path, row.place.within
    assert within is not None
    content = bytearray(path.read_bytes())
    content[within.first + within.size - 1] ^= 1
    path.write_bytes(content)
    done = verb(
        "pack", f"data={corpus_dir / 'prepared'}", f"output={tmp_path / 'packed'}", "shard_gb=0.0004", "check=true"
    )
    assert done.status == 2
    assert f"{path.name}: damaged, {row.path} is not as it was packed" in done.err


def test_flac_holds_the_same_samples(corpus_dir: Path, manifest: Manifest, tmp_path: Path) -> None:
    summary = pack_folder(corpus_dir / "prepared", tmp_path / "flac", PackOptions(audio="flac"), check=True)
    assert summary.num_checked == 20
    found = Manifest.with_audio(tmp_path / "flac")
    for row, own in zip(found.rows, manifest.rows, strict=True):
        with found.recording(row).open() as file:
            content = file.read()
        assert content[:4] == b"fLaC"
        assert hashlib.sha1(content).hexdigest() == row.sha1
        one, other = (manifest_rows(it).read(each, 48000).samples for it, each in ((found, row), (manifest, own)))
        assert np.array_equal(one, other)


def test_a_file_that_changed_since_it_was_prepared_is_named(corpus_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus_dir / "audio", tmp_path / "audio")
    changed = tmp_path / "audio" / "speaker1" / "utt0.wav"
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    with pytest.raises(DataError, match=r"utt0\.wav: is not the file that was prepared"):
        pack_folder(corpus_dir / "prepared", tmp_path / "p", SMALL, audio_root=str(tmp_path / "audio"))
    changed.unlink()
    with pytest.raises(DataError, match=r"utt0\.wav: cannot be read"):
        pack_folder(corpus_dir / "prepared", tmp_path / "p", SMALL, audio_root=str(tmp_path / "audio"))


def test_another_packing_is_refused(packed: Path, corpus_dir: Path) -> None:
    with pytest.raises(DataError, match="of another packing"):
        pack_folder(corpus_dir / "prepared", packed, PackOptions(order="shuffled", shard_bytes=400_000))


def test_a_prepared_folder_is_never_packed_over(corpus_dir: Path, tmp_path: Path) -> None:
    for name in ("mine", "other"):
        shutil.copytree(corpus_dir / "prepared", tmp_path / name)
    for output in ("other", "mine"):
        done = verb("pack", f"data={tmp_path / 'mine'}", f"output={tmp_path / output}")
        assert done.status == 2
        assert f"{tmp_path / output}" in done.err
        assert "choose another output folder" in done.err
    for name in ("mine", "other"):
        assert {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} == {
            path.name: path.read_bytes() for path in (corpus_dir / "prepared").iterdir()
        }


def test_a_folder_of_other_files_is_never_packed_into(corpus_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "speaker").mkdir(parents=True)
    with pytest.raises(DataError, match=r"mine: holds other files; choose another output folder"):
        pack_folder(corpus_dir / "prepared", tmp_path / "mine", SMALL)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["speaker"]


def test_two_packed_folders_are_never_mixed(packed: Path, corpus_dir: Path, codec: LoadedCodec, tmp_path: Path) -> None:
    other = tmp_path / "other"
    pack_folder(corpus_dir / "prepared", other, PackOptions(order="shuffled", shard_bytes=10**6))
    with pytest.raises(DataError, match=rf"audio_root={other} is a packed folder.*those of {packed}"):
        AudioFolder(path=str(packed), audio_root=str(other)).open(codec, {"head": 24000}, 0)
    with pytest.raises(DataError, match=rf"audio_root={other} is a packed folder.*those of {packed}"):
        Manifest.with_audio(packed, str(other))
    assert Manifest.with_audio(packed, str(packed)).input_dir == packed
