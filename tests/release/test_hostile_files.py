"""Files of codes and job folders that somebody else prepared: nothing runs, nothing outside is written."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from snac_exp import cli
from snac_exp.data.files.completeness import check_complete
from snac_exp.data.files.recording import recording_of
from snac_exp.errors import ConfigError, DataError
from snac_exp.release import code_files
from snac_exp.release.code_files import METADATA_KEY, parquet_writer, read_npz, read_parquet, write_npz
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.codes import Codes
from snac_exp.release.files.audio import open_source, stems
from snac_exp.release.files.job import Job, safe_relative
from tests.release.conftest import speech_like


def npz(path: Path, **arrays: object) -> Path:
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    return path


def npz_compressed(path: Path, **arrays: object) -> Path:
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)
    return path


@pytest.fixture
def codes(codec: ReleasedCodec) -> Codes:
    return codec.encode(speech_like(6_000), 24_000)


def arrays_of(codes: Codes) -> dict[str, object]:
    tokens = {f"codes_{i}": row.numpy().astype(np.uint16) for i, row in enumerate(codes.tokens)}
    return tokens | {"num_samples": codes.num_samples, "sample_rate": codes.sample_rate, "codebooks": codes.codebooks}


def test_codes_survive_both_files(codes: Codes, tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", codes)
    with parquet_writer(tmp_path / "a.parquet", 3, codes.codebooks) as rows:
        rows.append("x/y.wav", codes)
    ((name, again),) = read_parquet(tmp_path / "a.parquet")
    assert name == "x/y.wav"
    for other in (read_npz(tmp_path / "a.npz"), read_npz((tmp_path / "a.npz").read_bytes()), again):
        assert all(torch.equal(a, b) for a, b in zip(codes.tokens, other.tokens, strict=True))
        facts = (other.num_samples, other.sample_rate, other.codebooks)
        assert facts == (codes.num_samples, codes.sample_rate, codes.codebooks)


def test_npz_of_another_kind(codes: Codes, tmp_path: Path) -> None:
    good = arrays_of(codes)
    path = tmp_path / "bad.npz"
    for change, message in (
        ({"codes_0": np.array([object()])}, "no codes that can be read"),
        ({"extra": np.zeros(1)}, "holds .*extra"),
        ({"codes_1": np.zeros((1, 4))}, "must be whole numbers"),
        ({"num_samples": -1}, "must be whole numbers"),
        ({"sample_rate": np.array([1, 2])}, "must be whole numbers"),
    ):
        with pytest.raises(DataError, match=message):
            read_npz(npz(path, **(good | change)))
    path.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(DataError, match="no codes that can be read"):
        read_npz(path)
    with pytest.raises(DataError, match="there is no"):
        read_npz(tmp_path / "absent.npz")


def test_npz_bombs_and_zip_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_files, "MAX_NPZ_BYTES", 2**20)
    bomb = npz_compressed(tmp_path / "bomb.npz", codes_0=np.zeros(2**20, dtype=np.uint16))
    assert bomb.stat().st_size < 10_000
    with pytest.raises(DataError, match="would unpack to"):
        read_npz(bomb)
    climbing = tmp_path / "inner" / "climbing.npz"
    climbing.parent.mkdir()
    with zipfile.ZipFile(climbing, "w") as archive:
        archive.writestr("../../evil.npy", b"x")
    with pytest.raises(DataError):
        read_npz(climbing)
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "a/../../evil", "..", "", "C:/evil", "a\\..\\evil", "a\x00b", "x" * 300, "a\nb"]
)
def test_names_that_lead_out(name: str) -> None:
    with pytest.raises(DataError, match="is no name for an output file"):
        safe_relative(name)


@pytest.mark.parametrize("name", ["a.wav", "it's, a = \u0635\u0648\u062a/b c.wav", "..hidden/x", "a/./b"])
def test_plain_names(name: str) -> None:
    assert not safe_relative(name).is_absolute()


@pytest.mark.slow
def test_a_manifest_with_path_traversal_writes_nothing_outside(codes: Codes, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    with parquet_writer(folder / "codes.parquet", 3, codes.codebooks) as rows:
        rows.append("../../escaped.wav", codes)
    with pytest.raises(DataError, match="is no name for an output file"):
        cli.run(["decode", f"input={folder / 'codes.parquet'}", f"output={folder / 'out'}", f"checkpoint={checkpoint}"])
    assert not list(tmp_path.rglob("*.wav"))


@pytest.mark.slow
def test_a_file_of_codes_that_fails_is_told_and_the_others_are_done(
    codes: Codes, checkpoint: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "codes", tmp_path / "out"
    folder.mkdir()
    write_npz(folder / "good.npz", codes)
    (folder / "bad.npz").write_bytes((folder / "good.npz").read_bytes()[:200])
    with pytest.raises(DataError, match=r"1 of 2 files could not be done:\n.*bad\.npz"):
        cli.run(["decode", f"input={folder}", f"output={out}", f"checkpoint={checkpoint}"])
    assert sorted(path.name for path in out.glob("*.wav")) == ["good_24k.wav", "good_48k.wav"]


@pytest.mark.slow
def test_names_that_would_share_an_output(codes: Codes, checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "codes.parquet"
    for names in (["a.wav", "a.wav"], ["a.wav", "a.flac", "a_wav.ogg"], ["a.wav", "a.flac", "A_WAV.ogg"]):
        with parquet_writer(path, 3, codes.codebooks) as rows:
            for name in names:
                rows.append(name, codes)
        with pytest.raises(DataError, match="would have outputs of one name"):
            cli.run(["decode", f"input={path}", f"output={tmp_path / 'out'}", f"checkpoint={checkpoint}"])
    assert stems(["a.wav", "b/a.wav", "a.flac", "c.wav"]) == {
        "a.wav": "a_wav", "b/a.wav": "b/a", "a.flac": "a_flac", "c.wav": "c"
    }  # fmt: skip


def test_a_row_of_endless_tokens(codes: Codes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_files, "MAX_ROW_TOKENS", 5)
    with parquet_writer(tmp_path / "a.parquet", 3, codes.codebooks) as rows:
        rows.append("a.wav", codes)
    with pytest.raises(DataError, match="tokens; that is no file of codes"):
        list(read_parquet(tmp_path / "a.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["wav", "rf64", "flac", "ogg", "opus", "mp3", "aiff"])
def test_audio_that_is_cut_off(ending: str, checkpoint: Path, tmp_path: Path) -> None:
    kinds = {"opus": {"format": "OGG", "subtype": "OPUS"}, "rf64": {"format": "RF64"}}
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    name = f"take.{'wav' if ending == 'rf64' else ending}"
    soundfile.write(folder / name, speech_like(48_000), 24_000, **kinds.get(ending, {}))
    data = (folder / name).read_bytes()
    with open_source(folder / name) as source:
        assert source.info.num_samples >= 48_000
    (folder / name).write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(DataError, match="take"):
        cli.run(["reconstruct", f"input={folder}", f"output={out}", f"checkpoint={checkpoint}"])
    assert not list(out.glob("*.wav"))


def test_sizes_that_were_never_filled_in_are_no_promise(tmp_path: Path) -> None:
    """As programs write them that pipe a WAV out."""
    soundfile.write(tmp_path / "a.wav", speech_like(2_000), 24_000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    place = data.index(b"data") + 4
    for size in (b"\xff\xff\xff\xff", b"\x00\xf0\xff\x7f"):
        data[place : place + 4] = size
        (tmp_path / "a.wav").write_bytes(data)
        check_complete(recording_of(tmp_path / "a.wav"))


def test_links_out_of_the_output_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    job = Job(tmp_path / "out", {"verb": "x"})
    (tmp_path / "out" / "link").symlink_to(outside)
    with pytest.raises(DataError, match="through a link"):
        job.output("link/file.wav")


@pytest.mark.slow
def test_parquet_of_another_kind(codes: Codes, checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(DataError, match="no Parquet file of snac-exp encode"):
        list(read_parquet(path))
    path.write_bytes(b"PAR1 cut")
    with pytest.raises(DataError, match="no Parquet file of snac-exp encode"):
        list(read_parquet(path))
    metadata = {METADATA_KEY: json.dumps({"codebooks": "x"}).encode()}
    pq.write_table(
        pa.table({"path": ["a"], "num_samples": [None], "sample_rate": [1]}).replace_schema_metadata(metadata), path
    )
    with pytest.raises(DataError):
        list(read_parquet(path))
    with pytest.raises(DataError, match="there is no"):
        cli.run(["decode", f"input={tmp_path / 'no.parquet'}", f"output={tmp_path / 'o'}", f"checkpoint={checkpoint}"])


def test_job_folders(tmp_path: Path) -> None:
    job = Job(tmp_path / "out", {"verb": "x", "rates": (1, 2)})
    (tmp_path / "out" / "a.wav").write_text("done")
    job.record("a.wav", "stamp", ["a.wav"])
    again = Job(tmp_path / "out", {"verb": "x", "rates": [1, 2]})
    assert again.is_done("a.wav", "stamp")
    assert not again.is_done("a.wav", "changed")
    (tmp_path / "out" / "a.wav").unlink()
    assert not again.is_done("a.wav", "stamp")
    with pytest.raises(ConfigError, match=r"another job \(other verb\)"):
        Job(tmp_path / "out", {"verb": "y", "rates": [1, 2]})
    with again.at_work(), pytest.raises(ConfigError, match="is being written by"), job.at_work():
        pass
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / ".job.json.x1.tmp").write_text("{")  # killed before it was more than that
    assert not Job(tmp_path / "begun", {"verb": "x"}).is_done("a.wav", "stamp")
    (tmp_path / "out" / "job.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        Job(tmp_path / "out", {"verb": "x"})


@pytest.mark.slow
def test_a_folder_that_the_system_refuses_is_named_in_one_line(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "a.wav", speech_like(24_000), 24_000)
    target = folder / "a.wav" / "out"
    arguments = ["reconstruct", f"input={folder}", f"output={target}", f"checkpoint={checkpoint}"]
    monkeypatch.setattr("sys.argv", ["snac-exp", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert str(folder / "a.wav") in capsys.readouterr().err
