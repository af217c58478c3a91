"""What the ranks of a run tell each other beside gradients; with one rank each of these costs nothing."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed


class Collectives:
    """Sums and means over the ranks. All ranks must ask for the same thing at the same point."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric

    def sum(self, value: float) -> float:
        """A number summed over the ranks, in float64."""
        return float(self.total(torch.tensor(value, dtype=torch.float64)))

    def total(self, values: Tensor) -> Tensor:
        """A tensor of the CPU, of any shape, summed over the ranks."""
        if self._fabric.world_size == 1:
            return values
        summed: Any = self._fabric.all_reduce(values.to(self._fabric.device), reduce_op="sum")
        return torch.as_tensor(summed).cpu()

    def in_turn(self, rows: Tensor) -> Tensor:
        """Rows (N, …) of all ranks, of which each gives every `world_size`-th: row i is that of rank i % world_size."""
        if self._fabric.world_size == 1:
            return rows
        own = torch.arange(len(rows), device=rows.device) % self._fabric.world_size == self._fabric.global_rank
        return self.total(torch.where(own[:, None], rows, torch.zeros_like(rows)))

    def any(self, flag: bool) -> bool:
        """Whether a flag is up on any rank."""
        return self.sum(float(flag)) > 0

    def named_sums(self, values: Mapping[str, float]) -> dict[str, float]:
        """Numbers summed over the ranks by name; a rank may lack some."""
        if self._fabric.world_size == 1:
            return dict(values)
        everyones: list[Any] = [None] * self._fabric.world_size
        distributed.all_gather_object(everyones, dict(values))
        names = dict.fromkeys(name for own in everyones for name in own)
        # In the order of the ranks, so that all get the same bits.
        return {name: sum(own.get(name, 0.0) for own in everyones) for name in names}

    def step(
        self, values: Mapping[str, Tensor], flags: Mapping[str, bool], coming: float = 0.0
    ) -> tuple[dict[str, float], dict[str, bool], float]:
        """Means over the ranks, whether flags are up on any, and a sum: one reduction and one transfer to the host.

        values: scalars of shape (), on the device. flags, coming: as this rank sees them; `coming` is summed.
        """
        # One tensor, since every transfer to the host waits for the device.
        stacked = torch.stack([value.detach().float() for value in values.values()])
        num_ranks = self._fabric.world_size
        if num_ranks == 1:
            return dict(zip(values, stacked.tolist(), strict=True)), dict(flags), coming
        # float64: counts of samples may exceed 2^24, up to which float32 is exact.
        own = torch.tensor([*map(float, flags.values()), coming], dtype=torch.float64)
        both = torch.cat([stacked.double(), own.to(stacked.device, non_blocking=True)])
        summed: Any = self._fabric.all_reduce(both, reduce_op="sum")
        *found, total = torch.as_tensor(summed).tolist()
        means = (value / num_ranks for value in found[: len(values)])
        raised = (count > 0 for count in found[len(values) :])
        return dict(zip(values, means, strict=True)), dict(zip(flags, raised, strict=True)), total
