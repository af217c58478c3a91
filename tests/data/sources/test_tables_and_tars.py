"""Tables, shards and data sets of the hub: read once, read anew when they change, refused by name when damaged."""

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
from snac_exp.data.sources.streamed import Asked, stream_files
from snac_exp.errors import ConfigError, DataError
from tests.data.sources.kinds import (
    Utterance,
    parquet,
    prepared,
    tars,
    write_tar,
)
from tests.data.sources.stand_in_hub import StandInHub, StreamingHub
from tests.helpers.commands import verb


def test_parquet_is_unpacked_once_and_again_when_it_changes(rows: list[Utterance], tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    parquet(source, rows)
    prepared(source, tmp_path / "out")
    (first, second) = sorted((tmp_path / "out" / "audio").glob("*.tar"))
    stamps = first.stat().st_mtime_ns, second.stat().st_mtime_ns
    assert prepared(source, tmp_path / "out").num_known == 4
    assert stamps == (first.stat().st_mtime_ns, second.stat().st_mtime_ns)
    parquet(source, rows)
    assert prepared(source, tmp_path / "out").num_known == 0
    assert stamps[0] != first.stat().st_mtime_ns


def test_compressed_arrow_is_refused_and_rows_without_audio_are_rejected(rows: list[Utterance], tmp_path: Path) -> None:
    audio = pa.array(
        [{"bytes": rows[0].file.read_bytes(), "path": None}, {"bytes": None, "path": None},
         {"bytes": rows[1].file.read_bytes(), "path": None}],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )  # fmt: skip
    table = pa.table({"audio": audio})
    for name, compression in (("plain", None), ("squeezed", "zstd")):
        options = pa.ipc.IpcWriteOptions(compression=compression)
        with pa.ipc.new_file(str(tmp_path / f"{name}.arrow"), table.schema, options=options) as out:
            out.write_table(table)
    assert prepared(tmp_path / "plain.arrow", tmp_path / "out").rejected == {"unreadable": 1}
    (item,) = read_rejections(tmp_path / "out" / REJECTED_NAME)
    assert (item.path, item.reason) == ("plain.arrow/00000001", "has neither bytes nor a path")
    with pytest.raises(DataError, match=r"squeezed\.arrow: its bytes are compressed"):
        prepared(tmp_path / "squeezed.arrow", tmp_path / "out2")


@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_an_empty_recording_takes_none_of_the_next(kind: str, rows: list[Utterance], tmp_path: Path) -> None:
    """Both begin at one byte."""
    contents = [rows[0].file.read_bytes(), b"", *(row.file.read_bytes() for row in rows[1:3])]
    audio = pa.array(
        [{"bytes": content, "path": f"{number}.wav"} for number, content in enumerate(contents)],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    table, file = pa.table({"audio": audio}), tmp_path / f"in.{kind}"
    if kind == "parquet":
        pq.write_table(table, file)
    else:
        with pa.ipc.new_file(str(file), table.schema) as out:
            out.write_table(table)
    prepared(file, tmp_path / "out")
    kept = {row.path: row.columns["audio_path"] for row in Manifest.read(tmp_path / "out").rows}
    assert kept == {f"in.{kind}/0000000{number}": f"{number}.wav" for number in (0, 2, 3)}
    (item,) = read_rejections(tmp_path / "out" / REJECTED_NAME)
    assert item.path == f"in.{kind}/00000001"


def test_a_key_of_a_tar_without_audio_is_rejected(rows: list[Utterance], tmp_path: Path) -> None:
    contents = {"a_wav": rows[0].file.read_bytes(), "b_wav": rows[1].file.read_bytes(), "c_json": b'{"text": "lost"}'}
    prepared(write_tar(tmp_path / "in.tar", **contents), tmp_path / "out")
    (item,) = read_rejections(tmp_path / "out" / REJECTED_NAME)
    assert (item.path, item.reason) == ("in.tar/c", "its key has no audio file")


def test_rows_of_a_tar_without_speakers_need_a_split_by_file(rows: list[Utterance], tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", a_wav=rows[0].file.read_bytes(), b_wav=rows[1].file.read_bytes())
    with pytest.raises(DataError, match="only 1 speaker to split: unknown; use split=file"):
        prepare(tar, tmp_path / "out", num_workers=1)
    assert prepared(tar, tmp_path / "out2").num_rows == {"train": 1, "validation": 1}


def test_a_tar_that_is_damaged_later_is_refused_by_name(rows: list[Utterance], tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    tars(source, rows)
    prepared(source, tmp_path / "out")
    manifest = Manifest.read(tmp_path / "out")
    row = manifest.rows[0]
    file = manifest.recording(row).path
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(DataError, match=rf"{row.path}: is cut off: 1,488 bytes of"):
        read_channels(manifest.recording(row))


@pytest.mark.slow
def test_a_data_set_of_the_hub(rows: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through `datasets` itself, into its cache of Arrow files, whose bytes are read in place."""
    (tmp_path / "in").mkdir()
    stand_in = StandInHub(parquet(tmp_path / "in", rows), tmp_path / "cache").installed(monkeypatch)
    hub = ("hub.config=default", "hub.split=train", "hub.revision=v1")
    drawn = ("split=file", "train_ratio=0.5", "num_workers=1")
    verb("prepare", "input=hf://me/speech", f"output={tmp_path / 'out'}", *hub, *drawn).succeeded()
    assert stand_in.asked == [("me/speech", "default", "train", "v1")]
    manifest = Manifest.read(tmp_path / "out")
    assert {row.columns["text"]: row.speaker for row in manifest.rows} == {row.text: row.speaker for row in rows}
    assert manifest.settings["input"] == "hf://me/speech"
    assert manifest.settings["hub.revision"] == "v1"
    assert {row.place.file.rpartition(".")[2] for row in manifest.rows} == {"arrow"}
    by_text = {row.text: row.file for row in rows}
    for row in manifest.rows:
        own = soundfile.read(by_text[row.columns["text"]], dtype="float32")[0]
        assert np.array_equal(read_channels(manifest.recording(row))[0][:, 0], own)
    with pytest.raises(DataError, match=r"cannot get the data set 'me/speech' from the hub \(BuilderConfig 'none'"):
        prepared("hf://me/speech", tmp_path / "out2", SourceOptions(hub=HubOptions("none")))
    with pytest.raises(ConfigError, match="must name a whole split"):
        prepared("hf://me/speech", tmp_path / "out3", SourceOptions(hub=HubOptions(split="train[:10]")))
    with pytest.raises(ConfigError, match="is no data set of the hub; write input=hf://OWNER/NAME"):
        prepared("hf://speech", tmp_path / "out3")


def written(path: Path) -> tuple[int, int, int]:
    """Which file it is and when it was written; not when it was read, which is another second each time."""
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


@pytest.mark.slow
def test_a_data_set_streams_and_goes_on_at_the_file_where_it_was(
    rows: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    hub = StreamingHub(parquet(tmp_path / "in", rows), tmp_path / "cache").installed(monkeypatch)
    hub.num_files = 1
    options, output = SourceOptions(hub=HubOptions(split="train", stream=True)), tmp_path / "out"
    with pytest.raises(DataError, match=r"cannot get the data set 'me/speech' from the hub \(no route to host\)"):
        prepared("hf://me/speech", output, options)
    assert sorted(path.name for path in (output / "audio").iterdir()) == ["stream.json", "train-00000-of-00002.arrow"]
    first = written(output / "audio" / "train-00000-of-00002.arrow")
    (output / "audio" / ".train-00001-of-00002.arrow.abcdefgh.tmp").write_bytes(b"half")  # as kill -9 leaves it
    hub.commit, hub.num_files = "2", 99
    prepared("hf://me/speech", output, options)
    assert {item[-1] for item in hub.asked} == {"commit 1"}
    assert written(output / "audio" / "train-00000-of-00002.arrow") == first
    assert list((output / "audio").glob(".*")) == []
    manifest, by_text = Manifest.read(output), {row.text: row for row in rows}
    assert {row.columns["text"]: row.speaker for row in manifest.rows} == {row.text: row.speaker for row in rows}
    assert (manifest.settings["hub.commit"], manifest.settings["hub.stream"]) == ("commit 1", True)
    for row in manifest.rows:
        own = soundfile.read(by_text[row.columns["text"]].file, dtype="float32")[0]
        assert np.array_equal(read_channels(manifest.recording(row))[0][:, 0], own)
    assert list((tmp_path / "cache").rglob("*.arrow")) == []
    num_asked = len(hub.asked)
    assert prepared("hf://me/speech", output, options).num_known == len(rows)
    assert len(hub.asked) == num_asked  # what is here needs no hub
    with pytest.raises(DataError, match="holds the stream of name=me/speech, split=train; choose another output"):
        stream_files(Asked("me/other", None, "train", None), {}, output / "audio")


@pytest.mark.slow
def test_a_stream_with_other_rows_than_its_card_counts_or_without_audio_is_refused(
    rows: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    parquet(tmp_path / "in", rows)
    card = "dataset_info:\n  splits:\n  - name: train\n    num_examples: 5\n    num_bytes: 1\n"
    (tmp_path / "in" / "README.md").write_text(f"---\n{card}---\n")
    StreamingHub(tmp_path / "in", tmp_path / "cache").installed(monkeypatch)
    with pytest.raises(DataError, match="4 rows of split train came, and the data set's card counts 5"):
        prepared("hf://me/speech", tmp_path / "out", SourceOptions(hub=HubOptions(stream=True)))
    asked = Asked("me/speech", None, None, None)
    with pytest.raises(DataError, match=r"without an audio column 'clip': columns are audio, sentence"):
        stream_files(asked, {"audio": "clip"}, tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["stream.json"]


def test_members_whose_names_lead_out_of_the_shard_are_rejected(rows: list[Utterance], tmp_path: Path) -> None:
    contents = [row.file.read_bytes() for row in rows]
    names = ["..__..__a_wav", "b_wav", "c__..__c_wav", "d_wav"]
    source = write_tar(tmp_path / "in.tar", **dict(zip(names, contents, strict=True)))
    assert prepared(source, tmp_path / "out").rejected == {"file_name": 2}
    assert [row.path for row in Manifest.read(tmp_path / "out").rows] == ["in.tar/b.wav", "in.tar/d.wav"]
