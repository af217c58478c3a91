"""Bytes, arithmetic and memory of the token model's step on a GPU, counted on tensors without data; no GPU is needed.

    python -m benchmarks.lm_traffic

Run 3 in bfloat16, 36 windows of 512 frames of 9 codebooks, in micro-batches or at once: forward, loss, backward, the
sum of gradients, AdamW in one kernel. Attention is the flash kernel's. Operations are the library's, not compiled.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.lm_step import VOCAB, OurModel
from benchmarks.traffic import Traffic, cuda_autocast
from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import LanguageModel

WINDOWS, NUM_CODEBOOKS = 36, 9
MICRO_BATCHES = (6, 2, 1)
ADAMW_BYTES, SUM_BYTES, STATE_BYTES = 28, 12, 12
"""Of a float32 parameter: moved by AdamW, which reads four numbers and writes three, and by the sum with a gradient of
another micro-batch; kept beside gradients, as weight and moments."""
FUSED_BYTES = 6
"""Of a logit in bfloat16: read by a loss that is one kernel, read again for its gradient, which is written."""


@dataclass(frozen=True)
class Step:
    """Of all micro-batches. loss: bytes that the loss moves; fused_loss: those of one in one kernel; peak: memory."""

    moved: int
    loss: int
    fused_loss: int
    peak: int
    flops: int


def count(settings: LanguageModel, windows: int, micro_batches: int) -> Step:
    """What a step over so many windows does."""
    model = OurModel(settings, NUM_CODEBOOKS).to("meta")
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    size = windows // micro_batches
    frames = torch.empty((size, settings.ctx_frames, NUM_CODEBOOKS), dtype=torch.int64, device="meta")
    with _flash(), cuda_autocast() as autocast, Traffic() as traffic:
        with autocast("meta", dtype=torch.bfloat16):
            loss = model(frames)
        loss.backward()
    updates = ADAMW_BYTES * num_parameters + (micro_batches - 1) * SUM_BYTES * num_parameters
    of_loss = micro_batches * _loss_bytes(model, frames)
    fused = FUSED_BYTES * windows * settings.ctx_frames * NUM_CODEBOOKS * VOCAB
    moved = micro_batches * traffic.bytes + updates
    return Step(moved, of_loss, fused, traffic.peak + STATE_BYTES * num_parameters, micro_batches * traffic.flops)


def _loss_bytes(model: OurModel, frames: Tensor) -> int:
    """Of logits in bfloat16, forward and backward."""
    shape = (*frames.shape[:2], VOCAB)
    logits = [torch.empty(shape, dtype=torch.bfloat16, device="meta", requires_grad=True) for _ in range(NUM_CODEBOOKS)]
    with Traffic() as traffic:
        model.objective(logits, frames, torch.full((len(frames),), frames.shape[1], device="meta")).backward()
    return traffic.bytes


@contextmanager
def _flash() -> Iterator[None]:
    """Attention as a GPU has it: without data it would be written out, with all its scores."""

    def attention(query: Tensor, key: Tensor, value: Tensor, *, dropout_p: float, is_causal: bool, **_: Any) -> Tensor:
        found: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal)[0]
        return found

    with mock.patch.object(F, "scaled_dot_product_attention", attention):
        yield


def main() -> None:
    """Count and print a table."""
    experiment, _ = compose_experiment(["+experiment=rvq_run3_fast", "data.directory=none"])
    assert experiment.lm is not None
    print("micro-batches  GB moved  of it the loss  were it fused  GB peak  TFLOP")
    for number in MICRO_BATCHES:
        found = count(experiment.lm, WINDOWS, number)
        sizes = (found.moved, found.loss, found.fused_loss, found.peak)
        moved, loss, fused, peak = (size / 1e9 for size in sizes)
        print(f"{number:>13}  {moved:8.1f}  {loss:14.2f}  {fused:13.2f}  {peak:7.1f}  {found.flops / 1e12:5.1f}")


if __name__ == "__main__":
    main()
