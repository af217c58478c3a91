"""A step reads nothing back from its device before it is launched whole; ranks exchange numbers once.

The device "meta" holds no values, so whatever would wait for a GPU to read one is an error here.
"""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import Depth, LanguageModel
from snac_exp.data.slices.batch import Batch
from snac_exp.data.tokens.batch import TokenBatch
from snac_exp.lm.frames import FrameLayout
from snac_exp.lm.transformer import TokenTransformer
from snac_exp.losses.tokens import TokenObjective
from snac_exp.training.collectives import Collectives
from snac_exp.training.gradients import StepGradients
from snac_exp.training.plan import planned_geometry, unroll
from snac_exp.training.rvq_lm.task import TokenTask
from snac_exp.training.task import Task
from tests.training.test_autoencoder_task import BOTH, WEIGHTS, batch_of, task_of

LAYOUT = FrameLayout((12, 12, 7), (0, 1, 1), (2, 1, 1), 50.0)


def token_task() -> TokenTask:
    settings = LanguageModel("depth", 16, 2, 2, 0.0, 8, "learned", Depth(16, 2, 2))
    return TokenTask(TokenTransformer(settings, LAYOUT), TokenObjective(LAYOUT, "auto"))


def token_batch() -> TokenBatch:
    return TokenBatch(torch.zeros(4, 8, 3, dtype=torch.int64), torch.tensor([8, 3, 8, 0]), torch.arange(4), 50.0)


def slices() -> Batch:
    """Slices of 12 coarse tokens within decoded windows of 16."""
    batch = batch_of()
    audio = {head: signal[..., 2 * 128 : 14 * 128] for head, signal in batch.audio.items()}
    offset, valid = torch.full_like(batch.rows, 2), batch.valid_samples.clamp(max=12 * 128)
    return replace(batch, audio=audio, slice_offset=offset, valid_samples=valid)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["codec", "tokens"])
def test_the_forward_and_backward_pass_read_nothing_back(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # "meta" knows none
    task: Task = task_of(BOTH) if kind == "codec" else token_task()
    batch: Any = slices() if kind == "codec" else token_batch()
    for part in batch.micro_batches(2):
        assert task.weight(part) >= 0  # on the CPU
        terms = task.to("meta")(part.to("meta"), WEIGHTS)
        total = task.total(terms, WEIGHTS)
        assert total.device.type == "meta"
        total.backward()
    assert all(parameter.grad is not None for parameter in task.model.parameters() if parameter.requires_grad)


class TwoRanks:
    """Stands for Fabric on the first of two ranks that see the same."""

    def __init__(self) -> None:
        self.world_size, self.global_rank, self.device = 2, 0, torch.device("cpu")
        self.reduced: list[Tensor] = []

    def all_reduce(self, values: Tensor, reduce_op: str) -> Tensor:
        """Twice the values (N,)."""
        assert reduce_op == "sum"
        self.reduced.append(values)
        return values * 2


def test_one_reduction_carries_means_flags_and_the_weight_to_come() -> None:
    fabric = TwoRanks()
    values = {"loss": torch.tensor(0.25), "norm": torch.tensor(3.0)}
    large = 2.0**24 + 1  # no float32
    found = Collectives(fabric).step(values, {"stop": False, "save": True}, large)  # type: ignore[arg-type]
    assert found == ({"loss": 0.25, "norm": 3.0}, {"stop": False, "save": True}, 2 * large)
    assert len(fabric.reduced) == 1
    alone = SimpleNamespace(world_size=1)
    assert Collectives(alone).step(values, {"stop": True}, 7.0) == (  # type: ignore[arg-type]
        {"loss": 0.25, "norm": 3.0},
        {"stop": True},
        7.0,
    )


@pytest.mark.slow
def test_a_step_whose_weight_is_known_asks_no_rank_before_its_gradients() -> None:
    experiment, _ = compose_experiment(["+experiment=phase12_dual_head", "trainer.devices=2"], complete=False)
    plan = unroll(experiment, planned_geometry(experiment))
    fabric = TwoRanks()
    gradients = StepGradients(experiment, plan, task_of(BOTH), fabric, None)  # type: ignore[arg-type]
    batch, coming = batch_of(), batch_of()
    epoch = plan.epochs[-1]
    assert gradients._total(batch, gradients._weights(epoch, batch)) == 2 * task_of(BOTH).weight(batch)
    assert len(fabric.reduced) == 1  # the first step of an epoch asks
    gradients._ahead = (coming, 1234.0)
    assert gradients._total(coming, gradients._weights(epoch, coming)) == 1234.0
    assert len(fabric.reduced) == 1
    assert gradients._total(batch, gradients._weights(epoch, batch)) == 2 * task_of(BOTH).weight(batch)
    assert len(fabric.reduced) == 2  # another batch than was expected, as after a rollback
