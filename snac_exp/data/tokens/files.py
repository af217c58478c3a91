"""Where tokens come from: a folder of NPQ files, or the code cache of a SNAC codec, as files of frames.

A source answers one question, the frames [start, start + num) of a file, and costs no more than these frames.
"""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from snac_exp.data.codes.table import CodeTable
from snac_exp.data.rejection import Rejection
from snac_exp.data.tokens.npq import (
    NpqError,
    NpqHeader,
    TokenArray,
    check_content,
    check_tokens,
    map_tokens,
    read_header,
)
from snac_exp.errors import DataError
from snac_exp.lm.frames import FrameLayout, repeat_streams, stack_coarse
from snac_exp.system.paths.kind import refuse_file

Int64Array = npt.NDArray[np.int64]

OPEN_FILES = 256  # memory maps kept per process
RATE_TOLERANCE = 1e-3  # relative difference of frame rates that one model may mix
NAMES_SHOWN = 3  # paths in a message


class TokenSource(Protocol):
    """Files of frames. `lengths` (files,): frames of each; `layout`: what the streams of every frame are."""

    @property
    def layout(self) -> FrameLayout: ...
    @property
    def lengths(self) -> Int64Array: ...
    def name(self, file: int) -> str:
        """Path of a file, relative to its folder."""
        ...

    def check(self) -> str:
        """Read all tokens and compare them with their checksums; a line that says so, or DataError."""
        ...

    def read(self, file: int, start: int, num_frames: int) -> TokenArray:
        """Frames (num_frames, K), a view where possible; they must lie within the file."""
        ...


@dataclass(frozen=True)
class NpqFiles:
    """The usable NPQ files below a folder, and the others with the reason."""

    folder: Path
    paths: tuple[str, ...]
    headers: tuple[NpqHeader, ...]
    layout: FrameLayout
    lengths: Int64Array
    rejected: tuple[Rejection, ...]
    checked: set[str]  # paths of files whose tokens have been compared with their checksum

    @classmethod
    def open(cls, folder: Path, verify_tokens: bool = True, min_frames: int = 2) -> "NpqFiles":
        """Read the header of every `*.npq` file below a folder and, with `verify_tokens`, every token.

        Without it a file's tokens are checked when it is first used. Files that cannot be used, or have fewer than
        `min_frames` frames, are listed in `rejected`.

        Raises:
            DataError: no file can be used, or files disagree about codebooks, vocabulary or frame rate; names them.
        """
        refuse_file(folder, "a folder of .npq files", DataError)
        if not folder.is_dir():
            raise DataError(f"data.directory: no folder {folder}; set it to where the .npq files lie on this machine")
        good: list[tuple[str, NpqHeader]] = []
        rejected: list[Rejection] = []
        for path in find_npq(folder):
            try:
                good.append((path, _usable(folder / path, verify_tokens, min_frames)))
            except NpqError as error:
                rejected.append(Rejection(path, "unusable", str(error)))
        if not good:
            reason = f"; the first of {len(rejected)}: {rejected[0].reason}" if rejected else ""
            raise DataError(f"{folder}: no usable .npq file there{reason}")
        layout = common_layout(good)
        paths, headers = zip(*good, strict=True)
        lengths = np.array([header.num_frames for header in headers], dtype=np.int64)
        _warn_of_unchecked(folder, headers)
        return cls(folder, paths, headers, layout, lengths, tuple(rejected), set(paths if verify_tokens else ()))

    def as_layout(self, layout: FrameLayout) -> "NpqFiles":
        """The same files with the meaning that a codec gives their streams, cut to whole alignments.

        Raises:
            DataError: no file has a whole one.
        """
        lengths = self.lengths // layout.alignment * layout.alignment
        kept = np.flatnonzero(lengths)
        if not len(kept):
            raise DataError(f"{self.folder}: no file has {layout.alignment} frames; encode longer audio")
        short = f"fewer than {layout.alignment} frames"
        rejected = [Rejection(self.paths[i], "short", short) for i in np.flatnonzero(lengths == 0).tolist()]
        chosen = kept.tolist()
        return replace(
            self,
            layout=layout,
            paths=tuple(self.paths[i] for i in chosen),
            headers=tuple(self.headers[i] for i in chosen),
            lengths=lengths[kept],
            rejected=(*self.rejected, *rejected),
        )

    def name(self, file: int) -> str:
        """Path of a file, relative to the folder."""
        return self.paths[file]

    def check(self) -> str:
        """Compare the tokens of all files with their checksums; DataError naming the first that is damaged."""
        for name, header in zip(self.paths, self.headers, strict=True):
            check_content(self.folder / name, header, map_tokens(self.folder / name, header))
        return f"the tokens of {len(self.paths)} files are as they were written"

    def read(self, file: int, start: int, num_frames: int) -> TokenArray:
        """Frames (num_frames, K) as they lie in the file, checked against the vocabulary."""
        name = self.paths[file]
        path = f"{self.folder}/{name}"  # a Path would take as long as the reading
        # A plain array from here on: operations on an np.memmap run Python code each.
        tokens: TokenArray = np.asarray(_open_map(path, self.headers[file]))
        if name not in self.checked:
            check_content(path, self.headers[file], tokens)
            self.checked.add(name)
        frames = tokens[start : start + num_frames]
        check_tokens(path, frames, self.layout.vocab_sizes, start)
        return frames


@dataclass(frozen=True)
class CachedTokens:
    """The rows of a SNAC code cache as files of frames, see `snac_exp.lm.frames`."""

    table: CodeTable
    rows: Int64Array
    frames: Literal["coarse", "repeated"] = "coarse"

    @cached_property
    def layout(self) -> FrameLayout:
        """Streams of a frame."""
        spec = self.table.spec
        coarse_rate = spec.sampling_rate / spec.geometry.coarse_hop
        make = FrameLayout.coarse if self.frames == "coarse" else FrameLayout.repeated
        return make(spec.vq_strides, spec.codebook_size, coarse_rate)

    @cached_property
    def lengths(self) -> Int64Array:
        """Frames of each row (rows,)."""
        lengths: Int64Array = self.table.coarse_lengths[self.rows] * self.layout.alignment
        return lengths

    def name(self, file: int) -> str:
        """Path of the row's audio file."""
        return self.table.path(int(self.rows[file]))

    def check(self) -> str:
        """As `CodeTable.check`."""
        return self.table.check()

    def read(self, file: int, start: int, num_frames: int) -> TokenArray:
        """Frames (num_frames, K); `start` and `num_frames` are whole coarse tokens."""
        per_coarse = self.layout.alignment
        if start % per_coarse or num_frames % per_coarse:
            raise ValueError(
                f"frames [{start}, {start + num_frames}) are no whole coarse tokens of {per_coarse} frames"
            )
        geometry, row = self.table.spec.geometry, int(self.rows[file])
        codes = [
            self.table.codes(row, i, geometry.codebook_slice(i, start // per_coarse, num_frames // per_coarse))
            for i in range(geometry.num_codebooks)
        ]
        stack = stack_coarse if self.frames == "coarse" else repeat_streams
        frames: TokenArray = stack(codes, geometry.vq_strides)
        return frames


def find_npq(folder: Path) -> list[str]:
    """Relative paths (forward slashes, sorted) of all *.npq files below a folder."""
    found = []
    for parent, _, names in os.walk(folder, followlinks=True):
        found += [(Path(parent) / name).relative_to(folder).as_posix() for name in names if is_npq(name)]
    return sorted(found)


def is_npq(name: str) -> bool:
    """Whether a file is taken for a token file, by its name."""
    return name.endswith(".npq")


def common_layout(files: Sequence[tuple[str, NpqHeader]]) -> FrameLayout:
    """The one layout of all files.

    Raises:
        DataError: they disagree; names files of each kind and says how many there are.
    """
    vocabularies = Counter(header.vocab_sizes for _, header in files)
    if len(vocabularies) > 1:
        kinds = []
        for vocab, num in vocabularies.most_common():
            paths = [path for path, header in files if header.vocab_sizes == vocab]
            kinds.append(f"{_codebooks(vocab)} in {num} files ({_names(paths)})")
        raise DataError(f"token files of different codecs: {'; '.join(kinds)}; keep each kind in a folder of its own")
    rates = sorted((header.frames_per_second, path) for path, header in files)
    (slowest, slow_path), (fastest, fast_path) = rates[0], rates[-1]
    if fastest > slowest * (1 + RATE_TOLERANCE):
        raise DataError(
            f"token files of different frame rates: {slowest:g} Hz ({slow_path}) and {fastest:g} Hz ({fast_path}); "
            "keep each kind in a folder of its own"
        )
    header = files[0][1]
    return FrameLayout.plain(header.vocab_sizes, header.frames_per_second)


def _usable(path: Path, verify_tokens: bool, min_frames: int) -> NpqHeader:
    header = read_header(path)
    if header.num_frames < min_frames:
        raise NpqError(f"{path}: {header.num_frames} frames, fewer than the {min_frames} a window needs; leave it out")
    if verify_tokens:
        check_content(path, header, map_tokens(path, header))
    return header


def _warn_of_unchecked(folder: Path, headers: Sequence[NpqHeader]) -> None:
    num = sum(header.checksum is None for header in headers)
    if num:
        warnings.warn(
            f"{folder}: {num} of {len(headers)} token files are of NPQ version 1 or older, without a checksum: damage "
            f"to their tokens goes unseen; snac-exp tokens convert input={folder} output=FOLDER writes them anew",
            stacklevel=3,
        )


@lru_cache(maxsize=OPEN_FILES)
def _open_map(path: str, header: NpqHeader) -> TokenArray:
    """Tokens (num_frames, K) as a memory map; the latest ones stay open."""
    # The header is part of the cache's key, so a file that was made anew with another one is mapped anew.
    return map_tokens(path, header)


def _codebooks(vocab_sizes: tuple[int, ...]) -> str:
    if len(set(vocab_sizes)) == 1:
        return f"{len(vocab_sizes)} codebooks of {vocab_sizes[0]}"
    return f"codebooks of {', '.join(map(str, vocab_sizes))}"


def _names(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - NAMES_SHOWN} more" if len(paths) > NAMES_SHOWN else ""
    return ", ".join(paths[:NAMES_SHOWN]) + more
