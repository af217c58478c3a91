"""Bayesian search: the space is proved first, results steer, an interrupted one makes the trials it would have made."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import TrialState

from snac_exp import cli
from snac_exp.errors import ConfigError
from snac_exp.sweeps.bayesian import search
from snac_exp.sweeps.bayesian.proposals import Refused, Search, propose
from snac_exp.sweeps.bayesian.space import Dimension, corners, size
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.multirun import multirun
from snac_exp.sweeps.sweep import Sweep

RATE = "lr.phases.main.groups.trunk"
SPACE = f"{RATE}=tag(log,interval(1e-6,1e-3))"
PARSER = OverridesParser.create()


def dimension(text: str) -> Dimension:
    return Dimension.of(PARSER.parse_override(text))


@pytest.mark.parametrize(
    ("text", "ends", "number"),
    [
        ("a=interval(1,10)", ["a=1.0", "a=10.0"], float("inf")),
        ("a=tag(log,interval(1e-5,1e-3))", ["a=1e-05", "a=0.001"], float("inf")),
        ("a=int(interval(1,4))", ["a=1", "a=4"], 4),
        ("a=range(2,11,3)", ["a=2", "a=8"], 3),
        ("a=x,[1,2],'y, z'", ["a=x", "a=[1,2]", "a='y, z'"], 3),
    ],
)
def test_dimensions_are_read_from_hydras_grammar(text: str, ends: list[str], number: float) -> None:
    found = dimension(text)
    assert found.ends() == ends
    assert size([found]) == number
    for end in ends:
        assert found.override(found.value(end.partition("=")[2])) == end
        PARSER.parse_override(end)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=interval(2,1)", "the smaller one first"),
        ("a=tag(log,interval(0,1))", "two ends above 0"),
        ("a=range(0.0,1.0,0.1)", "range.*is for whole numbers"),
        ("a=glob(*)", "draws from a list"),
    ],
)
def test_dimensions_that_cannot_be_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dimension(text)


def test_a_drawn_number_is_short_and_inside() -> None:
    narrow = dimension("a=interval(0.12345678,0.12345679)")
    assert narrow.override(0.123456785) == "a=0.12345679"  # rounded it would lie above
    assert dimension("a=interval(0,1)").override(1 / 3) == "a=0.333333"


def test_corners_hold_every_choice_and_every_end_once_beside_the_first() -> None:
    space = [dimension("a=1,2,3"), dimension("b=interval(0,1)")]
    assert corners(space) == [["a=1", "b=0.0"], ["a=2", "b=0.0"], ["a=3", "b=0.0"], ["a=1", "b=1.0"]]


class AnyTrial:
    """A checker that refuses what it is told to."""

    def __init__(self, refused: str = "nothing") -> None:
        self.refused = refused

    def check(self, index: int, overrides: list[str], varied: list[str]) -> Any:
        if self.refused in varied:
            raise ConfigError("does not go together")
        return Refused(index, varied, "stands for a job")


def trials(space: str, rows: list[Row], count: int, **settings: int) -> list[list[str]]:
    facts = {"num_trials": 99, "parallel": 1, "startup_trials": 5, "seed": 0} | settings
    wanted = Search([dimension(item) for item in space.split()], [], **facts)
    return [item.varied for item in propose(wanted, "minimize", rows, count, AnyTrial())]  # type: ignore[arg-type]


def ledger(values: list[float], states: str = "finished") -> list[Row]:
    return [Row(n, str(n), [f"x={value}"], str(n), states, best=(value - 7) ** 2) for n, value in enumerate(values)]


def test_proposals_are_a_function_of_seed_and_ledger_and_follow_the_results() -> None:
    space, rows = "x=interval(0,10)", ledger([0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5])
    drawn = [trials(space, rows, 1, seed=seed)[0][0] for seed in range(20)]
    assert drawn == [trials(space, rows, 1, seed=seed)[0][0] for seed in range(20)]
    near = sum(abs(float(text.partition("=")[2]) - 7) < 1.5 for text in drawn)
    assert near >= 14  # 30 % of the space; at random 6 of 20
    failed = [trials(space, ledger([1.0] * 10, "failed"), 1, seed=seed)[0][0] for seed in range(20)]
    assert sum(abs(float(text.partition("=")[2]) - 7) < 1.5 for text in failed) < 12  # no results to follow


def test_numbers_go_on_behind_a_job_that_was_left_out() -> None:
    wanted = Search([dimension("x=interval(0,10)")], [], num_trials=9, parallel=1, startup_trials=5, seed=0)
    left = [row for row in ledger([1.0, 2.0, 3.0]) if row.job != 1]
    found = propose(wanted, "minimize", left, 2, AnyTrial())  # type: ignore[arg-type]
    assert [item.index for item in found] == [3, 4]


def test_trials_of_one_batch_differ_and_a_space_can_be_empty() -> None:
    batch = trials("x=interval(0,10)", [], 8)
    assert len({item[0] for item in batch}) == 8
    assert sorted(trials("x=1,2,3 y=range(0,2)", [], 10)) == [[f"x={x}", f"y={y}"] for x in (1, 2, 3) for y in (0, 1)]


Start = Callable[..., tuple[int, Sweep]]


@pytest.fixture
def start(tiny: list[str], tmp_path: Path, stub_jobs: None, monkeypatch: pytest.MonkeyPatch) -> Start:
    """`train.py -m` with stubs as jobs and the driver in this process."""
    monkeypatch.setattr(search, "run_driver", lambda sweep, *_, wait: search.main(sweep.path))

    def begin(*arguments: str) -> tuple[int, Sweep]:
        chosen = ["hydra/sweeper=optuna", "hydra.sweeper.startup_trials=2", "tracker.tags=[measure]"]
        status = multirun(["-m", *tiny, *chosen, "again=true", *arguments])
        path = max((tmp_path / "outputs/sweeps/tiny").iterdir(), key=lambda item: item.stat().st_ctime_ns)
        return status, Sweep.open(path)

    return begin


def drawn(sweep: Sweep) -> list[list[str]]:
    return [row.overrides for row in sweep.rows()]


@pytest.mark.slow
def test_an_interrupted_search_goes_on_with_the_trials_it_would_have_made(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    status, whole = start(SPACE, "hydra.sweeper.num_trials=3")
    assert status == 0
    assert f"best val/objective: {whole.best().best:.6g}" in capsys.readouterr().out  # type: ignore[union-attr]
    status, sweep = start(SPACE, "hydra.sweeper.num_trials=2")
    assert status == 0
    assert drawn(sweep) == drawn(whole)[:2]
    (sweep.run_dir(sweep.rows()[1]) / "status.json").unlink()  # as if it had been interrupted before the second began
    assert cli.run(["sweep", f"resume={sweep.path}", "num_trials=3"]) == 0
    assert drawn(sweep) == drawn(whole)
    assert [row.attempts for row in sweep.rows()] == [1, 1, 1]
    study = search.study_of(sweep)
    assert [trial.params[RATE] for trial in study.trials] == [float(item[0].partition("=")[2]) for item in drawn(whole)]
    assert study.best_value == sweep.best().best  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="there are 3 trials already"):
        cli.run(["sweep", f"resume={sweep.path}", "num_trials=2"])


@pytest.mark.slow
def test_a_failing_trial_is_told_to_optuna_and_the_search_goes_on(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = ["hydra/launcher=local_processes", "hydra.launcher.processes=2", "hydra.sweeper.parallel=2"]
    status, sweep = start(f"{RATE}=0.001,0.0001,1e-05", "hydra.sweeper.num_trials=8", *launcher)
    assert status == 1
    text = capsys.readouterr().out
    assert "the space holds no other trial than the 3 there are" in text
    assert f"({RATE}=0.001) failed: ValueError: told to fail" in text
    assert "best val/objective: 0 by" in text
    states = {trial.params[RATE]: trial.state for trial in search.study_of(sweep).trials}
    assert states == {"0.001": TrialState.FAIL, "0.0001": TrialState.COMPLETE, "1e-05": TrialState.COMPLETE}


@pytest.mark.thorough
def test_numbers_that_do_not_go_together_are_a_failed_trial(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    check = search.JobChecker.check

    def picky(self: Any, index: int, overrides: list[str], varied: list[str]) -> Any:
        if varied == [f"{RATE}=1e-05", "seed=2"]:
            raise ConfigError("do not go together")
        return check(self, index, overrides, varied)

    monkeypatch.setattr(search.JobChecker, "check", picky)
    status, sweep = start(f"{RATE}=0.0001,1e-05", "seed=1,2", "hydra.sweeper.num_trials=4")
    assert status == 1
    failed = [row for row in sweep.rows() if row.state == "failed"]
    assert [(row.overrides, row.error) for row in failed] == [([f"{RATE}=1e-05", "seed=2"], "do not go together")]
    assert cli.run(["sweep", f"resume={sweep.path}"]) == 1  # nothing to run again
    assert [row.attempts for row in sweep.rows() if row.state == "finished"] == [1, 1, 1]


@pytest.mark.slow
def test_a_metric_that_nobody_logs_ends_the_search(start: Start) -> None:
    with pytest.raises(ConfigError, match="no run has logged val/head_24k/l1"):
        start(SPACE, "hydra.sweeper.num_trials=9", "sweep.metric=val/head_24k/l1")


@pytest.mark.thorough
def test_a_recipe_that_always_fails_ends_the_search(start: Start) -> None:
    with pytest.raises(ConfigError, match="the first 3 trials failed; fix the recipe first"):
        start(f"{RATE}=interval(6e-4,1e-3)", "hydra.sweeper.num_trials=9")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trainer.grad_clip=interval(-1,1)"], r"job 0 \(trainer.grad_clip=-1.0\): .*greater than 0"),
        ([SPACE, "lr=phase12,phase13"], "there is no file conf/lr/phase13.yaml"),
        (["seed=1"], "a search needs something to vary"),
        ([SPACE, "hydra.sweeper.num_trials=0"], "num_trials=0 must be at least 1"),
        ([SPACE, "hydra.launcher.processes=many"], "must be of type int"),
        ([SPACE, "sweep.goal=sideways"], "sweep.goal='sideways' is not valid"),
        ([SPACE, "sweep.metrik=x"], "unknown key 'sweep.metrik'; did you mean 'metric'"),
        ([SPACE, "hydra/sweeper=grid"], "a grid needs a list; interval"),
        (
            [SPACE, "sweep.metric=head_48k/lsd_high_db"],
            "not measured at the validations .*; choose one of: val/objective, val/",
        ),
        ([SPACE, "hydra.sweeper.pruner=best"], "hydra.sweeper.pruner='best' is not valid; choose one of: asha, median"),
        ([SPACE, "hydra.sweeper.min_trials=0"], "hydra.sweeper.min_trials=0 must be at least 1"),
        ([SPACE, "hydra.sweeper.pruner=asha", "hydra.sweeper.warmup_steps=4"], "last validation .* is at step 3"),
        ([SPACE, "hydra.sweeper.pruners=asha"], "pruners"),
    ],
)
def test_the_space_is_proved_before_anything_is_submitted(
    arguments: list[str], message: str, tiny: list[str], tmp_path: Path
) -> None:
    chosen = [] if "hydra/sweeper=grid" in arguments else ["hydra/sweeper=optuna"]
    with pytest.raises(ConfigError, match=message):
        multirun(["-m", *tiny, *chosen, *arguments])
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_a_dry_run_shows_the_trials_that_wait_for_no_result(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["hydra/sweeper=optuna", "hydra.sweeper.startup_trials=2", "dry_run=true"]
    assert multirun(["-m", *tiny, SPACE, *chosen]) == 0
    assert "2 of 20 trials, the others wait for results" in capsys.readouterr().out
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_without_optuna_it_says_what_to_install(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'snac_exp\[optuna\]'"):
        multirun(["-m", *tiny, SPACE, "hydra/sweeper=optuna"])
