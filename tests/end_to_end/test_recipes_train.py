"""Every recipe trains: one step of its first epoch, one of its last, at toy size, through the real entry point."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from snac_exp.config.arguments import quoted
from snac_exp.config.cadence.ranges import Range, Timetable
from snac_exp.config.compose import compose_experiment, config_dir
from snac_exp.evaluation import summary
from snac_exp.runs import run
from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.training.plan import Plan, unroll
from snac_exp.verbs.training.train import main
from tests.helpers.variants import thorough

SMALL = [
    *("codec=demo", "tracker.mode=off", "trainer.accelerator=cpu", "trainer.num_threads=1", "trainer.num_workers=0"),
    "trainer.devices=1",  # a second process would not have the short plan
    *("trainer.batch_size=2", "trainer.validation_batch_size=2", "trainer.max_steps_per_epoch=1"),
    *("trainer.log_every_steps=1", "trainer.num_sample_clips=0", "trainer.preflight=[start]"),
    *("trainer.summary_utterances=1", "data.validation_slices=1", "data.validation_seconds=0.5"),
]
# Recipes of token models train in test_token_training.py.
NAMES = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml") if not path.stem.startswith("rvq_"))
JUDGED = [
    *("adversary.start_step=1", "adversary.period_channels=[4,4]", "adversary.band_channels=4"),
    *("adversary.periods=[2]", "adversary.fft_sizes=[256]"),
]
# As phase11_fast but for lengths and rates, as finetune_decoder but for the loss, as the demo but for the data; and the
# one that nearly all tests of runs train.
SAME = {
    *("phase11_random_slicing", "phase11_standard", "phase11_warmup", "phase10_decoder_only"),
    *("phase12_dual_head", "phase12_spectral", "demo"),  # the demo is trained whole in tests/report/test_real_run.py
}
OWN = {"phase12_adversarial": JUDGED, "snac_from_scratch": ["codec=scratch_demo", *JUDGED]}  # made small
START = [
    *("codec=scratch_demo", "codec.scratch.codebook_size=8", "start.standardise_batches=1"),
    *("start.autoencoder_steps=1", "start.kmeans_batches=3"),
]


def first_and_last(*arguments: object) -> Plan:
    plan = unroll(*arguments)  # type: ignore[arg-type]
    ends = (plan.epochs[0], plan.epochs[-1])
    places = [
        tuple(Range(name, numbers[0], numbers[-1]) for name, numbers in in_runs(names))
        for names in ([epoch.stage for epoch in ends], [epoch.phase for epoch in ends])
    ]
    return dataclasses.replace(plan, epochs=ends, timetable=Timetable("epochs", *places, last=2))


def in_runs(names: list[str]) -> list[tuple[str, list[int]]]:
    return [(name, [i for i, item in enumerate(names, 1) if item == name]) for name in dict.fromkeys(names)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SAME] + thorough(*sorted(SAME)))
def test_a_recipe_trains(name: str, corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "unroll", first_and_last)
    monkeypatch.setattr(summary, "NOISE_FIT_UTTERANCES", 1)
    experiment, _ = compose_experiment([f"+experiment={name}"], complete=False)
    prepared = corpus_dir / "prepared"
    data = {
        "CachedCodes": f"data.cache_dir={quoted(str(prepared / 'codes_demo'))}",
        "AudioFolder": f"data.path={quoted(str(prepared))}",
        **dict.fromkeys(("DemoSpeech", "DemoSpeechAudio"), f"data.directory={quoted(str(tmp_path / 'speech'))}"),
    }[experiment.data.target.rpartition(".")[2]]
    minutes = ["data.num_minutes=0.2", "data.num_train_voices=1", "data.num_validation_voices=1"]
    arguments = [
        f"+experiment={name}",
        *SMALL,
        data,
        *OWN.get(name, START if name == "demo_codec" else []),
        *(minutes if "directory" in data else []),
    ]
    assert main([*arguments, f"output_dir={tmp_path / 'out'}"]) == 0
    (folder,) = (tmp_path / "out" / name).iterdir()
    lines = [line for line in read_metrics(folder) if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [1, 2]
    planned = json.loads((folder / "plan.json").read_text())["epochs"]
    for line, epoch in zip(lines, planned, strict=True):
        assert math.isfinite(line["train/loss"])
        assert {key.removeprefix("lr/") for key in line if key.startswith("lr/")} >= set(epoch["trainable"])
    if name in OWN:
        assert "train/adversary/loss" not in lines[0]
        assert math.isfinite(lines[1]["train/adversary/loss"])
    if not experiment.task.freeze_vq:
        (validation,) = [line for line in read_metrics(folder) if line["kind"] == "validation" and line["epoch"] == 2]
        assert 1 <= validation["codebook/2/perplexity"] <= 1024
        assert lines[1]["train/codebook/codebook"] > 0
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
