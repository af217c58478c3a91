"""metrics.jsonl as columns, and what of a column is drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snac_exp.report.charts.intervals import whiskers
from snac_exp.report.charts.lines import Chart, Line, Marks, chart_view
from snac_exp.report.charts.series import MOST_POINTS, Series, downsampled, read_series
from snac_exp.report.numbers import compact, duration, figure, nice_ticks, signed, tick_labels

MINUS = "\N{MINUS SIGN}"


def test_lines_become_columns(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [
        {"step": 0, "epoch": 0, "kind": "validation", "time": 100.0, "val/objective": 3.0},
        {"step": 5, "epoch": 1, "kind": "train", "time": 101.0, "train/loss": None, "lr/trunk": 1e-4},
        {"step": 5, "epoch": 1, "kind": "samples", "time": 101.0, "directory": "samples/epoch001"},
        {"step": 10, "epoch": 1, "kind": "train", "time": 104.5, "train/loss": 2, "flag": True},
    ]
    text = "\n".join(["{broken", "[1, 2]", *map(json.dumps, lines), '{"step": 15, "ep'])
    path.write_text(text)
    metrics = read_series(path)
    assert set(metrics.series) == {"val/objective", "train/loss", "lr/trunk"}
    assert metrics.series["train/loss"].steps.tolist() == [5, 10]
    assert np.isnan(metrics.series["train/loss"].values[0])
    assert metrics.series["train/loss"].finite.values.tolist() == [2.0]
    assert (metrics.last_steps, metrics.seconds, metrics.num_lines, metrics.num_broken) == ({0: 0, 1: 10}, 4.5, 6, 2)
    assert read_series(tmp_path / "none.jsonl").series == {}


@given(st.integers(1, 5000), st.integers(0, 2**32 - 1))
def test_extremes_survive_downsampling(number: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_cauchy(number)
    drawn = downsampled(Series(np.arange(number, dtype=float), values))
    assert len(drawn.x) <= MOST_POINTS
    assert (drawn.low.min(), drawn.high.max()) == (values.min(), values.max())
    assert (drawn.num_merged == 1) == (number <= MOST_POINTS)
    sizes = np.diff(np.append(np.arange(0, number, drawn.num_merged), number))
    assert np.allclose((drawn.mean * sizes).sum(), values.sum(), rtol=1e-9, atol=1e-6)


def test_a_bucket_is_lost_only_if_all_of_it_is() -> None:
    values = np.ones(2 * MOST_POINTS)
    values[0] = values[2] = values[3] = np.nan
    drawn = downsampled(Series(np.arange(len(values), dtype=float), values))
    assert drawn.num_merged == 2
    assert drawn.mean[0] == 1.0
    assert np.isnan(drawn.mean[1])
    assert np.isfinite(drawn.mean[2:]).all()


def test_a_line_stands_where_its_values_are() -> None:
    series = Series(np.array([0.0, 5.0, 10.0]), np.array([0.0, 1.0, 0.5]))
    view = chart_view(Chart("Loss", "nats", (Line("train", series),)))
    assert view is not None
    top = 1000 - 1000 / 1.06  # six percent of room above
    assert view.curves[0].stroke.path == f"M0 1000L500 {top:.1f}L1000 {1000 - 500 / 1.06:.1f}"
    assert [(tick.place, tick.label) for tick in view.x_ticks] == [
        (0.0, "0.0"), (25.0, "2.5"), (50.0, "5.0"), (75.0, "7.5"), (100.0, "10.0")
    ]  # fmt: skip
    assert view.description == "Loss (nats) over step: train from 0 to 0.5000, lowest 0"


def test_what_is_not_finite_breaks_the_line_and_is_told() -> None:
    series = Series(np.arange(6.0), np.array([1.0, np.nan, 3.0, 4.0, np.nan, 2.0]))
    view = chart_view(Chart("Loss", "", (Line("train", series),)))
    assert view is not None
    stroke = view.curves[0].stroke
    assert stroke.path.count("M") == 3
    assert stroke.lost == "M200 1000h0M800 1000h0"
    assert stroke.dots.count("M") == 2  # the first and the last value have no neighbour
    assert view.notes == ["train: 2 of 6 values not finite, marked on the axis"]
    assert view.points["lines"][0]["y"] == [1.0, None, 3.0, 4.0, None, 2.0]
    assert chart_view(Chart("Loss", "", (Line("train", Series(np.arange(2.0), np.full(2, np.nan))),))) is None


def test_a_line_is_broken_where_a_phase_begins() -> None:
    series = Series(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1e-3, 1e-3, 1e-5, 1e-4]))
    marks = Marks(phases=((0, "warmup"), (2, "main")))
    view = chart_view(Chart("Rate", "", (Line("trunk", series),), log=True, marks=marks, broken=True, x_range=(0, 4)))
    assert view is not None
    assert [part.count("L") for part in view.curves[0].stroke.path.split("M")[1:]] == [1, 1]
    assert [(tick.place, tick.label) for tick in view.phases] == [(0.0, "warmup"), (50.0, "main")]
    assert [tick.label for tick in view.y_ticks] == ["1e-5", "1e-4", "1e-3"]


def test_far_values_of_a_noisy_line_leave_the_axis_and_are_counted() -> None:
    noisy = np.append(np.linspace(1, 2, 200), 1000.0)
    steps = np.arange(201.0)
    view = chart_view(Chart("Loss", "", (Line("train", Series(steps, noisy), noisy=True),)))
    assert view is not None
    assert view.points["y"][1] < 3
    assert view.notes == ["train: 1 above the axis, up to 1,000"]
    measured = chart_view(Chart("Loss", "", (Line("validation", Series(steps, noisy)),)))
    assert measured is not None
    assert measured.notes == []
    assert measured.points["y"][1] > 1000


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\N{EN DASH}"), (float("nan"), "not finite"), (0, "0"), (0.0, "0"), (1234567, "1,234,567"),
     (9.99996, "10.00"), (0.050627, "0.05063"), (12345.6, "12,346"), (-1.5, f"{MINUS}1.500"), (5e-5, "5e-5"),
     ("text", "text")],
)  # fmt: skip
def test_figures_as_people_read_them(value: object, text: str) -> None:
    assert figure(value) == text


def test_other_forms() -> None:
    assert [compact(value) for value in (2e-3, 1.25e-5, 0.0, 1.0)] == ["2e-3", "1.25e-5", "0", "1e0"]
    assert [signed(value) for value in (0.5, -0.5, 0.0)] == ["+0.500", f"{MINUS}0.500", "0"]
    assert [duration(value) for value in (None, 4.04, 59.96, 3725.0)] == ["\N{EN DASH}", "4.0 s", "0:01:00", "1:02:05"]
    assert nice_ticks(0, 10, 5) == [0, 2.5, 5, 7.5, 10]
    assert tick_labels([0.0, 0.25, 0.5]) == ["0.00", "0.25", "0.50"]
    assert tick_labels([-1.0, 0.0]) == [f"{MINUS}1", "0"]


def test_intervals_stand_on_one_axis_with_zero() -> None:
    plot = whiskers("LSD", [("a", "c1", 10.0, 5.0, 20.0), ("b", "c0", 0.0, None, None)])
    first, second = plot.rows
    places = (first.low, first.place, first.high, first.zero)
    assert places == pytest.approx((5 / 0.21, 10 / 0.21, 20 / 0.21, 0.0), abs=0.01)
    assert first.text == "10.0 (5.00 to 20.0)"
    assert (second.low, second.text) == (None, "0")
