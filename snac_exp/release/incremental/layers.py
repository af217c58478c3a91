"""Layers on pieces of streams. Each has the weights of a folded module and no state of its own."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snac_exp.codec.fast.kernels import EPSILON
from snac_exp.release.incremental.rows import Call, History, NoState, Rows, State, Waiting


class Layer(ABC):
    """A layer of the decoder; `state` is what `new_state` gave, of the one decoder that calls it."""

    factor = 1
    """Rows out per row in."""

    @abstractmethod
    def __call__(self, rows: Rows, call: Call, state: Any) -> Rows:
        """Further rows in, and out what they make certain; at its end a stream gets all that is left."""

    def new_state(self) -> State:
        """For the streams of one decoder."""
        return NoState()

    def delay(self, before: int) -> int:
        """Rows of output that lack behind what was pushed, given how many of the input do."""
        return before


class Snake(NamedTuple):
    """y = x + r sin(a x)^2 with r = 1 / (a + 1e-9); alpha and reciprocal (C,)."""

    alpha: Tensor
    reciprocal: Tensor

    @classmethod
    def of(cls, module: Any) -> "Snake":
        """Of upstream's layer."""
        alpha = module.alpha.detach().reshape(-1)
        return cls(alpha, (alpha + EPSILON).reciprocal())

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C) -> (N, C), in the library's operations."""
        return (self.alpha * x).sin_().pow_(2).mul_(self.reciprocal).add_(x)

    def arrays(self) -> tuple[Any, Any]:
        """Both as the loops take them."""
        return self.alpha.numpy(), self.reciprocal.numpy()


class Convolution(Layer):
    """A convolution that keeps the length: any number of groups, dilated or not."""

    def __init__(self, module: nn.Conv1d) -> None:
        self._weight, self._bias, self._groups = module.weight.detach(), module.bias, module.groups
        self._dilation = module.dilation[0]
        self._reach = int(module.padding[0])
        self._size = (module.kernel_size[0] - 1) * self._dilation

    def new_state(self) -> History:
        """Rows before and behind."""
        return History(self._size - self._reach, self._reach)

    def delay(self, before: int) -> int:
        """It waits for the rows behind a moment."""
        return before + self._reach

    def __call__(self, rows: Rows, call: Call, state: History) -> Rows:
        """(N, C) -> (M, D)."""
        joined, windows = state.join(rows, call)
        if not windows.num:
            return Rows(joined.new_empty(0, len(self._weight)), windows.lengths)
        return Rows(windows.of(self.over(joined)), windows.lengths)

    def over(self, signal: Tensor) -> Tensor:
        """One signal (N, C) -> (N - size, D): what lies within it."""
        made = F.conv1d(signal.t()[None], self._weight, self._bias, dilation=self._dilation, groups=self._groups)
        return made[0].t()


class Pointwise(Layer):
    """A convolution of one tap."""

    def __init__(self, module: nn.Conv1d) -> None:
        self._matrix, self._bias = module.weight.detach()[:, :, 0], module.bias

    def __call__(self, rows: Rows, call: Call, state: State) -> Rows:
        """(N, C) -> (N, D)."""
        return Rows(F.linear(rows.values, self._matrix, self._bias), rows.lengths)


class Attention(Layer):
    """Attention within windows: a window that is not complete waits, for its moments all change with its last one."""

    def __init__(self, module: Any) -> None:
        self._module, self._window = module, int(module.window_size)

    def new_state(self) -> Waiting:
        """The beginnings of windows."""
        return Waiting()

    def delay(self, before: int) -> int:
        """Whole windows are there once what lies in them is; pushes are whole windows too."""
        return -(-before // self._window) * self._window

    def __call__(self, rows: Rows, call: Call, state: Waiting) -> Rows:
        """(N, C) -> (M, C), whole windows."""
        there = state.behind(rows, call)
        nums = tuple(len(piece) // self._window * self._window for piece in there)
        state.keep([piece[num:] for piece, num in zip(there, nums, strict=True)], call)
        values = torch.cat([piece[:num] for piece, num in zip(there, nums, strict=True)])
        if len(values):
            # Windows know nothing of each other, so that each may be a signal of its own.
            signals = values.view(-1, self._window, values.shape[1]).transpose(1, 2)
            values = self._module(signals).transpose(1, 2).reshape(values.shape)
        return Rows(values, nums)
