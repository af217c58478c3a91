"""One small corpus in every form that `snac-exp prepare` reads."""

import csv
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from snac_exp.data.prepared.prepare import PrepareSummary, prepare
from snac_exp.data.sources.opening import SourceOptions

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
RATE = 16_000
LEAD = 2_345  # samples before the first recording of a long file


@dataclass(frozen=True)
class Utterance:
    """A file of a corpus and what is known of it."""

    file: Path
    speaker: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.speaker}-{self.file.stem}"


def utterances_of(audio: Path) -> list[Utterance]:
    """Those of a folder of speakers, by path."""
    files = sorted(path for path in audio.rglob("*") if path.is_file())
    return [Utterance(file, file.parent.name, f'text of "{number}", as read') for number, file in enumerate(files)]


def table_of(rows: list[Utterance], *, paths: bool = False) -> pa.Table:
    """A table as `datasets` keeps audio: bytes, or paths alone; the speaker is the number of a class."""
    speakers = sorted({row.speaker for row in rows})
    audio = [{"bytes": None if paths else row.file.read_bytes(), "path": str(row.file)} for row in rows]
    columns = {
        "audio": pa.array(audio, AUDIO),
        "sentence": [row.text for row in rows],
        "speaker_id": [speakers.index(row.speaker) for row in rows],
        "duration": [1.0] * len(rows),
    }
    features = {"audio": {"_type": "Audio"}, "speaker_id": {"names": speakers, "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    return pa.table(columns).replace_schema_metadata(metadata)


def parquet(folder: Path, rows: list[Utterance]) -> Path:
    half = len(rows) // 2
    for number, part in enumerate((table_of(rows)[:half], table_of(rows)[half:])):
        pq.write_table(part, folder / f"train-{number:05d}-of-00002.parquet", row_group_size=3)
    return folder


def parquet_of_paths(folder: Path, rows: list[Utterance]) -> Path:
    pq.write_table(table_of(rows, paths=True), folder / "train.parquet")
    return folder / "train.parquet"


def arrow(folder: Path, rows: list[Utterance]) -> Path:
    table = table_of(rows)
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as out,
    ):
        out.write_table(table, max_chunksize=4)
    (folder / "state.json").write_text("{}")
    return folder


def tars(folder: Path, rows: list[Utterance]) -> Path:
    half = len(rows) // 2
    for number in range(2):
        with tarfile.open(folder / f"shard-{number:06d}.tar", "w") as archive:
            for row in (rows[:half], rows[half:])[number]:
                described = json.dumps({"speaker": row.speaker}).encode()
                for ending, data in (
                    (row.file.suffix, row.file.read_bytes()),
                    (".json", described),
                    (".txt", row.text.encode()),
                ):
                    member = tarfile.TarInfo(f"{row.name}{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return folder


def nemo(folder: Path, rows: list[Utterance]) -> Path:
    """Whole files with rounded durations."""
    lines = [
        {
            "audio_filepath": str(row.file),
            "duration": round(soundfile.info(row.file).duration, 2),
            "text": row.text,
            "speaker": row.speaker,
        }
        for row in rows
    ]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "manifest.jsonl"


def tsv(folder: Path, rows: list[Utterance]) -> Path:
    lines = [
        "clip\tvoice\tsentence",
        *(f"{row.file.parent.name}/{row.file.name}\t{row.speaker}\t{row.text}" for row in rows),
    ]
    (folder / "list.tsv").write_text("\n".join(lines) + "\n")
    return folder / "list.tsv"


def comma_separated(folder: Path, rows: list[Utterance]) -> Path:
    """Texts hold commas and quotation marks."""
    with open(folder / "list.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["path", "speaker", "text"])
        out.writerows([row.file, row.speaker, row.text] for row in rows)
    return folder / "list.csv"


def long_files(folder: Path, rows: list[Utterance]) -> list[tuple[Utterance, str, float, float]]:
    """All recordings of a speaker behind one another in one FLAC; each with its file, offset and duration."""
    found: list[tuple[Utterance, str, float, float]] = []
    parts: dict[str, list[np.ndarray]] = {}
    for row in rows:
        samples, rate = soundfile.read(row.file, dtype="int16")
        before = parts.setdefault(row.speaker, [samples[:LEAD]])
        found.append((row, f"{row.speaker}.flac", sum(map(len, before)) / rate, len(samples) / rate))
        before.append(samples)
    for speaker, pieces in parts.items():
        soundfile.write(folder / f"{speaker}.flac", np.concatenate(pieces), rate, "PCM_16")
    return found


def segments(folder: Path, rows: list[Utterance]) -> Path:
    lines = [
        {"audio_filepath": name, "offset": offset, "duration": duration, "text": row.text, "speaker": row.speaker}
        for row, name, offset, duration in long_files(folder, rows)
    ]
    (folder / "segments.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "segments.jsonl"


def kaldi(folder: Path, rows: list[Utterance]) -> Path:
    placed = long_files(folder, rows)
    tables = {
        "wav.scp": [f"{name} {name}" for name in sorted({name for _, name, _, _ in placed})],
        "segments": [f"{row.name} {name} {start:.7f} {start + length:.7f}" for row, name, start, length in placed],
        "utt2spk": [f"{row.name} {row.speaker}" for row in rows],
        "text": [f"{row.name} {row.text}" for row in rows],
    }
    for name, lines in tables.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def lhotse(folder: Path, rows: list[Utterance]) -> Path:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment  # type: ignore[import-untyped]

    cuts = []
    for row, name, start, length in long_files(folder, rows):
        recording = Recording.from_file(folder / name) if (folder / name).exists() else None
        said = SupervisionSegment(row.name, name, 0, length, text=row.text, speaker=row.speaker)
        cuts.append(MonoCut(row.name, start, length, 0, [said], recording=recording))
    CutSet.from_cuts(cuts).to_file(folder / "cuts.jsonl.gz")
    return folder / "cuts.jsonl.gz"


MAKE: dict[str, Callable[[Path, list[Utterance]], Path]] = {
    "parquet": parquet, "parquet_of_paths": parquet_of_paths, "arrow": arrow, "tars": tars, "nemo": nemo, "tsv": tsv,
    "csv": comma_separated, "segments": segments, "kaldi": kaldi, "lhotse": lhotse,
}  # fmt: skip
OPTIONS = {"tsv": ["columns={audio: clip, speaker: voice}"]}


def written(kind: str, folder: Path, rows: list[Utterance]) -> tuple[Path, list[str]]:
    """A corpus in a form, and further arguments that `prepare` needs for it."""
    folder.mkdir(parents=True)
    more = list(OPTIONS.get(kind, ()))
    if kind == "tsv":
        more.append(f"audio_root={rows[0].file.parents[1]}")
    return MAKE[kind](folder, rows), more


def copied(audio: Path, folder: Path, per_speaker: int) -> Path:
    """The first files of each speaker of a folder, as 16-bit WAV in a folder of its own."""
    for speaker in sorted(path for path in audio.iterdir() if path.is_dir()):
        for file in sorted(speaker.iterdir())[:per_speaker]:
            (folder / speaker.name).mkdir(parents=True, exist_ok=True)
            samples, rate = soundfile.read(file, dtype="int16")
            soundfile.write(folder / speaker.name / f"{file.stem}.wav", samples[:rate], rate, "PCM_16")
    return folder


def prepared(source: Path | str, output: Path, options: SourceOptions | None = None) -> PrepareSummary:
    """Half of the files for each split."""
    return prepare(source, output, options=options, split="file", train_ratio=0.5, num_workers=1)


def jsonl(path: Path, *lines: object) -> Path:
    """A list, one line each; text as it stands."""
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def write_tar(path: Path, **files: bytes) -> Path:
    """A tar of members named with _ for a dot and __ for a folder."""
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "/").replace("_", "."))
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
