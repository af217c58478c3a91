"""Float16: gradients are scaled, clipped, checked and applied once, whatever number of optimizers there is."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor, nn

from snac_exp.config.compose import compose_experiment
from snac_exp.training.optimization.groups import ParameterGroups
from snac_exp.training.optimization.optimizers import Optimizers
from snac_exp.training.plan import ADVERSARY
from snac_exp.training.task import Task

SCALE = 2.0**16


def float16_fabric() -> Fabric:
    """As on a GPU: Fabric itself takes bfloat16 for float16 on a CPU."""
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=SCALE))
    return Fabric(accelerator="cpu", devices=1, plugins=[precision])


class TwoNets(Task):
    """A model and an adversary of one matrix each."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.model, self.adversary = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, batch: Tensor, weights: Any = None) -> dict[str, Tensor]:
        """Terms () of a batch (B, 4)."""
        return {"model": self.model(batch).square().mean(), "adversary": self.adversary(batch).abs().mean()}

    def total(self, terms: Any, weights: Any = None) -> Tensor:
        """Their sum ()."""
        return terms["model"] + terms["adversary"]

    def weight(self, batch: Tensor) -> float:
        """One batch."""
        return 1.0


class Training:
    """The two nets, their optimizers and a batch."""

    def __init__(self, fabric: Fabric) -> None:
        experiment, _ = compose_experiment(["+experiment=phase12_adversarial", "codec=demo"], complete=False)
        self.task, self.fabric = TwoNets(), fabric
        groups = ParameterGroups({"trunk": dict(self.task.model.named_parameters())}, {})
        self.optimizers = Optimizers(experiment, groups, self.task, fabric)
        self.optimizers.set_rates({"trunk": 1e-2, ADVERSARY: 1e-2})
        self.module = fabric.setup_module(self.task)
        self.batch = torch.linspace(-1, 1, 12).view(3, 4)

    def gradients(self, loss: Callable[[dict[str, Tensor]], Tensor]) -> dict[str, Tensor]:
        """Norms of the clipped gradients."""
        self.optimizers.drop_gradients()
        # In float32 for all that the scaler does, so that results can be compared with those without it.
        with torch.autocast("cpu", enabled=False):
            self.fabric.backward(loss(self.task(self.batch)))
        return self.optimizers.clip(self.module)

    def moments(self) -> dict[str, Tensor]:
        """First moments of both optimizers, and the weights."""
        states = {name: optimizer.state_dict()["state"] for name, optimizer in self.optimizers.by_name.items()}
        moments = {f"{name}/{i}": item["exp_avg"] for name, state in states.items() for i, item in state.items()}
        return moments | {name: weight.detach().clone() for name, weight in self.task.named_parameters()}


@pytest.mark.slow
def test_both_optimizers_step_as_without_a_scaler() -> None:
    scaled, plain = Training(float16_fabric()), Training(Fabric(accelerator="cpu", devices=1))
    for _ in range(3):
        norms = [training.gradients(training.task.total) for training in (scaled, plain)]
        assert norms[0].keys() == norms[1].keys() == {"grad_norm", "adversary/grad_norm"}
        for name, norm in norms[0].items():
            assert norm.item() == pytest.approx(norms[1][name].item(), rel=1e-6)
        scaled.optimizers.step()
        plain.optimizers.step()
    expected = plain.moments()
    assert expected.keys() == scaled.moments().keys()
    for name, value in scaled.moments().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-9)


def test_an_adversary_that_has_not_joined_is_left_alone() -> None:
    training = Training(float16_fabric())
    before = training.moments()
    assert training.gradients(lambda terms: terms["model"]).keys() == {"grad_norm"}
    training.optimizers.step()
    after = training.moments()
    assert not torch.equal(after["model.weight"], before["model.weight"])
    assert torch.equal(after["adversary.weight"], before["adversary.weight"])


def test_overflowing_gradients_change_nothing_and_halve_the_scale_once() -> None:
    training = Training(float16_fabric())
    before = training.moments()
    norms = training.gradients(lambda terms: training.task.total(terms) * float("inf"))
    values = {name: norm.item() for name, norm in norms.items()}
    assert training.optimizers.scaler_skips(list(values))
    assert not training.optimizers.scaler_skips([*values, "loss"])
    training.optimizers.step()
    for name, value in before.items():
        assert torch.equal(training.moments()[name], value)
    scaler = training.fabric.strategy.precision.scaler  # type: ignore[attr-defined]
    assert scaler.get_scale() == SCALE / 2
    training.gradients(training.task.total)
    training.optimizers.step()
    assert not torch.equal(training.moments()["model.weight"], before["model.weight"])


def test_a_step_that_is_left_out_leaves_the_next_one_whole() -> None:
    training = Training(float16_fabric())
    training.gradients(training.task.total)
    training.optimizers.leave_out_step()
    before = training.moments()
    training.gradients(training.task.total)
    training.optimizers.step()
    assert not torch.equal(training.moments()["model.weight"], before["model.weight"])


def test_without_float16_nothing_is_skipped_over_gradients() -> None:
    """Fabric's bfloat16 has no scaler, also where a recipe asked for float16."""
    training = Training(Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"))
    assert not training.optimizers.scaler_skips(["grad_norm"])
