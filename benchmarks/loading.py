"""Rows on their way to the step: codes, audio slices, cores that a GPU would need, the first batch of a resumed run.

    python -m benchmarks.loading [--pairs 5]

The first generation read the parquet file of a row again for its codes, decoded the whole 48 kHz file and resampled all
of it to 24 kHz for the other target. The careful way has the codes in memory, reads the slice alone and resamples that.
Ours reads 48 kHz files for both heads, as in the README, and resamples too; or 24 kHz files beside them, where it need
not. Utterances of 3 to 8 s; the page cache is warm; one process reads.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch
from torch import Tensor

from benchmarks.code_cache_scale import RATE, write_shard
from benchmarks.harness import Figure, Pairs, compare, options, ratio, record
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
        for form, container in (("FLAC", "FLAC"), ("PCM", "WAV")):
            write_audio(folder / form, table, container)
            for setup in (OWN, BESIDE):
                figures |= rows(folder / form, table, settings.pairs, setup)
            figures |= careful(folder / form, table, settings.pairs)
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
    return ratio("codes of a row, against re-reading its parquet file", scaled(found, 4, 1000), 1000)


@dataclass(frozen=True)
class Setup:
    """Files that the dataset reads. name: of its rows in results.json; floors: against the first generation."""

    name: str
    title: str
    folders: tuple[str, str | None]
    floors: dict[str, float]


OWN = Setup("48k_", "out of 48 kHz files", ("48k", None), {"FLAC": 3.0, "PCM": 8.0})
BESIDE = Setup("", "24 kHz files beside", ("24k", "48k"), {"FLAC": 2.5, "PCM": 8.0})


def rows(audio: Path, table: CodeTable, pairs: int, setup: Setup) -> dict[str, Figure]:
    """Codes and both targets of random slices, at 1 s and 4 s."""
    dataset = dataset_of(audio, table, setup)
    form = audio.name
    figures = {}
    for seconds, tokens in ((1, 11), (4, 46)):
        specs = slices(dataset, tokens)
        plain_specs = specs[:10]
        found = scaled(
            compare(
                partial(each, partial(plain_row, audio, table), plain_specs),
                partial(each, dataset.__getitem__, specs),
                pairs,
                1,
            ),
            len(plain_specs),
            len(specs),
        )
        title = f"rows per second, {seconds} s of {form}, {setup.title}, against the first generation"
        figures[f"rows_{setup.name}{form.lower()}_{seconds}s"] = ratio(title, found, setup.floors[form])
    per_step = float(np.median(found.ours)) * GPU_BATCH
    figures[f"cores_{setup.name}{form.lower()}"] = Figure(
        f"cores that feed a GPU step of 50 ms with 43 x 4 s of {form}, {setup.title}",
        round(per_step / GPU_STEP_SECONDS, 2),
        "cores",
        details={"processor_seconds_per_step": round(per_step, 4)},
    )
    return figures


def careful(audio: Path, table: CodeTable, pairs: int) -> dict[str, Figure]:
    """The same slices of 48 kHz files as somebody reads them who minds the time."""
    dataset = dataset_of(audio, table, OWN)
    specs = slices(dataset, 46)
    resampler = transforms.Resample(2 * RATE, RATE)
    found = compare(
        partial(each, partial(careful_row, audio, table, resampler), specs),
        partial(each, dataset.__getitem__, specs),
        pairs,
        1,
    )
    title = f"rows per second, 4 s of {audio.name}, {OWN.title}, against a careful script"
    return {f"rows_48k_{audio.name.lower()}_careful": ratio(title, scaled(found, len(specs), len(specs)))}


def dataset_of(audio: Path, table: CodeTable, setup: Setup) -> SliceDataset:
    """Of the files that a setup reads."""
    source, targets = setup.folders
    folders = AudioFolders(audio / source, None if targets is None else audio / targets)
    return SliceDataset(table, np.arange(NUM_FILES), GEOMETRY, {"head_24k": RATE, "head_48k": 2 * RATE}, folders)


def slices(dataset: SliceDataset, tokens: int) -> list[SliceSpec]:
    """One of every file."""
    sampler = SliceSampler(dataset.coarse_lengths, GEOMETRY, 0, 10, tokens, 0, epoch=1)
    return [spec for batch in sampler for spec in batch]


def each(read: Callable[[SliceSpec], object], specs: list[SliceSpec]) -> None:
    """Read them all."""
    for spec in specs:
        read(spec)


def scaled(found: Pairs, num_plain: int, num_ours: int) -> Pairs:
    """Seconds of one row."""
    return Pairs([x / num_plain for x in found.plain], [x / num_ours for x in found.ours], found.clock)


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


def plain_row(audio: Path, table: CodeTable, spec: SliceSpec) -> tuple[list[Tensor], Tensor, Tensor]:
    """A row as the first generation loaded it."""
    tokens = plain_codes(audio.parent, spec.row)
    samples, rate = soundfile.read(audio / "48k" / table.path(spec.row), dtype="float32")
    wide = torch.from_numpy(samples)
    native = transforms.Resample(rate, RATE)(wide)
    first, length = spec.start * 2048, spec.num_tokens * 2048
    return cut(tokens, spec), native[first : first + length], wide[2 * first : 2 * (first + length)]


def careful_row(
    audio: Path, table: CodeTable, resampler: Callable[[Tensor], Tensor], spec: SliceSpec
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The slice alone, with a resampler made once; its edges are resampled as if silence lay around it."""
    with soundfile.SoundFile(audio / "48k" / table.path(spec.row)) as file:
        file.seek(2 * spec.start * 2048)
        wide = torch.from_numpy(file.read(2 * spec.num_tokens * 2048, dtype="float32"))
    return cut(table.tensors(spec.row), spec), resampler(wide), wide


def cut(tokens: list[Tensor], spec: SliceSpec) -> list[Tensor]:
    """The slice's tokens of every codebook."""
    return [t[spec.start * 2**i : (spec.start + spec.num_tokens) * 2**i] for i, t in enumerate(tokens)]


def write_audio(folder: Path, table: CodeTable, kind: str) -> None:
    """Low-passed noise as long as the first rows say, at 24 kHz and at 48 kHz."""
    rng = np.random.default_rng(0)
    for row in range(NUM_FILES):
        num = int(table.num_samples[row])
        wide = np.convolve(rng.standard_normal(2 * num), np.hanning(24) / 12, "same") * 0.1
        for part, samples, rate in (("24k", wide[::2], RATE), ("48k", wide, 2 * RATE)):
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
