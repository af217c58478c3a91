"""Codebooks that collapsed or died, by their metrics, by their moments and by their vectors."""

import json
from pathlib import Path

import pytest
import torch

from snac_exp.checkpoints.format import Checkpoint
from snac_exp.doctor.codebooks import num_duplicates
from snac_exp.doctor.examine import examine
from tests.doctor.trained_run import CODEBOOK, found, spoilt


def counted(index: int, **figures: float) -> dict[str, float]:
    return {f"codebook/{index}/{name}": value for name, value in figures.items()}


@pytest.mark.slow
def test_dead_codebooks_by_what_was_counted_and_what_was_reached(
    run: Path, trained: tuple[Path, dict[int, Checkpoint]]
) -> None:
    few = counted(0, perplexity=5.0, usage=0.01, tokens=900.0)  # too few tokens to say anything
    many = counted(1, perplexity=20.0, usage=0.05, tokens=20480.0)
    some = counted(2, perplexity=200.0, usage=0.3, tokens=20480.0)
    with open(run / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 14, "epoch": 1, "kind": "validation", **few, **many, **some}) + "\n")
    report = examine(run)
    assert found(report) == {("codebooks", CODEBOOK)}
    texts = [item.text for item in report.findings]
    assert "dead: 5.0% of its entries occur in 20480 validation tokens at step 14" in texts
    assert "30.0% of its entries occur in 20480 validation tokens at step 14" in texts

    with open(run / "metrics.jsonl", "a") as file:
        line = counted(0, perplexity=1.3, usage=0.01) | counted(1, perplexity=20.0, usage=0.05)  # tokens not counted
        file.write(json.dumps({"step": 14, "epoch": 1, "kind": "validation", **line}) + "\n")
    report = examine(run)
    assert [item.text for item in report.findings] == [
        "collapsed: a perplexity of 1.30 at step 14: nearly all tokens are one entry",
        "30.0% of its entries occur in 20480 validation tokens at step 14",
    ]

    def with_moments(payload: Checkpoint) -> None:
        """As if the codebooks had trained with the trunk."""
        assert payload.optimizers is not None
        payload.state.step = 2000
        payload.config["lr"]["groups"] = {"vq": r"^quantizer\.quantizers\.1\.codebook"}
        payload.config["task"]["freeze_vq"] = False
        square = torch.zeros(1024, 8)
        square[:50] = 1e-6
        state = {"step": torch.tensor(2000.0), "exp_avg": torch.zeros(1024, 8), "exp_avg_sq": square}
        group = {"name": "vq", "betas": (0.9, 0.999), "eps": 1e-8, "params": [0]}
        payload.optimizers["optimizer"] = {"state": {0: state}, "param_groups": [group]}

    (run / "metrics.jsonl").write_text("")
    report = spoilt(run, trained[1][0], with_moments)
    assert "dead: 4.9% of its entries were ever chosen in 2000 steps of training" in [
        item.text for item in report.findings if item.check == "codebooks"
    ]


@pytest.mark.slow
def test_duplicates_are_counted_over_blocks_of_rows() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4500, 8)
    assert num_duplicates(weight) == 0
    weight[4499] = 3 * weight[0]
    weight[4200] = weight[4199]
    weight[100] = -weight[99]
    assert num_duplicates(weight) == 2
