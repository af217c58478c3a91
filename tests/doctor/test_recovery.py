"""Which checkpoint to go back to: after damage, a hostile file, a divergence, a loss that was not finite."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from snac_exp import cli
from snac_exp.doctor.examine import examine
from snac_exp.doctor.findings import problems
from snac_exp.errors import CheckpointError
from snac_exp.system.files import write_json
from tests.doctor.trained_run import found, newest


@pytest.mark.slow
def test_a_damaged_newest_checkpoint(run: Path) -> None:
    path = newest(run)
    content = bytearray(path.read_bytes())
    path.unlink()  # it is linked to the fixture's
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    report = examine(run)
    assert ("file", path.name) in found(report)
    assert "SHA-256 differs" in report.findings[0].text
    assert report.last_good is not None
    assert report.last_good.step == 7
    assert "remove the first entry of" in report.verdict
    path.write_bytes(content[: len(content) // 2])
    report = examine(run)
    assert {item.check for item in problems(report.findings)} == {"file"}
    assert "damaged" in report.findings[-1].text
    path.unlink()
    with pytest.raises(CheckpointError):
        examine(path)
    report = examine(run)
    assert "missing" in report.findings[0].text
    assert (report.healthy, report.last_good is not None) == (False, True)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


@pytest.mark.slow
def test_a_hostile_file_is_refused_and_runs_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "model": Hostile()}, run / "checkpoints" / "evil.pt")
    assert cli.run(["doctor", str(run / "checkpoints" / "evil.pt")]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "system, which could run code; nothing of it was run" in said
    assert "The last good checkpoint is" in said
    assert not (tmp_path / "executed").exists()


@pytest.mark.slow
def test_a_divergence_and_the_checkpoint_before_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == "train" and line["step"] >= 9:
            line["train/loss"] *= 20
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = examine(run)
    assert found(report) == {("history", "metrics.jsonl")}
    assert "step 9: the training loss is 20 times its lowest level" in report.findings[0].text
    assert [row["step"] for row in report.history] == [5, 6, 7, 8, 9, 10]
    assert report.last_good is not None
    assert report.last_good.step == 7
    [early] = (path for path in (run / "checkpoints").glob("*iter7.pt"))
    assert examine(early).healthy  # the run went wrong later
    assert cli.run(["doctor", str(run)]) == 1
    shown = capsys.readouterr().out
    assert "training around it" in shown
    assert "not finite" not in shown  # a rate of a group that is frozen for a while has no value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "name", "value", "text", "good"),
    [
        (12, "train/loss", None, "step 12: train/loss not finite", 7),
        (14, "val/objective", 30.0, "step 14: the validation objective is 30, and was 2.93 at step 7", 7),
        (14, "val/objective", 3.5, None, None),  # worse, but no divergence
        (9, "train/loss", 500.0, None, None),  # one outlier that came back
    ],
)
def test_signs_of_a_divergence(
    step: int, name: str, value: float | None, text: str | None, good: int | None, run: Path
) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if line["step"] == step and name in line:
            line[name] = value
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = examine(run)
    assert report.healthy == (text is None)
    if text is not None:
        assert report.findings[0].text.startswith(text)
        assert report.last_good is not None
        assert report.last_good.step == good


@pytest.mark.slow
def test_a_run_that_stopped_for_a_loss_that_was_not_finite(run: Path) -> None:
    error = "Traceback …\nsnac_exp.errors.DivergenceError: step 6 of epoch 2: loss not finite; nothing was updated"
    write_json(run / "status.json", {"state": "failed", "error": error})
    (run / "checkpoints" / "nonfinite_step15.pt").write_bytes(b"")
    report = examine(run)
    assert found(report) == {("history", "status.json")}
    assert report.findings[0].text == "step 6 of epoch 2: loss not finite; nothing was updated"
    assert report.findings[1].subject == "nonfinite_step15.pt"
    assert report.last_good is not None
    assert report.last_good.newer == ()


def test_nothing_good_is_left(run: Path) -> None:
    for path in (run / "checkpoints").glob("*.pt"):
        path.unlink()
        path.write_bytes(b"gone")
    assert "None of the run's checkpoints is good: begin again" in examine(run).verdict
