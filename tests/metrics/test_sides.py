"""Which of two values is better: the lower, the higher, or the one closest to 0."""

import pytest

from snac_exp.board.figures import Figures
from snac_exp.errors import ConfigError
from snac_exp.evaluation.bootstrap import Estimate
from snac_exp.evaluation.estimates import Difference
from snac_exp.metrics import table
from snac_exp.metrics.metric import Metric
from snac_exp.metrics.sides import Side, best_of, cost, goal_of, side_of, verdict_of
from snac_exp.report.run.evaluation import evaluation
from snac_exp.sweeps.settings import SweepSettings

LEVEL = Metric("some_level", "some level", "dB", better="closest_to_0")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table._BY_NAME, LEVEL.name, LEVEL)


@pytest.mark.parametrize(("side", "best"), [("lower", -7.0), ("higher", 4.0), ("closest_to_0", -1.5)])
def test_the_best_of_values(side: Side, best: float) -> None:
    values = [4.0, -7.0, -1.5, 3.0]
    assert best_of(values, side) == best == min(values, key=lambda value: cost(value, side))
    assert side_of(goal_of(side)) == side


@pytest.mark.parametrize(
    ("before", "after", "side", "verdict"),
    [
        (1.0, 2.0, "lower", "worse"),
        (1.0, 2.0, "higher", "better"),
        (-12.0, -3.0, "closest_to_0", "better"),
        (3.0, 5.0, "closest_to_0", "worse"),
        (-3.0, 2.0, "closest_to_0", None),  # the interval of the difference does not judge how far both are from 0
    ],
)
def test_verdicts_of_paired_differences(before: float, after: float, side: Side, verdict: str | None) -> None:
    assert verdict_of(before, after, side) == verdict
    change = Estimate(after - before, after - before - 0.1, after - before + 0.1, 9)
    assert Difference(Metric("m", "m", better=side), before, after, change).verdict == verdict
    unsure = Estimate(after - before, -20.0, 20.0, 9)
    assert Difference(Metric("m", "m", better=side), before, after, unsure).verdict is None


@pytest.mark.usefixtures("known")
def test_the_report_marks_the_value_closest_to_0_and_the_board_shows_it() -> None:
    found = evaluation({f"{name}/some_level": value for name, value in (("a", -9.0), ("b", 1.0), ("c", 6.0))})
    assert found is not None
    assert [row.values[0].is_best for row in found.tables[0].rows if row.values[0] is not None] == [False, True, False]
    assert LEVEL.arrow == "→ 0"
    figures = Figures()
    for step, value in enumerate((-9.0, 1.0, 6.0)):
        figures.add({"kind": "validation", "step": step, "epoch": 0, "val/some_level": value})
    assert figures.value("val/some_level") == 1.0


@pytest.mark.usefixtures("known")
def test_a_sweep_refuses_a_metric_that_is_best_closest_to_0() -> None:
    with pytest.raises(ConfigError, match=r"sweep\.metric=val/some_level is best closest to 0"):
        SweepSettings(metric="val/some_level")
