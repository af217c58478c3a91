"""The doctor finds each planted defect, says where, and is quiet about what is healthy."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from snac_exp import cli
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.checkpoints.store import CheckpointStore
from snac_exp.doctor.examine import examine
from snac_exp.doctor.findings import problems
from snac_exp.doctor.moments import bound
from tests.doctor.trained_run import BASE, CODEBOOK, DIRECTION, GAIN, found, newest, spoilt, train
from tests.helpers.variants import thorough


@pytest.mark.slow
def test_a_healthy_run_is_quiet(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = examine(run)
    assert report.findings == []
    assert report.healthy
    assert report.verdict == "healthy: nothing wrong was found"
    by_name = {item.group: item for item in report.groups}
    assert {name: item.steps for name, item in by_name.items()} == {
        "encoder": 0, "quantizer": 0, "trunk": 12, "head_24k": 12, "head_48k": 14,
    }  # fmt: skip
    assert by_name["encoder"].change is not None
    assert (by_name["encoder"].change.num_changed, by_name["encoder"].drift) == (0, 0.0)
    trunk = by_name["trunk"].change
    assert trunk is not None
    assert trunk.num_changed == trunk.num_tensors == 126
    assert 1e-4 < trunk.relative < 0.1
    assert len(report.weight_norm) == 79
    assert cli.run(["doctor", str(run)]) == 0
    assert "healthy: nothing wrong was found" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 7])
def test_earlier_checkpoints_of_a_healthy_run_are_quiet(run: Path, step: int) -> None:
    [path] = [path for path in (run / "checkpoints").glob("*.pt") if path.stem.endswith(f"iter{step}")]
    assert examine(path).findings == []


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [0, *thorough(1), 3])
def test_a_residual_head_starts_at_zero_on_purpose(tmp_path: Path, num_steps: int) -> None:
    overrides = ["heads=dual_residual", "init=residual"]
    payloads = train(overrides, tmp_path / "run", num_steps, {0, num_steps})
    zero = not payloads[num_steps].model["heads.head_48k.conv.weight"].any()
    assert zero == (num_steps == 0)
    assert examine(tmp_path / "run").findings == []


@pytest.mark.slow
def test_that_head_is_dead_if_it_still_is_zero_after_training(run: Path, tmp_path: Path) -> None:
    payload = train(["heads=dual_residual", "init=residual"], tmp_path / "other", 12, {12})[12]
    store = CheckpointStore(tmp_path / "other" / "checkpoints", None, 9)
    payload.model["heads.head_48k.conv.weight"].zero_()
    assert payload.average is not None
    payload.average["heads.head_48k.conv.weight"].zero_()
    payload.state.step = 13
    store.save(payload, epoch=1, finished_epoch=False)
    report = examine(tmp_path / "other")
    assert ("values", "heads.head_48k.conv.weight") in found(report)
    assert "after 12 steps" in next(item.text for item in report.findings if item.check == "values")


def values(payload: Checkpoint, name: str) -> Tensor:
    tensor: Tensor = payload.model[name]
    return tensor


def moments(payload: Checkpoint, index: int) -> dict[str, Tensor]:
    assert payload.optimizers is not None
    state: dict[str, Tensor] = payload.optimizers["optimizer"]["state"][index]
    return state


# index 0 of the optimizer is the first tensor of the trunk
FIRST = "optimizer: trunk.0.bias"
DEFECTS: dict[str, tuple[Callable[[Checkpoint], object], tuple[str, str], str]] = {
    "nan": (lambda p: values(p, DIRECTION)[0, 0, 0].fill_(float("nan")), ("values", DIRECTION), "1 NaN and 0 infinite"),
    "inf": (lambda p: values(p, f"{BASE}.bias")[3].fill_(float("inf")), ("values", f"{BASE}.bias"), "1 infinite"),
    "exploded": (lambda p: values(p, f"{BASE}.bias").mul_(1e7), ("values", f"{BASE}.bias"), "exploded: the largest"),
    "exploding": (lambda p: values(p, GAIN).mul_(60), ("values", GAIN), "60 times the former"),
    "zero gain": (lambda p: values(p, GAIN)[:2].zero_(), ("weight norm", BASE), "2 of 80 gains are 0"),
    "zero direction": (lambda p: values(p, DIRECTION)[5].zero_(), ("weight norm", BASE), "1 of 80 directions"),
    "lost half": (lambda p: p.model.pop(DIRECTION), ("weight norm", GAIN), "its other half is missing"),
    "moments nan": (
        lambda p: moments(p, 0)["exp_avg"][0].fill_(float("nan")),
        ("moments", FIRST),
        "the next step makes the weights NaN",
    ),
    "moments negative": (lambda p: moments(p, 0)["exp_avg_sq"][0].fill_(-1.0), ("moments", FIRST), "negative"),
    "moments exploded": (lambda p: moments(p, 0)["exp_avg_sq"][0].fill_(9.0), ("moments", FIRST), "clipped to 1"),
    "moments torn": (lambda p: moments(p, 0)["exp_avg_sq"].mul_(1e-6), ("moments", FIRST), "times the learning rate"),
    "moments dead": (
        lambda p: [moments(p, 0)[name].zero_() for name in ("exp_avg", "exp_avg_sq")],
        ("moments", "trunk"),
        "no gradient ever reached trunk.0.bias",
    ),
    "moments of another run": (lambda p: moments(p, 0)["step"].fill_(900.0), ("moments", "trunk"), "counted 900 steps"),
    "average far away": (lambda p: (p.average or {})[GAIN].mul_(400), ("ema", "trunk"), "does not follow the weights"),
    "average nan": (lambda p: (p.average or {})[GAIN][0].fill_(float("nan")), ("values", f"ema: {GAIN}"), "1 NaN"),
    "average of a frozen part": (
        lambda p: (p.average or {})["encoder.block.0.bias"].add_(0.1), ("ema", "encoder"), "it is of another model",
    ),
    "average of another model": (
        lambda p: (p.average or {}).update(x=torch.ones(2)), ("ema", "x"), "no part of this model",
    ),
    "codebook collapsed": (lambda p: values(p, CODEBOOK)[100:400].copy_(values(p, CODEBOOK)[7] * 2),
                           ("codebooks", CODEBOOK), "300 of 1024 entries"),
    "codebook emptied": (lambda p: values(p, CODEBOOK)[9].zero_(), ("codebooks", CODEBOOK), "1 of 1024 entries have"),
    "frozen part moved": (
        lambda p: values(p, "encoder.block.0.bias").add_(1e-6), ("changes", "encoder"), "must stay bit for bit",
    ),
}  # fmt: skip


# What else is wrong then: what grew is far from its average, what was planted in a frozen part has changed.
ALSO = {
    "exploded": {("ema", "trunk")},
    "exploding": {("ema", "trunk")},
    "lost half": {("changes", DIRECTION), ("ema", DIRECTION)},
    "codebook collapsed": {("ema", "quantizer"), ("changes", "quantizer")},
    "codebook emptied": {("ema", "quantizer"), ("changes", "quantizer")},
    "frozen part moved": {("ema", "encoder")},
}


# What the same lines find as one that stands beside it.
ALIKE = (
    "inf",
    "zero direction",
    "moments negative",
    "moments exploded",
    "average nan",
    "average of another model",
    "codebook emptied",
)


@pytest.mark.slow
@pytest.mark.parametrize("defect", [name for name in DEFECTS if name not in ALIKE] + thorough(*ALIKE))
def test_each_defect_is_found_where_it_is(defect: str, run: Path, trained: tuple[Path, dict[int, Checkpoint]]) -> None:
    plant, where, text = DEFECTS[defect]
    report = spoilt(run, trained[1][14], plant)
    assert where in found(report)
    assert text in next(item.text for item in problems(report.findings) if (item.check, item.subject) == where)
    assert found(report) <= {where} | ALSO.get(defect, set())
    assert not report.healthy
    assert report.last_good is not None
    assert (report.last_good.step, report.last_good.newer) == (14, (newest(run).name,))
    assert str(report.last_good.file) in report.verdict
    assert f"python train.py resume={run}" in report.verdict


def test_dead_weights_without_weight_norm(trained: tuple[Path, dict[int, Checkpoint]], tmp_path: Path) -> None:
    weights = {"a.weight": torch.randn(20, 4), "b.weight": torch.randn(20, 4), "c.weight": torch.full((8, 8), 0.5)}
    weights |= {"bias": torch.zeros(4), "snake.alpha": torch.ones(1, 8, 1), "d.weight": torch.randn(20, 4)}
    weights["a.weight"].zero_()
    weights["b.weight"][:3] = 0
    weights["d.weight"][0] = 0
    torch.save(weights, tmp_path / "plain.pt")
    report = examine(tmp_path / "plain.pt")
    assert found(report) == {("values", "a.weight"), ("values", "b.weight"), ("values", "c.weight")}
    texts = {item.subject: item.text for item in report.findings}
    assert texts["a.weight"] == "dead: all 80 values are 0"
    assert texts["b.weight"] == "dead: 3 of 20 channels are 0"
    assert texts["d.weight"] == "1 of 20 channels are 0"
    assert "no run folder" in report.verdict


@pytest.mark.slow
def test_an_average_that_stands_still(run: Path, trained: tuple[Path, dict[int, Checkpoint]]) -> None:
    start = trained[1][0].average
    report = spoilt(run, trained[1][14], lambda p: p.average.update(copy.deepcopy(start)))
    assert {("ema", "trunk"), ("ema", "head_48k")} <= found(report)
    assert "still that of the start" in next(item.text for item in report.findings if item.subject == "trunk")


def test_the_bound_on_moments_holds_for_any_gradients() -> None:
    assert bound({"betas": (0.9, 0.999)}) == pytest.approx(7.27, abs=0.01)
    assert bound({"betas": (0.99, 0.9)}) == float("inf")
    worst = 0.0
    for pattern in (lambda _: 1.0, lambda t: 0.9 ** (30 - t) if t <= 30 else 0.0, lambda t: float(t > 200)):
        weight = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.AdamW([weight], lr=0.0)
        for step in range(300):
            weight.grad = torch.tensor([pattern(step)])
            optimizer.step()
            state = optimizer.state[weight]
            worst = max(worst, float(state["exp_avg"].abs() / (state["exp_avg_sq"].sqrt() + 1e-8)))
    assert 5.0 < worst <= 7.28
