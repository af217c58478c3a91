"""Trials that are not worth their other steps end early: as Optuna says, over kills, and once unless by hand."""

import math
import os
import random
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState

from snac_exp import cli
from snac_exp.errors import ConfigError
from snac_exp.sweeps.bayesian import search
from snac_exp.sweeps.bayesian.pruning import Pruning, Trial, judge_of, refuse_unmeasured, verdict
from snac_exp.sweeps.ledger import Row
from snac_exp.sweeps.multirun import multirun
from snac_exp.sweeps.settings import Goal
from snac_exp.sweeps.sweep import Sweep
from snac_exp.system.files import read_json
from snac_exp.system.process import ENTRY, TRIAL, resume_here
from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.tracking.run_folder import RunFolder
from tests.helpers.commands import ROOT, train
from tests.helpers.killed import kill
from tests.helpers.waiting import until

RATE = "lr.phases.main.groups.trunk"
MEDIAN, ASHA = Pruning("median", 2, 2, 4), Pruning("asha", 1, 1, 2)


def trial(*values: float, finished: bool = True) -> Trial:
    return Trial(Row(0, "", [], ""), dict(enumerate(values)), finished)


@pytest.mark.parametrize(
    ("pruning", "goal", "own", "others", "reason"),
    [
        (MEDIAN, "minimize", [9, 5, 4], [trial(9, 4, 3), trial(9, 4, 1)], "was never better than 2, the median that 2"),
        (MEDIAN, "minimize", [9, 5, 2], [trial(9, 4, 3), trial(9, 4, 1)], None),  # it is as good
        (MEDIAN, "minimize", [9, 1, 4], [trial(9, 4, 3), trial(9, 4, 1)], None),  # it was better before
        (MEDIAN, "minimize", [9, 5], [trial(9, 4, 3), trial(9, 4, 1)], None),  # it warms up
        (MEDIAN, "minimize", [9, 5, 4], [trial(9, 4, 3)], None),  # too few have finished
        (MEDIAN, "minimize", [9, 5, 4], [trial(9, 4, 3), trial(9, 4, 1, finished=False)], None),
        (MEDIAN, "maximize", [0, 5, 4], [trial(0, 4, 7), trial(0, 4, 9)], "was never better than 8"),
        (MEDIAN, "minimize", [math.nan] * 3, [trial(9, 4, 3), trial(9, 4, 1)], "is not finite"),
        (MEDIAN, "minimize", [9, 5, 4], [trial(9, 4, math.nan), trial(9, 4, 1), trial(9, 4, 2)], "than 1.5"),
        (ASHA, "minimize", [9, 5], [trial(9, 4, finished=False)], "5 is not among the best 1/2 of 2 trials that came"),
        (ASHA, "minimize", [9, 3], [trial(9, 4, finished=False)], None),
        (ASHA, "minimize", [9, 5], [trial(9, finished=False)], None),  # nobody came as far
        (Pruning("asha", 1, 2, 2), "minimize", [9, 5], [trial(9, 4)], None),  # too few came as far
        (ASHA, "minimize", [9, 3, 5, 2], [trial(9, 4), trial(9, 2, 1, 1)], None),  # between rungs
        (ASHA, "minimize", [9, 1, 5], [trial(9, 4), trial(9, 2, 1, 1)], "5 is not among the best 1/2 of 2"),
        (ASHA, "maximize", [0, 3], [trial(0, 4)], "3 is not among the best"),
        (ASHA, "minimize", [9, math.nan], [trial(9, 4)], "is not finite"),
    ],
)
def test_verdicts(pruning: Pruning, goal: Goal, own: list[float], others: list[Trial], reason: str | None) -> None:
    found = verdict(pruning, goal, dict(enumerate(own)), others)
    assert found is None if reason is None else reason in (found or "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pruning", "pruner"),
    [
        (Pruning("median", 3, 1, 4), MedianPruner(1, 3)),
        (Pruning("asha", 2, 1, 3), SuccessiveHalvingPruner(2, 3)),
    ],
)
def test_files_say_what_a_study_that_lives_on_says(pruning: Pruning, pruner: BasePruner) -> None:
    """Thirty trials, one after the other, some of them bad."""
    generator, study = random.Random(0), optuna.create_study(pruner=pruner)
    before: list[Trial] = []
    ours, theirs = [], []
    for _ in range(30):
        level, asked, curve = generator.random(), study.ask(), dict[int, float]()
        ended = said = False
        for step in range(10):
            curve[step] = 1 / (step + 1) + level + generator.gauss(0, 0.1)
            asked.report(curve[step], step)
            ended = asked.should_prune()
            said = verdict(pruning, "minimize", curve, before) is not None
            if ended or said:
                break
        theirs.append((ended, step))
        ours.append((said, step))
        study.tell(asked, None if ended else curve[step], state=TrialState.PRUNED if ended else TrialState.COMPLETE)
        before.append(Trial(Row(0, "", [], ""), curve, not ended))
    assert ours == theirs
    assert 5 < sum(ended for ended, _ in theirs) < 28


class AnyJob:
    title, num_steps, measured = "job 0", 60, ("val/objective", "val/head_24k/level_db")

    def __init__(self, *validations: int) -> None:
        self.validations = validations


def settled(pruning: Pruning, *jobs: AnyJob) -> Any:
    return pruning.for_trials(jobs)  # type: ignore[arg-type]


def test_the_warm_up_lies_among_the_validations() -> None:
    assert settled(Pruning(None, None, 5, 4), AnyJob()) is None
    assert settled(Pruning("asha", None, 5, 4), AnyJob(10, 20), AnyJob(20, 40)).warmup_steps == 20
    assert settled(Pruning("median", 1, 5, 4), AnyJob(10, 20)).warmup_steps == 1
    with pytest.raises(ConfigError, match="validates at no step between its first and its last, 60; lower trainer"):
        settled(Pruning("median", None, 5, 4), AnyJob())
    with pytest.raises(ConfigError, match=r"warmup_steps=21: .* before their end is at step 20"):
        settled(Pruning("median", 21, 5, 4), AnyJob(10, 20))
    with pytest.raises(ConfigError, match="first validates at step 10; choose at least that, or null"):
        settled(Pruning("asha", 9, 5, 4), AnyJob(10, 20))
    with pytest.raises(ConfigError, match=r"choose one of: val/objective$"):
        refuse_unmeasured("head_48k/lsd_high_db", [AnyJob()])  # type: ignore[list-item]


Start = Callable[..., int]


@pytest.fixture
def start(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> Start:
    """A search by `train.py -m`, driven in this process; every trial after the first may be pruned at step 3."""
    monkeypatch.setattr(search, "run_driver", lambda sweep, *_, wait: search.main(sweep.path))
    return lambda *more: multirun(["-m", *tiny, "hydra/sweeper=optuna", "hydra.sweeper.min_trials=1", *more])


def only_sweep(tmp_path: Path) -> Sweep:
    (path,) = (tmp_path / "outputs/sweeps/tiny").iterdir()
    return Sweep.open(path)


def expected(sweep: Sweep) -> list[str]:
    """The states that trials of stubs must have, one after the other by the median."""
    states: list[str] = []
    finished: list[float] = []
    for row in sweep.rows():
        value = abs(math.log10(float(row.overrides[0].partition("=")[2])) + 4) + 1
        states.append("pruned" if finished and value > statistics.median(finished) else "finished")
        finished += [value] if states[-1] == "finished" else []
    return states


SPACE = [f"{RATE}=1e-07,0.0001,1e-05,1e-06", "tracker.tags=[validate]", "hydra.sweeper.pruner=median"]


@pytest.mark.slow
def test_a_trial_ends_by_itself_and_a_killed_driver_changes_nothing(
    start: Start, stub_jobs: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(*SPACE, "hydra.sweeper.num_trials=1") == 0
    sweep, gate = only_sweep(tmp_path), tmp_path / "gate"
    command = [sys.executable, "-m", "tests.sweeps.killed_driver", "open", "/nowhere", f"resume={sweep.path}"]
    environment = os.environ | {"STUB_GATE": str(gate)}
    process = subprocess.Popen([*command, "num_trials=4"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    until(Path(f"{gate}.reached").exists, "the next trial is there", process)
    assert kill(process) == -signal.SIGKILL
    gate.touch()
    until(lambda: sweep.refresh()[-1].state == "pruned", "it ends by itself")
    capsys.readouterr()
    assert cli.run(["sweep", f"resume={sweep.path}", "num_trials=4"]) == 0
    assert "2 of 4 jobs finished, 2 pruned" in capsys.readouterr().out
    states = [row.state for row in sweep.rows()]
    assert states == expected(sweep)
    pruned = sweep.rows()[states.index("pruned")]
    assert (pruned.error or "").startswith("at step 3: val/objective was never better than ")
    trials = search.study_of(sweep).trials
    kinds = {"pruned": TrialState.PRUNED, "finished": TrialState.COMPLETE}
    assert [item.state for item in trials] == [kinds[state] for state in states]
    assert list(trials[states.index("pruned")].intermediate_values) == [0, 3]
    assert cli.run(["sweep", f"resume={sweep.path}"]) == 0  # nothing of it runs again
    assert [row.attempts for row in sweep.rows()] == [1] * 4
    capsys.readouterr()
    assert cli.run(["status", str(sweep.path), "format=json"]) == 0
    assert capsys.readouterr().out.count('"state": "pruned"') == 2


@pytest.mark.slow
def test_a_pruned_training_has_saved_and_goes_on_by_hand_alone(start: Start, tmp_path: Path) -> None:
    """Two trials at once on a pool, the second of which can only be worse."""
    space, launcher = "lr.phases.warmup.groups.head_48k=1e-4,1.0", "hydra/launcher=local_processes"
    chosen = ["hydra.sweeper.num_trials=2", "hydra.sweeper.pruner=asha", "hydra.launcher.processes=1"]
    assert start(space, launcher, *chosen, "hydra.sweeper.seed=1") == 0
    sweep = only_sweep(tmp_path)
    good, bad = sweep.rows()
    assert [(row.overrides[0].rpartition("=")[2], row.state) for row in (good, bad)] == [
        ("0.0001", "finished"), ("1.0", "pruned"),
    ]  # fmt: skip
    folder = sweep.run_dir(bad)
    status = read_json(folder / "status.json")
    assert status["pruned"] == {"step": 3, "reason": (bad.error or "").removeprefix("at step 3: ")}
    assert "not among the best 1/4 of 2 trials" in status["pruned"]["reason"]
    assert read_json(folder / "checkpoints/latest.json")["checkpoints"][0]["step"] == 3
    assert "saved at step 3" in (folder / "job.log").read_text()
    assert "Pruned by its search" in (folder / "report.html").read_text()
    train(f"resume={folder}").succeeded()
    assert [line["step"] for line in read_metrics(folder) if line["kind"] == "train"] == list(range(1, 7))
    assert [row.state for row in sweep.refresh()] == ["finished"] * 2


def test_a_run_that_a_trial_starts_elsewhere_is_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{ENTRY}.resume_run", lambda run_dir: int(os.environ[TRIAL]))
    monkeypatch.delenv(TRIAL, raising=False)
    assert resume_here(tmp_path) == 1
    assert TRIAL not in os.environ
    monkeypatch.setenv(TRIAL, "1")
    folder = RunFolder(tmp_path / "runs" / "elsewhere")
    folder.path.mkdir(parents=True)
    assert judge_of(folder) is None
