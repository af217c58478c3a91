"""Tokens that arrived and wait until they make a whole step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from snac_exp.codec.geometry import Geometry
from snac_exp.errors import DataError


class TokenQueue:
    """Tokens of every codebook in order of time, given out in whole steps (a coarse token, or an attention window)."""

    def __init__(self, geometry: Geometry, num_rows: int = 1) -> None:
        self._geometry = geometry
        self._tokens = [torch.zeros(num_rows, 0, dtype=torch.int64) for _ in range(geometry.num_codebooks)]

    def append(self, rows: Sequence[Tensor]) -> None:
        """Tokens[i] (num_rows, n_i) behind those that wait."""
        self._tokens = [torch.cat((old, row), 1) for old, row in zip(self._tokens, rows, strict=True)]

    def take(self, most_steps: int | None = None) -> list[Tensor]:
        """Tokens[i] (num_rows, T_i) of the whole steps that are there, or of the first of them; they wait no more."""
        lengths = self._whole([row.shape[1] for row in self._tokens], most_steps)
        taken = [row[:, :num] for row, num in zip(self._tokens, lengths, strict=True)]
        self._tokens = [row[:, num:] for row, num in zip(self._tokens, lengths, strict=True)]
        return taken

    @property
    def has_step(self) -> bool:
        """Whether a whole step waits."""
        return self._whole([row.shape[1] for row in self._tokens])[0] > 0

    def require_whole(self, rows: Sequence[Tensor] | None = None) -> None:
        """DataError unless the stream can end here, or behind `rows` (num_rows, n_i): no part of a step is left."""
        arrived = [row.shape[1] for row in self._tokens]
        if rows is not None:
            arrived = [num + row.shape[1] for num, row in zip(arrived, rows, strict=True)]
        left = [num - whole for num, whole in zip(arrived, self._whole(arrived), strict=True)]
        if any(left):
            raise DataError(f"the stream ends within a step: {left} tokens of the codebooks are left over")

    def _whole(self, arrived: list[int], most_steps: int | None = None) -> list[int]:
        """Of so many tokens per codebook, how many make whole steps."""
        step = self._geometry.coarse_step
        # The quantizer adds the codebooks of the same time, so the slowest one decides.
        num_steps = min(num // self._geometry.codebook_length(i, step) for i, num in enumerate(arrived))
        num_steps = num_steps if most_steps is None else min(num_steps, most_steps)
        return [self._geometry.codebook_length(i, num_steps * step) for i in range(len(arrived))]
