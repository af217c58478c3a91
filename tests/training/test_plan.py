"""Recipes unrolled: phase 12's tables to the last number."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from snac_exp import cli
from snac_exp.codec.geometry import Geometry
from snac_exp.config.compose import compose_experiment
from snac_exp.errors import CodecError, ConfigError
from snac_exp.training.plan import Plan, unroll
from snac_exp.verbs.training.train import main as train
from tests.helpers.commands import verb

SNAC_24KHZ = Geometry(24_000, 512, (4, 2, 1), None)


def plan_of(*overrides: str) -> Plan:
    experiment, _ = compose_experiment(["+experiment=phase12_dual_head", "data.cache_dir=none", *overrides])
    return unroll(experiment, SNAC_24KHZ)


def test_phase12_has_the_recipe_s_tables() -> None:
    epochs = plan_of().epochs
    assert [epoch.epoch for epoch in epochs] == list(range(1, 16))
    assert [epoch.batch_size for epoch in epochs] == [192] * 2 + [96] * 2 + [57] * 2 + [43] * 9
    assert [epoch.segment_seconds for epoch in epochs] == [1.0] * 2 + [2.0] * 2 + [3.0] * 2 + [4.0] * 9
    assert [epoch.num_tokens for epoch in epochs] == [11] * 2 + [23] * 2 + [35] * 2 + [46] * 9
    warmup, *main = epochs
    assert warmup.peak_rates == {"trunk": None, "head_48k": 2e-4, "head_24k": None}
    assert warmup.trainable == {"head_48k"}
    assert warmup.loss_weights == {"head_24k": 0.0, "head_48k": 1.0}
    for epoch in main:
        assert epoch.peak_rates == {"trunk": 5e-5, "head_48k": 5e-5, "head_24k": 1e-5}
        assert epoch.loss_weights == {"head_24k": 0.3, "head_48k": 1.0}
        assert epoch.schedule == "one_cycle"


def test_s04_one_cycle_spans_the_whole_main_phase() -> None:
    rows = 5000
    plan = plan_of().counted(lambda _: rows)
    rates = [
        plan.learning_rates(epoch, batch)["trunk"] for epoch in plan.epochs[1:] for batch in range(epoch.end_batch)
    ]
    total = sum(math.ceil(rows / epoch.batch_size) for epoch in plan.epochs[1:])
    assert len(rates) == total
    peak = rates.index(max(rates))
    assert peak == pytest.approx(0.3 * total, abs=2)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[0] == pytest.approx(5e-5 / 25)
    assert rates[-1] == pytest.approx(5e-5 / 25 / 1e4)


def test_s05_each_group_has_its_own_peak() -> None:
    plan = plan_of().counted(lambda _: 5000)
    by_step = [plan.learning_rates(epoch, batch) for epoch in plan.epochs[1:] for batch in range(epoch.end_batch)]
    assert max(rates["trunk"] for rates in by_step) == pytest.approx(5e-5, rel=1e-3)
    assert max(rates["head_24k"] for rates in by_step) == pytest.approx(1e-5, rel=1e-3)
    assert all(rates["trunk"] == pytest.approx(5 * rates["head_24k"]) for rates in by_step)


@pytest.mark.parametrize(
    ("override", "check"),
    [
        ("curriculum=fixed_4s", lambda plan: [e.num_tokens for e in plan.epochs] == [46] * 15),
        ("lr.phases.main.groups.trunk=2e-5", lambda plan: plan.epochs[1].peak_rates["trunk"] == 2e-5),
        ("loss.weights.head_24k=0.1", lambda plan: plan.epochs[1].loss_weights["head_24k"] == 0.1),
        ("heads=wideband", lambda plan: plan.epochs[1].peak_rates == {"trunk": 5e-5, "head_48k": 5e-5}),
        (
            "trainer.batch_size=100",
            lambda plan: [plan.epochs[i].batch_size for i in (0, 2, 4, 6)] == [200, 100, 60, 45],
        ),
    ],
)
def test_everything_in_the_tables_can_be_overridden(override: str, check: object) -> None:
    assert callable(check)
    assert check(plan_of(override))


def test_rounding_is_a_choice() -> None:
    assert plan_of("curriculum.rounding=round").epochs[4].batch_size == 58


def test_segments_shorter_than_a_token_are_refused() -> None:
    with pytest.raises(CodecError, match="shorter than one step"):
        plan_of("curriculum.stages.a.segment_seconds=0.05")


@pytest.mark.slow
def test_json_plan_has_a_row_per_epoch() -> None:
    command = [
        sys.executable,
        "-m",
        "snac_exp.cli",
        "plan",
        "+experiment=phase12_dual_head",
        "format=json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    plan = json.loads(done.stdout)
    assert [row["batch_size"] for row in plan["epochs"]] == [192, 192, 96, 96, 57, 57] + [43] * 9
    assert plan["epochs"][0]["trainable"] == ["head_48k"]
    assert plan["groups"]["trunk"]["rates"] == {"warmup": None, "main": 5e-5}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lr.phases.main.epochs=[3,15]"], r"lr.phases.main.epochs=\[3, 15\] leaves a gap: epoch 2"),
        (["lr.phases.main.epochs=[1,15]"], "overlaps lr.phases.warmup; start at 2"),
        (["lr.phases.main.epochs=[2,14]"], "ends at epoch 14 but the recipe has 15"),
        (["curriculum.stages.b.epochs=[3,5]"], "curriculum.stages.c.*overlaps curriculum.stages.b"),
        (
            ["+lr.phases.main.groups.trnk=1e-5"],
            "lr.phases.main.groups.trnk has no pattern in lr.groups; did you mean 'trunk'",
        ),
        (["+typo=1"], "unknown key 'typo'"),
        (["+trainer.batchsize=1"], "unknown key 'trainer.batchsize'; did you mean 'batch_size'"),
        (["trainer.batchsize=1"], "unknown key 'trainer.batchsize'; did you mean 'batch_size'"),
        (["+data.cachedir=1"], "unknown key 'data.cachedir' for .*did you mean 'cache_dir'"),
        (["+loss.weights.head_96k=1.0"], "loss.weights.head_96k has no head"),
        (["+loss.terms.log_mels=1.0"], "loss.terms.log_mels is no loss term; did you mean 'log_mel'"),
        (["+loss.phases.warmp={head_24k: 0.0}"], "loss.phases.warmp is no phase of lr.phases; did you mean 'warmup'"),
        (["lr.groups.trunk='['"], "lr.groups.trunk='\\[' is no regular expression"),
        (["lr.phases.main.groups.trunk=-1.0"], "must be greater than 0, or null"),
        (["trainer.batch_size=0"], "trainer.batch_size=0 must be greater than 0"),
        (["curriculum=fixd_4s"], "there is no file conf/curriculum/fixd_4s.yaml; did you mean 'fixed_4s'"),
        (["init.name=averge"], "init.name=averge is no way to start; did you mean 'average'"),
        (["curriculum=phase1"], "did you mean 'phase10' or 'phase11_random_slicing' or 'phase12'"),
        (["init="], "there is no file conf/init/.yaml; choose one of: average, first"),
        (["hydra/launcher=slurm"], "needs -m before it"),
        (["dry_run=true"], "dry_run=true needs -m before it"),
        (["name=a/b"], "name='a/b' becomes a folder"),
        (["heads=native"], "lr.phases.warmup.groups are all null: the phase would train nothing"),
        (["loss.weights.head_48k=0.0"], "every head has weight 0 in phase warmup"),
        (["loss.weights.head_24k=-1.0"], "loss.weights.head_24k=-1.0 must not be negative"),
        (["loss.n_ffts.head_24k=[]"], "loss.n_ffts.head_24k=.. must list STFT sizes"),
        (["lr.one_cycle.div_factor=0"], "div_factor and final_div_factor must be greater than 0"),
        (["data.limit=abc"], "data.limit='abc' must be of type int"),
        (["data.validation_seconds=four"], "data.validation_seconds='four' must be of type float"),
        (["heads.head_48k.noise=maybe"], "heads.head_48k.noise='maybe' must be of type bool"),
        (["trainer.precision=8-mixed"], "trainer.precision='8-mixed' is not valid"),
        (["task.freeze_vq=false"], "task.freeze_vq=false: cached codes are of a frozen encoder"),
        (["augment=gain"], "cached codes are of audio as it was; choose .* data=audio_folder"),
        (["task.name=codc"], "task.name=codc is no task: .*did you mean 'codec'"),
        (["task.name=lab.nowhere"], "there is no module lab.nowhere.checks"),
    ],
)
def test_configs_that_make_no_sense_are_named_with_the_mend(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(*overrides)


def test_a_value_that_nobody_gave_is_named() -> None:
    with pytest.raises(ConfigError, match=r"data\.cache_dir has no value.*data\.cache_dir=VALUE"):
        compose_experiment(["+experiment=phase12_dual_head"])


LATER_STAGE = ["trainer.batch_size=4", "trainer.devices=4"]  # 8, 4, then 2 and 1 segments a batch


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "check", "start", "sweep"])
def test_s29_a_later_stage_smaller_than_the_ranks_is_refused_by_every_door(
    command: str, tmp_path: Path, corpus_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = corpus_dir / "prepared" / "codes_demo"
    recipe = ["+experiment=phase12_dual_head", "codec=demo", f"data.cache_dir={cache}", f"output_dir={tmp_path}"]
    refused = "curriculum.stages.c: a batch of 2 .* cannot be shared among 4 ranks"
    if command in ("plan", "check"):
        with pytest.raises(ConfigError, match=refused):
            cli.run([command, *recipe, *LATER_STAGE])
        return
    more = ["-m", "seed=1,2"] if command == "sweep" else ["trainer.accelerator=cpu"]
    assert train([*more, *recipe, *LATER_STAGE]) == 2
    assert re.search(refused, capsys.readouterr().err)
    assert not list(tmp_path.rglob("*.pt"))


def test_s29_fewer_rows_than_ranks_are_refused() -> None:
    with pytest.raises(ConfigError, match="epoch 1 has 3 items to train on, which cannot be shared among 4 ranks"):
        plan_of("trainer.devices=4").counted(lambda _: 3)


def test_names_and_patterns_in_brackets_are_shown_as_they_are() -> None:
    pattern = "lr.groups.trunk='^[t]runk[/a]?[.]'"
    assert "^[t]runk[/a]?[.]" in verb("plan", "+experiment=phase12_dual_head", pattern).succeeded().out
