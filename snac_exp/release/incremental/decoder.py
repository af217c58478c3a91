"""Tokens of several streams in, samples out: a pass through the layers costs what the new tokens cost."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import compress, count
from typing import NamedTuple

import torch
from torch import Tensor

from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.data.codes.encoding import exact_float32
from snac_exp.release.incremental.build import path_of, trunk_of
from snac_exp.release.incremental.heads import HeadPath
from snac_exp.release.incremental.rows import Call, Rows, State
from snac_exp.release.streaming.positioned_noise import NoisePosition
from snac_exp.release.streaming.receptive_field import latent_channels

Samples = dict[str, Tensor]
"""Head -> samples (N,) of one stream at the head's rate."""

_CPU_FRAMES = 32
"""Frames of a pass on a CPU: inside of the layers more do not fit its caches, and of fewer each reads all weights."""
_GPU_FRAMES = 4096


class Layers:
    """A codec's decoder as layers that take pieces; all decoders of the codec share it.

    Args:
        model: folded, its noise blocks reading `position`: those of heads whose layers are not known here do.
        latent: tokens[i] (1, T_i) -> latent (1, C, frames).
        dtype: of the decoder.
    """

    def __init__(
        self,
        model: MultiRateSnac,
        latent: Callable[[Sequence[Tensor]], Tensor],
        position: NoisePosition,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.model, self.latent, self.dtype, self.device = model, latent, dtype, device
        self.geometry = model.geometry
        self.frames_per_pass = _CPU_FRAMES if device.type == "cpu" else _GPU_FRAMES
        self.latent_channels = latent_channels(model)
        self.position = position
        self._paths: dict[str, HeadPath] = {}
        self.trunk = trunk_of(model)

    def path(self, head: str) -> HeadPath:
        """The way from the features to a head's samples."""
        if head not in self._paths:
            self._paths[head] = path_of(self.model, head, self.position)
        return self._paths[head]

    def delay(self, head: str) -> int:
        """Samples of a head that lack behind the codes that were pushed, in whole steps: as few as the layers allow."""
        features, native = self.trunk.delay(0), self.model.native_name
        return self.path(head).delay(features, 0 if native is None else self.path(native).delay(features, 0))


class IncrementalDecoder:
    """Streams that go through the layers together, each with its own outputs, noise and position.

    A stream's slot is its number here. Nothing of a stream is left once it has ended or left.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._streams: dict[int, _Stream] = {}
        self._trunk_states = layers.trunk.new_states()
        self._head_states: dict[str, list[State]] = {}
        self._slots = count()

    def join(self, heads: Sequence[str], seed: int | None) -> int:
        """A stream more, with some of the outputs and the seed of its noise (None for none); gives its slot."""
        native = self._layers.model.native_name
        needed = native is not None and any(self._layers.path(head).needs_native for head in heads)
        # The native output first: others may build on it.
        paths = dict.fromkeys([*([native] if native is not None and (needed or native in heads) else []), *heads])
        for name in paths:
            self._head_states.setdefault(name, self._layers.path(name).new_states())
        slot = next(self._slots)
        self._streams[slot] = _Stream(tuple(heads), tuple(paths), seed)
        return slot

    def leave(self, slot: int) -> None:
        """Forget a stream; one that left already is none."""
        if self._streams.pop(slot, None) is not None:
            for state in self._states():
                state.forget(slot)

    def bytes_of(self, slot: int) -> int:
        """Memory that a stream takes."""
        return sum(state.bytes_of(slot) for state in self._states())

    def push(self, tokens: Mapping[int, Sequence[Tensor]], ending: Collection[int] = ()) -> dict[int, Samples]:
        """Whole steps of tokens[i] (T_i,) of some streams, T_i may be 0 -> the samples that they make certain.

        Streams of `ending`, which are among them, end with this call and leave.
        """
        given: dict[int, dict[str, list[Tensor]]] = {
            slot: {head: [] for head in self._streams[slot].heads} for slot in tokens
        }
        for pieces, ends in self._passes(tokens, ending):
            for slot, samples in self._pass(pieces, ends).items():
                for head, part in samples.items():
                    given[slot][head].append(part)
        for slot in ending:
            self.leave(slot)
        silence = torch.zeros(0, device=self._layers.device)
        return {
            slot: {head: torch.cat([silence, *parts]) for head, parts in heads.items()} for slot, heads in given.items()
        }

    def _passes(
        self, tokens: Mapping[int, Sequence[Tensor]], ending: Collection[int]
    ) -> Iterator[tuple[dict[int, list[Tensor]], set[int]]]:
        """Tokens[i] (T_i,) of each stream in parts for one pass after the other, and the streams that end with it."""
        geometry = self._layers.geometry
        most = max(self._layers.frames_per_pass // geometry.vq_strides[0] // geometry.coarse_step, 1)  # steps of a pass
        share = max(most // max(len(tokens), 1), 1)
        size, at_once = share * geometry.coarse_step, most // share
        for start in range(0, max([1, *(len(rows[0]) for rows in tokens.values())]), size):
            slots = [slot for slot, rows in tokens.items() if not start or start < len(rows[0])]
            for group in (slots[first : first + at_once] for first in range(0, len(slots), at_once)):
                parts = {slot: self._part(tokens[slot], start, size) for slot in group}
                yield parts, {slot for slot in group if slot in ending and start + size >= len(tokens[slot][0])}

    def _part(self, rows: Sequence[Tensor], start: int, num_coarse: int) -> list[Tensor]:
        """Of tokens[i] (T_i,) those of `num_coarse` coarse tokens from `start` on."""
        slices = [self._layers.geometry.codebook_slice(i, start, num_coarse) for i in range(len(rows))]
        return [row[part] for row, part in zip(rows, slices, strict=True)]

    @torch.no_grad()
    def _pass(self, tokens: Mapping[int, Sequence[Tensor]], ends: Collection[int]) -> dict[int, Samples]:
        """Tokens[i] (T_i,) of each stream through the layers."""
        # A stream that brings nothing and does not end would come out as it went in.
        slots = tuple(slot for slot, rows in tokens.items() if len(rows[0]) or slot in ends)
        if not slots:
            return {}
        call = Call(slots, tuple(slot in ends for slot in slots), tuple(self._streams[slot].seed for slot in slots))
        made: dict[str, dict[int, Tensor]] = {}
        with exact_float32():
            latent = self._latent([tokens[slot] for slot in slots])
            features = self._layers.trunk(latent, None, call, self._trunk_states)
            for name in dict.fromkeys(name for slot in slots for name in self._streams[slot].paths):
                made[name] = self._through(name, features, call, made)
        return {slot: {head: made[head][slot][:, 0].float() for head in self._streams[slot].heads} for slot in slots}

    def _latent(self, tokens: Sequence[Sequence[Tensor]]) -> Rows:
        """Tokens[i] (T_i,) of each stream -> latent (N, C)."""
        lengths = tuple(len(rows[0]) * self._layers.geometry.vq_strides[0] for rows in tokens)
        if not sum(lengths):
            return Rows(
                torch.zeros(0, self._layers.latent_channels, dtype=self._layers.dtype, device=self._layers.device),
                lengths,
            )
        # The quantizer looks at one token at a time, so all streams are one row to it.
        latent = self._layers.latent([torch.cat(rows)[None] for rows in zip(*tokens, strict=True)])
        return Rows(latent[0].t().contiguous().to(self._layers.dtype), lengths)

    def _through(
        self, name: str, features: Rows, call: Call, made: Mapping[str, Mapping[int, Tensor]]
    ) -> dict[int, Tensor]:
        """Samples (n, 1) of a head, of the streams that need it, from features (N, C) and what was `made` before."""
        path, native = self._layers.path(name), self._layers.model.native_name
        part, part_call = _chosen(features, call, [name in self._streams[slot].paths for slot in call.slots])
        there = None
        if path.needs_native and native is not None:
            pieces = [made[native][slot] for slot in part_call.slots]
            there = Rows(torch.cat(pieces), tuple(len(piece) for piece in pieces))
        rows = path(part, there, part_call, self._head_states[name])
        return dict(zip(part_call.slots, rows.pieces(), strict=True))

    def _states(self) -> Iterator[State]:
        """Of all layers."""
        yield from self._trunk_states
        for states in self._head_states.values():
            yield from states


class _Stream(NamedTuple):
    """heads: the outputs that are given; paths: those that are computed for it, in order; seed: of its noise."""

    heads: tuple[str, ...]
    paths: tuple[str, ...]
    seed: int | None


def _chosen(rows: Rows, call: Call, wanted: Sequence[bool]) -> tuple[Rows, Call]:
    """Rows (N, C) and call of the wanted streams alone."""
    if all(wanted):
        return rows, call
    pieces = list(compress(rows.pieces(), wanted))
    part = Call(*(tuple(compress(values, wanted)) for values in (call.slots, call.ends, call.seeds)))  # type: ignore[arg-type]
    return Rows(torch.cat(pieces), tuple(len(piece) for piece in pieces)), part
