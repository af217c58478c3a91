"""Pieces of several streams on their way through the layers, and the state that a layer keeps of each stream.

A piece is rows of moments, columns of channels; pieces lie one behind the other in one tensor. Layers see ahead: a
stream that goes on has its last outputs withheld until their inputs are all there, and gets them with its next piece or
when it ends. So pieces have different lengths, and a piece may be empty.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from snac_exp.codec.fast.kernels import Array
from snac_exp.codec.fast.time_major import tiled


@dataclass(frozen=True)
class Call:
    """The streams that take part in one pass through the layers.

    Attributes:
        slots: where the layers keep the state of each.
        ends: whether its signal ends with this piece; beyond the end there are zeros.
        seeds: of its noise; None for no noise.
    """

    slots: tuple[int, ...]
    ends: tuple[bool, ...]
    seeds: tuple[int | None, ...]


class Rows(NamedTuple):
    """Pieces of the streams of a call: values (N, C), and how many of these rows each stream has."""

    values: Tensor
    lengths: tuple[int, ...]

    def pieces(self) -> tuple[Tensor, ...]:
        """Of each stream (n, C), n may be 0."""
        # Slices: the library's split takes ten times as long where there are few.
        return tuple(
            self.values[stop - num : stop] for num, stop in zip(self.lengths, accumulate(self.lengths), strict=True)
        )


class State(Protocol):
    """What a layer keeps of every stream."""

    def forget(self, slot: int) -> None:
        """The stream there has left; nothing of it remains."""
        ...

    def bytes_of(self, slot: int) -> int:
        """Memory that the stream there takes."""
        ...


class NoState:
    """Of a layer that looks at one moment at a time."""

    def forget(self, slot: int) -> None:
        """Nothing is kept."""

    def bytes_of(self, slot: int) -> int:
        """None."""
        return 0


class History:
    """The last rows of every stream, which a layer needs to go on, and how many rows there were before.

    Args:
        before: rows before a moment that its output depends on.
        after: rows behind it that it depends on.
        tail: outputs that are still to come when a stream ends; `after` where each row makes one.
    """

    def __init__(self, before: int, after: int, tail: int | None = None) -> None:
        self.size, self.after, self.tail = before + after, after, after if tail is None else tail
        self._rows: dict[int, Tensor] = {}
        self.seen: defaultdict[int, int] = defaultdict(int)

    def forget(self, slot: int) -> None:
        """The stream there has left."""
        self._rows.pop(slot, None)
        self.seen.pop(slot, None)

    def bytes_of(self, slot: int) -> int:
        """Memory of the kept rows."""
        return self._rows[slot].nbytes if slot in self._rows else 0

    def join(self, rows: Rows, call: Call) -> tuple[Tensor, "Windows"]:
        """Pieces (n, C) behind what was kept of their streams: all of it (N, C), and where outputs are to be made."""
        if self._are_even(rows, call):
            return self._join_even(rows, call)
        parts: list[Tensor] = []
        found: list[tuple[int, int]] = []
        start = 0
        for slot, ends, piece in zip(call.slots, call.ends, rows.pieces(), strict=True):
            kept = self._rows.get(slot)
            if kept is None:
                kept = piece.new_zeros(self.size, piece.shape[1])
            zeros = self.tail if ends else 0
            parts += [kept, piece, *([piece.new_zeros(zeros, piece.shape[1])] if zeros else [])]
            # Outputs for moments before the first are none; they come from zeros alone.
            skipped = max(0, self.after - self.seen[slot])
            found.append((start + skipped, max(0, len(piece) + zeros - skipped)))
            self.seen[slot] += len(piece)
            start += self.size + len(piece) + zeros
        joined = torch.cat(parts)
        self._keep(joined, rows.lengths, call)
        return joined, Windows(found, self.size)

    def _are_even(self, rows: Rows, call: Call) -> bool:
        """Whether all streams are under way and bring equally many rows, as most do at most times."""
        under_way = all(slot in self._rows and self.seen[slot] >= self.after for slot in call.slots)
        return under_way and len(set(rows.lengths)) == 1 and not any(call.ends)

    def _join_even(self, rows: Rows, call: Call) -> tuple[Tensor, "Windows"]:
        """As `join`, in a few operations for all streams together instead of some for each."""
        num = rows.lengths[0]
        kept = torch.stack([self._rows[slot] for slot in call.slots])  # (S, size, C)
        joined = torch.cat((kept, rows.values.view(len(kept), num, kept.shape[2])), dim=1)
        for slot, tail in zip(call.slots, joined[:, num:].clone().unbind(), strict=True):
            self._rows[slot] = tail
            self.seen[slot] += num
        return joined.flatten(0, 1), _even_windows(len(kept), num, self.size)

    def _keep(self, joined: Tensor, lengths: Sequence[int], call: Call) -> None:
        """Remember the last rows of every stream, of all rows (N, C)."""
        start = 0
        for slot, ends, length in zip(call.slots, call.ends, lengths, strict=True):
            # A copy: a view would keep the whole of it in memory.
            self._rows[slot] = joined[start + length : start + length + self.size].clone()
            start += self.size + length + (self.tail if ends else 0)


class Windows:
    """Where a layer makes outputs of joined rows: for each stream the first row that it reads, and how many outputs.

    An output reads `size` rows beyond the first of its window.
    """

    def __init__(self, found: Sequence[tuple[int, int]], size: int) -> None:
        self.found, self.size = found, size
        self.lengths = tuple(num for _, num in found)
        self._tiles: dict[int, Array] = {}

    @cached_property
    def num(self) -> int:
        """Outputs of all streams together."""
        return sum(self.lengths)

    @cached_property
    def array(self) -> Array:
        """(W, 3): the first row that is read, the first that is written, and how many, as loops take them."""
        written = accumulate((0, *self.lengths[:-1]))
        # Without empty ones: their first row may lie behind all rows.
        some = [(read, at, num) for (read, num), at in zip(self.found, written, strict=True) if num]
        return np.array(some, np.int64).reshape(-1, 3)

    def tiles(self, num_channels: int) -> Array:
        """The same of rows with so many channels, cut into what fits a cache."""
        if num_channels not in self._tiles:
            self._tiles[num_channels] = tiled(self.array, num_channels)
        return self._tiles[num_channels]

    def of(self, made: Tensor) -> Tensor:
        """Of what was made at every row as if all were one signal (N', C): the outputs of each stream's own."""
        return torch.cat([made[read : read + num] for read, num in self.found])


@lru_cache(maxsize=1024)  # of a codec's layers and of groups of streams there are some hundreds
def _even_windows(num_streams: int, num: int, size: int) -> Windows:
    """Of streams that bring `num` rows each behind `size` kept ones; every row makes an output."""
    return Windows([(stream * (size + num), num) for stream in range(num_streams)], size)


class Waiting:
    """Rows that wait for more."""

    def __init__(self) -> None:
        self._rows: dict[int, Tensor] = {}

    def forget(self, slot: int) -> None:
        """The stream there has left."""
        self._rows.pop(slot, None)

    def bytes_of(self, slot: int) -> int:
        """Memory of what waits."""
        return self._rows[slot].nbytes if slot in self._rows else 0

    def behind(self, rows: Rows, call: Call) -> list[Tensor]:
        """Of each stream what waited and its further rows behind that, (n, C)."""
        there = [self._rows.get(slot, piece[:0]) for slot, piece in zip(call.slots, rows.pieces(), strict=True)]
        return [torch.cat(both) for both in zip(there, rows.pieces(), strict=True)]

    def keep(self, pieces: Sequence[Tensor], call: Call) -> None:
        """What waits of each stream from now on, (n, C)."""
        for slot, piece in zip(call.slots, pieces, strict=True):
            self._rows[slot] = piece.clone()  # a view would keep what it is a part of in memory
