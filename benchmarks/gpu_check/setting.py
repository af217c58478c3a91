"""Where a check runs and how large it is."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from benchmarks.dual_head import DualHead
from benchmarks.gpu_traffic import STAGES
from benchmarks.release_models import SNAC_24KHZ
from snac_exp.codec.fast.cuda.choice import choose_kernels
from snac_exp.system.files import read_json

SMALL_SHAPE = SNAC_24KHZ | {
    "encoder_dim": 4, "encoder_rates": [2, 2, 2, 2], "decoder_dim": 32, "decoder_rates": [2, 2, 2, 2],
    "codebook_size": 16, "codebook_dim": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """Of one call. output: where records lie; scratch: data and runs, gone in the end."""

    device: torch.device
    small: bool
    output: Path
    scratch: Path
    call: int

    @property
    def on_cuda(self) -> bool:
        """Whether figures are those of a GPU."""
        return self.device.type == "cuda"

    @property
    def shape(self) -> Mapping[str, Any]:
        """Arguments of SNAC."""
        return SMALL_SHAPE if self.small else SNAC_24KHZ

    @property
    def stages(self) -> dict[str, tuple[int, int]]:
        """Name of a curriculum stage -> slices of a batch, coarse tokens of a slice."""
        return dict.fromkeys(STAGES, (1, 80)) if self.small else STAGES

    @property
    def compared(self) -> tuple[int, int]:
        """Slices and coarse tokens at which ways of a step are compared: 16 x 4 s, which upstream's modules fit in."""
        return (1, 80) if self.small else (16, STAGES["d"][1])

    @property
    def repeats(self) -> int:
        """Timed calls of a step, after two to warm up."""
        return 2 if self.small else 20

    def found(self, part: str) -> dict[str, Any]:
        """What an earlier part of this call found; empty where it found nothing."""
        parts: dict[str, Any] = read_json(self.output / f"call{self.call}.json")["parts"]
        values: dict[str, Any] = parts.get(part, {}).get("values", {})
        return values

    def model(self, batch_size: int, num_tokens: int) -> DualHead:
        """Upstream's and our model and a batch on the device, kernels chosen."""
        choose_kernels("auto", self.device)
        pair = DualHead.build(batch_size, num_tokens, fused=True, shape=self.shape)
        pair.naive.to(self.device), pair.task.to(self.device)
        pair.batch = pair.batch.to(self.device)
        return pair

    def narrow(self) -> AbstractContextManager[Any]:
        """bfloat16 as a run with bf16-mixed has it."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def compiling(self) -> AbstractContextManager[Any]:
        """In small nothing is compiled, which would take longer than all the rest."""
        if not self.small:
            return nullcontext()
        return mock.patch.object(nn.Module, "compile", return_value=None)

    def wait(self) -> None:
        """Until the device has done what it was asked to."""
        if self.on_cuda:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object]) -> float:
        """Of one call, to its end on the device."""
        self.wait()
        started = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - started

    def peak_gb(self) -> float:
        """Most memory of tensors since `forget_peak`, in GB; 0 on a CPU."""
        return torch.cuda.max_memory_allocated() / 1e9 if self.on_cuda else 0.0

    def forget_peak(self) -> None:
        """Begin to measure memory anew."""
        if self.on_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
