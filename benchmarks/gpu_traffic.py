"""Bytes, arithmetic and memory of a training step on a GPU, counted on tensors without data; no GPU is needed.

    python -m benchmarks.gpu_traffic

The main step of phase 12 (snac_24khz's shape, two heads) forward, with its losses, and backward, in the four stages of
its curriculum and at 16 x 4 s. Memory is that of signals and gradients; weights and moments of AdamW come on top.
"""

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks import plain
from benchmarks.dual_head import DualHead
from benchmarks.harness import Figure, options, record
from benchmarks.traffic import Traffic, cuda_autocast
from snac_exp.codec.fast.cuda import choice

STAGES = {"a": (192, 11), "b": (96, 23), "c": (57, 35), "d": (43, 46)}
"""Phase 12's curriculum, 1 to 4 s: slices of a batch, coarse tokens of a slice."""
SIZES = {"16x4s": (16, STAGES["d"][1])} | {
    f"{size}x{seconds}s": (size, tokens) for seconds, (size, tokens) in enumerate(STAGES.values(), start=1)
}
LAST = "43x4s"
CARDS = (80, 141)
"""Memory of cards, in GB."""
WAYS = {
    "plain_fp32": ("upstream's modules, float32", None, False),
    "eager_fp32": ("ours in the library's operations, float32", None, False),
    "eager_bf16": ("ours in the library's operations, bfloat16", torch.bfloat16, False),
    "kernels_bf16": ("ours with kernels, bfloat16", torch.bfloat16, True),
}
BYTES, PEAK = 200.0, 24.0
"""Floors of the way with kernels, in GB: moved at 43 x 4 s, and memory in the stage that takes most."""


@dataclass(frozen=True)
class Count:
    """Of one step. kept: bytes held between forward and backward."""

    moved: int
    kept: int
    peak: int
    flops: int
    by_operation: Mapping[str, int]


def count(way: str, batch_size: int, tokens: int) -> Count:
    """What a step of this way does."""
    _, dtype, kernels = WAYS[way]
    gc.collect()  # what is left of another count would be freed in the midst of this one
    pair = DualHead.build(batch_size, tokens)
    pair.naive.to("meta"), pair.task.to("meta")
    pair.batch = pair.batch.to("meta")
    if kernels:
        choice._choice.devices.add("meta")
    try:
        with cuda_autocast() as autocast, Traffic(FLOPS) as traffic:
            with autocast("meta", dtype=dtype, enabled=dtype is not None):
                total = _loss(pair, way)
            kept = traffic.held
            total.backward()
    finally:
        choice._choice.devices.discard("meta")
    return Count(traffic.bytes, kept, traffic.peak, traffic.flops, dict(traffic.moved.most_common()))


def _loss(pair: DualHead, way: str) -> Tensor:
    if way.startswith("plain"):
        return plain.loss(pair.naive(pair.batch.codes), pair.batch.audio, plain.MAIN)
    return pair.task.total(pair.task(pair.batch, plain.MAIN), plain.MAIN)


def _depthwise(x: Tensor, alpha: Tensor, taps: Tensor, *_: Any, out_val: Tensor) -> int:
    """x (B, C, T), taps (C, 1, K)."""
    return 2 * x.numel() * taps.shape[-1]


def _depthwise_gradients(grad: Tensor, x: Tensor, skip: Any, alpha: Tensor, taps: Tensor, *_: Any, out_val: Any) -> int:
    """x (B, C, T), taps (C, 1, K); gradients of both."""
    return 4 * x.numel() * taps.shape[-1]


def _pointwise(middle: Tensor, x: Tensor, *_: Any, out_val: Tensor) -> int:
    """middle (B, C, T)."""
    return 2 * middle.numel() * middle.shape[1]


def _pointwise_gradients(grad: Tensor, middle: Tensor, *_: Any, out_val: Any) -> int:
    """middle (B, C, T); gradients of it and of the weight."""
    return 4 * middle.numel() * middle.shape[1]


def _noise(x: Tensor, *_: Any, out_val: Tensor) -> int:
    """x (B, C, T)."""
    return 2 * x.numel() * x.shape[1]


def _noise_gradients(grad: Tensor, x: Tensor, *_: Any, out_val: Any) -> int:
    """x (B, C, T); gradients of it and of the weight."""
    return 4 * x.numel() * x.shape[1]


def _mono(x: Tensor, alpha: Tensor, weight: Tensor, *_: Any, out_val: Tensor) -> int:
    """x (B, C, T), weight (1, C, K)."""
    return 2 * x.numel() * weight.shape[-1]


def _mono_gradients(grad: Tensor, x: Tensor, alpha: Tensor, weight: Tensor, *_: Any, out_val: Any) -> int:
    """x (B, C, T), weight (1, C, K); gradients of both."""
    return 4 * x.numel() * weight.shape[-1]


FLOPS: Mapping[Any, Callable[..., int]] = {
    torch.ops.snac_exp.cuda_noise: _noise,
    torch.ops.snac_exp.cuda_noise_gradients: _noise_gradients,
    torch.ops.snac_exp.cuda_snake_mono: _mono,
    torch.ops.snac_exp.cuda_snake_mono_gradients: _mono_gradients,
    torch.ops.snac_exp.cuda_snake_pointwise: _pointwise,
    torch.ops.snac_exp.cuda_snake_pointwise_gradients: _pointwise_gradients,
    torch.ops.snac_exp.cuda_snake_depthwise: _depthwise,
    torch.ops.snac_exp.cuda_snake_depthwise_gradients: _depthwise_gradients,
}


def main() -> None:
    """Count, print a table, record."""
    settings = options(__doc__)
    counts = {(way, size): count(way, *SIZES[size]) for size in SIZES for way in WAYS}
    print(
        "way                                                   size  GB moved  GB kept  GB peak  TFLOP  fits a card of"
    )
    for (way, size), found in counts.items():
        cells = "  ".join(f"{number / 1e9:7.1f}" for number in (found.moved, found.kept, found.peak))
        fits = " and ".join(f"{card} GB" for card in CARDS if found.peak < card * 1e9) or "neither"
        print(f"{WAYS[way][0]:<50} {size:>7}  {cells}  {found.flops / 1e12:6.2f}  {fits}")
    record(_figures(counts), settings.results)


def _figures(counts: Mapping[tuple[str, str], Count]) -> dict[str, Figure]:
    """Two rows of the way with kernels: bytes moved at 43 x 4 s, memory in the largest stage; all in the details."""
    details = {
        f"{way}_{size}": {"moved": found.moved, "kept": found.kept, "peak": found.peak, "flops": found.flops}
        for (way, size), found in counts.items()
    }
    found = counts["kernels_bf16", LAST]
    largest = {"largest": dict(list(found.by_operation.items())[:8])}
    peak = max(item.peak for (way, _), item in counts.items() if way == "kernels_bf16")
    title = "GPU, counted: main step of phase 12, bfloat16 with kernels"
    moved = Figure(f"{title}, bytes moved at {LAST}", round(found.moved / 1e9, 1), "GB", "at_most", BYTES, details)
    memory = Figure(f"{title}, memory, any stage", round(peak / 1e9, 1), "GB", "at_most", PEAK, largest)
    return {"gpu_traffic": moved, "gpu_traffic_peak": memory}


if __name__ == "__main__":
    main()
