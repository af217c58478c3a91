"""Packed audio: opening millions of rows, a slice against its file, memory of many workers.

    python -m benchmarks.packed [--pairs 5]

The rows are a simulated manifest of 3.4 million (names, places, digests; no audio), about 1 GB of disk. Slices are 1 s
out of 48 kHz recordings of 3 to 8 s, at their own rate, the page cache warm.
"""

import multiprocessing
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import soundfile

from benchmarks.code_cache_scale import mapping_pss, read_pages
from benchmarks.harness import Figure, compare, options, ratio, record
from snac_exp.data.packed.folder import pack_folder
from snac_exp.data.packed.plan import PackOptions
from snac_exp.data.packed.shard_file import shard_name
from snac_exp.data.prepared.manifest import MANIFEST_NAME, Manifest, open_manifest_table, write_manifest_table
from snac_exp.data.prepared.manifest_rows import SCHEMA, ManifestRow
from snac_exp.data.prepared.mapped_table import MAPPED_ROWS_NAME
from snac_exp.data.prepared.places import PLACE_SCHEMA
from snac_exp.data.prepared.prepare import prepare
from snac_exp.data.rows import manifest_rows

NUM_ROWS, ROWS_PER_SHARD, NUM_WORKERS, NUM_FILES, RATE = 3_400_000, 4000, 8, 40, 48000
OPEN_PROGRAM = """
import sys, time
from snac_exp.codec.geometry import Geometry
from snac_exp.data.prepared.manifest import open_manifest_table
from snac_exp.data.slices.audio_table import AudioTable
started = time.perf_counter()
rows, header = open_manifest_table(sys.argv[1])
table = AudioTable.build([rows], [None], Geometry(24000, 512, (4, 2, 1), None))
table.rows_of("train", 0), table.rows_of("validation", 0), table.place(len(table) - 1)
print(time.perf_counter() - started)
"""


def main() -> None:
    """Measure and record."""
    settings = options(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures: dict[str, Figure] = {}
        for form in ("flac", "wav"):
            figures |= slices(folder / form, form, settings.pairs)
        write_rows(folder)
        figures |= opening(folder) | memory(folder)
    record(figures, settings.results)


def slices(folder: Path, form: str, pairs: int) -> dict[str, Figure]:
    """1 s of every recording, out of its own file and out of a packed shard."""
    draws = np.random.default_rng(0)
    (folder / "audio").mkdir(parents=True)
    for number in range(NUM_FILES):
        time = np.arange(draws.integers(3 * RATE, 8 * RATE)) / RATE
        signal = 0.3 * np.sin(2 * np.pi * (200 + number) * time) + draws.normal(0, 0.01, len(time))
        soundfile.write(folder / "audio" / f"{number}.{form}", signal, RATE, subtype="PCM_16")
    prepare(folder / "audio", folder / "prepared", split="file", num_workers=1)
    pack_folder(folder / "prepared", folder / "packed", PackOptions())
    files, packed = (Manifest.with_audio(folder / name) for name in ("prepared", "packed"))

    def read(manifest: Manifest, some: list[ManifestRow]) -> None:
        rows = manifest_rows(manifest)
        for row in some:
            rows.read(row, RATE, RATE, RATE)

    own, there = [*files.rows] * 5, [*packed.rows] * 5
    found = compare(lambda: read(files, own), lambda: read(packed, there), pairs)
    title = f"slices of 1 s per second, {'FLAC' if form == 'flac' else 'PCM'}, out of a packed shard against own files"
    return {f"packed_slice_{form}": ratio(title, found, 1.0)}


def write_rows(folder: Path) -> None:
    """A packed folder's manifest and mapped rows, without shards."""
    draws, numbers = np.random.default_rng(0), pa.array(np.arange(NUM_ROWS))
    text = numbers.cast(pa.string())
    speaker = pc.binary_join_element_wise("speaker", pa.array(np.arange(NUM_ROWS) % 9997).cast(pa.string()), "")
    shards = pa.array([shard_name(i, NUM_ROWS // ROWS_PER_SHARD) for i in range(NUM_ROWS // ROWS_PER_SHARD)])
    length = draws.integers(3 * RATE, 8 * RATE, NUM_ROWS)
    sha1 = pc.binary_join_element_wise(pc.utf8_lpad(text, 20, "0"), pc.utf8_lpad(text, 20, "0"), "")
    columns = {
        "path": pc.binary_join_element_wise(speaker, "session", text, "/"),
        "split": np.where(draws.random(NUM_ROWS) < 0.99, "train", "validation"),
        "speaker": speaker, "seconds": length / RATE, "rate": np.full(NUM_ROWS, RATE, np.int32),
        "channels": np.ones(NUM_ROWS, np.int32), "num_samples": length, "sha1": sha1, "peak": draws.random(NUM_ROWS),
        "file": shards.take(pa.array(np.arange(NUM_ROWS) // ROWS_PER_SHARD)),
        "first_byte": np.arange(NUM_ROWS) % ROWS_PER_SHARD * 250_000, "num_bytes": length,
        "start": np.zeros(NUM_ROWS, np.int64), "stop": length, "file_samples": length,
    }  # fmt: skip
    write_manifest_table(folder / MANIFEST_NAME, pa.table(columns, pa.schema([*SCHEMA, *PLACE_SCHEMA])), ".", {})


def opening(folder: Path) -> dict[str, Figure]:
    """Seconds until all rows are there, in fresh processes, their imports left out."""
    read_pages(folder / MAPPED_ROWS_NAME)
    command = [sys.executable, "-c", OPEN_PROGRAM, str(folder)]
    found = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(5)]
    size = (folder / MAPPED_ROWS_NAME).stat().st_size
    details = {"lowest": round(min(found), 3), "highest": round(max(found), 3), "bytes": size, "clock": "wall"}
    title = "opening 3.4 million packed rows, warm"
    return {"packed_open": Figure(title, round(statistics.median(found), 3), "s", "at_most", 2.0, details)}


def memory(folder: Path) -> dict[str, Figure]:
    """Proportional memory of the mapped rows, summed over workers that have read all of them, against one."""
    alone, together = workers_pss(folder, 1), workers_pss(folder, NUM_WORKERS)
    details = {"one_bytes": alone, "workers": NUM_WORKERS}
    title = f"memory of {NUM_WORKERS} workers over 3.4 million packed rows, against one"
    return {"packed_pss": Figure(title, round(together / alone, 3), "x", "at_most", 1.3, details)}


def workers_pss(folder: Path, num_workers: int) -> int:
    """Bytes, the parent's share included: it has read the rows too, to compare them with their checksum."""
    context = multiprocessing.get_context("fork")
    rows, _ = open_manifest_table(folder)
    ready, go, results = context.Barrier(num_workers), context.Barrier(num_workers + 1), context.Queue()

    def work() -> None:
        for column in rows.columns:
            for buffer in column.chunk(0).buffers():
                if buffer is not None:
                    np.frombuffer(buffer, np.uint8).max()
        ready.wait()
        results.put(mapping_pss(folder / MAPPED_ROWS_NAME))
        go.wait()

    workers = [context.Process(target=work) for _ in range(num_workers)]
    for worker in workers:
        worker.start()
    total = sum(results.get() for _ in workers) + mapping_pss(folder / MAPPED_ROWS_NAME)
    go.wait()
    for worker in workers:
        worker.join()
    return total


if __name__ == "__main__":
    main()
