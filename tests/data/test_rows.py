"""Rows of audio: a file, bytes within another file and a segment of either are read alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from snac_exp.data.files.decoding import AudioInfo
from snac_exp.data.files.reading import audio_blocks, read_channels
from snac_exp.data.files.recording import Bytes, Recording, Segment
from snac_exp.data.files.resampling import resample
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.places import Place
from snac_exp.data.rows import AudioRows, PlacedRows, manifest_rows
from snac_exp.errors import DataError

RATE = 24_000


@pytest.fixture
def samples(tmp_path: Path) -> np.ndarray:
    values = np.random.default_rng(0).uniform(-0.5, 0.5, RATE).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", values, RATE, subtype="FLOAT")
    return values


def test_a_folder_gives_any_slice_at_any_rate(tmp_path: Path, samples: np.ndarray) -> None:
    rows: AudioRows[str] = PlacedRows(tmp_path, Place)
    whole = rows.read("a.wav", RATE)
    assert np.array_equal(whole.samples, samples)
    assert whole.info == AudioInfo(RATE, RATE, 1)
    half = rows.read("a.wav", RATE // 2, 100, 50).samples
    np.testing.assert_allclose(half, resample(samples, RATE, RATE // 2)[100:150], atol=1e-6)
    assert rows.read("a.wav", RATE, RATE - 3, 5).samples.tolist() == [*samples[-3:].tolist(), 0.0, 0.0]


PLACES = {
    "file": Place("a.wav"),
    "bytes": Place("shard.bin", Bytes(512, 0, "a")),
    "segment": Place("a.wav", None, Segment(1000, 9001, RATE)),
    "segment of bytes": Place("shard.bin", Bytes(512, 0, "a"), Segment(1000, 9001, RATE)),
}


@pytest.mark.parametrize("rate", [RATE, 16_000, 44_100])
@pytest.mark.parametrize("kind", PLACES)
def test_every_place_reads_like_a_file_of_its_own(kind: str, rate: int, tmp_path: Path, samples: np.ndarray) -> None:
    """Bit for bit, whole and in slices, beyond the ends, with what lies around it out of sight."""
    data, place = (tmp_path / "a.wav").read_bytes(), PLACES[kind]
    (tmp_path / "shard.bin").write_bytes(b"?" * 512 + data + b"!" * 100)
    if place.within is not None:
        place = replace(place, within=replace(place.within, size=len(data)))
    start, stop = (0, RATE) if place.segment is None else (1000, 9001)
    soundfile.write(tmp_path / "own.wav", samples[start:stop], RATE, subtype="FLOAT")
    rows: AudioRows[Place] = PlacedRows(tmp_path, lambda place: place)
    for first, num in ((0, None), (0, 4000), (3000, 4000), (stop - start - 100, 5000), (50_000, 10)):
        found, own = rows.read(place, rate, first, num), rows.read(Place("own.wav"), rate, first, num)
        assert found.info == own.info == AudioInfo(RATE, stop - start, 1)
        np.testing.assert_array_equal(found.samples, own.samples)
    blocks = list(audio_blocks(place.below(tmp_path), 3000))
    assert {len(block) for block in blocks[:-1]} == {3000}
    np.testing.assert_array_equal(np.concatenate(blocks), samples[start:stop])
    assert np.array_equal(read_channels(place.below(tmp_path))[0][:, 0], samples[start:stop])


def test_files_that_changed_and_bytes_that_are_gone_are_refused(tmp_path: Path, samples: np.ndarray) -> None:
    rows = PlacedRows[Place](tmp_path, lambda place: place)
    with pytest.raises(DataError, match=r"a\.wav: has 24,000 samples, and had 30,000 when its segments were listed"):
        rows.read(Place("a.wav", None, Segment(10, 20, 30_000)), RATE)
    with pytest.raises(DataError, match=r"a\.wav/two: not readable as audio \(.*\): it is a file of a kind"):
        rows.read(Place("a.wav", Bytes(3, 5000, "two")), RATE)
    with pytest.raises(DataError, match=r"a\.wav/two: not readable as audio \(.*\): it is an empty file"):
        rows.read(Place("a.wav", Bytes(10**9, 5000, "two")), RATE)
    with pytest.raises(DataError, match=r"b\.tar: no such file"):
        rows.read(Place("b.tar", Bytes(3, 5000, "two")), RATE)


def test_what_tells_a_segment_from_its_file(tmp_path: Path, samples: np.ndarray) -> None:
    whole, (one, other) = Recording(tmp_path / "a.wav"), (Segment(0, 10, RATE), Segment(5, 10, RATE))
    found = {whole.sha1(), replace(whole, segment=one).sha1(), replace(whole, segment=other).sha1()}
    assert len(found) == 3
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "shard.bin").write_bytes(b"?" + data)
    assert Recording(tmp_path / "shard.bin", Bytes(1, len(data))).sha1() == whole.sha1()


def test_other_endings_checks_and_paths_that_leave_the_folder(tmp_path: Path, samples: np.ndarray) -> None:
    assert PlacedRows(tmp_path, Place, (".flac", ".wav")).recording("a.mp3").path == tmp_path / "a.wav"
    with pytest.raises(DataError, match=r"no target file \(\.flac\) for a\.mp3"):
        PlacedRows(tmp_path, Place, (".flac",)).recording("a.mp3")
    with pytest.raises(DataError, match="unsafe path"):
        PlacedRows(tmp_path, Place).read("../a.wav", RATE)

    def refuse(row: str, recording: Recording, info: AudioInfo) -> None:
        raise DataError(f"{row} {recording.path.name} {info.num_samples}")

    with pytest.raises(DataError, match=f"a.wav a.wav {RATE}"):
        PlacedRows(tmp_path, Place, check=refuse).read("a.wav", RATE)


def test_the_rows_of_a_manifest(manifest: Manifest) -> None:
    for row in manifest.rows[:3]:
        audio = manifest_rows(manifest).read(row, row.rate)
        assert (audio.info.num_samples, len(audio.samples)) == (row.num_samples, row.num_samples)
