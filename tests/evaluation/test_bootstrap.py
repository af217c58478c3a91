import numpy as np
import pytest

from snac_exp.config.seeding import generator
from snac_exp.evaluation import bootstrap
from snac_exp.evaluation.bootstrap import Estimate, bootstrap_interval, estimate


def normal(num: int, seed: int = 0) -> list[float]:
    values: list[float] = np.random.default_rng(seed).normal(5.0, 2.0, size=num).tolist()
    return values


def test_bootstrap_interval_covers_the_mean_of_a_normal_sample() -> None:
    values = np.array(normal(400))
    low, high = bootstrap_interval(values.tolist(), seed=0)
    error = values.std(ddof=1) / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.03)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.03)
    assert (low, high) == bootstrap_interval(values.tolist(), seed=0)
    assert (low, high) != bootstrap_interval(values.tolist(), seed=1)
    assert bootstrap_interval([3.0], seed=0) == (3.0, 3.0)


def test_it_is_the_plain_percentile_bootstrap_however_the_draws_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.array(normal(31))
    draws = generator(7, "bootstrap").integers(31, size=(2000, 31))
    expected = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    for most in (2**22, 31 * 1300, 31 * 7, 1):
        monkeypatch.setattr(bootstrap, "_MOST_INDICES", most)
        assert bootstrap_interval(values.tolist(), seed=7) == pytest.approx(expected, rel=1e-12)


def test_the_interval_holds_the_true_mean_about_95_times_in_100() -> None:
    held = [low <= 5.0 <= high for low, high in (bootstrap_interval(normal(60, seed), seed) for seed in range(200))]
    assert 0.90 <= np.mean(held) <= 0.98


def test_undefined_values_are_left_out_and_one_value_has_no_interval() -> None:
    assert estimate([None, 2.0, 4.0, None], seed=0) == Estimate(3.0, 2.0, 4.0, 2)
    assert estimate([None, 2.0], seed=0) == Estimate(2.0, None, None, 1)
    assert estimate([None, None], seed=0) is None
    assert estimate([], seed=0) is None


def test_only_an_interval_on_one_side_of_zero_excludes_it() -> None:
    sides = [(0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (0.0, 0.1), (None, None)]
    assert [Estimate(0.1, low, high, 5).excludes_zero for low, high in sides] == [True, True, False, False, False]
