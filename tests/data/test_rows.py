"""Rows of audio: a folder of files is one implementation; segments by offset are another, written here."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from snac_exp.data.files.decoding import AudioInfo
from snac_exp.data.files.resampling import resample
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.rows import AudioRows, FolderRows, RowAudio, manifest_rows
from snac_exp.errors import DataError

RATE = 24_000


@dataclass(frozen=True)
class Segments:
    """Segments (start, stop) in samples at the file's rate, which must be the rate asked for."""

    files: FolderRows[str]
    places: list[tuple[str, int, int]]

    def read(self, row: int, rate: int, start: int = 0, num: int | None = None) -> RowAudio:
        path, first, stop = self.places[row]
        num = stop - first - start if num is None else num
        inside = self.files.read(path, rate, first + start, min(num, stop - first - start))
        padded = np.pad(inside.samples, (0, num - len(inside.samples)))
        return RowAudio(padded, replace(inside.info, num_samples=stop - first))


@pytest.fixture
def samples(tmp_path: Path) -> np.ndarray:
    values = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", values, RATE, subtype="FLOAT")
    return values


def test_a_folder_gives_any_slice_at_any_rate(tmp_path: Path, samples: np.ndarray) -> None:
    rows: AudioRows[str] = FolderRows(tmp_path, lambda name: name)
    whole = rows.read("a.wav", RATE)
    assert np.array_equal(whole.samples, samples)
    assert whole.info == AudioInfo(RATE, RATE, 1)
    half = rows.read("a.wav", RATE // 2, 100, 50).samples
    np.testing.assert_allclose(half, resample(samples, RATE, RATE // 2)[100:150], atol=1e-6)
    assert rows.read("a.wav", RATE, RATE - 3, 5).samples.tolist() == [*samples[-3:].tolist(), 0.0, 0.0]


def test_segments_are_rows_too(tmp_path: Path, samples: np.ndarray) -> None:
    rows: AudioRows[int] = Segments(FolderRows(tmp_path, str), [("a.wav", 0, 1000), ("a.wav", 1000, 1500)])
    assert np.array_equal(rows.read(1, RATE).samples, samples[1000:1500])
    assert rows.read(1, RATE, 498, 4).samples.tolist() == [*samples[1498:1500].tolist(), 0.0, 0.0]
    assert rows.read(1, RATE).info.num_samples == 500


def test_other_endings_checks_and_paths_that_leave_the_folder(tmp_path: Path, samples: np.ndarray) -> None:
    assert FolderRows(tmp_path, str, (".flac", ".wav")).file("a.mp3") == tmp_path / "a.wav"
    with pytest.raises(DataError, match=r"no target file \(\.flac\) for a\.mp3"):
        FolderRows(tmp_path, str, (".flac",)).file("a.mp3")
    with pytest.raises(DataError, match="unsafe path"):
        FolderRows(tmp_path, str).read("../a.wav", RATE)

    def refuse(row: str, file: Path, info: AudioInfo) -> None:
        raise DataError(f"{row} {file.name} {info.num_samples}")

    with pytest.raises(DataError, match=f"a.wav a.wav {RATE}"):
        FolderRows(tmp_path, str, check=refuse).read("a.wav", RATE)


def test_the_rows_of_a_manifest(manifest: Manifest) -> None:
    for row in manifest.rows[:3]:
        audio = manifest_rows(manifest).read(row, row.rate)
        assert (audio.info.num_samples, len(audio.samples)) == (row.num_samples, row.num_samples)
