"""The rows of a code cache as ids of a speech language model, in files that are read back before they are called done.

A folder holds SPLIT-00000-of-0000N.FORMAT for every split (hf: SPLIT/data-….arrow and what the datasets library wants
beside it), rejected.parquet, a data card and, once all files are there and proven, export.json: the layout, the codec,
what was asked, and the SHA-256 of every file. Files that are there are kept if they hold what they should.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snac_exp.codec.checkpoint import LoadedCodec, codebooks_fingerprint
from snac_exp.config.schema import TokenLayout
from snac_exp.data.codes.table import CodeTable
from snac_exp.data.rejection import write_rejections
from snac_exp.data.shares import require_share
from snac_exp.data.tokens.rows.card import data_card
from snac_exp.data.tokens.rows.files import EXPORT_FILE, REJECTED_FILE, write_rows
from snac_exp.data.tokens.rows.hf import DICT_FILE, INFO_FILE, STATE_FILE, datasets_library
from snac_exp.data.tokens.rows.options import ExportOptions
from snac_exp.data.tokens.rows.plan import Counts, Plan, make_plan
from snac_exp.data.tokens.rows.proof import Trial, finish_folder, prove_file
from snac_exp.data.tokens.rows.utterances import Utterances
from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.layouts.layout import Layout, layout_of
from snac_exp.system.files import read_json, sha256_of_file, write_signed_json, write_text
from snac_exp.system.paths.writing import require_writable
from snac_exp.system.progress import progress_display

CARD_FILE = "README.md"
_VERSION = 2


@dataclass(frozen=True)
class Share:
    """Which of an export's files a process writes: those whose number leaves `index` when divided by `count`.

    merge: write none, prove that all are there, and finish the folder.
    """

    index: int = 0
    count: int = 1
    merge: bool = False

    def __post_init__(self) -> None:
        require_share(self.index, self.count)

    @property
    def finishes(self) -> bool:
        """Whether all files are there once this process is done."""
        return self.merge or self.count == 1


@dataclass(frozen=True)
class ExportSummary:
    """What came of an export; files that were there already were read back too."""

    output_dir: Path
    num_made: int
    num_kept: int
    num_ids: int
    max_tokens: int | None
    counts: Counts
    proofs: tuple[str, ...]
    finished: bool

    @property
    def lines(self) -> list[str]:
        """For people."""
        counts = self.counts
        lines = [*self.proofs, f"{self.output_dir}: {self.num_made} files made, {self.num_kept} there already"]
        if not self.finished:
            return [*lines, "next: when all shards are done, the same command with merge=true and without shard.*"]
        lines.append(
            f"{counts.rows} rows, {self.num_ids} ids, {counts.seconds / 60:.1f} minutes; codes are the cache's"
        )
        if counts.split:
            lines.append(f"{counts.split} utterances longer than max_tokens={self.max_tokens} cut into several rows")
        if counts.dropped:
            listed = self.output_dir / REJECTED_FILE
            left_out = f"{counts.dropped} utterances ({counts.dropped_seconds:.1f} s)"
            lines.append(f"{left_out} longer than max_tokens={self.max_tokens} left out: {listed}")
        if counts.repeated_frames:
            lines.append(f"{counts.repeated_frames} repeated frames left out, {counts.repeated_seconds:.1f} s of audio")
        return lines


def export_rows(
    table: CodeTable,
    codec: LoadedCodec,
    layout_options: TokenLayout,
    output_dir: Path,
    options: ExportOptions,
    *,
    texts: Mapping[str, str | None] | None = None,
    share: Share | None = None,
) -> ExportSummary:
    """Prove the way there and back on a few rows, write the files, read every one back, and prove some of them again.

    Args:
        texts: path of each utterance -> what is said, see `texts_for`; None = rows have no text.

    Raises:
        CodecError: the layout does not fit the cache's codec.
        ConfigError: it has several streams, options contradict each other, or the folder holds another export.
        DataError: an utterance without a text, or a file that does not hold what it should.
    """
    share = share or Share()
    if options.format == "hf":
        datasets_library()
    layout, about = _layout(table, layout_options), _about(table, layout_options, options)
    # Before the plan, which goes through all codes.
    require_writable(output_dir)
    _refuse_other_export(output_dir, about)
    utterances = Utterances(table, layout, options, texts)
    plan = make_plan(utterances)
    _refuse_foreign(output_dir, plan)
    trial = Trial(utterances, plan, codec)
    proofs = [] if share.merge else [f"before: {trial.before()}"]
    num_made, num_ids = _write(output_dir, utterances, plan, share)
    if share.finishes:
        finish_folder(output_dir, options, plan.splits)
        write_rejections(output_dir / REJECTED_FILE, plan.rejected)
        proofs.append(f"written: {trial.after(output_dir)}")
        write_text(output_dir / CARD_FILE, data_card(utterances, plan, _of_splits(plan, num_ids)))
        about |= {"codebooks": codebooks_fingerprint(codec.model.quantizer), "counts": asdict(plan.counts)}
        write_signed_json(output_dir / EXPORT_FILE, {**about, "files": _files(output_dir, plan, num_ids)})
    return ExportSummary(
        output_dir=output_dir,
        num_made=num_made,
        num_kept=len(num_ids) - num_made,
        num_ids=sum(num_ids.values()),
        max_tokens=options.max_tokens,
        counts=plan.counts,
        proofs=tuple(proofs),
        finished=share.finishes,
    )


def _layout(table: CodeTable, options: TokenLayout) -> Layout:
    spec = table.spec
    layout = layout_of(options, spec.codec_name, spec.geometry, spec.codebook_size)
    if layout.num_streams != 1:
        raise ConfigError(
            f"layout {layout.name} has {layout.num_streams} streams and a row of input_ids is one; choose one with "
            "arrangement: frames, like layout=orpheus or layout=flat"
        )
    return layout


def _write(folder: Path, utterances: Utterances, plan: Plan, share: Share) -> tuple[int, dict[str, int]]:
    """Write and prove the files of a share: how many were not there, and the ids of each."""
    names = list(plan.files) if share.merge else list(plan.files)[share.index :: share.count]
    missing = [name for name in names if not (folder / name).exists()]
    if share.merge and missing:
        raise DataError(
            f"{folder} lacks {missing[0]} and {len(missing) - 1} more of {len(names)} files; give the command of its "
            "shard again (shard.index=…), then merge"
        )
    num_ids: dict[str, int] = {}
    with progress_display("tokens export", sum(len(plan.files[name]) for name in names)) as advance:
        for name in names:
            if not (folder / name).exists():
                write_rows(folder / name, map(utterances.token_row, plan.pieces(name)))
            num_ids[name] = prove_file(folder / name, utterances, plan.pieces(name))
            advance(len(plan.files[name]), name)
    return len(missing), num_ids


def _files(folder: Path, plan: Plan, num_ids: Mapping[str, int]) -> dict[str, dict[str, int | str]]:
    """What export.json says of every file."""
    return {
        name: {"rows": len(rows), "ids": num_ids[name], "sha256": sha256_of_file(folder / name)}
        for name, rows in plan.files.items()
    }


def _of_splits(plan: Plan, num_ids: Mapping[str, int]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for split, names in plan.splits.items():
        totals[split] = sum(num_ids[name] for name in names)
    return totals


def _about(table: CodeTable, layout: TokenLayout, options: ExportOptions) -> dict[str, Any]:
    """What all files of an export have in common."""
    spec = asdict(table.spec)
    del spec["audio_root"]  # a folder that may move
    about = {"version": _VERSION, **asdict(options), "layout": asdict(layout), "cache": spec}
    # As it comes back from a file: tuples are lists there.
    return dict(json.loads(json.dumps(about)))


def _refuse_other_export(output_dir: Path, about: Mapping[str, Any]) -> None:
    """An export that lies in the folder must be this one."""
    record = output_dir / EXPORT_FILE
    if record.exists():
        try:
            stored = read_json(record)
        except ValueError as error:
            raise DataError(f"{record} is damaged ({error}); remove it and export again") from None
        different = [key for key in about if stored.get(key) != about[key]]
        if different:
            raise ConfigError(f"{output_dir} holds an export of another {', '.join(different)}; name another folder")


def _refuse_foreign(output_dir: Path, plan: Plan) -> None:
    """Whatever lies in the folder must belong to this export."""
    own = {*plan.files, EXPORT_FILE, REJECTED_FILE, CARD_FILE, DICT_FILE}
    own |= {f"{split}/{name}" for split in plan.splits for name in (STATE_FILE, INFO_FILE)}
    others = sorted(_visible(output_dir) - own)
    if others:
        raise ConfigError(f"{output_dir} holds {others[0]}, which is not of this export; name another folder")


def _visible(folder: Path) -> set[str]:
    """Files below a folder, but hidden ones."""
    files: Iterable[Path] = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder) for path in files)
    return {name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)}
