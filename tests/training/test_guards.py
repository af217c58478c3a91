"""S13: means over micro-batches, outliers tested before they are averaged in; rollbacks that end."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snac_exp.config.compose import compose_experiment
from snac_exp.errors import ConfigError, DivergenceError
from snac_exp.lm.frames import FrameLayout
from snac_exp.losses.tokens import TokenObjective
from snac_exp.training.optimization.accumulation import accumulate, shares
from snac_exp.training.optimization.guards import (
    OutlierGuard,
    OutlierState,
    RollbackPolicy,
    RollbackState,
    new_levels_of,
)
from snac_exp.training.plan import planned_geometry, unroll

LAYOUT = FrameLayout.plain((5, 5), 50.0)


@settings(max_examples=30)
@given(
    valid=st.lists(st.integers(0, 6), min_size=4, max_size=9).filter(any),
    size=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_s13_accumulation_is_the_mean_over_the_whole_batch(valid: list[int], size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(valid), 6, 2, 3, generator=generator, dtype=torch.float64)
    frames = torch.randint(5, (len(valid), 6, 2), generator=generator)
    head = torch.nn.Linear(3, 5).double()
    objective, lengths = TokenObjective(LAYOUT, "auto"), torch.tensor(valid)

    def measure(part: slice) -> dict[str, Tensor]:
        loss = objective(head(features[part]).unbind(2), frames[part], lengths[part])
        return {"cross_entropy": loss, "twice": 2 * loss}

    def total(terms: Mapping[str, Tensor]) -> Tensor:
        return terms["cross_entropy"]

    whole = measure(slice(None))
    whole["cross_entropy"].backward()
    expected, head.weight.grad = head.weight.grad.clone(), None

    parts = [slice(first, first + size) for first in range(0, len(valid), size)]
    weights = [objective.weight(lengths[part], 6) for part in parts]
    more: list[bool] = []

    def unsynchronised(more_to_come: bool) -> AbstractContextManager[None]:
        more.append(more_to_come)
        return nullcontext()

    means = accumulate(zip(shares(weights), parts, strict=True), measure, total, Tensor.backward, unsynchronised)
    torch.testing.assert_close(head.weight.grad, expected, rtol=1e-6, atol=1e-12)
    for name, value in {"loss": whole["cross_entropy"], **whole}.items():
        assert means[name].item() == pytest.approx(value.item(), rel=1e-6)
        assert not means[name].requires_grad
    assert more == [True] * (len(parts) - 1) + [False]


def test_shares_add_up_and_refuse_what_has_no_mean() -> None:
    assert shares([3.0, 0.0, 1.0]) == [0.75, 0.0, 0.25]
    assert shares([3.0, 1.0], total=8.0, world_size=2) == [0.75, 0.25]
    for weights in ([], [0.0, 0.0], [1.0, -1.0], [2.0, -1.0]):
        with pytest.raises(ValueError, match="no mean"):
            shares(weights)


def settled(ratio: float = 3.0, max_in_row: int = 2) -> OutlierGuard:
    guard = OutlierGuard(ratio=ratio, warmup_steps=10, decay=0.9, max_in_row=max_in_row)
    assert all(guard.judge(1.0).admitted for _ in range(20))
    return guard


def test_s13_an_outlier_is_tested_before_it_is_averaged_in() -> None:
    guard = settled()
    # Averaged in first, 3.5 would raise the mean to 1.28 and pass as 2.7 times that.
    assert not guard.judge(3.5).admitted
    assert guard.level == pytest.approx(1.0, rel=1e-12)
    assert guard.judge(2.9).admitted
    assert guard.level == pytest.approx((1 - 0.9**20) * 0.9 / (1 - 0.9**21) + 2.9 * 0.1 / (1 - 0.9**21), rel=1e-12)


def test_the_running_mean_is_unbiased_from_its_first_step() -> None:
    guard = OutlierGuard(warmup_steps=3, decay=0.99)
    assert math.isnan(guard.level)
    for _ in range(3):
        guard.judge(7.0)
        assert guard.level == pytest.approx(7.0, rel=1e-12)
    assert not guard.judge(21.1).admitted


def test_skipping_ends_after_the_capped_number_in_a_row_and_everything_is_counted() -> None:
    guard = settled(max_in_row=2)
    verdicts = [guard.judge(10.0) for _ in range(4)]
    assert [verdict.admitted for verdict in verdicts] == [False, False, True, False]
    assert guard.state.num_skipped == 3
    assert "10.0 times the running mean 1: step skipped (2 in a row, 2 in all)" in verdicts[1].reason
    assert "2 steps in a row were skipped: admitted" in verdicts[2].reason
    assert guard.judge(1.0).admitted
    assert guard.state.num_in_row == 0


def test_warm_up_admits_everything_finite() -> None:
    guard = OutlierGuard(warmup_steps=3)
    assert [guard.judge(loss).admitted for loss in (1.0, 100.0, 5.0)] == [True] * 3


def test_another_weighing_of_the_loss_is_no_outlier() -> None:
    guard = OutlierGuard(warmup_steps=3, decay=0.9, new_levels=frozenset({20}))
    verdicts = [guard.judge(1.0 if step < 20 else 40.0, step) for step in range(30)]
    assert all(verdict.admitted for verdict in verdicts)
    assert guard.level == pytest.approx(40.0)
    assert not guard.judge(121.0, 30).admitted
    assert guard.state.num_skipped == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ([], {10}),  # the warm-up measures the 24 kHz head
        (["loss.phases.warmup.head_24k=0.3"], set()),
        (["loss.phases.warmup.head_24k=0.3", "+loss.phase_terms={main: {l1: 2.0}}"], {10}),
        (["adversary=dac", "adversary.start_step=25"], {10, 25}),
    ],
)
def test_new_levels_are_where_a_plan_weighs_the_loss_otherwise(changes: list[str], wanted: set[int]) -> None:
    """Epochs of 10 steps; the warm-up is the first."""
    few = ["trainer.max_steps_per_epoch=10", "trainer.batch_size=4", *changes]
    experiment, _ = compose_experiment(["+experiment=phase12_dual_head", *few], complete=False)
    plan = unroll(experiment, planned_geometry(experiment)).counted(lambda epoch: 100_000)
    assert new_levels_of(plan) == wanted


def test_a_guard_goes_on_from_its_state() -> None:
    one = settled()
    other = OutlierGuard(3.0, 10, 0.9, 2, OutlierState.from_dict(one.state_dict()))
    losses = [1.0, 9.0, 9.0, 1.2, 9.0, 3.2, 2.0]
    assert [one.judge(loss) for loss in losses] == [other.judge(loss) for loss in losses]
    with pytest.raises(KeyError):
        OutlierState.from_dict({"mean": 1.0})


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_no_outlier(loss: float) -> None:
    guard = settled()
    before = guard.state_dict()
    with pytest.raises(ValueError, match="not for the outlier guard"):
        guard.judge(loss)
    assert guard.state_dict() == before


def test_rollbacks_cut_the_rates_and_end() -> None:
    policy = RollbackPolicy(max_rollbacks=2, haircut=0.5)
    assert policy.rates({"all": 2e-4}) == {"all": 2e-4}
    assert "rollback 1 of 2" in policy.after_failure("step 70: loss not finite", "Snapshot: x.pt")
    resumed = RollbackPolicy(2, 0.5, RollbackState.from_dict(policy.state_dict()))
    assert "learning rates now 0.25 of the plan" in resumed.after_failure(
        "step 90: grad_norm not finite", "Snapshot: y.pt"
    )
    assert resumed.rates({"all": 2e-4}) == {"all": 5e-5}
    with pytest.raises(DivergenceError, match=r"step 95: loss not finite after 2 rollbacks.*z\.pt"):
        resumed.after_failure("step 95: loss not finite", "Snapshot: z.pt")
    assert resumed.state == RollbackState(2, 0.25)


def test_without_rollbacks_the_first_failure_is_the_last() -> None:
    with pytest.raises(DivergenceError):
        RollbackPolicy(max_rollbacks=0).after_failure("step 1: loss not finite", "Snapshot: x.pt")


@pytest.mark.parametrize("options", [{"ratio": 1.0}, {"decay": 1.0}, {"warmup_steps": 0}, {"max_in_row": 0}])
def test_impossible_guards_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="outlier guard"):
        OutlierGuard(**options)


@pytest.mark.parametrize("options", [{"haircut": 1.0}, {"haircut": 0.0}, {"max_rollbacks": -1}])
def test_impossible_rollbacks_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="rollback"):
        RollbackPolicy(**options)
