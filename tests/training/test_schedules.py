"""Learning rates against PyTorch's own schedulers."""

import pytest
import torch

from snac_exp.config.schema import Lr, OneCycle, WarmupCosine
from snac_exp.training.schedules import learning_rate

SHAPES = Lr({}, {}, OneCycle(pct_start=0.3, div_factor=25.0, final_div_factor=1e4), WarmupCosine(0.1, 1e-5), 0.1)


@pytest.mark.parametrize("num_steps", [2, 7, 40, 1001])
@pytest.mark.parametrize("peak", [1e-5, 5e-5])
def test_one_cycle_equals_pytorch(num_steps: int, peak: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=peak)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        peak,
        total_steps=num_steps,
        pct_start=0.3,
        div_factor=25.0,
        final_div_factor=1e4,
        cycle_momentum=False,
    )
    for step in range(num_steps):
        ours = learning_rate("one_cycle", peak, step, num_steps, SHAPES)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if step < num_steps - 1:
            scheduler.step()


def test_cosine_equals_pytorch_and_ends_at_its_ratio() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2e-5)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50, eta_min=2e-6)
    for step in range(51):
        assert learning_rate("cosine", 2e-5, step, 50, SHAPES) == pytest.approx(
            optimizer.param_groups[0]["lr"], rel=1e-9
        )
        optimizer.step()
        scheduler.step()
    assert learning_rate("cosine", 2e-5, 50, 50, SHAPES) == pytest.approx(2e-6)


@pytest.mark.parametrize(("pct_start", "num_steps"), [(0.25, 4), (0.1, 10), (0.5, 2), (0.3, 1), (0.9, 1)])
def test_a_rise_of_a_single_step_is_its_peak(pct_start: float, num_steps: int) -> None:
    shape = OneCycle(pct_start=pct_start)
    rates = [learning_rate("one_cycle", 1e-3, step, num_steps, Lr({}, {}, shape)) for step in range(num_steps)]
    assert max(rates) <= 1e-3
    assert num_steps == 1 or rates[0] == 1e-3


def test_one_step_phases_are_finite() -> None:
    assert 0 < learning_rate("one_cycle", 1e-3, 0, 1, SHAPES) <= 1e-3
    assert learning_rate("constant", 1e-3, 0, 1, SHAPES) == 1e-3


def test_warm_up_rises_to_the_peak_and_the_cosine_ends_at_eta_min() -> None:
    rates = [learning_rate("warmup_cosine", 2e-4, step, 50, SHAPES) for step in range(50)]
    assert rates[:5] == pytest.approx([4e-5, 8e-5, 12e-5, 16e-5, 20e-5])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] == pytest.approx(1e-5)
    middle = rates[4 + 15 : 4 + 31]  # the cosine is symmetric about its middle
    assert [a + b for a, b in zip(middle, reversed(middle), strict=True)] == pytest.approx([2.1e-4] * 16)
