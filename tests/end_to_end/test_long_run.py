"""A run over 3.4 million simulated rows that validates every 2,000 steps: planned, shown, resumed within an epoch."""

import json
from pathlib import Path
from typing import Any

import pytest
from recipe import RECIPE, run_dir

from snac_exp.evaluation import summary
from snac_exp.training.loop import Trainer
from tests.helpers.commands import train, verb
from tests.helpers.same_runs import assert_equal, logged, outcome

ROWS = 3_400_000
LARGE = ["curriculum=phase12_large", "lr=phase12_large", "trainer.validate_every_steps=2000"]
RUN = [
    *(item for item in RECIPE if not item.startswith(("curriculum", "~curriculum", "lr.", "trainer.max", "checkp"))),
    *LARGE, "curriculum.stages.a.segment_seconds=0.3", "trainer.max_steps=2002", "checkpoint.every_steps=2000",
    "data.cache_dir=none", "data._target_=benchmarks.simulated_rows.SimulatedRows", f"+data.num_rows={ROWS}",
    "trainer.log_every_steps=1",
]  # fmt: skip


@pytest.mark.slow
def test_it_is_planned_in_epochs_and_steps() -> None:
    arguments = ["+experiment=phase12_dual_head", *LARGE, f"rows={ROWS}"]
    shown = verb("plan", *arguments).succeeded().out
    rows = [line.split() for line in shown.splitlines()]
    assert ["1", "5000", "a", "warmup"] in [row[:4] for row in rows]
    assert ["1-2", "20000", "a", "main"] in [row[:4] for row in rows]
    assert ["5-6", "150000", "d", "main"] in [row[:4] for row in rows]
    assert "validation every 2000 steps; samples every 2000 steps" in " ".join(shown.split())
    parts = json.loads(verb("plan", *arguments, "format=json").succeeded().out)["epochs"]
    assert [part["num_steps"] for part in parts] == [5000, 12709, 2291, 20000, 20000, 79070, 10930]


@pytest.mark.slow
def test_it_goes_on_within_its_first_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first 1,998 steps are taken for done; the second run ends in its 2,002nd, after the checkpoint of 2,000."""
    begin, log = Trainer._begin, Trainer._log

    def late(self: Trainer) -> None:
        begin(self)
        self.state.step = self.state.batch = 1998

    def broken(self: Trainer, *arguments: Any) -> None:
        log(self, *arguments)
        if self.state.step == 2001:
            raise RuntimeError("the power failed")

    monkeypatch.setattr(summary, "NOISE_FIT_UTTERANCES", 1)
    monkeypatch.setattr(Trainer, "_begin", late)
    train(*RUN, f"output_dir={tmp_path / 'whole'}").succeeded()
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_log", broken)
        with pytest.raises(RuntimeError, match="the power failed"):
            train(*RUN, f"output_dir={tmp_path / 'broken'}")
    whole, resumed = run_dir(tmp_path / "whole"), run_dir(tmp_path / "broken")
    train(f"resume={resumed}").succeeded()
    lines = logged(resumed)
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1999, 2000, 2001, 2002]
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [0, 2000, 2002]
    assert lines == logged(whole)
    assert_equal(outcome(resumed), outcome(whole))
    plan = json.loads((resumed / "plan.json").read_text())
    assert (plan["num_items"], plan["num_steps"]) == ([ROWS], 2002)
    assert "1 to 2,002" in (resumed / "report.html").read_text() or "1 to 2002" in (resumed / "report.html").read_text()
