"""Moments come back where their parameters lie, and step counters where torch reads them without waiting."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from snac_exp.config.compose import compose_experiment
from snac_exp.training.optimization.groups import ParameterGroups
from snac_exp.training.optimization.optimizers import MODEL, Optimizers


class Model(nn.Module):
    """A task without an adversary."""

    adversary = None

    def __init__(self, device: str) -> None:
        super().__init__()
        self.model = nn.Linear(3, 3, device=device)


def optimizers_on(device: str) -> tuple[Optimizers, Model]:
    experiment, _ = compose_experiment(["+experiment=phase12_dual_head", "codec=demo"], complete=False)
    task = Model(device)
    groups = ParameterGroups({"trunk": dict(task.model.named_parameters())}, {})
    # Fabric refuses parameters on the device "meta", which stands for a GPU here.
    fabric = SimpleNamespace(setup_optimizers=lambda optimizer: optimizer, strategy=SimpleNamespace(precision=None))
    return Optimizers(experiment, groups, task, fabric), task  # type: ignore[arg-type]


@pytest.fixture
def saved() -> Any:
    """The state after a step, on the CPU as every checkpoint is loaded."""
    optimizers, task = optimizers_on("cpu")
    task.model(torch.ones(2, 3)).sum().backward()
    optimizers.step()
    return optimizers.state_dict()


@pytest.mark.slow
def test_moments_move_to_their_parameters_and_step_counters_stay(saved: Any) -> None:
    """A counter on a GPU would be waited for at every tensor of every step."""
    optimizers, _ = optimizers_on("meta")
    optimizers.load_state_dict(saved)
    states = optimizers.state_dict()[MODEL]["state"].values()
    assert {(item["exp_avg"].device.type, item["exp_avg_sq"].device.type) for item in states} == {("meta", "meta")}
    assert {(item["step"].device.type, item["step"].item()) for item in states} == {("cpu", 1.0)}
