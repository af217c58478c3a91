"""Codes that leave the program: with the true length, and with what tells whose codes they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snac_exp.codec.geometry import Geometry
from snac_exp.data.files.resampling import resampled_length
from snac_exp.errors import DataError


@dataclass(frozen=True)
class Codes:
    """Codes of one signal, or of a batch of equally long ones.

    Attributes:
        tokens: tokens[i] (B, T_i) int64 of codebook i, coarsest first.
        num_samples: samples of the source, each row alike; what lies beyond in the last token is padding.
        sample_rate: of the source, in Hz.
        codebooks: SHA-256 of the codebooks that the tokens index, see `codebooks_fingerprint`.

    Raises:
        DataError: num_samples or sample_rate is no whole number of at least 1.
    """

    tokens: tuple[Tensor, ...]
    num_samples: int
    sample_rate: int
    codebooks: str

    def __post_init__(self) -> None:
        for name in ("num_samples", "sample_rate"):
            value = getattr(self, name)
            if not is_whole(value) or value < 1:
                raise DataError(f"codes with {name}={value!r}: it must be a whole number of at least 1; encode again")

    @property
    def batch_size(self) -> int:
        """Rows."""
        return int(self.tokens[0].shape[0])

    @property
    def seconds(self) -> float:
        """Duration of the source."""
        return self.num_samples / self.sample_rate

    def samples_at(self, rate: int) -> int:
        """Exact length of the decoded signal at `rate` Hz."""
        return resampled_length(self.num_samples, self.sample_rate, rate)

    def row(self, index: int) -> "Codes":
        """One row, as a batch of one."""
        rows = tuple(tokens[index : index + 1] for tokens in self.tokens)
        return Codes(rows, self.num_samples, self.sample_rate, self.codebooks)


def is_whole(value: object) -> bool:
    """Whether it is a whole number, of Python or NumPy; a bool is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def checked_tokens(tokens: Any, geometry: Geometry, codebook_sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Tokens of every codebook as (B, T_i) int64, of lengths that belong together.

    Raises:
        DataError: another number of codebooks, lengths that do not match, values outside of a codebook, no tokens.
    """
    rows = token_rows(tokens, codebook_sizes)
    batch_size, num_coarse = rows[0].shape
    expected = [(batch_size, geometry.codebook_length(i, num_coarse)) for i in range(len(rows))]
    # Local attention works on whole windows, so a number of coarse tokens between them cannot be decoded.
    if [tuple(row.shape) for row in rows] != expected or not rows[0].numel() or num_coarse % geometry.coarse_step:
        raise DataError(
            f"tokens of shapes {[list(row.shape) for row in rows]} do not belong together: the codebooks hold "
            f"{[geometry.codebook_length(i, 1) for i in range(len(rows))]} per coarse token, "
            f"and there must be a multiple of {geometry.coarse_step} coarse tokens"
        )
    return rows


def token_rows(tokens: Any, codebook_sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Tokens of every codebook as (B, T_i) int64 on the CPU, of any lengths, none included.

    Raises:
        DataError: another number of codebooks, no whole numbers of one or two dimensions, or outside of a codebook.
    """
    try:
        lists = list(tokens)
    except TypeError:
        kind = type(tokens).__name__
        raise DataError(f"codes are a {kind}; give what encode gave, or a list of tokens per codebook") from None
    if len(lists) != len(codebook_sizes):
        raise DataError(f"{len(lists)} lists of tokens, but the codec has {len(codebook_sizes)} codebooks")
    rows = tuple(_integers(item, i) for i, item in enumerate(lists))
    for i, (row, size) in enumerate(zip(rows, codebook_sizes, strict=True)):
        # On a GPU an index out of range is a device-side assertion, which ends the process.
        if row.numel() and (int(row.min()) < 0 or int(row.max()) >= size):
            raise DataError(
                f"codebook {i} has tokens 0 to {size - 1}, but {int(row.min())} to {int(row.max())} are given"
            )
    return rows


def _integers(tokens: Any, codebook: int) -> Tensor:
    """Tokens of one codebook as (B, T) int64."""
    wanted = f"tokens of codebook {codebook} must be whole numbers of shape (tokens,) or (batch, tokens)"
    try:
        values = torch.as_tensor(tokens).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{wanted} ({str(error).splitlines()[0]})") from None
    # Floats are refused even where they are whole: a cast would hide that something else was handed in.
    whole = not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)
    if not (whole or not values.numel()) or values.ndim not in (1, 2):  # an empty list has no type of its own
        raise DataError(f"{wanted}, not {values.dtype} of shape {list(values.shape)}")
    return values.long() if values.ndim == 2 else values.long()[None]
