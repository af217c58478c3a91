"""Audio, code caches and older token files into NPQ1 files; each file is whole or absent, so a restart goes on."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from snac_exp.data.files.decoding import Float32Array, check_usable
from snac_exp.data.files.reading import read_mono
from snac_exp.data.files.resampling import resampled_length
from snac_exp.data.files.scan import find_audio
from snac_exp.data.rejection import Rejection, reason_lines
from snac_exp.data.tokens.codecs import TokenCodec, kbps_of
from snac_exp.data.tokens.files import CachedTokens, Int64Array, find_npq
from snac_exp.data.tokens.npq import NpqError, read_header, read_npq, write_npq
from snac_exp.data.tokens.val_list import write_val_list
from snac_exp.errors import DataError
from snac_exp.system.paths.kind import refuse_file
from snac_exp.system.progress import progress_display

VAL_LIST = "val_list.txt"  # what `data.val_list` of the source npq reads


@dataclass
class TokenSummary:
    """What came of a folder. Files that were there already are not made again; `rejected` says why others were not."""

    output_dir: Path
    num_made: int = 0
    num_kept: int = 0
    seconds: float = 0.0
    rejected: list[Rejection] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """The summary for people."""
        made = f"{self.num_made} files made, {self.num_kept} there already, {self.seconds / 60:.1f} minutes of tokens"
        return [f"{self.output_dir}: {made}", f"{len(self.rejected)} rejected", *reason_lines(self.rejected)]


def encode_folder(
    codec: TokenCodec,
    input_dir: Path,
    output_dir: Path,
    *,
    chunk_seconds: float = 30.0,
    context_seconds: float = 2.0,
    overwrite: bool = False,
) -> TokenSummary:
    """Tokens of all audio below a folder, at the same relative paths with the suffix .npq.

    Raises:
        DataError: no audio there, or two files that differ only by their suffix.
    """
    refuse_file(input_dir, "a folder of audio", DataError)
    if not input_dir.is_dir():
        raise DataError(f"input: no folder {input_dir}; set it to a folder of audio")
    paths = _npq_names(find_audio(input_dir, skip=output_dir))
    if not paths:
        raise DataError(f"{input_dir}: no audio files there")

    def frames_of(path: str) -> Int64Array:
        file = input_dir / path
        # Levels of the whole file: below it is read in chunks, which cannot tell them.
        info = check_usable(file)
        num_samples = resampled_length(info.num_samples, info.rate, codec.sampling_rate)
        return encode_chunked(
            codec,
            lambda start, num: read_mono(file, codec.sampling_rate, start, num),
            num_samples,
            chunk_seconds,
            context_seconds,
        )

    return _write_all(codec, paths, frames_of, output_dir, overwrite)


def encode_chunked(
    codec: TokenCodec,
    read: Callable[[int, int], Float32Array],
    num_samples: int,
    chunk_seconds: float,
    context_seconds: float,
) -> Int64Array:
    """Frames (T, K) of `num_samples` samples, zero-padded to whole granules, encoded chunk by chunk.

    Every chunk is encoded with `context_seconds` of its surroundings, and their frames are dropped: with at least the
    encoder's receptive field the tokens are those of the whole. `read(start, num)` gives zeros beyond the end.
    """
    granule = codec.granule_samples
    total = -(-num_samples // granule)
    chunk = max(int(chunk_seconds * codec.sampling_rate) // granule, 1)
    context = math.ceil(context_seconds * codec.sampling_rate / granule)
    parts = []
    for first in range(0, total, chunk):
        last = min(first + chunk, total)
        # Beyond the file's ends the codec pads as it would pad the whole.
        start, stop = max(first - context, 0), min(last + context, total)
        audio = torch.from_numpy(read(start * granule, (stop - start) * granule))
        frames = codec.encode(audio)
        # A frame too many or too few would shift everything after it.
        if len(frames) != (stop - start) * codec.granule_frames:
            raise DataError(f"{codec.name} gave {len(frames)} frames for {stop - start} granules of {granule} samples")
        parts.append(frames[(first - start) * codec.granule_frames : (last - start) * codec.granule_frames])
    return np.concatenate(parts)


def export_cache(tokens: CachedTokens, validation: set[int], output_dir: Path, overwrite: bool = False) -> TokenSummary:
    """The rows of a code cache as .npq files; those of `validation` are listed in val_list.txt."""
    names = _npq_names(tokens.name(i) for i in range(len(tokens.lengths)))
    rows = {path: i for i, path in enumerate(names)}
    layout = tokens.layout
    summary = TokenSummary(output_dir)
    for path, output in names.items():
        row = rows[path]
        if _is_there(output_dir / output, overwrite):
            summary.num_kept += 1
            continue
        frames = tokens.read(row, 0, int(tokens.lengths[row]))
        write_npq(output_dir / output, frames, layout.vocab_sizes, layout.frames_per_second, kbps_of(layout))
        summary.num_made += 1
        summary.seconds += len(frames) / layout.frames_per_second
    # Files that were there already are listed too.
    listed = [output for path, output in names.items() if rows[path] in validation]
    write_val_list(output_dir / VAL_LIST, listed)
    return summary


def convert_folder(input_dir: Path, output_dir: Path, overwrite: bool = False) -> TokenSummary:
    """All token files below a folder as NPQ1, whichever form they have."""
    if input_dir.resolve() == output_dir.resolve():
        raise DataError(f"output={output_dir} is the input; name another folder, the originals are kept")
    summary = TokenSummary(output_dir)
    for path in find_npq(input_dir):
        try:
            header, tokens = read_npq(input_dir / path)
        except NpqError as error:
            summary.rejected.append(Rejection(path, "unusable", str(error)))
            continue
        if _is_there(output_dir / path, overwrite):
            summary.num_kept += 1
            continue
        write_npq(output_dir / path, tokens, header.vocab_sizes, header.frames_per_second, header.kbps)
        summary.num_made += 1
        summary.seconds += header.num_frames / header.frames_per_second
    if not (summary.num_made or summary.num_kept or summary.rejected):
        refuse_file(input_dir, "a folder of .npq files", DataError)
        raise DataError(f"{input_dir}: no .npq files there")
    return summary


def _write_all(
    codec: TokenCodec,
    paths: dict[str, str],
    frames_of: Callable[[str], Int64Array],
    output_dir: Path,
    overwrite: bool,
) -> TokenSummary:
    layout, summary = codec.layout, TokenSummary(output_dir)
    with progress_display("tokens encode", len(paths)) as advance:
        for path, output in paths.items():
            if _is_there(output_dir / output, overwrite):
                summary.num_kept += 1
            else:
                try:
                    frames = frames_of(path)
                    write_npq(
                        output_dir / output, frames, layout.vocab_sizes, layout.frames_per_second, kbps_of(layout)
                    )
                    summary.num_made += 1
                    summary.seconds += len(frames) / layout.frames_per_second
                except DataError as error:
                    summary.rejected.append(Rejection(path, "unreadable", str(error)))
            advance(1, "")
    return summary


def _is_there(path: Path, overwrite: bool) -> bool:
    """Whether a whole token file lies there already; a damaged one is an error, never overwritten unasked."""
    if overwrite or not path.exists():
        return False
    read_header(path)
    return True


def _npq_names(paths: Iterable[str]) -> dict[str, str]:
    """Relative path of each source file -> that of its token file."""
    names: dict[str, str] = {}
    sources: dict[str, str] = {}
    for path in paths:
        output = str(PurePosixPath(path).with_suffix(".npq"))
        if output in sources:
            raise DataError(f"{sources[output]} and {path} would both become {output}; rename one of them")
        names[path], sources[output] = output, path
    return names
