"""What is listed of a source, and what is said of one that cannot be read."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from snac_exp.data.files.reading import read_channels
from snac_exp.data.prepared.manifest import REJECTED_NAME, Manifest
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.rejection import read_rejections
from snac_exp.data.sources.hub import HubOptions
from snac_exp.data.sources.opening import SourceOptions
from snac_exp.errors import ConfigError, DataError
from tests.data.sources.kinds import (
    LEAD,
    RATE,
    Utterance,
    jsonl,
    lhotse,
    prepared,
    segments,
    table_of,
    write_tar,
)


def test_segments_are_cut_from_their_files(rows: list[Utterance], tmp_path: Path) -> None:
    prepared(segments(tmp_path, rows), tmp_path / "out")
    manifest = Manifest.read(tmp_path / "out")
    first = next(row for row in manifest.rows if row.columns["text"] == rows[0].text)
    assert first.path == f"voice0.flac/{round(LEAD / 16):08d}-{round(LEAD / 16) + 500:08d}"
    assert first.place.segment is not None
    assert first.place.segment.start == LEAD
    by_text = {row.text: row for row in rows}
    for row in manifest.rows:
        own, rate = soundfile.read(by_text[row.columns["text"]].file, dtype="float32")
        assert np.array_equal(read_channels(manifest.recording(row))[0][:, 0], own)
        assert (row.num_samples, row.rate, row.peak) == (len(own), rate, np.abs(own).max())


def test_a_list_says_what_lies_outside_of_its_files(rows: list[Utterance], tmp_path: Path) -> None:
    """Offsets beyond the end, missing files and segments listed twice are rejected rows, rounded ends are not."""
    path = str(rows[0].file)
    lines = [
        {"path": path, "offset": 0.2, "duration": 0.31},
        {"path": path, "offset": 9.0, "duration": 1.0},
        {"path": path, "offset": 0.4, "duration": 0},
        {"path": path, "offset": 0.1, "duration": 0.304, "who": {"age": 3}},
        {"path": path, "offset": 0.1, "duration": 0.304, "who": None},
        {"path": str(tmp_path / "none.wav")},
        {"path": str(rows[1].file), "duration": 0.51},
        {"path": str(rows[2].file), "duration": 0.3},
        {"path": str(rows[3].file), "duration": 3},
    ]
    prepared(jsonl(tmp_path / "list.jsonl", *lines), tmp_path / "out")
    manifest = Manifest.read(tmp_path / "out")
    assert {(Path(row.path).name, row.num_samples) for row in manifest.rows} == {
        ("00000200-00000510", 4800),
        ("00000100-00000404", 4864),
        ("utt1.wav", RATE // 2 + 1),
        ("utt2.wav", 4800),
    }
    assert {row.columns["who"] for row in manifest.rows} == {None, '{"age": 3}'}
    kinds = {
        Path(item.path).name: (item.kind, item.reason) for item in read_rejections(tmp_path / "out" / REJECTED_NAME)
    }
    assert kinds["00009000-00010000"] == ("unreadable", "from 9 s to 10 s is not within the 0.5 s that the file has")
    assert kinds["00000400-00000400"][1] == "a segment of 0 s has no audio; give its length, or leave the row out"
    assert kinds["00000100-00000404~2"][0] == "duplicate"
    assert kinds["none.wav"][0] == "unreadable"
    assert kinds["utt3.wav"][1].startswith("from 0 s to 3 s is not within")


def test_columns_keep_their_types_and_never_take_names_of_ours(rows: list[Utterance], tmp_path: Path) -> None:
    lines = [
        {"wav": str(row.file), "snr": 3 + n / 2, "clean": n > 1, "n": n, "seconds": "x"} for n, row in enumerate(rows)
    ]
    prepared(jsonl(tmp_path / "list.jsonl", *lines), tmp_path / "out")
    columns = Manifest.read(tmp_path / "out").rows[3].columns
    assert columns == {"snr": 4.5, "clean": True, "n": 3, "given_seconds": "x"}


def test_a_second_run_reads_only_rows_that_are_new(rows: list[Utterance], tmp_path: Path) -> None:
    lines = [{"path": str(row.file), "text": "a"} for row in rows]
    path = jsonl(tmp_path / "list.jsonl", *lines[:3])
    assert prepared(path, tmp_path / "out").num_known == 0
    jsonl(path, *[{**line, "text": "b"} for line in lines])
    again = prepared(path, tmp_path / "out")
    assert (again.num_files, again.num_known) == (4, 3)
    assert {row.columns["text"] for row in Manifest.read(tmp_path / "out").rows} == {"b"}
    jsonl(path, *[{**line, "duration": 0.3} for line in lines])  # of the same names
    assert prepared(path, tmp_path / "out").num_known == 0
    assert {row.num_samples for row in Manifest.read(tmp_path / "out").rows} == {4800}
    with pytest.raises(DataError, match=r"columns was None, is \{'text': 'path'\}\); choose another"):
        prepared(path, tmp_path / "out", SourceOptions({"text": "path"}))


LISTS = {
    "no json": (["{"], r"list\.jsonl, line 1: not valid JSON"),
    "no object": (["[1]"], r"list\.jsonl, line 1: JSON, but no object"),
    "no audio": (
        [{"a": 1, "b": 2}],
        r"a list without a column of audio files: columns are a, b; name it with",
    ),
    "an empty path": ([{"path": "a.wav"}, {"path": " "}], r"list\.jsonl, line 2: path=' ' names no audio file"),
    "no number": ([{"path": "a.wav", "offset": "soon"}], r"line 1: offset='soon' is not a number of seconds"),
    "below zero": ([{"path": "a.wav", "offset": -1}], r"line 1: offset=-1 is negative"),
    "an address": ([{"path": "s3://a/b.wav"}], r"s3://a/b\.wav is an address"),
    "nothing": ([], r"list without a column of audio files: columns are none"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_that_cannot_be_read_names_the_line(kind: str, tmp_path: Path) -> None:
    lines, message = LISTS[kind]
    with pytest.raises(DataError, match=message):
        prepared(jsonl(tmp_path / "list.jsonl", *lines), tmp_path / "out")


def test_other_lists_and_options_are_refused_by_name(rows: list[Utterance], tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,text\na.wav\n")
    with pytest.raises(DataError, match=r"list\.csv, line 2: not as many values as the first line has names"):
        prepared(tmp_path / "list.csv", tmp_path / "out")
    path = jsonl(tmp_path / "list.jsonl", {"path": str(rows[0].file)})
    with pytest.raises(DataError, match=r"no column 'clip' \(columns\.audio\); columns are path"):
        prepared(path, tmp_path / "out", SourceOptions({"audio": "clip"}))
    with pytest.raises(DataError, match="audio_root: no folder"):
        prepared(path, tmp_path / "out", SourceOptions(audio_root=str(tmp_path / "none")))
    with pytest.raises(ConfigError, match="columns means nothing for a folder of audio files"):
        prepared(rows[0].file.parent, tmp_path / "out", SourceOptions({"audio": "clip"}))
    with pytest.raises(ConfigError, match=r"hub\.revision and hub\.stream belong to input=hf://"):
        prepared(path, tmp_path / "out", SourceOptions(hub=HubOptions(split="train")))


def test_what_exists_but_is_no_source_is_named(rows: list[Utterance], tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "mel": [[1.0]]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a file of Parquet without an audio column: columns are text, mel"):
        prepared(tmp_path / "a.parquet", tmp_path / "out")
    (tmp_path / "b.parquet").write_text("x")
    with pytest.raises(DataError, match=r"b\.parquet: damaged, or no parquet"):
        prepared(tmp_path / "b.parquet", tmp_path / "out")
    with pytest.raises(DataError, match=r"c\.tar: a tar without audio: its files are \.npy, \.txt"):
        prepared(write_tar(tmp_path / "c.tar", a_npy=b"x", a_txt=b"y"), tmp_path / "out")
    tar = write_tar(tmp_path / "d.tar", a_wav=rows[0].file.read_bytes(), a_json=b"[]")
    with pytest.raises(DataError, match=r"d\.tar/a\.json: JSON, but no object"):
        prepared(tar, tmp_path / "out")
    tar.write_bytes(tar.read_bytes()[:9000])
    with pytest.raises(DataError, match=r"d\.tar: (is cut off|not readable as a tar)"):
        prepared(tar, tmp_path / "out")
    (tmp_path / "e.tar.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(DataError, match=r"is a file of gzip that is compressed: unpack it first"):
        prepared(tmp_path / "e.tar.gz", tmp_path / "out")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "metadata.csv").write_text("x")
    with pytest.raises(DataError, match=r"no audio files below it .*metadata\.csv there may be a list of them: input="):
        prepared(tmp_path / "in", tmp_path / "out")


def test_what_a_user_may_not_have_meant_is_told(rows: list[Utterance], tmp_path: Path) -> None:
    """Mistyped columns, files that are not there, overlaps of training and validation, splits that are not kept."""
    path = str(rows[0].file)
    lines = [{"path": path, "offest": 0.1, "duration": 0.3 + 0.01 * number, "split": "test"} for number in range(4)]
    source = jsonl(tmp_path / "list.jsonl", *lines, {"path": "none.wav", "split": "train"})
    said = "\n".join(prepared(source, tmp_path / "out").lines)
    assert "columns: audio = path, duration, split; kept as they are: offest" in said
    wanted = "if it is the offset, prepare again with 'columns={offset: offest}'"
    assert f"warning: column offest is not read as offset; {wanted}" in said.splitlines()
    assert "warning: 1 of 5 lines have no duration: their audio goes to the end of the file" in said.splitlines()
    assert "the source's own splits (test 4, train 1) are left aside" in said
    assert f"none.wav: no such file: {tmp_path / 'none.wav'}" in said
    assert "validating rows overlap training rows of the same file" in said
    (tmp_path / "audio").mkdir()
    for row in rows[:2]:
        (tmp_path / "audio" / row.name).with_suffix(row.file.suffix).write_bytes(row.file.read_bytes())
    jsonl(tmp_path / "audio" / "metadata.jsonl", {"path": path})
    told = prepared(tmp_path / "audio", tmp_path / "whole").lines
    assert told[0].startswith(f"{tmp_path / 'audio' / 'metadata.jsonl'} is not read")
    assert not any("overlap" in line or "splits" in line for line in told)


def test_what_is_prepared_is_no_source(rows: list[Utterance], tmp_path: Path) -> None:
    pq.write_table(table_of(rows), tmp_path / "a.parquet")
    prepared(tmp_path / "a.parquet", tmp_path / "out")
    for source in (tmp_path / "out", tmp_path / "out" / "manifest.parquet"):
        with pytest.raises(DataError, match=r"out is prepared already: go on with snac-exp cache-codes data="):
            prepared(source, tmp_path / "again")
    for folder, said in ((tmp_path, "if it holds audio, prepare it first"), (tmp_path / "none", "make one with")):
        with pytest.raises(DataError, match=f"no manifest there; {said}"):
            Manifest.read(folder)


def test_splits_of_a_source_are_kept(rows: list[Utterance], tmp_path: Path) -> None:
    """By the names of tables, or by a column; what is to be tested on neither trains nor validates."""
    table = table_of(rows)
    for number, name in enumerate(("train-00000-of-00001", "validation-00000-of-00001", "test-00000-of-00001")):
        pq.write_table(table.slice(number, 2 if number == 2 else 1), tmp_path / f"{name}.parquet")
    prepare(tmp_path, tmp_path / "out", split="given", num_workers=1)
    assert {row.path[:8]: row.split for row in Manifest.read(tmp_path / "out").rows} == {
        "train-00": "train",
        "validati": "validation",
    }
    listed = read_rejections(tmp_path / "out" / REJECTED_NAME)
    assert {item.reason for item in listed} == {"of split test, which neither trains nor validates"}
    lines = [
        {"path": str(row.file), "split": name} for row, name in zip(rows, ("train", "DEV", "x", None), strict=True)
    ]
    prepare(jsonl(tmp_path / "list.jsonl", *lines), tmp_path / "out2", split="given", num_workers=1)
    assert [(row.split, row.columns) for row in Manifest.read(tmp_path / "out2").rows] == [
        ("train", {"given_split": "train"}),
        ("validation", {"given_split": "DEV"}),
    ]
    with pytest.raises(DataError, match="split=given: no row of the source validates; draw them"):
        prepare(jsonl(tmp_path / "list.jsonl", *lines[:1]), tmp_path / "out3", split="given", num_workers=1)
    with pytest.raises(DataError, match=r"split=given, and no row names a split; draw them with"):
        prepare(rows[0].file.parents[1], tmp_path / "out4", split="given", num_workers=1)


def test_kaldi_commands_and_unknown_recordings_are_refused(rows: list[Utterance], tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_text("a flac -dc a.flac |\n")
    with pytest.raises(DataError, match=r"wav\.scp: a is a command, not a file"):
        prepared(tmp_path, tmp_path / "out")
    (tmp_path / "wav.scp").write_text(f"a\t{rows[0].file}\n")
    (tmp_path / "segments").write_text("u b 0 1\n")
    with pytest.raises(DataError, match=r"segments: u is of b, which wav\.scp does not list"):
        prepared(tmp_path, tmp_path / "out")
    (tmp_path / "segments").write_text("u a zero 1\n")
    with pytest.raises(DataError, match=r"segments: u has 'a zero 1', not a recording, a start and an end"):
        prepared(tmp_path, tmp_path / "out")


@pytest.mark.slow
def test_cuts_are_read_alike_with_and_without_lhotse(
    rows: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = lhotse(tmp_path, rows)
    prepared(cuts, tmp_path / "with")
    monkeypatch.setattr("snac_exp.data.sources.cuts.find_spec", lambda name: None)
    prepared(cuts, tmp_path / "without")
    assert Manifest.read(tmp_path / "with").rows == Manifest.read(tmp_path / "without").rows
    first = json.loads(gzip.decompress(cuts.read_bytes()).splitlines()[0])
    for change, message in (
        ({"type": "MixedCut"}, "is a MixedCut; only a MonoCut is one stretch"),
        ({"supervisions": [{}, {}]}, "has 2 supervisions; split it"),
        ({"recording": {"sources": [{"type": "memory"}]}}, r"is no file \(memory\)"),
    ):
        with pytest.raises(DataError, match=message):
            prepared(jsonl(tmp_path / "bad.jsonl", {**first, **change}), tmp_path / "bad")


def test_a_cut_of_one_of_two_channels_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snac_exp.data.sources.cuts.find_spec", lambda name: None)
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 2)), RATE)
    recording = {"id": "a", "sources": [{"type": "file", "channels": [0, 1], "source": "a.wav"}]}
    cut = {"id": "c", "start": 0, "duration": 1, "channel": 1, "recording": recording, "type": "MonoCut"}
    with pytest.raises(DataError, match="is of channel 1 of 2, and the mean of all is what is read"):
        prepared(jsonl(tmp_path / "cuts.jsonl", cut), tmp_path / "out")
