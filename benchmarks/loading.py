"""Rows on their way to the step: codes, audio slices, cores that a GPU would need, the first batch of a resumed run.

    python -m benchmarks.loading [--pairs 5]

The first generation read the parquet file of a row again for its codes, decoded the whole 48 kHz file and resampled all
of it to 24 kHz for the other target. Utterances of 3 to 8 s; the page cache is warm; one process reads.
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch
from torch import Tensor

from benchmarks.code_cache_scale import RATE, write_shard
from benchmarks.harness import Figure, compare, options, ratio, record
from snac_exp.codec.geometry import Geometry
from snac_exp.data.codes.shards import shard_name
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.slices.dataset import AudioFolders, SliceDataset
from snac_exp.data.slices.sampling import SliceSampler, SliceSpec
from snac_exp.system.torchaudio import transforms

GEOMETRY = Geometry(RATE, 512, (4, 2, 1), None)
NUM_ROWS, NUM_FILES = 1000, 40
OLD_NAME = "codes_batch_gpu0_0.parquet"
GPU_STEP_SECONDS, GPU_BATCH = 0.05, 43
EPOCH_ROWS, EPOCH_BATCH = 3_400_000, 43


def main() -> None:
    """Measure and record."""
    settings = options(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shard(folder / shard_name(0, 1), NUM_ROWS, seed=0)
        write_first_generation(folder / shard_name(0, 1), folder / "old" / OLD_NAME)
        table = CodeTable.open(folder)
        figures = {"codes_row": codes(folder, table, settings.pairs)}
        for kind in ("FLAC", "WAV"):
            write_audio(folder / kind, table, kind)
            figures |= rows(folder, kind, table, settings.pairs)
    figures["resume_first_batch"] = resume(settings.pairs)
    record(figures, settings.results)


def codes(folder: Path, table: CodeTable, pairs: int) -> Figure:
    """All tokens of a row."""
    order = np.random.default_rng(0).permutation(NUM_ROWS)[:20].tolist()

    def plain() -> None:
        for row in order[:4]:
            plain_codes(folder, row)

    def ours() -> None:
        for row in order * 50:
            table.tensors(row)

    found = compare(plain, ours, pairs)
    scaled = type(found)([x / 4 for x in found.plain], [x / 1000 for x in found.ours], found.clock)
    return ratio("codes of a row, against re-reading its parquet file", scaled, 1000)


def rows(folder: Path, kind: str, table: CodeTable, pairs: int) -> dict[str, Figure]:
    """Codes and both targets of random slices, at 1 s and 4 s."""
    audio = folder / kind
    dataset = SliceDataset(
        table,
        np.arange(NUM_FILES),
        GEOMETRY,
        {"head_24k": RATE, "head_48k": 2 * RATE},
        AudioFolders(audio / "source", audio / "targets"),
    )
    floor, name = (2.5, "FLAC") if kind == "FLAC" else (8.0, "PCM")
    figures = {}
    for seconds, tokens in ((1, 11), (4, 46)):
        sampler = SliceSampler(dataset.coarse_lengths, GEOMETRY, 0, 10, tokens, 0, epoch=1)
        specs = [spec for batch in sampler for spec in batch]
        plain_specs = specs[:10]

        def plain(specs: list[SliceSpec] = plain_specs) -> None:
            for spec in specs:
                plain_row(folder, audio, table, spec)

        def ours(specs: list[SliceSpec] = specs) -> None:
            for spec in specs:
                dataset[spec]

        found = compare(plain, ours, pairs, 1)
        scaled = type(found)(
            [x / len(plain_specs) for x in found.plain], [x / len(specs) for x in found.ours], found.clock
        )
        title = f"rows per second, codes and {seconds} s of {name}, against the first generation"
        figures[f"rows_{name.lower()}_{seconds}s"] = ratio(title, scaled, floor)
    per_step = float(np.median(scaled.ours)) * GPU_BATCH
    figures[f"cores_{name.lower()}"] = Figure(
        f"cores that feed a GPU step of 50 ms with 43 x 4 s of {name}",
        round(per_step / GPU_STEP_SECONDS, 2),
        "cores",
        details={"processor_seconds_per_step": round(per_step, 4)},
    )
    return figures


def write_first_generation(shard: Path, path: Path) -> None:
    """The same rows in the first generation's columns: lists of int64, 1000 rows to a file."""
    path.parent.mkdir()
    table = pq.read_table(shard)
    columns = {"file_path": table["path"], "audio_length": table["num_samples"]}
    columns |= {f"codes_scale_{i}": table[f"codes_{i}"].cast(pa.list_(pa.int64())) for i in range(3)}
    pq.write_table(pa.table(columns), path)


def plain_codes(folder: Path, row: int) -> list[Tensor]:
    """Codes of a row as the first generation got them: the whole file, then the row."""
    found = pq.read_table(folder / "old" / OLD_NAME).slice(row, 1).to_pylist()[0]
    return [torch.tensor(found[f"codes_scale_{i}"]) for i in range(3)]


def plain_row(folder: Path, audio: Path, table: CodeTable, spec: SliceSpec) -> tuple[list[Tensor], Tensor, Tensor]:
    """A row as the first generation loaded it."""
    tokens = plain_codes(folder, spec.row)
    samples, rate = soundfile.read(audio / "targets" / table.path(spec.row), dtype="float32")
    wide = torch.from_numpy(samples)
    native = transforms.Resample(rate, RATE)(wide)
    first, length = spec.start * 2048, spec.num_tokens * 2048
    cut = [t[spec.start * 2**i : (spec.start + spec.num_tokens) * 2**i] for i, t in enumerate(tokens)]
    return cut, native[first : first + length], wide[2 * first : 2 * (first + length)]


def write_audio(folder: Path, table: CodeTable, kind: str) -> None:
    """Low-passed noise as long as the first rows say, at 24 kHz and at 48 kHz."""
    rng = np.random.default_rng(0)
    for row in range(NUM_FILES):
        num = int(table.num_samples[row])
        wide = np.convolve(rng.standard_normal(2 * num), np.hanning(24) / 12, "same") * 0.1
        for part, samples, rate in (("source", wide[::2], RATE), ("targets", wide, 2 * RATE)):
            path = folder / part / table.path(row)
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples, rate, format=kind, subtype="PCM_16")


def resume(pairs: int) -> Figure:
    """Time until the sampler of a long epoch yields, at 90 % of the epoch against its start; reading is the same."""
    lengths = np.random.default_rng(0).integers(40, 100, EPOCH_ROWS)
    num_batches = EPOCH_ROWS // EPOCH_BATCH

    def first(start: int) -> None:
        next(iter(SliceSampler(lengths, GEOMETRY, 0, EPOCH_BATCH, 46, 0, epoch=1, start_batch=start)))

    found = compare(lambda: first(num_batches * 9 // 10), lambda: first(0), pairs, 1)
    details = found.details() | {"rows": EPOCH_ROWS}
    title = "first batch at 90 % of an epoch of 3.4 M rows, against at 0 %"
    return Figure(title, round(found.ratio, 4), "x", "at_most", 1.1, details)


if __name__ == "__main__":
    main()
