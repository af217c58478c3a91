"""AdamW over the recipe's groups, and the adversary's own where there is one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snac_exp.config.schema import Experiment
from snac_exp.training.optimization.groups import ParameterGroups
from snac_exp.training.plan import ADVERSARY
from snac_exp.training.task import Task

MODEL = "optimizer"
"""Name of the model's optimizer; that of the adversary's is `plan.ADVERSARY`."""


class Optimizers:
    """The optimizers of a run, stepped together.

    by_name: as fabric wrapped them. Learning rates are set before every step, so there is no scheduler with a state.
    """

    def __init__(self, experiment: Experiment, groups: ParameterGroups, task: Task, fabric: Fabric) -> None:
        self._fabric = fabric
        self._clips = {MODEL: experiment.trainer.grad_clip, ADVERSARY: experiment.adversary.grad_clip}
        self._scaler: Any = getattr(fabric.strategy.precision, "scaler", None)  # of float16 alone
        self.by_name: dict[str, Any] = {MODEL: fabric.setup_optimizers(_of_model(experiment, groups))}
        if task.adversary is not None:
            self.by_name[ADVERSARY] = fabric.setup_optimizers(_of_adversary(experiment, task.adversary))

    def set_rates(self, learning_rates: Mapping[str, float]) -> None:
        """One learning rate per parameter group by name; a group that is not named gets 0, the adversary keeps its."""
        for group in self.by_name[MODEL].param_groups:
            group["lr"] = learning_rates.get(group["name"], 0.0)
        if ADVERSARY in self.by_name and ADVERSARY in learning_rates:
            (group,) = self.by_name[ADVERSARY].param_groups
            group["lr"] = learning_rates[ADVERSARY]

    def clip(self, module: Any) -> dict[str, Tensor]:
        """Scale the gradients of `module` down to the recipe's norm; their norms before that, each of shape ()."""
        return {
            "grad_norm" if name == MODEL else f"{name}/grad_norm": self._clipped(module, name, optimizer)
            for name, optimizer in self.by_name.items()
            if _has_gradients(optimizer)
        }

    def step(self) -> None:
        """Change the weights; in float16 those of each optimizer whose gradients are finite."""
        if self._scaler is None:
            for optimizer in self.by_name.values():
                optimizer.step()
            return
        # Past Fabric, which updates the scaler after every optimizer: the next one would be unscaled a second time.
        for optimizer in filter(_has_gradients, self.by_name.values()):
            self._scaler.step(optimizer.optimizer)
        self._scaler.update()

    def leave_out_step(self) -> None:
        """Tell the float16 scaler that this step is not made, or it would refuse to unscale the next gradients."""
        if self._scaler is not None:
            self._scaler.update()

    def drop_gradients(self) -> None:
        """Nothing of this step is left for the next."""
        for optimizer in self.by_name.values():
            optimizer.zero_grad(set_to_none=True)  # AdamW decays weights whose gradient is zero, not those without one

    def scaler_skips(self, bad: Sequence[str]) -> bool:
        """Whether only gradients overflowed in float16: the scaler lowers its factor and leaves the step out."""
        return self._scaler is not None and all(name.endswith("grad_norm") for name in bad)

    def state_dict(self) -> dict[str, Any]:
        """State dicts by name."""
        return {name: optimizer.state_dict() for name, optimizer in self.by_name.items()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take up the moments of a checkpoint. They move to the device of their parameter; step counters, which torch
        reads on the host before every step, stay on the CPU where the checkpoint is loaded (unless AdamW is fused)."""
        for name, optimizer in self.by_name.items():
            optimizer.load_state_dict(saved[name])

    def _clipped(self, module: Any, name: str, optimizer: Any) -> Tensor:
        """Clip the gradients of one optimizer; their norm before that, a scalar."""
        # Not finite is no error here: the loop looks at norms and loss together, and rolls back.
        norm: Any = self._fabric.clip_gradients(module, optimizer, max_norm=self._clips[name], error_if_nonfinite=False)
        return torch.as_tensor(norm, device=self._fabric.device)


def not_finite(values: Mapping[str, float]) -> list[str]:
    """Names of the values that are NaN or infinite."""
    return [name for name, value in values.items() if not math.isfinite(value)]


def _has_gradients(optimizer: Any) -> bool:
    """Whether any of its parameters has one; those of an adversary that has not joined yet have none."""
    return any(parameter.grad is not None for group in optimizer.param_groups for parameter in group["params"])


def _of_model(experiment: Experiment, groups: ParameterGroups) -> torch.optim.AdamW:
    # Rates are set before every step; the names are what `set_rates` finds its groups by.
    settings = experiment.trainer
    named = [{"params": list(parameters.values()), "name": name} for name, parameters in groups.groups.items()]
    # fused=None rather than False: with False torch leaves out its multi-tensor path as well.
    return torch.optim.AdamW(
        named, lr=0.0, betas=settings.betas, weight_decay=settings.weight_decay, fused=settings.fused_optimizer or None
    )


def _of_adversary(experiment: Experiment, adversary: torch.nn.Module) -> torch.optim.AdamW:
    own = experiment.adversary
    return torch.optim.AdamW(adversary.parameters(), lr=0.0, betas=own.betas, weight_decay=own.weight_decay)
