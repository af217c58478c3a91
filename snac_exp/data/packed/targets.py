"""Targets beside packed sources: a packed folder whose rows have the names of the sources' rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from snac_exp.data.files.reading import audio_info
from snac_exp.data.packed.folder import PackSummary, pack_table
from snac_exp.data.packed.plan import PackOptions
from snac_exp.data.packed.sources import UNLISTED
from snac_exp.data.prepared.manifest import Manifest
from snac_exp.data.prepared.manifest_rows import SCHEMA, ManifestRow
from snac_exp.data.prepared.places import PLACE_SCHEMA, Place
from snac_exp.data.rows import PlacedRows
from snac_exp.data.slices.listing import TARGET_SUFFIXES, paths_without_target
from snac_exp.errors import DataError
from snac_exp.system.progress import progress_display


def pack_targets(
    prepared: Path,
    targets: Path,
    output: Path,
    options: PackOptions,
    *,
    shard: tuple[int, int] = (0, 1),
    merge: bool = False,
    check: bool = False,
    num_readers: int = 4,
) -> PackSummary:
    """Pack the targets of a prepared folder's rows; those that have none, as snac-exp targets lists them, are left out.

    Else as `pack_folder`.

    Raises:
        DataError: no row has a target.
    """
    manifest = Manifest.read(prepared)
    without = set(paths_without_target(pa.array([row.path for row in manifest.rows], pa.large_string()), targets))
    rows = [row for row in manifest.rows if row.path not in without]
    if not rows:
        raise DataError(f"{targets}: holds no target of {prepared}; make them with snac-exp targets")
    table = _table(rows, targets)
    settings = {"targets_of": manifest.digest, "without": len(without)}
    return pack_table(table, targets, settings, output, options, shard, merge, check, num_readers)


def _table(rows: list[ManifestRow], targets: Path) -> pa.Table:
    """The rows as their targets are, at the places where these lie."""
    files = PlacedRows[ManifestRow](targets, lambda row: Place(row.path), TARGET_SUFFIXES)
    schema = pa.schema([*SCHEMA, *PLACE_SCHEMA])
    found: list[dict[str, Any]] = []
    with progress_display("targets", len(rows)) as advance:
        for row in rows:
            found.append(_target(row, files, targets).values(schema))
            advance(1, "")
    return pa.Table.from_pylist(found, schema)


def _target(row: ManifestRow, files: PlacedRows[ManifestRow], targets: Path) -> ManifestRow:
    recording = files.recording(row)
    info = audio_info(recording)
    return replace(
        row,
        seconds=info.seconds,
        rate=info.rate,
        channels=info.num_channels,
        num_samples=info.num_samples,
        sha1=UNLISTED,
        placed=Place(recording.path.relative_to(targets).as_posix()),
        columns={},
    )
