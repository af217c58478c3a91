"""A sweep that ends tells the webhook of every job that did not finish, of those that were killed too."""

from collections.abc import Callable
from pathlib import Path

import pytest

from snac_exp.sweeps.launcher import open_backend
from snac_exp.sweeps.outcome import outcome
from snac_exp.sweeps.sweep import Sweep
from tests.helpers.webhook import VARIABLE, Webhook


@pytest.mark.slow
def test_a_killed_job_is_told_by_its_sweep(make_sweep: Callable[..., Sweep], webhook: Webhook) -> None:
    webhook.answers = [(503, {"Retry-After": "0"})]  # it is told once more
    sweep = make_sweep("finish", "die", more=["alerts=json", f"alerts.url_variable={VARIABLE}"])
    open_backend(sweep.backend).submit(sweep, sweep.rows(), wait=True)
    status, text = outcome(sweep)
    assert status == 1
    (told,) = webhook.got
    assert (told["event"], told["text"], told["folder"]) == ("sweep_finished", text, str(sweep.path))
    assert told["name"] == f"sweep {sweep.path.parent.name}"
    assert "lost" in text
    assert [path for path in sweep.path.rglob("*.yaml") if webhook.url in path.read_text()] == []


@pytest.mark.slow
def test_a_config_that_cannot_be_read_costs_the_alert_alone(
    make_sweep: Callable[..., Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = make_sweep("finish")
    (row,) = sweep.rows()
    (Path(sweep.run_dir(row)) / "config.yaml").write_text("damaged: [")
    assert "jobs finished" in outcome(sweep)[1]
    assert "no alert of the sweep" in capsys.readouterr().out
