"""The doctor finds each planted defect, says where, and is quiet about what is healthy."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from snac_exp import cli
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.checkpoints.state import TrainState
from snac_exp.checkpoints.store import CheckpointStore
from snac_exp.codec.checkpoint import bundled_directory, load_directory
from snac_exp.codec.heads import NativeHead, ResidualHead, UpsampleHead
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.codec.start import initialise
from snac_exp.config.compose import compose_experiment
from snac_exp.doctor.codebooks import num_duplicates
from snac_exp.doctor.examine import examine
from snac_exp.doctor.findings import problems
from snac_exp.doctor.moments import bound
from snac_exp.doctor.report import Report
from snac_exp.errors import CheckpointError
from snac_exp.system.files import read_json, write_json
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.training.optimization.groups import group_parameters
from snac_exp.training.optimization.weight_average import WeightAverage

BASE = "trunk.3.block.1"
GAIN = f"{BASE}.parametrizations.weight.original0"
DIRECTION = f"{BASE}.parametrizations.weight.original1"
CODEBOOK = "quantizer.quantizers.1.codebook.weight"
DEMO_BIN = bundled_directory("demo_codec") / "pytorch_model.bin"


def train(overrides: list[str], run_dir: Path, num_steps: int, save_at: set[int]) -> dict[int, Checkpoint]:
    """A run as the trainer writes it: real model, real gradients, AdamW and averages; head_48k alone for two steps."""
    experiment, values = compose_experiment(["+experiment=demo", *overrides])
    folder = RunFolder.create(values, [], run_dir)
    codec = load_directory("demo", DEMO_BIN.parent)
    wide = ResidualHead if experiment.init.name == "residual" else UpsampleHead
    model = MultiRateSnac.from_codec(codec, {"head_24k": NativeHead, "head_48k": wide})
    initialise(model, codec, experiment.init.name, 0)
    groups = group_parameters(model, experiment.lr.groups, ("encoder.", "quantizer."))
    named = [{"params": list(item.values()), "name": name} for name, item in groups.groups.items()]
    optimizer, average = torch.optim.AdamW(named, lr=1e-3), WeightAverage(model, 0.5)
    store, payloads = CheckpointStore(folder.checkpoints, None, 9), {}
    lines = []
    for step in range(num_steps + 1):
        if step:
            groups.set_trainable(frozenset(groups.groups) if step > 2 else frozenset({"head_48k"}))
            torch.manual_seed(step)
            codes = [torch.randint(1024, (1, 4 * 2**index)) for index in range(3)]
            loss = sum(waveform.square().mean() for waveform in model.decode(codes).values())
            assert isinstance(loss, Tensor)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            average.update(model)
            lines.append({"step": step, "epoch": 1, "kind": "train", "train/loss": 2.0 + 0.1 * (step % 3)})
        if step in save_at:
            payloads[step] = copy.deepcopy(
                Checkpoint(
                    model=dict(model.state_dict()),
                    state=TrainState(epoch=1, batch=step, step=step),
                    provenance={"name": "demo", "fingerprint": "f", "config": codec.config},
                    config=values | {"trainer": values["trainer"] | {"ema_decay": 0.5}},
                    environment={},
                    optimizers={"optimizer": optimizer.state_dict()},
                    average=average.state_dict(),
                )
            )
            store.save(payloads[step], epoch=1, finished_epoch=False)
            objective = {"val/objective": 3.0 - 0.01 * step}
            lines.append({"step": step, "epoch": 1, "kind": "validation", **objective})
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return payloads


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Checkpoint]]:
    run_dir = tmp_path_factory.mktemp("doctor") / "run"
    return run_dir, train([], run_dir, 14, {0, 7, 14})


@pytest.fixture
def run(trained: tuple[Path, dict[int, Checkpoint]], tmp_path: Path) -> Path:
    """A copy of the healthy run that a test may spoil."""
    folder = tmp_path / "it's a run, with 'odd' name"
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "metrics.jsonl", "checkpoints/latest.json"):
        (folder / name).write_bytes((trained[0] / name).read_bytes())
    for path in (trained[0] / "checkpoints").glob("*.pt"):
        os.link(path, folder / "checkpoints" / path.name)
    return folder


def newest(run: Path) -> Path:
    return run / "checkpoints" / read_json(run / "checkpoints" / "latest.json")["checkpoints"][0]["file"]


def spoilt(run: Path, payload: Checkpoint, plant: Callable[[Checkpoint], object]) -> Report:
    """The report on the run after its newest checkpoint was spoilt and written as the trainer would."""
    plant(payload := copy.deepcopy(payload))
    payload.state.step = max(payload.state.step, 15)
    CheckpointStore(run / "checkpoints", None, 9).save(payload, epoch=1, finished_epoch=False)
    return examine(run)


def found(report: Report) -> set[tuple[str, str]]:
    return {(item.check, item.subject) for item in problems(report.findings)}


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


@pytest.mark.parametrize("step", [0, 7])
def test_earlier_checkpoints_of_a_healthy_run_are_quiet(run: Path, step: int) -> None:
    [path] = [path for path in (run / "checkpoints").glob("*.pt") if path.stem.endswith(f"iter{step}")]
    assert examine(path).findings == []


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [0, 1, 3])
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


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
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


def test_duplicates_are_counted_over_blocks_of_rows() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4500, 8)
    assert num_duplicates(weight) == 0
    weight[4499] = 3 * weight[0]
    weight[4200] = weight[4199]
    weight[100] = -weight[99]
    assert num_duplicates(weight) == 2


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
    assert "training around it" in capsys.readouterr().out


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


def test_plain_state_dicts(run: Path, tmp_path: Path) -> None:
    assert examine(DEMO_BIN).findings == []
    assert examine(DEMO_BIN.parent).about.startswith("plain state dict: 269 tensors")
    weights = torch.load(DEMO_BIN, weights_only=True)
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in weights.items()
    }
    torch.save({"state_dict": old}, tmp_path / "old.bin")
    assert examine(tmp_path / "old.bin", DEMO_BIN).findings == []
    save_file(weights | {"encoder.block.0.bias": torch.full((12,), float("nan"))}, tmp_path / "model.safetensors")
    report = examine(tmp_path)
    assert found(report) == {("values", "encoder.block.0.bias")}
    (tmp_path / "model.safetensors").write_bytes(b"{")
    assert "damaged" in examine(tmp_path).findings[0].text
    torch.save([1, 2], tmp_path / "list.pt")
    assert "no checkpoint and no state dict" in examine(tmp_path / "list.pt").findings[0].text


def test_against_the_codec_it_was_trained_from(run: Path) -> None:
    report = examine(run, DEMO_BIN)
    assert report.healthy
    changed = {item.group: item.change for item in report.groups}
    encoder, trunk, native, wide = (changed[name] for name in ("encoder", "trunk", "head_24k", "head_48k"))
    assert encoder is not None
    assert (encoder.num_changed, encoder.relative) == (0, 0.0)
    assert trunk is not None
    assert (trunk.num_tensors, trunk.num_changed) == (126, 126)
    assert native is not None
    assert native.num_tensors == 4
    assert wide is None  # upstream has no such head
    assert report.compared_with == str(DEMO_BIN)


def test_the_command_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", str(run), f"against={newest(run)}", "format=json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["healthy"], report["verdict"]) == (True, "healthy: nothing wrong was found")
    assert report["compared_with"] == newest(run).name
    assert {item["group"]: item["change"]["num_changed"] for item in report["groups"]}["trunk"] == 0
    assert report["weight_norm"][BASE]["gain_min"] > 0
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        cli.run(["doctor", str(tmp_path / "absent")])
    with pytest.raises(CheckpointError, match="give a file, a run folder"):
        cli.run(["doctor", str(tmp_path)])
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        cli.run(["doctor", str(run), f"against={tmp_path / 'absent'}"])
