"""First-generation code caches, rewritten as shards of this format.

Those are files codes_batch_gpu{G}_{N}.parquet with the columns file_path (a name without its folder), codes_scale_i
(list<int64>), shape_scale_i and audio_length (samples at the codec's rate). Name and length together find the row of
the manifest; whatever does not fit is listed with its reason and counted.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from snac_exp.codec.geometry import Geometry
from snac_exp.config.seeding import generator
from snac_exp.data.codes.cache import CACHE_REJECTED_NAME, cache_spec, refuse_foreign, write_rejected, write_shard
from snac_exp.data.codes.encoding import Codes, exact_float32
from snac_exp.data.codes.shards import CacheSpec, num_rows_of, read_metadata, shard_name
from snac_exp.data.files.resampling import resampled_length
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.manifest_rows import ManifestRow
from snac_exp.data.rejection import Rejection, count_kinds, counts_line, write_table
from snac_exp.data.rows import manifest_rows
from snac_exp.errors import DataError
from snac_exp.system.paths.kind import refuse_file
from snac_exp.system.progress import progress_display

if TYPE_CHECKING:
    from snac_exp.codec.checkpoint import LoadedCodec

OLD_PATTERN = "codes_batch_gpu*_*.parquet"
UPGRADE_REJECTED_NAME = "upgrade_rejected.parquet"
ORIGIN = ("first-generation cache",)
MAX_LENGTH_DIFFERENCE = 1  # samples; resamplers round lengths differently
MIN_AGREEMENT = 0.95  # of the tokens; below that another codec made them
TAIL_TOKENS = 3  # coarse tokens at the end, which another batching may change

_OLD_NAME = re.compile(r"codes_batch_gpu(\d+)_(\d+)\.parquet")
_REJECTED_SCHEMA = pa.schema(
    [("file", pa.string()), ("row", pa.int64()), ("name", pa.string()), ("kind", pa.string()), ("reason", pa.string())]
)


@dataclass(frozen=True)
class RejectedOldRow:
    """A row of the old cache that was not taken over; row -1 is the whole file."""

    file: str
    row: int
    name: str
    kind: str
    reason: str


@dataclass(frozen=True)
class UpgradeSummary:
    """What became of the old rows (rejected ones by kind) and of the manifest's rows."""

    output_dir: Path
    num_files: int
    num_old_rows: int
    num_cached: int
    rejected: dict[str, int]
    num_rows_without_codes: int
    agreement: float | None

    @property
    def lines(self) -> list[str]:
        """The summary for people."""
        lines = [
            f"{self.num_old_rows} rows in {self.num_files} first-generation files, {self.num_cached} taken over",
            f"old rows {counts_line(self.rejected, self.output_dir / UPGRADE_REJECTED_NAME)}",
            f"{self.num_rows_without_codes} manifest rows without codes ({self.output_dir / CACHE_REJECTED_NAME})",
        ]
        agreement = self.agreement
        return lines if agreement is None else [*lines, f"sampled rows encode to {agreement:.2%} of their old tokens"]


def is_first_generation(folder: Path) -> bool:
    """Whether a folder holds files of a first-generation cache."""
    return any(_OLD_NAME.fullmatch(path.name) for path in folder.glob(OLD_PATTERN))


def upgrade_cache(
    manifest: Manifest, codec: "LoadedCodec", old_dir: Path | str, output_dir: Path | str, verify_rows: int = 8
) -> UpgradeSummary:
    """Rewrite a first-generation cache for the manifest of its audio: a shard per old file; finished ones are kept.

    Old rows that cannot be taken over are listed in upgrade_rejected.parquet: no_audio (no such name in the manifest),
    length, ambiguous (several files of this name and length), repeated, token_count, token_range, shape, unreadable.
    Manifest rows that get no codes are listed in cache_rejected.parquet. First `verify_rows` utterances are encoded.
    Raises DataError if there is no such cache, nothing of it fits, or the codes are not this codec's.
    """
    old_dir, output_dir = Path(old_dir), Path(output_dir)
    # By number: of two old rows for one file the first counts, so their order is part of the result.
    files = sorted((path for path in old_dir.glob(OLD_PATTERN) if _OLD_NAME.fullmatch(path.name)), key=_order)
    refuse_file(old_dir, "a folder with a first-generation cache", DataError)
    if not files:
        raise DataError(f"{old_dir}: no first-generation cache there ({OLD_PATTERN}); upgrade= names its folder")
    spec = cache_spec(manifest, codec)
    num_shards = len(files) + 1  # the last one is empty: it accounts for the manifest rows that no old file holds
    refuse_foreign(output_dir, spec, num_shards)
    plan = _Plan(manifest, codec.geometry)
    num_old_rows = sum(plan.read(number, path) for number, path in enumerate(files))
    if not plan.taken:
        raise DataError(
            f"{old_dir}: none of its {num_old_rows} rows fits a file of the manifest "
            f"({count_kinds(plan.rejected)}); is this the folder of its audio?"
        )
    agreement = _check_codec(files, plan, manifest, codec, verify_rows) if verify_rows else None
    num_cached = 0
    with progress_display("upgrade", len(files)) as advance:
        for number, path in enumerate(files):
            rows, shard = plan.wanted[number], output_dir / shard_name(number, num_shards)
            failed = _write(path, rows, shard, (number, num_shards), spec, manifest.more)
            plan.rejected += failed
            num_cached += len(rows) - len(failed)
            advance(1, "")
    _write_last(plan, manifest, spec, output_dir, num_shards)
    write_table(output_dir / UPGRADE_REJECTED_NAME, map(asdict, plan.rejected), _REJECTED_SCHEMA)
    write_rejected(output_dir)
    without, rejected = len(manifest.rows) - num_cached, count_kinds(plan.rejected)
    return UpgradeSummary(output_dir, len(files), num_old_rows, num_cached, rejected, without, agreement)


class _Plan:
    """Which old row becomes which row of the manifest: `wanted[file number][row in the file]`."""

    def __init__(self, manifest: Manifest, geometry: Geometry) -> None:
        self.rate = geometry.sampling_rate
        self.by_name: dict[str, list[ManifestRow]] = defaultdict(list)
        for row in manifest.rows:
            self.by_name[PurePosixPath(row.path).name].append(row)
        self.wanted: dict[int, dict[int, ManifestRow]] = {}
        self.taken: set[str] = set()
        self.rejected: list[RejectedOldRow] = []

    def read(self, number: int, path: Path) -> int:
        """Match the rows of one old file; returns how many it has."""
        self.wanted[number] = {}
        try:
            table = pq.read_table(path, columns=["file_path", "audio_length"], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            self.rejected.append(RejectedOldRow(path.name, -1, "", "unreadable", str(error)))
            return 0
        names, lengths = (table[column].to_pylist() for column in ("file_path", "audio_length"))
        for row, (name, length) in enumerate(zip(names, lengths, strict=True)):
            found = self._match(PurePosixPath(name or "").name, length)
            if isinstance(found, ManifestRow):
                self.wanted[number][row] = found
                self.taken.add(found.path)
            else:
                self.rejected.append(RejectedOldRow(path.name, row, str(name), *found))
        return len(names)

    def _match(self, name: str, length: int | None) -> ManifestRow | tuple[str, str]:
        """The manifest row of this name and length, or the kind and reason why there is not exactly one."""
        candidates = self.by_name.get(name, [])
        if not candidates:
            return "no_audio", "the manifest has no file of this name"
        lengths = [resampled_length(row.num_samples, row.rate, self.rate) for row in candidates]
        fitting = [
            row
            for row, expected in zip(candidates, lengths, strict=True)
            if length is not None and abs(length - expected) <= MAX_LENGTH_DIFFERENCE
        ]
        if not fitting:
            return "length", f"{length} samples, but {candidates[0].path} has {lengths[0]} at {self.rate} Hz"
        if len(fitting) > 1:
            return (
                "ambiguous",
                f"{len(fitting)} files of this name and length, e.g. {fitting[0].path}, {fitting[1].path}",
            )
        if fitting[0].path in self.taken:
            return "repeated", f"{fitting[0].path} has codes from an earlier row"
        return fitting[0]


def _order(path: Path) -> tuple[int, int]:
    match = _OLD_NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2])


def _old_codes(path: Path, rows: Mapping[int, ManifestRow], spec: CacheSpec) -> dict[int, Codes | Rejection]:
    """Tokens[i] (T_i,) of the wanted rows of one old file, or why they cannot be used."""
    num = len(spec.vq_strides)
    names = [f"{kind}_scale_{i}" for kind in ("codes", "shape") for i in range(num)]
    try:
        table = pq.read_table(path, columns=names, use_threads=False).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        return {number: Rejection(row.path, "unreadable", f"{path.name}: {error}") for number, row in rows.items()}
    columns = [table[f"codes_scale_{i}"].combine_chunks() for i in range(num)]
    shapes = [table[f"shape_scale_{i}"].to_pylist() for i in range(num)]
    # A missing token turns its array into floats with a NaN, which `_failure` refuses.
    flat = [column.values.to_numpy(zero_copy_only=False) for column in columns]
    offsets = [column.offsets.to_numpy() for column in columns]
    found: dict[int, Codes | Rejection] = {}
    for row, wanted in rows.items():
        tokens = [values[bounds[row] : bounds[row + 1]] for values, bounds in zip(flat, offsets, strict=True)]
        failure = _failure(tokens, [shape[row] for shape in shapes], wanted, spec)
        found[row] = Rejection(wanted.path, *failure) if failure else [codes.astype(np.uint16) for codes in tokens]
    return found


def _failure(
    tokens: Sequence[npt.NDArray[Any]], shapes: Sequence[Any], row: ManifestRow, spec: CacheSpec
) -> tuple[str, str] | None:
    """Why a row's tokens[i] (T_i,) cannot be used; None where they can."""
    geometry = spec.geometry
    coarse = geometry.coarse_tokens_of(resampled_length(row.num_samples, row.rate, geometry.sampling_rate))
    expected = [geometry.codebook_length(i, coarse) for i in range(geometry.num_codebooks)]
    lengths = [len(codes) for codes in tokens]
    if lengths != expected:
        return "token_count", f"{lengths} tokens, but {row.path} needs {expected}"
    stored = [shape[-1] if isinstance(shape, list) and shape else shape for shape in shapes]
    if any(shape is not None and shape != length for shape, length in zip(stored, lengths, strict=True)):
        return "shape", f"shape says {stored}, there are {lengths} tokens"
    for i, codes in enumerate(tokens):
        if not (np.isfinite(codes).all() and codes.min() >= 0 and codes.max() < spec.codebook_size):
            return "token_range", f"codebook {i} has tokens outside of 0 to {spec.codebook_size - 1}"
    return None


def _write(
    path: Path,
    rows: Mapping[int, ManifestRow],
    shard: Path,
    position: tuple[int, int],
    spec: CacheSpec,
    more: pa.Schema,
) -> list[RejectedOldRow]:
    """Write the shard of one old file unless it is there; returns the old rows that could not be used."""
    if shard.exists():
        failed = {item.path: item for item in read_metadata(shard).rejected}
        if num_rows_of(shard) + len(failed) != len(rows):
            raise DataError(f"{shard}: made from another old cache; delete it and run again")
    else:
        found = _old_codes(path, rows, spec)
        results = {row.path: found[number] for number, row in rows.items()}
        written = write_shard(shard.parent, *position, spec, results, list(rows.values()), ORIGIN, more)
        failed = {item.path: item for item in written}
    return [
        RejectedOldRow(path.name, number, PurePosixPath(row.path).name, failed[row.path].kind, failed[row.path].reason)
        for number, row in rows.items()
        if row.path in failed
    ]


def _write_last(plan: _Plan, manifest: Manifest, spec: CacheSpec, output_dir: Path, num_shards: int) -> None:
    """The shard without codes: every manifest row that no old row became, with the reason where there is one."""
    # Kinds of failure whose row names a file of the manifest but did not become its row.
    reasons = {row.name: row for row in plan.rejected if row.kind in ("length", "ambiguous")}
    missing: dict[str, Codes | Rejection] = {}
    for row in manifest.rows:
        if row.path not in plan.taken:
            old = reasons.get(PurePosixPath(row.path).name)
            kind, reason = (old.kind, old.reason) if old else ("no_codes", "the old cache has no row of this name")
            missing[row.path] = Rejection(row.path, kind, reason)
    rows = [row for row in manifest.rows if row.path in missing]
    write_shard(output_dir, num_shards - 1, num_shards, spec, missing, rows, ORIGIN, manifest.more)


def _check_codec(
    files: Sequence[Path], plan: _Plan, manifest: Manifest, codec: "LoadedCodec", num_rows: int
) -> float | None:
    """Share of tokens that come back when sampled utterances are encoded again; None if none of them can be.

    Raises DataError if too few do: then the codes are another codec's.
    """
    spec = cache_spec(manifest, codec)
    places = [(number, row) for number, rows in plan.wanted.items() for row in rows]
    # A seed of its own: whether a cache passes must not depend on the recipe.
    chosen = generator(0, "upgrade").permutation(len(places))[:num_rows]
    equal = total = 0
    for number, row in (places[index] for index in sorted(chosen.tolist())):
        wanted = plan.wanted[number][row]
        old = _old_codes(files[number], {row: wanted}, spec)[row]
        if isinstance(old, Rejection):
            continue
        audio = torch.from_numpy(manifest_rows(manifest).read(wanted, codec.geometry.sampling_rate).samples)
        with torch.no_grad(), exact_float32():
            codes = codec.model.encode(audio[None, None])
        for i, (then, now) in enumerate(zip(old, codes, strict=True)):
            kept = codec.geometry.codebook_length(i, max(len(old[0]) - TAIL_TOKENS, 0))
            equal += int((now[0, :kept].cpu().numpy() == then[:kept]).sum())
            total += kept
    if total and equal / total < MIN_AGREEMENT:
        raise DataError(
            f"{files[0].parent}: only {equal / total:.1%} of the tokens of {len(chosen)} sampled rows are reproduced "
            f"when their audio is encoded with {codec.name}; choose the codec that made them"
        )
    return equal / total if total else None
