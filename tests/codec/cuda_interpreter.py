"""Triton's interpreter as a card would compute, and how far results are from exact ones."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from triton.runtime import interpreter

from snac_exp.codec.fast import layers, snake, snake_conv
from snac_exp.codec.fast.cuda import choice
from snac_exp.codec.fast.cuda import products as operations_of_products


def as_on_a_gpu() -> None:
    """Kernels on the CPU's tensors; its own loops never; rounding to bfloat16 as cards do it; rooms full of NaN,
    whose every element may be written once."""
    choice._choice.devices.add("cpu")
    layers.in_tiles = lambda x: False
    snake.in_loops = snake_conv.in_loops = lambda *tensors: False
    empty_like, new_empty = torch.empty_like, Tensor.new_empty
    torch.empty_like = lambda *given, **options: empty_like(*given, **options).fill_(torch.nan)
    Tensor.new_empty = lambda *given, **options: new_empty(*given, **options).fill_(torch.nan)
    builder = interpreter.InterpreterBuilder
    cast, dot, masked_store = builder.cast_impl, builder.create_dot, builder.create_masked_store

    def rounded(self: Any, src: Any, dst_type: Any) -> Any:
        if src.dtype.scalar == interpreter.tl.float32 and dst_type.scalar == interpreter.tl.bfloat16:
            bits = torch.from_numpy(np.ascontiguousarray(src.data)).bfloat16().view(torch.uint16).numpy()
            return interpreter.TensorHandle(bits, dst_type.scalar)
        return cast(self, src, dst_type)

    def product(self: Any, a: Any, b: Any, d: Any, *options: Any) -> Any:
        # The interpreter multiplies the bits of bfloat16; a card multiplies its numbers.
        wide = [
            self.cast_impl(x, interpreter.tl.float32) if x.dtype.scalar == interpreter.tl.bfloat16 else x
            for x in (a, b)
        ]
        return dot(self, *wide, d, *options)

    def store(self: Any, pointers: Any, value: Any, mask: Any, *options: Any) -> Any:
        # On a card programs run in any order, so that nothing may be written twice; here the last one would win.
        if value.data.dtype == np.float32:
            nothing = np.full(value.data.shape, np.nan, np.float32)
            there = interpreter._interpreter.load(pointers.data, mask.data, nothing, value.data.dtype)
            assert np.isnan(there).all(), "written twice"
        return masked_store(self, pointers, value, mask, *options)

    builder.cast_impl, builder.create_dot, builder.create_masked_store = rounded, product, store
    operations_of_products.PROGRAMS["most"] = 2  # each with several stretches


def error_of(actual: Tensor, wanted: Tensor) -> float:
    """The largest difference over the largest value, of a sum over that of its summands' sizes."""
    if wanted.shape == actual.shape:
        return float((actual.double() - wanted).abs().max() / wanted.abs().max())
    total, scale = wanted.sum((0, 2), keepdim=True), wanted.abs().sum((0, 2))
    return float((actual.double() - total).abs().max() / scale.max())
