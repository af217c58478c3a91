"""Files are measured by decoding them: what is cut off, miscounted or out of scale gets one verdict from every verb."""

import io
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.data.files.decoding import check_usable, measure_audio
from snac_exp.data.files.reading import read_mono
from snac_exp.data.prepared.manifest import REJECTED_NAME
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.tokens.codecs import SnacTokens
from snac_exp.data.tokens.encoding import encode_folder
from snac_exp.errors import DataError
from snac_exp.release.files.audio import open_source

RATE = 24_000
KINDS = {"wav": ("WAV", "PCM_16"), "aiff": ("AIFF", "PCM_16"), "ogg": ("OGG", "VORBIS"), "mp3": ("MP3", None)}


def noise(num: int = 2 * RATE, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (num, channels))


def encoded(samples: np.ndarray, kind: str = "wav", subtype: str | None = None, rate: int = RATE) -> bytes:
    """The bytes of an audio file of samples (num, channels)."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=KINDS[kind][0], subtype=subtype or KINDS[kind][1])
    return file.getvalue()


def with_size(size: int, data: bytes) -> bytes:
    """A WAV file whose header says that there are so many bytes of samples."""
    place = data.index(b"data") + 4
    return data[:place] + struct.pack("<I", size) + data[place + 4 :]


def last_page_cut(data: bytes) -> bytes:
    return data[: data.rindex(b"OggS")]


def first_frame_cut(data: bytes) -> bytes:
    """An MP3 without the frame that holds the Xing header."""
    return data[data.index(b"\xff\xf3", data.index(b"Xing")) :]


def antiphase(num: int = 2 * RATE) -> np.ndarray:
    return noise(num) * [1.0, -1.0] + 1e-3 * noise(num, 2)


def one_huge(samples: np.ndarray, value: float) -> np.ndarray:
    samples[1234] = value
    return samples


def silent_at_first() -> np.ndarray:
    samples = noise()
    samples[:1000] = 0
    return samples


def letters_first() -> np.ndarray:
    """16-bit samples whose first bytes read "abcd"."""
    samples = noise()
    samples[:2, 0] = np.frombuffer(b"abcd", "<i2") / 2**15
    return samples


def rf64_of_no_bytes(samples: np.ndarray) -> bytes:
    """An RF64 file that was never closed: the sizes in its ds64 chunk are 0."""
    data = encoded(samples)
    place = data.index(b"fmt ")
    return b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0" + bytes(28) + with_size(0xFFFFFFFF, data)[place:]


def ssnd_of_no_bytes(data: bytes) -> bytes:
    place = data.index(b"SSND") + 4
    return data[:place] + bytes(4) + data[place + 4 :]


BAD: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "halved wav": (
        "wav",
        lambda: (data := encoded(noise()))[: len(data) // 2],
        "cut off: 48,022 bytes of the 96,044",
    ),
    "halved aiff": ("aiff", lambda: (data := encoded(noise(), "aiff"))[: len(data) // 2], "is cut off"),
    "halved ogg": ("ogg", lambda: (data := encoded(noise(), "ogg"))[: len(data) // 2], "is cut off"),
    "ogg without its last page": ("ogg", lambda: last_page_cut(encoded(noise(), "ogg")), "not marked as the last one"),
    "halved mp3": ("mp3", lambda: (data := encoded(noise(), "mp3"))[: len(data) // 2], "is cut off"),
    "mp3 without its header": ("mp3", lambda: first_frame_cut(encoded(noise(), "mp3")), "without a Xing header"),
    "wav of 2e9 bytes": ("wav", lambda: with_size(2_000_000_000, encoded(noise())), "is cut off"),
    "wav of no bytes": ("wav", lambda: with_size(0, encoded(noise())), "96,000 bytes follow the samples"),
    "wav that counts too little": ("wav", lambda: with_size(1000, encoded(noise())), "95,000 bytes follow"),
    "wav of no bytes, silent at first": (
        "wav",
        lambda: with_size(0, encoded(silent_at_first())),
        "96,000 bytes follow the samples",
    ),
    "wav of no bytes that begins with letters": (
        "wav",
        lambda: with_size(0, encoded(letters_first())),
        "96,000 bytes follow the samples",
    ),
    "rf64 of no bytes": ("wav", lambda: rf64_of_no_bytes(noise()), "96,000 bytes follow the samples"),
    "aiff of no bytes": ("aiff", lambda: ssnd_of_no_bytes(encoded(noise(), "aiff")), "bytes follow the samples"),
    "channels that cancel out but for a click": (
        "wav",
        lambda: encoded(one_huge(antiphase(), 0.9)),
        "their sum has -34 dB of their energy, and their mono mix peaks at 9.00e-01",
    ),
    "channels that cancel out": ("wav", lambda: encoded(antiphase()), "the channels cancel out"),
    "a sample of 1e29": ("wav", lambda: encoded(one_huge(noise(), 1e29), subtype="FLOAT"), "sample 1234 is 1e+29"),
    "16-bit scale": ("wav", lambda: encoded(noise() * 13000, subtype="FLOAT"), "samples in 16-bit scale, divide them"),
    "infinity at the end": ("wav", lambda: encoded(one_huge(noise(1300), np.inf), subtype="FLOAT"), "NaN or infinity"),
}


@pytest.mark.parametrize("name", BAD)
def test_every_verb_comes_to_the_same_verdict(name: str, tmp_path: Path, codec: LoadedCodec) -> None:
    suffix, make, reason = BAD[name]
    folder = tmp_path / "audio"
    for speaker in ("s0", "s1"):
        (folder / speaker).mkdir(parents=True)
        (folder / speaker / "good.wav").write_bytes(encoded(noise() * (0.5 if speaker == "s0" else 1)))
    bad = folder / "s0" / f"bad.{suffix}"
    bad.write_bytes(make())
    summary = prepare(folder, tmp_path / "prepared", num_workers=1)
    assert sum(summary.num_rows.values()) == 2
    (row,) = pq.read_table(tmp_path / "prepared" / REJECTED_NAME).to_pylist()
    assert row["path"] == f"s0/bad.{suffix}"
    assert reason in row["reason"]
    made = encode_folder(SnacTokens(codec), folder, tmp_path / "tokens")
    assert (made.num_made, len(made.rejected)) == (2, 1)
    said = {made.rejected[0].reason}
    for read in (check_usable, lambda path: open_source(path).__enter__(), lambda path: read_mono(path, RATE)):
        with pytest.raises(DataError) as caught:
            read(bad)
        said.add(str(caught.value))
    assert said == {f"{bad}: {row['reason']}"}


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_a_size_that_was_never_filled_in_is_counted(size: int, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(with_size(size, encoded(noise())))
    assert check_usable(tmp_path / "a.wav").num_samples == 2 * RATE


def test_chunks_and_padding_behind_the_samples_are_no_samples(tmp_path: Path) -> None:
    for tail in (b"LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf58.29.100\0", b"\0" * 512):
        (tmp_path / "a.wav").write_bytes(encoded(noise()) + tail)
        assert check_usable(tmp_path / "a.wav").num_samples == 2 * RATE


def test_levels_are_of_all_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loudest sample lies in a block that is not full; every block counts what was read."""
    samples = 0.1 * noise(2500, 2)
    samples[2400] = [0.75, 0.25]
    (tmp_path / "a.wav").write_bytes(encoded(samples, subtype="FLOAT"))
    monkeypatch.setattr("snac_exp.data.files.decoding.BLOCK_SAMPLES", 1000)
    info, levels = measure_audio(tmp_path / "a.wav")
    assert (info.num_samples, info.num_channels) == (2500, 2)
    assert (levels.peak, levels.channel_peak, levels.peak_at) == (0.5, 0.75, 2400)


def test_one_channel_of_many_may_be_alone(tmp_path: Path) -> None:
    samples = np.zeros((RATE, 16))
    samples[:, 3] = noise(RATE)[:, 0]
    (tmp_path / "a.wav").write_bytes(encoded(samples))
    assert check_usable(tmp_path / "a.wav").num_channels == 16


def test_a_journal_of_other_rules_is_measured_again(tmp_path: Path) -> None:
    for name in ("s0", "s1"):
        (tmp_path / "audio" / name).mkdir(parents=True)
        (tmp_path / "audio" / name / "a.wav").write_bytes(encoded(noise() * (0.5 if name == "s0" else 1)))
    prepare(tmp_path / "audio", tmp_path / "out", num_workers=1)
    journal = tmp_path / "out" / "scan.jsonl"
    lines = journal.read_text().splitlines()
    old = json.dumps({"input": str(tmp_path / "audio")})
    facts = [line.replace('"problem": null', '"finite": true') for line in lines[1:]]
    journal.write_text("\n".join([old, *facts, ""]))
    assert prepare(tmp_path / "audio", tmp_path / "out", num_workers=1).num_known == 0
    assert prepare(tmp_path / "audio", tmp_path / "out", num_workers=1).num_known == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vbr_no_xing_60s.mp3", "an MP3 without a Xing header"),
        ("vbr_quiet_start_no_xing_33s.mp3", "an MP3 without a Xing header"),
        ("one_sample_1e29.wav", "is 1e+29, full scale is 1"),
        ("float_in_int16_scale.wav", "samples in 16-bit scale"),
    ],
)
def test_files_that_users_report(name: str, reason: str, shared_data: Path) -> None:
    path = shared_data / "reports" / name
    if not path.is_file():
        pytest.skip("needs real audio: set SNAC_EXP_SHARED to a folder that holds data/")
    with pytest.raises(DataError, match=re.escape(reason)):
        check_usable(path)
