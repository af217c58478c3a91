"""Outputs on pieces of streams: what stands between the features of the trunk and the samples of a head."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snac_exp.codec.interpolation import HALF_LENGTH, half_sample_taps
from snac_exp.release.incremental.layers import Layer
from snac_exp.release.incremental.rows import Call, History, Rows, State, Waiting


class HeadPath(ABC):
    """From features (N, C) to samples (M, 1) at `factor` times their rate. needs_native: by way of the native ones."""

    factor: int
    needs_native = False

    @abstractmethod
    def new_states(self) -> list[State]:
        """For the streams of one decoder."""

    @abstractmethod
    def delay(self, before: int, native: int) -> int:
        """Samples that lack behind what was pushed, given how many features and native samples do."""

    @abstractmethod
    def __call__(self, features: Rows, native: Rows | None, call: Call, states: Sequence[Any]) -> Rows:
        """Further features and native samples -> the samples that they make certain."""


class Chain(HeadPath):
    """Layers one after the other."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)
        self.factor = 1
        for layer in self.layers:
            self.factor *= layer.factor

    def new_states(self) -> list[State]:
        """One per layer."""
        return [layer.new_state() for layer in self.layers]

    def delay(self, before: int, native: int = 0) -> int:
        """That of all layers."""
        for layer in self.layers:
            before = layer.delay(before)
        return before

    def __call__(self, features: Rows, native: Rows | None, call: Call, states: Sequence[Any]) -> Rows:
        """(N, C) -> (M, D)."""
        rows = features
        for layer, state in zip(self.layers, states, strict=True):
            rows = layer(rows, call, state)
        return rows


class Interpolation(Layer):
    """Twice as many samples of the same band, as `interpolate2x`."""

    factor = 2

    def new_state(self) -> History:
        """The filter sees one sample more ahead than back: a new sample lies between two."""
        return History(HALF_LENGTH - 1, HALF_LENGTH)

    def delay(self, before: int) -> int:
        """It waits for half the filter."""
        return (before + HALF_LENGTH) * 2

    def __call__(self, rows: Rows, call: Call, state: History) -> Rows:
        """Samples (N, 1) -> (2 M, 1)."""
        joined, windows = state.join(Rows(rows.values.float(), rows.lengths), call)
        lengths = tuple(2 * num for num in windows.lengths)
        if not windows.num:
            return Rows(joined[:0], lengths)
        taps = half_sample_taps().to(joined.device)
        between = windows.of(F.conv1d(joined.t()[None], taps[None, None])[0].t())
        there = windows.of(joined[HALF_LENGTH - 1 :])
        return Rows(torch.stack((there, between), dim=1).flatten(0, 1), lengths)


class ResidualPath(HeadPath):
    """The interpolated native samples plus what a chain makes of the features; the earlier of both waits."""

    needs_native = True
    factor = 2

    def __init__(self, chain: Chain) -> None:
        self._chain, self._interpolation = chain, Interpolation()

    def new_states(self) -> list[State]:
        """Of the chain, of the interpolation, and what waits of either."""
        return [*self._chain.new_states(), self._interpolation.new_state(), Waiting(), Waiting()]

    def delay(self, before: int, native: int) -> int:
        """That of the later of both."""
        return max(self._chain.delay(before), self._interpolation.delay(native))

    def __call__(self, features: Rows, native: Rows | None, call: Call, states: Sequence[Any]) -> Rows:
        """(N, C) and native samples (M, 1) -> (2 L, 1)."""
        assert native is not None  # the decoder gives it where `needs_native` says so
        *of_chain, of_interpolation, waiting, other_waiting = states
        added = waiting.behind(self._chain(features, None, call, of_chain), call)
        there = other_waiting.behind(self._interpolation(native, call, of_interpolation), call)
        nums = [min(len(one), len(other)) for one, other in zip(added, there, strict=True)]
        sums = [other[:num] + one[:num] for one, other, num in zip(added, there, nums, strict=True)]
        for state, pieces in ((waiting, added), (other_waiting, there)):
            state.keep([piece[num:] for piece, num in zip(pieces, nums, strict=True)], call)
        return Rows(torch.cat(sums), tuple(nums))


class WindowedPath(HeadPath):
    """A head whose layers are not known here, such as one of a user's own: it runs anew on the features around.

    Args:
        run: (features (1, C, T), number of the first of them, seed of the noise or None) -> samples (1, 1, T * factor).
        before, after: features around a moment that its samples depend on.
    """

    def __init__(self, run: Callable[[Tensor, int, int | None], Tensor], factor: int, before: int, after: int) -> None:
        self._run, self.factor, self._before, self._after = run, factor, before, after

    def new_states(self) -> list[State]:
        """The features around, and how many samples were given."""
        return [Context()]

    def delay(self, before: int, native: int) -> int:
        """It waits for the features ahead."""
        return (before + self._after) * self.factor

    def __call__(self, features: Rows, native: Rows | None, call: Call, states: Sequence[Any]) -> Rows:
        """(N, C) -> (M, 1)."""
        (state,) = states
        streams = zip(features.pieces(), call.slots, call.ends, call.seeds, strict=True)
        made = [self._made(piece, state, slot, ends, seed) for piece, slot, ends, seed in streams]
        return Rows(torch.cat(made), tuple(len(piece) for piece in made))

    def _made(self, piece: Tensor, state: "Context", slot: int, ends: bool, seed: int | None) -> Tensor:
        """Further features (n, C) of one stream -> (m, 1)."""
        kept = state.kept.get(slot)
        kept = piece if kept is None else torch.cat((kept, piece))
        first, given = state.first[slot], state.given[slot]
        # The signal itself has ends where the head sees zeros, so nothing is put around it.
        certain = first + len(kept) - (0 if ends else self._after)
        if certain <= given:
            state.kept[slot] = kept.clone()
            return piece.new_zeros(0, 1)
        samples = self._run(kept.t()[None], first, seed)[0].t()
        begin = max(0, certain - self._before)
        state.kept[slot], state.first[slot], state.given[slot] = kept[begin - first :].clone(), begin, certain
        return samples[(given - first) * self.factor : (certain - first) * self.factor]


class Context:
    """Features that a head may need again, the number of the first, and of the first whose samples are not given."""

    def __init__(self) -> None:
        self.kept: dict[int, Tensor] = {}
        self.first: defaultdict[int, int] = defaultdict(int)
        self.given: defaultdict[int, int] = defaultdict(int)

    def forget(self, slot: int) -> None:
        """The stream there has left."""
        for kept in (self.kept, self.first, self.given):
            kept.pop(slot, None)

    def bytes_of(self, slot: int) -> int:
        """Memory of the kept features."""
        return self.kept[slot].nbytes if slot in self.kept else 0
