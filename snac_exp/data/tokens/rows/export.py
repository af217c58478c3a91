"""The rows of a code cache as ids of a speech language model, in files that are read back before they are called done.

A folder holds SPLIT-00000-of-0000N.FORMAT for every split and, once all files are there and proven, export.json: the
layout, the codec, and the SHA-256 of every file. Files that are there are kept if they hold what they should.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snac_exp.config.schema import TokenLayout
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.tokens.rows.files import Format, TokenRow, read_rows, write_rows
from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.lm.layouts.layout import Layout, layout_of
from snac_exp.lm.layouts.sequence import spoken_ids
from snac_exp.lm.layouts.streams import read_ids
from snac_exp.system.files import read_json, sha256_of_file, write_signed_json
from snac_exp.system.progress import progress_display

EXPORT_FILE = "export.json"
_VERSION = 1


@dataclass(frozen=True)
class ExportSummary:
    """What came of an export; files that were there already were read back too."""

    output_dir: Path
    num_rows: int
    num_made: int
    num_kept: int
    num_ids: int
    seconds: float

    @property
    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.output_dir}: {self.num_made} files made, {self.num_kept} there already",
            f"{self.num_rows} rows, {self.num_ids} ids, {self.seconds / 60:.1f} minutes; read back, codes are equal",
        ]


def export_rows(
    table: CodeTable,
    options: TokenLayout,
    output_dir: Path,
    *,
    format: Format = "parquet",
    texts: Mapping[str, str] | None = None,
    rows_per_shard: int = 1000,
) -> ExportSummary:
    """Write the rows of all splits, read every file back, and compare its codes with the cache's.

    Args:
        texts: path of each utterance -> what is said; null = rows have no text.

    Raises:
        CodecError: the layout does not fit the cache's codec.
        ConfigError: it has several streams, or the folder holds another export.
        DataError: an utterance without a text, or a file that does not hold what it should.
    """
    spec = table.spec
    layout = layout_of(options, spec.codec_name, spec.geometry, spec.codebook_size)
    if layout.num_streams != 1:
        raise ConfigError(
            f"layout {layout.name} has {layout.num_streams} streams and a row of input_ids is one; choose one with "
            "arrangement: frames, like layout=orpheus or layout=flat"
        )
    if rows_per_shard < 1:
        raise ConfigError(f"rows_per_shard={rows_per_shard} must be at least 1")
    _require_texts(table, texts)
    source = _Source(table, layout, texts)
    plan = _plan(table, rows_per_shard, format)
    about = _about(table, options, format)
    _refuse_foreign(output_dir, about, set(plan))
    num_made = 0
    with progress_display("tokens export", sum(map(len, plan.values()))) as advance:
        for name, rows in plan.items():
            path = output_dir / name
            if not path.exists():
                write_rows(path, map(source.row, rows))
                num_made += 1
            source.prove(path, rows)
            advance(len(rows), "")
    files = {name: {"rows": len(rows), "sha256": sha256_of_file(output_dir / name)} for name, rows in plan.items()}
    write_signed_json(output_dir / EXPORT_FILE, {**about, "files": files})
    return ExportSummary(
        output_dir=output_dir,
        num_rows=len(table),
        num_made=num_made,
        num_kept=len(plan) - num_made,
        num_ids=source.num_ids,
        seconds=float(table.num_samples.sum()) / spec.sampling_rate,
    )


class _Source:
    """Rows as they should be, and the proof that a file holds them."""

    def __init__(self, table: CodeTable, layout: Layout, texts: Mapping[str, str] | None) -> None:
        self.table, self.layout, self.texts, self.num_ids = table, layout, texts, 0

    def codes(self, row: int) -> list[Any]:
        return [self.table.codes(row, codebook) for codebook in range(self.layout.geometry.num_codebooks)]

    def row(self, row: int) -> TokenRow:
        ids = spoken_ids(ids_of_codes(self.codes(row), self.layout)[0], self.layout).tolist()
        path = self.table.path(row)
        return TokenRow(
            input_ids=ids,
            labels=ids,
            attention_mask=[1] * len(ids),
            text=None if self.texts is None else self.texts[path],
            speaker=self.table.speaker(row),
            seconds=int(self.table.num_samples[row]) / self.table.spec.sampling_rate,
            path=path,
        )

    def prove(self, path: Path, rows: list[int]) -> None:
        """DataError unless the file holds these rows, and the reader of layouts finds the cache's codes in them."""
        found = read_rows(path)
        for number, row in enumerate(rows):
            read = next(found, None)
            codes = None if read is None else read_ids([read.input_ids], self.layout).codes
            same = codes is not None and all(map(_equal, codes, self.codes(row)))
            if not same or read != self.row(row):
                raise DataError(
                    f"{path}, row {number}: not {self.table.path(row)} as the cache and layout {self.layout.name} have "
                    "it; remove the file, or export to another folder"
                )
            self.num_ids += len(read.input_ids) if read is not None else 0
        if next(found, None) is not None:
            raise DataError(f"{path}: more than the {len(rows)} rows that belong there; remove it and export again")


def _equal(one: Any, other: Any) -> bool:
    return len(one) == len(other) and bool((one == other).all())


def _plan(table: CodeTable, rows_per_shard: int, format: Format) -> dict[str, list[int]]:
    """Name of each file -> its rows."""
    plan: dict[str, list[int]] = {}
    for split in sorted(set(table.splits.to_pylist())):
        rows = table.rows_of(split).tolist()
        parts = [rows[first : first + rows_per_shard] for first in range(0, len(rows), rows_per_shard)]
        plan |= {f"{split}-{i:05d}-of-{len(parts):05d}.{format}": part for i, part in enumerate(parts)}
    return plan


def _about(table: CodeTable, options: TokenLayout, format: Format) -> dict[str, Any]:
    """What all files of an export have in common."""
    spec = asdict(table.spec)
    del spec["audio_root"]  # a folder that may move
    about = {"version": _VERSION, "format": format, "layout": asdict(options), "cache": spec}
    # As it comes back from a file: tuples are lists there.
    return dict(json.loads(json.dumps(about)))


def _refuse_foreign(output_dir: Path, about: Mapping[str, Any], names: set[str]) -> None:
    """Whatever lies in the folder must belong to this export."""
    record = output_dir / EXPORT_FILE
    if record.exists():
        try:
            stored = read_json(record)
        except ValueError as error:
            raise DataError(f"{record} is damaged ({error}); remove it and export again") from None
        different = [key for key in about if stored.get(key) != about[key]]
        if different:
            raise ConfigError(f"{output_dir} holds an export of another {', '.join(different)}; name another folder")
    others = sorted(path.name for path in _visible(output_dir) if path.name not in {*names, EXPORT_FILE})
    if others:
        raise ConfigError(f"{output_dir} holds {others[0]}, which is not of this export; name another folder")


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*") if not path.name.startswith("."))


def _require_texts(table: CodeTable, texts: Mapping[str, str] | None) -> None:
    lacking = [] if texts is None else [path for path in map(table.path, range(len(table))) if path not in texts]
    if lacking:
        raise DataError(
            f"texts: {len(lacking)} of {len(table)} utterances have none, like {lacking[0]}; add their lines"
        )
