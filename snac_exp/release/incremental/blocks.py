"""The layers of SNAC's decoder blocks and outputs on pieces of streams.

On a CPU in float32 or float64 rows go through compiled loops and the products of matrices remain the library's. On
other devices and in other types all is the library's.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snac_exp.codec.fast.snake import in_loops
from snac_exp.codec.fast.time_major import add_noise, snake_pairs, snake_to_one, unit_in_time
from snac_exp.release.incremental.layers import Convolution, Layer, Snake
from snac_exp.release.incremental.rows import Call, History, Rows, Windows

Noise = Callable[[int, str, int, int], Tensor]
"""(seed, name of the block, first sample, samples) -> noise (samples,)."""


class Upsampling(Layer):
    """A Snake and a transposed convolution of kernel 2 s, stride s: a block of s rows comes from two moments.

    As a product of matrices: the two moments side by side, times the two halves of the kernel one above the other.
    """

    def __init__(self, snake: Any, module: nn.ConvTranspose1d) -> None:
        self.factor = module.stride[0]
        self._padding = int(module.padding[0])
        self._snake, self._num_channels = Snake.of(snake), module.out_channels
        weight = module.weight.detach()  # (C, D, 2 s)
        now, earlier = weight[..., : self.factor], weight[..., self.factor :]
        # Rows are outputs (s, D), columns the moments (2 C), the earlier one first.
        both = torch.cat((earlier, now)).permute(2, 1, 0)
        self._matrix = both.reshape(-1, both.shape[2]).contiguous()
        self._bias = None if module.bias is None else module.bias.detach().repeat(self.factor)

    def new_state(self) -> History:
        """The moment before; when a stream ends, half a block is still to come."""
        return History(1, 0, tail=1)

    def delay(self, before: int) -> int:
        """The padding shifts blocks forward."""
        return before * self.factor + self._padding

    def __call__(self, rows: Rows, call: Call, state: History) -> Rows:
        """(N, C) -> (M, D)."""
        begins = [state.seen[slot] == 0 for slot in call.slots]
        joined, windows = state.join(rows, call)
        if in_loops(joined, self._snake.alpha):
            pairs = joined.new_empty(windows.num, 2 * joined.shape[1])
            snake_pairs(joined.numpy(), windows.array, *self._snake.arrays(), pairs.numpy())
        else:
            active = self._snake(joined)
            pairs = windows.of(torch.cat((active[:-1], active[1:]), dim=1))
        made = F.linear(pairs, self._matrix, self._bias).view(-1, self._num_channels)
        return self._cut(Rows(made, tuple(num * self.factor for num in windows.lengths)), begins, call)

    def _cut(self, rows: Rows, begins: list[bool], call: Call) -> Rows:
        """Without what lies before the first moment and behind the last; (M, D)."""
        if not any(begins) and not any(call.ends):
            return rows
        pieces = []
        for piece, begin, end in zip(rows.pieces(), begins, call.ends, strict=True):
            first = self._padding if begin else 0
            pieces.append(piece[first : len(piece) - (self.factor - self._padding if end else 0)])
        return Rows(torch.cat(pieces), tuple(len(piece) for piece in pieces))


class Positions:
    """How many rows of each stream went through."""

    def __init__(self) -> None:
        self.seen: defaultdict[int, int] = defaultdict(int)

    def forget(self, slot: int) -> None:
        """The stream there has left."""
        self.seen.pop(slot, None)

    def bytes_of(self, slot: int) -> int:
        """A number."""
        return 8 if slot in self.seen else 0


class NoiseLayer(Layer):
    """x + noise * (W x), with the noise of each stream's seed at its own position."""

    def __init__(self, module: Any, noise: Noise) -> None:
        self._matrix, self._name, self._noise = module.linear.weight.detach()[:, :, 0], module.noise_name, noise

    def new_state(self) -> Positions:
        """Where each stream is."""
        return Positions()

    def __call__(self, rows: Rows, call: Call, state: Positions) -> Rows:
        """(N, C) -> (N, C)."""
        starts = [state.seen[slot] for slot in call.slots]
        for slot, num in zip(call.slots, rows.lengths, strict=True):
            state.seen[slot] += num
        if all(seed is None for seed in call.seeds) or not len(rows.values):
            return rows
        drawn = [
            torch.zeros(num) if seed is None or not num else self._noise(seed, self._name, start, num)
            for seed, start, num in zip(call.seeds, starts, rows.lengths, strict=True)
        ]
        noise, made = torch.cat(drawn).to(rows.values), F.linear(rows.values, self._matrix)
        if in_loops(rows.values, made):
            add_noise(rows.values.contiguous().numpy(), noise.numpy(), made.numpy())
        else:
            made = torch.addcmul(rows.values, noise[:, None], made)
        return Rows(made, rows.lengths)


class _WithConvolution(Layer):
    """A layer that sees around a moment what its one convolution sees."""

    _convolution: Convolution

    def new_state(self) -> History:
        """Rows before and behind."""
        return self._convolution.new_state()

    def delay(self, before: int) -> int:
        """That of its convolution."""
        return self._convolution.delay(before)


class ResidualUnitLayer(_WithConvolution):
    """x + 1x1 convolution of Snake of convolution of Snake of x."""

    def __init__(self, module: Any) -> None:
        snake_in, conv_in, snake_out, conv_out = module.block
        self._in, self._out = Snake.of(snake_in), Snake.of(snake_out)
        self._convolution = Convolution(conv_in)
        self._dilation, self._reach = conv_in.dilation[0], int(conv_in.padding[0])
        self._matrix, self._bias = conv_out.weight.detach()[:, :, 0], conv_out.bias.detach()
        # (K, C) of a depthwise convolution; others are products of matrices anyway.
        depthwise = conv_in.groups == conv_in.in_channels == conv_in.out_channels
        self._taps = conv_in.weight.detach()[:, 0].t().contiguous() if depthwise else None
        self._inner_bias = conv_in.bias.detach()

    def __call__(self, rows: Rows, call: Call, state: History) -> Rows:
        """(N, C) -> (M, C)."""
        joined, windows = state.join(rows, call)
        if self._taps is not None and in_loops(joined, self._taps):
            return Rows(self._in_loops(joined, windows), windows.lengths)
        if not windows.num:
            return Rows(joined[:0], windows.lengths)
        inner = self._out(windows.of(self._convolution.over(self._in(joined))))
        skip = windows.of(joined[self._reach :])
        return Rows(skip + F.linear(inner, self._matrix, self._bias), windows.lengths)

    def _in_loops(self, joined: Tensor, windows: Windows) -> Tensor:
        """Joined rows (N, C) -> (M, C)."""
        inner, y = joined.new_empty(windows.num, joined.shape[1]), joined.new_empty(windows.num, joined.shape[1])
        tiles = windows.tiles(joined.shape[1])
        unit_in_time(joined.numpy(), tiles, *self._arrays, inner.numpy(), y.numpy())
        return y.addmm_(inner, self._matrix.t())

    @cached_property
    def _arrays(self) -> tuple[int, Any, Any, Any, Any, Any, Any, Any]:
        """Dilation, Snakes, taps (K, C) and biases as the loops take them."""
        assert self._taps is not None
        first = (self._dilation, *self._in.arrays(), self._taps.numpy(), self._inner_bias.numpy())
        return (*first, *self._out.arrays(), self._bias.numpy())


class Output(_WithConvolution):
    """A Snake and a convolution to one channel, with tanh or without."""

    def __init__(self, snake: Any, module: nn.Conv1d, tanh: bool) -> None:
        self._snake, self._convolution, self._tanh = Snake.of(snake), Convolution(module), tanh
        self._taps = module.weight.detach()[0].t().contiguous() if module.out_channels == 1 else None  # (K, C)
        self._bias = None if module.bias is None else module.bias.detach()

    def __call__(self, rows: Rows, call: Call, state: History) -> Rows:
        """(N, C) -> samples (M, 1)."""
        joined, windows = state.join(rows, call)
        if self._taps is not None and self._bias is not None and in_loops(joined, self._taps):
            made = joined.new_empty(windows.num, 1)
            arrays = (*self._snake.arrays(), self._taps.numpy(), self._bias.numpy(), made.numpy())
            snake_to_one(joined.numpy(), windows.tiles(joined.shape[1]), *arrays)
        elif windows.num:
            made = windows.of(self._convolution.over(self._snake(joined)))
        else:
            made = joined.new_empty(0, 1)
        return Rows(made.tanh_() if self._tanh else made, windows.lengths)
