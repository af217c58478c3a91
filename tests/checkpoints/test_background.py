"""Work beside the loop: in order, one at a time, and its failures come back."""

import threading

import pytest
import torch

from snac_exp.checkpoints.background_writer import Background, snapshot
from tests.helpers.waiting import GUARD_SECONDS


def test_work_runs_beside_the_caller_and_one_at_a_time() -> None:
    background, gate, done = Background(), threading.Event(), []
    background.run(lambda: (gate.wait(GUARD_SECONDS), done.append("first")))
    assert done == [], "the caller did not wait"
    gate.set()
    background.run(lambda: done.append("second"))
    background.wait()
    assert done == ["first", "second"]
    background.wait()  # nothing under way


def test_a_failure_is_raised_by_the_next_wait_and_only_once() -> None:
    background = Background()
    background.run(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        background.wait()
    background.wait()


def test_a_snapshot_does_not_change_with_the_original() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    payload = {"model": {"w": weight}, "moments": [torch.zeros(1), (weight,)], "step": 3}
    copy = snapshot(payload)
    with torch.no_grad():
        weight.add_(1)
    assert copy["step"] == 3
    assert type(copy["moments"][1]) is tuple
    assert not copy["model"]["w"].requires_grad
    assert torch.equal(copy["model"]["w"], torch.ones(2))
    assert torch.equal(copy["moments"][1][0], torch.ones(2))
