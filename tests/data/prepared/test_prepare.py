"""From a folder to a manifest: nothing is lost, nothing is overwritten, and what is not used is listed."""

import csv
import math
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from snac_exp.data.files import scan
from snac_exp.data.files.reading import read_mono
from snac_exp.data.measuring import measuring
from snac_exp.data.measuring.journal import JOURNAL_NAME
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.places import safe_join
from snac_exp.data.prepared.prepare import PrepareSummary, prepare
from snac_exp.errors import ConfigError, DataError
from tests.data.prepared.folders import small_corpus, write


def rejected(folder: Path) -> dict[str, tuple[str, str]]:
    return {row["path"]: (row["kind"], row["reason"]) for row in pq.read_table(folder / "rejected.parquet").to_pylist()}


def test_rows_say_what_the_files_are(tmp_path: Path) -> None:
    small_corpus(tmp_path / "in")
    summary = prepare(tmp_path / "in", tmp_path / "out", train_ratio=0.8, num_workers=1)
    manifest = Manifest.read(tmp_path / "out")
    assert manifest.input_dir == (tmp_path / "in").resolve()
    assert manifest.settings["train_ratio"] == 0.8
    assert [row.path for row in manifest.rows] == [f"speaker{s}/{i}.wav" for s in range(6) for i in range(3)]
    row = manifest.rows[4]
    samples, rate = soundfile.read(manifest.recording(row).path)
    assert (row.rate, row.channels, row.num_samples, row.seconds) == (rate, 1, len(samples), 0.4)
    assert row.peak == pytest.approx(np.abs(samples).max(), abs=1e-4)
    assert row.speaker == "speaker1"
    assert summary.num_rows == dict(Counter(row.split for row in manifest.rows))
    assert sum(summary.seconds.values()) == pytest.approx(6 * 1.2)
    assert (summary.num_files, summary.num_known, summary.rejected) == (18, 0, {})


def test_s08_bad_files_are_listed_and_counted(tmp_path: Path) -> None:
    folder = small_corpus(tmp_path / "in", speakers=3)
    write(folder / "speaker0" / "short.wav", seconds=0.1)
    soundfile.write(folder / "speaker1" / "silent.wav", np.full(16000, 1e-6), 16000, subtype="FLOAT")
    soundfile.write(folder / "speaker1" / "nan.wav", np.array([0.1, np.nan] * 9000), 16000, subtype="FLOAT")
    soundfile.write(folder / "speaker2" / "none.wav", np.zeros(0), 16000)
    (folder / "speaker2" / "text.WAV").write_text("not audio")
    whole = write(folder / "cut.flac", seconds=3)
    whole.write_bytes(whole.read_bytes()[:20_000])
    shutil.copy(folder / "speaker0" / "1.wav", folder / "speaker2" / "copy.wav")
    (folder / "speaker2" / "link.wav").symlink_to(folder / "speaker0" / "2.wav")
    (folder / "speaker2" / "broken link.wav").symlink_to(folder / "nowhere.wav")
    (folder / "speaker0" / "notes.txt").write_text("no audio by its name")
    (folder / os.fsdecode(b"latin1-\xe9.wav")).write_bytes((folder / "speaker0" / "0.wav").read_bytes())
    summary = prepare(folder, tmp_path / "out")
    found = rejected(tmp_path / "out")
    assert {path: kind for path, (kind, _) in found.items()} == {
        "cut.flac": "unreadable",
        "latin1-\\xe9.wav": "file_name",
        "speaker0/short.wav": "too_short",
        "speaker1/nan.wav": "not_finite",
        "speaker1/silent.wav": "silent",
        "speaker2/broken link.wav": "unreadable",
        "speaker2/copy.wav": "duplicate",
        "speaker2/link.wav": "duplicate",
        "speaker2/none.wav": "empty",
        "speaker2/text.WAV": "unreadable",
    }
    assert found["speaker2/copy.wav"][1] == "duplicate of speaker0/1.wav"
    assert found["speaker0/short.wav"][1] == "0.1000 s, less than min_seconds=0.25"
    assert sum(summary.rejected.values()) == 10
    assert summary.num_files == 19 == sum(summary.num_rows.values()) + sum(summary.rejected.values())
    assert any("duplicate 2" in line for line in summary.lines)


def test_a_folder_without_usable_audio_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="no audio files below it"):
        prepare(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "a.wav").write_text("x")
    with pytest.raises(DataError, match=r"none of 1 files is usable \(unreadable 1\), first: .*not readable"):
        prepare(tmp_path / "in", tmp_path / "out")
    with pytest.raises(DataError, match="no such folder"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(DataError, match=r"a\.wav is a file of text, not a folder of audio; input= names one"):
        prepare(tmp_path / "in" / "a.wav", tmp_path / "out")
    with pytest.raises(ConfigError, match="speaker_level=0"):
        prepare(tmp_path / "in", tmp_path / "out", speaker_level=0)


def test_a_second_run_reads_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_corpus(tmp_path / "in")
    first = prepare(tmp_path / "in", tmp_path / "out", num_workers=1)
    before = (tmp_path / "out" / "manifest.parquet").read_bytes()
    measured: list[str] = []
    measure = scan.measure
    monkeypatch.setattr(measuring, "measure", lambda folder, path: measured.append(path) or measure(folder, path))
    assert prepare(tmp_path / "in", tmp_path / "out", num_workers=1).num_known == first.num_files == 18
    assert measured == []
    assert (tmp_path / "out" / "manifest.parquet").read_bytes() == before
    write(tmp_path / "in" / "speaker0" / "0.wav", seconds=0.9, seed=77)
    write(tmp_path / "in" / "speaker0" / "new.wav", seed=78)
    prepare(tmp_path / "in", tmp_path / "out", num_workers=1)
    assert measured == ["speaker0/0.wav", "speaker0/new.wav"]
    assert Manifest.read(tmp_path / "out").rows[0].seconds == 0.9


def test_a_killed_run_is_taken_up_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_corpus(tmp_path / "in")
    prepare(tmp_path / "in", tmp_path / "whole", num_workers=1)
    measured: list[str] = []
    measure = scan.measure

    def measure_ten(folder: Path, path: str) -> scan.FileMeasurement:
        if len(measured) == 10:
            raise KeyboardInterrupt
        measured.append(path)
        return measure(folder, path)

    monkeypatch.setattr(measuring, "measure", measure_ten)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "in", tmp_path / "out", num_workers=1)
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    journal = tmp_path / "out" / JOURNAL_NAME
    journal.write_bytes(journal.read_bytes()[:-30])  # the last line was cut off
    monkeypatch.setattr(measuring, "measure", measure)
    assert prepare(tmp_path / "in", tmp_path / "out", num_workers=1).num_known == 9
    assert prepare(tmp_path / "in", tmp_path / "out", num_workers=1).num_known == 18
    for name in ("manifest.parquet", "rejected.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_processes_find_what_one_finds(tmp_path: Path) -> None:
    small_corpus(tmp_path / "in", speakers=12)
    prepare(tmp_path / "in", tmp_path / "one", num_workers=1)
    prepare(tmp_path / "in", tmp_path / "two", num_workers=2)
    assert (tmp_path / "one" / "manifest.parquet").read_bytes() == (tmp_path / "two" / "manifest.parquet").read_bytes()


def test_other_settings_do_not_overwrite_a_manifest(tmp_path: Path) -> None:
    small_corpus(tmp_path / "in")
    prepare(tmp_path / "in", tmp_path / "out")
    before = (tmp_path / "out" / "manifest.parquet").read_bytes()
    with pytest.raises(DataError, match=r"seed was 0, is 1; min_seconds was 0\.25, is 0\.5.*choose another output"):
        prepare(tmp_path / "in", tmp_path / "out", seed=1, min_seconds=0.5)
    small_corpus(tmp_path / "in2")
    with pytest.raises(DataError, match=r"input was .*in, is .*in2"):
        prepare(tmp_path / "in2", tmp_path / "out")
    (tmp_path / "out" / "manifest.parquet").unlink()
    with pytest.raises(DataError, match="belongs to the input folder"):
        prepare(tmp_path / "in2", tmp_path / "out")
    prepare(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "manifest.parquet").read_bytes() == before


@pytest.mark.parametrize("name", ["a b", "a,b=c", 'it\'s "quoted"', "صوت", "~x", "back\\slash", "[x]", "new\nline"])
def test_any_path_works(tmp_path: Path, name: str) -> None:
    for speaker in range(2):
        write(tmp_path / name / f"{name}{speaker}" / f"{name}.wav", seed=speaker)
    prepare(tmp_path / name, tmp_path / f"{name} out")
    manifest = Manifest.read(tmp_path / f"{name} out")
    assert [row.path for row in manifest.rows] == [f"{name}{speaker}/{name}.wav" for speaker in range(2)]
    assert len(read_mono(manifest.recording(manifest.rows[0]).path, 24000)) == 24000


def test_linked_folders_are_searched_once_and_loops_end(tmp_path: Path) -> None:
    small_corpus(tmp_path / "elsewhere", speakers=2, files=1)
    write(tmp_path / "in" / "speaker9" / "0.wav", seed=9)
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "speaker9" / "loop").symlink_to(tmp_path / "in")
    assert scan.find_audio(tmp_path / "in", skip=tmp_path / "out") == [
        "linked/speaker0/0.wav",
        "linked/speaker1/0.wav",
        "speaker9/0.wav",
    ]
    assert scan.find_audio(tmp_path / "in", skip=tmp_path / "in" / "linked" / "speaker1") == [
        "linked/speaker0/0.wav",
        "speaker9/0.wav",
    ]


def test_paths_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    small_corpus(tmp_path / "in", speakers=2, files=1)
    prepare(tmp_path / "in", tmp_path / "out")
    good = Manifest.read(tmp_path / "out")
    for bad in ("../x.wav", "/etc/x.wav", "a/../../x.wav", ""):
        with pytest.raises(DataError, match="unsafe path"):
            safe_join(tmp_path, bad)
        rows = [
            type(good.rows[0])(**{name: getattr(good.rows[0], name) for name in good.rows[0].__slots__} | {"path": bad})
        ]
        good.with_rows(rows).write(tmp_path / "bad.parquet")
        with pytest.raises(DataError, match="unsafe path"):
            Manifest.read(tmp_path / "bad.parquet")


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no manifest there; make one with: snac-exp prepare"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.parquet").write_text("x")
    with pytest.raises(DataError, match="not a readable manifest"):
        Manifest.read(tmp_path)


@pytest.fixture(scope="module")
def odd(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PrepareSummary]:
    output = tmp_path_factory.mktemp("odd")
    return output, prepare(shared_data / "odd", output, split="file", train_ratio=0.8)


@pytest.mark.slow
def test_s08_odd_files_are_used_or_refused_as_expected(shared_data: Path, odd: tuple[Path, PrepareSummary]) -> None:
    (output, summary), files = odd, shared_data / "odd"
    with open(files / "manifest.csv", newline="", encoding="utf-8") as file:
        expected = {row["file"]: row["expected"] for row in csv.DictReader(file)}
    used = {row.path: row for row in Manifest.read(output).rows}
    refused = rejected(output)
    assert len(used) + len(refused) == summary.num_files
    assert set(used) | set(refused) == set(expected)
    by_policy = {
        "short_50ms.wav": "too_short",
        "short_5ms.wav": "too_short",
        "one_sample.wav": "too_short",
        "silent_2s.wav": "silent",
        "lsb_dither_2s.wav": "silent",
        "speech.mp3": "duplicate",
    }
    for name, expectation in expected.items():
        if name in refused:
            assert refused[name][0] == by_policy.get(name, refused[name][0])
            assert name in by_policy or "refus" in expectation, (name, refused[name])
        else:
            assert "decode" in expectation, name
            samples = read_mono(files / name, 24000)
            assert np.isfinite(samples).all()
            assert len(samples) == math.ceil(used[name].num_samples * 24000 / used[name].rate)
    assert {name: kind for name, (kind, _) in refused.items() if name not in by_policy} == {
        "zero_samples.wav": "empty",
        "truncated.wav": "unreadable",
        "float_nan_inf.wav": "not_finite",
        "truncated.flac": "unreadable",
        "corrupt_frames.flac": "unreadable",
        "random_bytes.wav": "unreadable",
        "empty.wav": "unreadable",
        "text.wav": "unreadable",
    }
