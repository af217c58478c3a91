"""Codes that leave the program: with the true length, and with what tells whose codes they are."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snac_exp.codec.geometry import Geometry
from snac_exp.data.audio import resampled_length
from snac_exp.errors import DataError


@dataclass(frozen=True)
class Codes:
    """Codes of one signal, or of a batch of equally long ones.

    Attributes:
        tokens: tokens[i] (B, T_i) int64 of codebook i, coarsest first.
        num_samples: samples of the source, each row alike; what lies beyond in the last token is padding.
        sample_rate: of the source, in Hz.
        codebooks: SHA-256 of the codebooks that the tokens index, see `codebooks_fingerprint`.
    """

    tokens: tuple[Tensor, ...]
    num_samples: int
    sample_rate: int
    codebooks: str

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


def codebooks_fingerprint(quantizer: Any) -> str:
    """SHA-256 over strides and codebooks of a quantizer; training the decoder or folding weights does not change it."""
    digest = hashlib.sha256()
    for level in quantizer.quantizers:
        codebook = level.codebook.weight.detach().float().cpu().contiguous()
        digest.update(f"{level.stride} {list(codebook.shape)}\n".encode())
        digest.update(codebook.numpy().tobytes())
    return digest.hexdigest()


def checked_tokens(tokens: Sequence[Any], geometry: Geometry, codebook_sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Tokens of every codebook as (B, T_i) int64, of lengths that belong together.

    Raises:
        DataError: another number of codebooks, lengths that do not match, values outside of a codebook, no tokens.
    """
    if len(tokens) != geometry.num_codebooks:
        raise DataError(f"{len(tokens)} lists of tokens, but the codec has {geometry.num_codebooks} codebooks")
    rows = tuple(_integers(item, i) for i, item in enumerate(tokens))
    num_coarse, batch_size = rows[0].shape[1], rows[0].shape[0]
    expected = [(batch_size, geometry.codebook_length(i, num_coarse)) for i in range(len(rows))]
    if [tuple(row.shape) for row in rows] != expected or not num_coarse or num_coarse % geometry.coarse_step:
        raise DataError(
            f"tokens of shapes {[list(row.shape) for row in rows]} do not belong together: the codebooks hold "
            f"{[geometry.codebook_length(i, 1) for i in range(len(rows))]} per coarse token, "
            f"and there must be a multiple of {geometry.coarse_step} coarse tokens"
        )
    for i, (row, size) in enumerate(zip(rows, codebook_sizes, strict=True)):
        if int(row.min()) < 0 or int(row.max()) >= size:
            raise DataError(
                f"codebook {i} has tokens 0 to {size - 1}, but {int(row.min())} to {int(row.max())} are given"
            )
    return rows


def _integers(tokens: Any, codebook: int) -> Tensor:
    values = torch.as_tensor(tokens.astype(np.int64) if isinstance(tokens, np.ndarray) else tokens)
    if values.is_floating_point() or values.dtype == torch.bool or values.ndim not in (1, 2):
        raise DataError(f"tokens of codebook {codebook} must be whole numbers of shape (tokens,) or (batch, tokens)")
    return values.long() if values.ndim == 2 else values.long()[None]
