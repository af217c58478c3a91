"""What the ranks of a run tell each other beside gradients; with one rank each of these costs nothing."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor


class Collectives:
    """Sums and means over the ranks. All ranks must ask for the same thing at the same point."""

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric

    def sum(self, value: float) -> float:
        """A number summed over the ranks, in float64."""
        if self._fabric.world_size == 1:
            return value
        # float64: counts of samples may exceed 2^24, up to which float32 is exact.
        local = torch.tensor(value, device=self._fabric.device, dtype=torch.float64)
        summed: Any = self._fabric.all_reduce(local, reduce_op="sum")
        return float(summed)

    def any(self, flag: bool) -> bool:
        """Whether a flag is up on any rank."""
        return self.sum(float(flag)) > 0

    def step(self, values: Mapping[str, Tensor], flags: Mapping[str, bool]) -> tuple[dict[str, float], dict[str, bool]]:
        """Means over the ranks and whether flags are up on any: one reduction and one transfer to the host.

        values: scalars of shape (), on the device. flags: as this rank sees them.
        """
        # One tensor, since every transfer to the host waits for the device.
        stacked = torch.stack([value.detach().float() for value in values.values()])
        num_ranks = self._fabric.world_size
        if num_ranks == 1:
            return dict(zip(values, stacked.tolist(), strict=True)), dict(flags)
        raised = torch.tensor([float(flag) for flag in flags.values()], device=stacked.device)
        summed: Any = self._fabric.all_reduce(torch.cat([stacked, raised]), reduce_op="sum")
        means, counts = (summed[: len(values)] / num_ranks).tolist(), summed[len(values) :].tolist()
        return (
            dict(zip(values, means, strict=True)),
            {name: count > 0 for name, count in zip(flags, counts, strict=True)},
        )
