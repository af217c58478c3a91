"""Rows of ids of a speech language model into a file of codes, which `snac-exp decode` makes audible."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from snac_exp.codec.checkpoint import LoadedCodec, codebooks_fingerprint
from snac_exp.config.schema import TokenLayout
from snac_exp.data.rejection import Rejection, reason_lines
from snac_exp.data.tokens.rows.spoken import Spoken, require_listed, require_same_origin, spoken_rows
from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.layouts.layout import layout_of
from snac_exp.lm.layouts.reading import Mode
from snac_exp.release.code_files import parquet_writer
from snac_exp.release.codes import Codes
from snac_exp.system.files import left_beside, remove_left


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
        ConfigError: the output is there already, or has another suffix; an exported folder of another layout or codec.
        DataError: nothing to read, a damaged file; `strict`: ids that do not fit, or a length of audio that is not
            that of its frames; names file and row.
    """
    if output.suffix != ".parquet":
        raise ConfigError(f"output={output}: codes are written to one .parquet file; name it output=FILE.parquet")
    if output.exists():
        raise ConfigError(f"output={output} is there already; remove it or name another file")
    if source.is_dir():
        require_same_origin(source, options, codec)
        require_listed(source)
    remove_left(left_beside(output))
    layout = layout_of(options, codec.name, codec.geometry, int(codec.model.codebook_size))
    summary, codebooks = ImportSummary(output), codebooks_fingerprint(codec.model.quantizer)
    with parquet_writer(output, codec.geometry.num_codebooks, codebooks) as writer:
        for spoken in spoken_rows(source, layout, mode):
            summary.gaps += [f"{spoken.name}: {gap.line}" for gap in spoken.reading.gaps]
            summary.num_dropped += spoken.reading.num_dropped
            if spoken.problem is not None:
                summary.rejected.append(Rejection(spoken.name, "no_speech", spoken.problem))
                continue
            codes = _codes(spoken, codebooks)
            writer.append(spoken.name, codes)
            summary.num_rows += 1
            summary.seconds += codes.seconds
        if not summary.num_rows:
            raise DataError("\n".join([f"{source}: no row with speech there", *reason_lines(summary.rejected)]))
    return summary


def _codes(spoken: Spoken, codebooks: str) -> Codes:
    tokens = tuple(torch.from_numpy(codes)[None] for codes in spoken.reading.codes)
    return Codes(tokens, spoken.num_samples, spoken.reading.layout.geometry.sampling_rate, codebooks)
