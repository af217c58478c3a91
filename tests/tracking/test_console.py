import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from snac_exp.tracking import console as console_module
from snac_exp.tracking.console import Console

VALUES = {
    "train/loss": 1.25,
    "train/head_48k/l1": 0.031234567,
    "lr/trunk": 5e-5,
    "speed/step_seconds": 0.5,
    "speed/audio_seconds_per_second": 87.65,
    "speed/data_wait_share": 0.034,
}
LINE = "loss 1.25  head_48k l1 0.03123  lr trunk 5e-05  speed 87.7 s audio/s  data wait 3%"


@dataclass(frozen=True)
class Epoch:
    epoch: int = 3
    stage: str = "short"
    phase: str = "main"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(console_module.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_come_every_few_seconds_and_say_everything(tmp_path: Path, clock: list[float]) -> None:
    out = io.StringIO()
    console = Console(tmp_path, num_epochs=15, num_steps=100, out=out, every_seconds=10)
    console.begin("the plan [a/b]")
    console.epoch(Epoch(), 20)
    for done in range(1, 8):
        console.step(40 + done, done, VALUES)
        clock[0] += 2.0
    console.validated({"head_48k/l1": 0.5})
    console.end()
    lines = out.getvalue().splitlines()
    assert lines[0] == "the plan [a/b]"
    assert lines[1] == f"epoch 3/15 short/main  batch 1/20  step 41/100  left ?  {LINE}"
    assert lines[2] == f"epoch 3/15 short/main  batch 6/20  step 46/100  left 0:01:48  {LINE}"  # 54 steps of 2 s
    assert lines[3] == "epoch 3/15 short/main  validation  head_48k/l1 0.5"
    assert len(lines) == 4
    logged = (tmp_path / "train.log").read_text().splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", "", line) for line in logged] == lines


def test_a_terminal_gets_a_live_display_and_the_log_the_lines(tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(tmp_path, num_epochs=15, num_steps=100, out=out, live=True)
    console.begin("the plan")
    console.epoch(Epoch(), 20)
    console.step(41, 1, VALUES)
    console.end()
    console.end()
    for text in ("epoch 3/15 short/main", "batch 1/20", "l1 0.03123", "trunk 5e-05", "data wait 3%"):
        assert text in out.getvalue()
    assert LINE not in out.getvalue()
    assert LINE in (tmp_path / "train.log").read_text()


def test_the_log_of_a_resumed_run_goes_on(tmp_path: Path) -> None:
    for text in ("first", "second"):
        console = Console(tmp_path, num_epochs=1, num_steps=1, out=io.StringIO())
        console.note(text)
        console.end()
    assert [line.split()[-1] for line in (tmp_path / "train.log").read_text().splitlines()] == ["first", "second"]
