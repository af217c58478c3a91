"""What a folder of token files holds: good and bad files, and how much of each codebook is in use."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from snac_exp.data.rejection import Rejection, reason_lines
from snac_exp.data.tokens.files import common_layout, find_npq
from snac_exp.data.tokens.npq import NpqError, NpqHeader, read_npq
from snac_exp.errors import DataError
from snac_exp.system.paths.kind import refuse_file

MAX_COUNTED = 2**16  # entries; tokens of larger codebooks are not counted one by one


@dataclass(frozen=True)
class TokenReport:
    """Files by form, seconds of audio, counts (V,) of every token of every codebook (or nothing), bad files, and
    how many have no checksum."""

    forms: dict[str, int]
    seconds: float
    counts: tuple[npt.NDArray[np.int64], ...]
    rejected: tuple[Rejection, ...]
    num_unchecked: int

    @property
    def lines(self) -> list[str]:
        """The report for people."""
        forms = ", ".join(f"{num} {form}" for form, num in sorted(self.forms.items()))
        found = [f"{sum(self.forms.values())} usable files ({forms}), {self.seconds / 60:.1f} minutes"]
        for k, counts in enumerate(self.counts):
            if not len(counts):
                continue
            used = int((counts > 0).sum())
            found.append(f"  codebook {k}: {used} of {len(counts)} tokens in use, {entropy_bits(counts):.2f} bits")
        if self.num_unchecked:
            found.append(f"{self.num_unchecked} files of before NPQ1 version 2, without a checksum; convert adds it")
        return [*found, f"{len(self.rejected)} files cannot be used", *reason_lines(self.rejected)]


def check_files(path: Path) -> TokenReport:
    """Read every token of a file, or of all files below a folder.

    Raises:
        DataError: nothing usable there, or files that disagree about their vocabulary.
    """
    folder, names = (path.parent, [path.name]) if path.is_file() else (path, find_npq(path))
    good: list[tuple[str, NpqHeader]] = []
    rejected: list[Rejection] = []
    # By vocabulary, since files are read before it is known whether they agree.
    counts: dict[tuple[int, ...], list[npt.NDArray[np.int64]]] = {}
    for name in names:
        try:
            header, tokens = read_npq(folder / name)
        except NpqError as error:
            rejected.append(Rejection(name, "unusable", str(error)))
            continue
        good.append((name, header))
        sizes = [size if size <= MAX_COUNTED else 0 for size in header.vocab_sizes]
        sums = counts.setdefault(header.vocab_sizes, [np.zeros(size, np.int64) for size in sizes])
        for k, column in enumerate(sums):
            if len(column):
                column += np.bincount(tokens[:, k], minlength=len(column))
    if not good:
        if not path.name.endswith(".npq"):
            refuse_file(path, "a token file or a folder of them", DataError)
        raise DataError("\n".join([f"{path}: no usable .npq file there", *reason_lines(rejected)]))
    layout = common_layout(good)
    forms = Counter(header.form for _, header in good)
    seconds = sum(header.num_frames / header.frames_per_second for _, header in good)
    num_unchecked = sum(header.checksum is None for _, header in good)
    return TokenReport(dict(forms), seconds, tuple(counts[layout.vocab_sizes]), tuple(rejected), num_unchecked)


def entropy_bits(counts: npt.NDArray[np.int64]) -> float:
    """Entropy of a count (V,) in bits."""
    share = counts[counts > 0] / max(int(counts.sum()), 1)
    # Adding zero turns -0.0 into 0.0.
    return float(-(share * np.log2(share)).sum()) + 0.0
