"""What a run says of the kernels it trains with, and a demand that this machine cannot meet."""

import json
from pathlib import Path

import pytest

from snac_exp.codec.fast.cuda.choice import LACKING
from snac_exp.runs import run
from tests.helpers.commands import train, verb


def _only_run(output: Path) -> Path:
    (folder,) = (path.parent for path in output.glob("tiny/*/status.json"))
    return folder


@pytest.mark.slow
def test_a_demand_that_cannot_be_met_fails_before_the_first_step(tiny: list[str], tmp_path: Path) -> None:
    done = train(*tiny, "trainer.kernels=triton")
    assert done.status == 2
    assert (
        "trainer.kernels=triton is not available: the kernels are for CUDA, and this is cpu; set trainer.kernels"
        in (done.err)
    )
    assert list((tmp_path / "outputs").glob("tiny/*")) == []


@pytest.mark.slow
def test_what_is_used_is_told_and_what_is_lacking_also_in_quiet(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = f"{LACKING} triton is not installed"
    monkeypatch.setattr(run, "kernels_in_use", lambda: used)
    done = train(*tiny, "trainer.quiet=true", "trainer.max_steps_per_epoch=1")
    assert done.status == 0
    assert f"kernels: {used}" in done.out
    folder = _only_run(tmp_path / "outputs")
    for name in ("environment.json", "plan.json"):
        assert json.loads((folder / name).read_text())["kernels"] == used
    notes = [json.loads(line) for line in (folder / "notes.jsonl").read_text().splitlines()]
    assert [note["level"] for note in notes if note["source"] == "kernels"] == ["warning"]


@pytest.mark.slow
def test_a_plan_tells_what_is_asked_for() -> None:
    recipe = ["+experiment=phase12_dual_head", "trainer.kernels=off"]
    assert "kernels: on CUDA the library's, loops on a CPU" in verb("plan", *recipe).out
    assert json.loads(verb("plan", *recipe, "format=json").out)["kernels"] == "off"
    assert "kernels:" not in verb("plan", "+experiment=rvq_toy").out


@pytest.mark.slow
def test_a_token_model_has_no_layers_for_them() -> None:
    done = verb("plan", "+experiment=rvq_toy", "trainer.kernels=triton")
    assert done.status == 2
    assert "trainer.kernels=triton is for the codec's layers" in done.err
