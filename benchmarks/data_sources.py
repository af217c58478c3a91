"""Reading every kind of source that `snac-exp prepare` takes: its speed against a folder's, and memory of its listing.

    python -m benchmarks.data_sources [--rows 100000] [--folder DIR]      about 10 minutes, 1 GB of disk

Speed is the processor time of `prepare` by one worker over files of one second. Memory is the peak of a process that
lists rows, each with a text: that of `--rows` rows and of a quarter of them lead to that of 2.8 million. No part of
`make bench`.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

FILES, RATE, PAIRS = 120, 24_000, 3  # of the speed
MANY, GIB = 2_800_000, 1.86  # rows, and what listing them may take: 2 GB
TEXT = "what is said in an utterance of a few seconds, about as long as this"


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="for what is written; default: a temporary one")
    parser.add_argument("--list", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help="file that keeps the figures")
    settings = parser.parse_args()
    if settings.list:
        print(json.dumps(listed(settings.list)))
        return
    from benchmarks.harness import RESULTS, record

    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        record(memory(Path(folder), settings.rows), settings.results or RESULTS)
        record(speed(Path(folder)), settings.results or RESULTS)


def memory(folder: Path, num_rows: int) -> dict[str, Any]:
    """A figure for each kind."""
    from benchmarks.harness import Figure

    found = {}
    for kind, write in SIMULATED.items():
        costs = []
        for rows in (num_rows // 4, num_rows):
            (folder / f"{kind}{rows}").mkdir()
            source = write(folder / f"{kind}{rows}", rows)
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.data_sources", f"--list={source}"]
            costs.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
        a_row = (costs[1]["peak"] - costs[0]["peak"]) / (costs[1]["rows"] - costs[0]["rows"])
        title = f"memory of a process that lists 2.8 million rows, {kind}, by {num_rows:,}"
        value, details = costs[1]["peak"] + a_row * (MANY - num_rows), costs[1] | {"kB_a_row": round(a_row * 2**20, 3)}
        found[f"sources_memory_{kind}"] = Figure(title, round(value, 2), "GiB", "at_most", GIB, details)
    return found


def listed(source: Path) -> dict[str, float]:
    """The peak of this process's memory in GiB once it has listed a source, and its seconds of a processor."""
    from snac_exp.data.sources.opening import SourceOptions, open_source

    started = time.process_time()
    output = source.with_name(f"{source.name}.output")
    num_rows = len(open_source(str(source), SourceOptions(), output).rows)
    seconds = time.process_time() - started
    # Of this program alone: what getrusage says includes the process that began it.
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))  # kB
    return {"peak": round(peak / 2**20, 4), "seconds": round(seconds, 1), "rows": num_rows}


def speed(folder: Path) -> dict[str, Any]:
    """A figure for each kind: rows per second, against a folder of the same files."""
    from benchmarks.harness import compare, ratio
    from snac_exp.data.prepared.prepare import prepare
    from snac_exp.data.sources.opening import SourceOptions
    from tests.data.sources.kinds import MAKE, utterances_of

    write_audio(folder / "audio")
    numbers = count()

    def prepared(source: Path, options: SourceOptions) -> None:
        prepare(source, folder / f"output{next(numbers)}", options=options, split="file", num_workers=1)

    found = {}
    for kind, make in MAKE.items():
        (folder / "kinds" / kind).mkdir(parents=True)
        source = make(folder / "kinds" / kind, utterances_of(folder / "audio"))
        named = {"audio": "clip", "speaker": "voice"} if kind == "tsv" else {}
        options = SourceOptions(named, str(folder / "audio") if named else None)
        pairs = compare(
            lambda: prepared(folder / "audio", SourceOptions()),
            lambda source=source, options=options: prepared(source, options),  # type: ignore[misc]
            PAIRS,
            1,
        )
        title = f"rows per second of prepare by one worker, {kind.replace('_', ' ')}, against a folder"
        rates = {"folder_rows_per_second": round(FILES / pairs.details()["plain_seconds"], 1)}
        found[f"sources_speed_{kind}"] = ratio(title, pairs, **rates)
    return found


def write_audio(folder: Path) -> None:
    """FLAC of noise, a second each, of two voices."""
    for number in range(FILES):
        path = folder / f"voice{number % 2}" / f"{number:04d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, RATE)
        soundfile.write(path, noise, RATE, subtype="PCM_16")


def utterances(num_rows: int) -> Iterator[tuple[str, str, float]]:
    """Name, recording and offset in seconds of segments of long files."""
    for row in range(num_rows):
        yield f"speaker{row // 600:05d}-{row:08d}", f"/nowhere/speaker{row // 600:05d}/recording.flac", row % 600 * 5.0


def write_manifest(folder: Path, num_rows: int) -> Path:
    """A list of segments."""
    with open(folder / "list.jsonl", "w") as file:
        for name, recording, offset in utterances(num_rows):
            line = {"audio_filepath": recording, "offset": offset, "duration": 4.5, "text": TEXT, "speaker": name[:12]}
            file.write(json.dumps(line) + "\n")
    return folder / "list.jsonl"


def write_csv(folder: Path, num_rows: int) -> Path:
    """A list of whole files."""
    with open(folder / "list.csv", "w") as file:
        file.write("path,speaker,text\n")
        file.writelines(
            f'/nowhere/{name[:12]}/{name}.flac,{name[:12]},"{TEXT}"\n' for name, _, _ in utterances(num_rows)
        )
    return folder / "list.csv"


def write_kaldi(folder: Path, num_rows: int) -> Path:
    """wav.scp, segments, utt2spk and text."""
    tables: dict[str, Callable[[str, str, float], str]] = {
        "segments": lambda name, recording, offset: f"{name} {name[:12]} {offset} {offset + 4.5}",
        "utt2spk": lambda name, recording, offset: f"{name} {name[:12]}",
        "text": lambda name, recording, offset: f"{name} {TEXT}",
    }
    for table, line in tables.items():
        (folder / table).write_text("".join(f"{line(*row)}\n" for row in utterances(num_rows)))
    recordings = dict.fromkeys((name[:12], recording) for name, recording, _ in utterances(num_rows))
    (folder / "wav.scp").write_text("".join(f"{name} {recording}\n" for name, recording in recordings))
    return folder


def write_cuts(folder: Path, num_rows: int) -> Path:
    """Cuts of lhotse."""
    with open(folder / "cuts.jsonl", "w") as file:
        for name, recording, offset in utterances(num_rows):
            sources = [{"type": "file", "channels": [0], "source": recording}]
            whole = {"id": name[:12], "sources": sources, "sampling_rate": 24000, "num_samples": 7 * 10**7}
            said = {"id": name, "recording_id": name[:12], "start": 0.0, "duration": 4.5, "channel": 0}
            said |= {"text": TEXT, "speaker": name[:12]}
            cut = {"id": name, "start": offset, "duration": 4.5, "channel": 0, "supervisions": [said]}
            line = cut | {"recording": whole | {"duration": 7e7 / 24000}, "type": "MonoCut"}
            file.write(json.dumps(line) + "\n")
    return folder / "cuts.jsonl"


def write_tars(folder: Path, num_rows: int) -> Path:
    """Shards of 10,000 samples whose audio is empty."""
    for first in range(0, num_rows, 10_000):
        with tarfile.open(folder / f"{first:08d}.tar", "w") as archive:
            for row in range(first, min(first + 10_000, num_rows)):
                said = json.dumps({"speaker": f"speaker{row // 600:05d}", "text": TEXT}).encode()
                for ending, data in ((".flac", b""), (".json", said)):
                    member = tarfile.TarInfo(f"utterance-{row:08d}{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return folder


def table_of(num_rows: int) -> pa.Table:
    """Rows of a data set without audio in their bytes."""
    names = [name for name, _, _ in utterances(num_rows)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    audio = pa.array([{"bytes": b"none", "path": name} for name in names], kind)
    return pa.table({"audio": audio, "text": [TEXT] * num_rows, "speaker": [name[:12] for name in names]})


def write_parquet(folder: Path, num_rows: int) -> Path:
    """A Parquet file, whose audio becomes a tar."""
    pq.write_table(table_of(num_rows), folder / "train.parquet")
    return folder


def write_arrow(folder: Path, num_rows: int) -> Path:
    """An Arrow file."""
    table = table_of(num_rows)
    with pa.OSFile(str(folder / "data.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table, max_chunksize=1000)
    return folder


SIMULATED: dict[str, Callable[[Path, int], Path]] = {
    "jsonl": write_manifest, "csv": write_csv, "kaldi": write_kaldi, "lhotse": write_cuts, "tar": write_tars,
    "arrow": write_arrow, "parquet": write_parquet,
}  # fmt: skip


if __name__ == "__main__":
    main()
