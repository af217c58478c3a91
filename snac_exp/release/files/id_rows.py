"""Rows of ids of a speech language model into a file of codes, which `snac-exp decode` makes audible."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from snac_exp.codec.checkpoint import LoadedCodec
from snac_exp.config.schema import TokenLayout
from snac_exp.data.rejection import Rejection, reason_lines
from snac_exp.data.tokens.rows.files import EXPORT_FILE, TokenRow, read_rows, row_files
from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.layouts.layout import Layout, layout_of
from snac_exp.lm.layouts.reading import Mode, Reading
from snac_exp.lm.layouts.streams import read_ids
from snac_exp.release.code_files import parquet_writer
from snac_exp.release.codes import Codes, codebooks_fingerprint
from snac_exp.system.files import left_beside, read_json, remove_left, sha256_of_file


@dataclass
class ImportSummary:
    """What came of rows: those with codes, what `resync` dropped (row and gap, for people), rows without speech."""

    output: Path
    num_rows: int = 0
    seconds: float = 0.0
    num_dropped: int = 0
    gaps: list[str] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """For people."""
        lines = [f"{self.output}: codes of {self.num_rows} rows, {self.seconds / 60:.1f} minutes"]
        lines += [f"{self.num_dropped} ids dropped in {len(self.gaps)} places"] if self.gaps else []
        lines += [f"  {gap}" for gap in self.gaps]
        return [*lines, f"{len(self.rejected)} rows cannot be used", *reason_lines(self.rejected)]


def import_rows(
    source: Path, output: Path, options: TokenLayout, codec: LoadedCodec, mode: Mode = "strict"
) -> ImportSummary:
    """Codes of all rows of a file or of a folder of them (see `read_rows`), in a .parquet file that is whole or absent.

    Raises:
        CodecError: the layout does not fit the codec.
        ConfigError: the output is there already, or has another suffix.
        DataError: nothing to read, a damaged file; `strict`: ids that do not fit, or a length of audio that is not
            that of its frames; names file and row.
    """
    if output.suffix != ".parquet":
        raise ConfigError(f"output={output}: codes are written to one .parquet file; name it output=FILE.parquet")
    if output.exists():
        raise ConfigError(f"output={output} is there already; remove it or name another file")
    if not source.exists():
        raise DataError(f"input: there is no {source}; give a file of rows of ids, or a folder of them")
    remove_left(left_beside(output))
    layout = layout_of(options, codec.name, codec.geometry, int(codec.model.codebook_size))
    summary, seen = ImportSummary(output), set[str]()
    with parquet_writer(output, codec.geometry.num_codebooks, codebooks_fingerprint(codec.model.quantizer)) as writer:
        for number, (where, row) in enumerate(_rows(source, layout)):
            name = row.path or f"row_{number:05d}"
            if name in seen:
                raise DataError(f"{where}: {name} comes twice; import the files one by one, or mend path")
            seen.add(name)
            reading = _read(row, where, layout, mode)
            summary.gaps += [f"{name}: {gap.line}" for gap in reading.gaps]
            summary.num_dropped += reading.num_dropped
            problem = _problem(reading)
            if problem and mode == "strict":
                raise DataError(f"{where}: {problem}")
            if problem:
                summary.rejected.append(Rejection(name, "no_speech", problem))
                continue
            codes = _codes(row, reading, where, mode, codec)
            writer.append(name, codes)
            summary.num_rows += 1
            summary.seconds += codes.seconds
        if not summary.num_rows:
            raise DataError("\n".join([f"{source}: no row with speech there", *reason_lines(summary.rejected)]))
    return summary


def _rows(source: Path, layout: Layout) -> Iterator[tuple[str, TokenRow]]:
    """(file and row, for messages; the row) of a file, or of all files of a folder."""
    files = row_files(source) if source.is_dir() else [source]
    if source.is_dir():
        _check_listed(source, files)
    for path in files:
        for number, row in enumerate(read_rows(path, layout)):
            yield f"{path}, row {number}", row


def _check_listed(folder: Path, files: list[Path]) -> None:
    """An exported folder must be as it was written."""
    record = folder / EXPORT_FILE
    if not record.exists():
        return
    try:
        listed = {name: values["sha256"] for name, values in read_json(record)["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{record} is damaged ({error}); export again") from None
    names = {path.relative_to(folder).as_posix(): path for path in files}
    for name, path in names.items():
        if listed.get(name) != sha256_of_file(path):
            raise DataError(f"{path}: not as {EXPORT_FILE} lists it, damaged or of another export; export again")
    missing = sorted(set(listed) - set(names))
    if missing:
        raise DataError(f"{folder} lacks {missing[0]}, which {EXPORT_FILE} lists; export again")


def _read(row: TokenRow, where: str, layout: Layout, mode: Mode) -> Reading:
    try:
        return read_ids([row.input_ids], layout, mode)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _problem(reading: Reading) -> str | None:
    """Why these codes are no audio."""
    if not reading.num_frames:
        layout, text = reading.layout, len(reading.text_ids)
        return (
            f"there is no whole frame of codes in it, and {text} ids are text for layout {layout.name}; "
            "choose the layout that wrote it"
        )
    step = reading.layout.geometry.coarse_step
    if reading.num_frames % step:
        return f"{reading.num_frames} frames are no multiple of {step}, which codec {reading.layout.codec_name} decodes"
    return None


def _codes(row: TokenRow, reading: Reading, where: str, mode: Mode, codec: LoadedCodec) -> Codes:
    geometry, codebooks = codec.geometry, codebooks_fingerprint(codec.model.quantizer)
    num_samples = reading.num_frames * geometry.coarse_hop
    if row.seconds is not None:
        true = round(row.seconds * geometry.sampling_rate)
        if true > 0 and geometry.coarse_tokens_of(true) == reading.num_frames:
            num_samples = true
        elif mode == "strict":
            raise DataError(
                f"{where}: {row.seconds} seconds are not what its {reading.num_frames} frames hold, "
                f"{reading.seconds:.3f}; mend or leave out seconds, or mode=resync to take the frames"
            )
    tokens = tuple(torch.from_numpy(codes)[None] for codes in reading.codes)
    return Codes(tokens, num_samples, geometry.sampling_rate, codebooks)
