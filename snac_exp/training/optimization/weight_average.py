"""An exponential moving average of the weights, to validate and to sample with."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from snac_exp.errors import CheckpointError
from snac_exp.training.task import Task


class WeightAverage:
    """averaged = decay * averaged + (1 - decay) * weight after every optimiser step, in float32.

    Buffers are not averaged. Source: Polyak & Juditsky, Acceleration of stochastic approximation by averaging, 1992.
    copied: names of parameters that are taken over as they are, such as codebooks that are averages already.
    """

    def __init__(self, model: nn.Module, decay: float, copied: Collection[str] = ()) -> None:
        self._copied = frozenset(copied)
        self._step = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        # In float32: at a decay of 0.999 most steps would be rounded away in half precision.
        self.averaged = {name: weight.detach().float().clone() for name, weight in model.named_parameters()}

    @classmethod
    def of(cls, task: Task, decay: float | None) -> "WeightAverage | None":
        """The average of a task's model; None where the recipe wants none."""
        return None if decay is None else cls(task.model, decay, task.unaveraged)

    def to(self, device: torch.device) -> None:
        """Follow the model to its device; saved and loaded weights may be on another."""
        self.averaged = {name: weight.to(device) for name, weight in self.averaged.items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        weights = dict(model.named_parameters())
        followed = [name for name in self.averaged if name not in self._copied]
        self._step([self.averaged[name] for name in followed], [weights[name].detach().float() for name in followed], 0)
        for name in self._copied:
            self.averaged[name].copy_(weights[name])

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within the block the model has the averaged weights; afterwards its own again, bit for bit."""
        own = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        _assign(model, self.averaged)
        try:
            yield
        finally:
            _assign(model, own)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights by parameter name, of any shape, for a checkpoint."""
        return self.averaged

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take up the weights of a checkpoint.

        Raises:
            CheckpointError: it averaged other parameters.
        """
        if {name: item.shape for name, item in saved.items()} != {k: v.shape for k, v in self.averaged.items()}:
            raise CheckpointError("the checkpoint's averaged weights are of another model; resume with its own config")
        for name, weight in saved.items():
            self.averaged[name].copy_(weight)


@torch.no_grad()
def _assign(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give the model these weights, by parameter name and each of its shape."""
    # In place: optimizers and wrappers hold these very tensors.
    for name, weight in model.named_parameters():
        weight.copy_(weights[name])
