"""Files of codes and job folders that somebody else prepared: nothing runs, nothing outside is written."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from snac_exp import cli
from snac_exp.errors import ConfigError, DataError
from snac_exp.release import code_files
from snac_exp.release.code_files import METADATA_KEY, parquet_writer, read_npz, read_parquet, write_npz
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.codes import Codes
from snac_exp.release.job import Job, safe_relative
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


def test_a_manifest_with_path_traversal_writes_nothing_outside(codes: Codes, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    with parquet_writer(folder / "codes.parquet", 3, codes.codebooks) as rows:
        rows.append("../../escaped.wav", codes)
    with pytest.raises(DataError, match="is no name for an output file"):
        cli.run(["decode", f"input={folder / 'codes.parquet'}", f"output={folder / 'out'}", f"checkpoint={checkpoint}"])
    assert not list(tmp_path.rglob("*.wav"))


def test_links_out_of_the_output_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    job = Job(tmp_path / "out", {"verb": "x"})
    (tmp_path / "out" / "link").symlink_to(outside)
    with pytest.raises(DataError, match="through a link"):
        job.output("link/file.wav")


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
    (tmp_path / "out" / "job.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        Job(tmp_path / "out", {"verb": "x"})
