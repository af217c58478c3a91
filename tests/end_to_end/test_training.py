"""One small run in this process: what moved, what stayed, what was written, what was refused."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import soundfile
import torch
from lightning_fabric import Fabric
from recipe import CLIP, SUMMARY, recipe, run_dir

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.config.compose import experiment_of
from snac_exp.losses.objective import Objective
from snac_exp.runs import run
from snac_exp.system.stop_request import Stopped
from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.training.build import build
from snac_exp.training.codec.validation import validate
from snac_exp.training.plan import unroll
from snac_exp.verbs.training.train import main
from tests.helpers.noise import noise_off

pytestmark = pytest.mark.slow  # the runs that all look at take longest


@pytest.fixture(scope="module")
def finished(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("training")
    assert main([*recipe(corpus_dir, output), *CLIP, *SUMMARY, "trainer.samples_every_epochs=2"]) == 0
    return run_dir(output)


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(folder / "checkpoints" / name).model)


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Parts of the model (first two components of names) in which any tensor changed by a bit."""
    return {".".join(name.split(".")[:2]) for name in before if not torch.equal(before[name], after[name])}


def test_frozen_parts_stay_bit_equal_and_the_others_move(finished: Path) -> None:
    start, warm = weights(finished, "checkpoint_epoch0.pt"), weights(finished, "checkpoint_epoch1.pt")
    end = weights(finished, "checkpoint_epoch4.pt")
    assert moved(start, warm) == {"heads.head_48k"}
    parts = moved(warm, end)
    assert {"heads.head_48k", "heads.head_24k"} < parts
    assert all(part.split(".")[0] in ("trunk", "heads") for part in parts)
    assert {name.split(".")[0] for name in start} == {"encoder", "quantizer", "trunk", "heads"}


def test_s12_both_stft_kinds_are_logged_at_every_validation(finished: Path) -> None:
    validations = [line for line in read_metrics(finished) if line["kind"] == "validation"]
    assert [line["epoch"] for line in validations] == [0, 1, 2, 3, 4]
    for line in validations:
        for head in ("head_24k", "head_48k"):
            assert line[f"val/{head}/stft_complex"] > 0
            assert line[f"val/{head}/stft_magnitude"] > 0
            assert -80 <= line[f"val/{head}/level_db"] < 10
            assert f"val/{head}/power" not in line
        weighted = 0.3 * line["val/head_24k/objective"] + line["val/head_48k/objective"]
        assert line["val/objective"] == pytest.approx(weighted, rel=1e-5)


def test_the_best_models_are_those_of_the_lowest_objectives(finished: Path) -> None:
    lines = [line for line in read_metrics(finished) if line["kind"] == "validation"]
    for file, key in (
        ("best_model", "objective"),
        ("best_model_24k", "head_24k/objective"),
        ("best_model_48k", "head_48k/objective"),
    ):
        best = read_checkpoint(finished / "checkpoints" / f"{file}.pt")
        assert best.objective == min(line[f"val/{key}"] for line in lines)
        assert best.optimizers is None


def test_learning_rates_in_the_log_are_those_of_the_plan(finished: Path) -> None:
    steps = [line for line in read_metrics(finished) if line["kind"] == "train"]
    assert [set(name for name in line if name.startswith("lr/")) for line in steps[:4]] == [{"lr/head_48k"}] * 4
    assert [line["lr/head_48k"] for line in steps[:4]] == [2e-4] * 4
    main_phase = steps[4:]
    assert all(line["lr/trunk"] == pytest.approx(100 * line["lr/head_24k"]) for line in main_phase)
    assert main_phase[0]["lr/trunk"] == pytest.approx(1e-3 / 25)
    assert main_phase[-1]["lr/trunk"] == pytest.approx(1e-3 / 25 / 1e4)


def test_s04_s05_the_optimizer_lives_through_phases_and_gives_each_group_its_own_rate(finished: Path) -> None:
    optimizer = read_checkpoint(finished / "checkpoints" / "checkpoint_epoch4.pt").part("optimizers")["optimizer"]
    steps = {
        group["name"]: {
            int(optimizer["state"][index]["step"]) for index in group["params"] if index in optimizer["state"]
        }
        for group in optimizer["param_groups"]
    }
    assert steps == {"trunk": {12}, "head_48k": {16}, "head_24k": {12}}
    rates = {group["name"]: group["lr"] for group in optimizer["param_groups"]}
    assert rates["trunk"] == pytest.approx(100 * rates["head_24k"])
    assert rates["head_48k"] == pytest.approx(5 * rates["head_24k"])


def test_validation_means_do_not_depend_on_the_batch_size(finished: Path) -> None:
    experiment = experiment_of(RunFolder.open(finished).values())
    parts = build(experiment)
    fabric = Fabric(accelerator="cpu")
    values = []
    for size in (1, 2):
        trainer = dataclasses.replace(experiment.trainer, validation_batch_size=size)
        with noise_off(parts.task):
            values.append(validate(parts.task, parts.splits, dataclasses.replace(experiment, trainer=trainer), fabric))
    assert values[0]["head_24k/l1"] == pytest.approx(values[1]["head_24k/l1"], rel=1e-5)
    assert set(values[0]) == set(parts.evaluator.measured() or ())
    # what a search knows before a run is what the run does
    plan = unroll(experiment, parts.geometry).counted(parts.data_module.num_items)
    logged = [line["step"] for line in read_metrics(finished) if line["kind"] == "validation"]
    assert logged == [0, *plan.validations(experiment.trainer), plan.num_steps]


def test_samples_come_at_the_epochs_that_the_recipe_asks_for(finished: Path) -> None:
    assert sorted(path.name for path in (finished / "samples").iterdir()) == ["epoch000", "epoch002", "epoch004"]


def test_samples_have_the_lengths_and_rates_they_claim(finished: Path) -> None:
    folder = finished / "samples" / "epoch004"
    sounds = {path.name: soundfile.info(path) for path in folder.glob("*.wav")}
    assert {name: info.samplerate for name, info in sounds.items()} == {
        "clip0_reference_48k.wav": 48_000,
        "clip0_48k.wav": 48_000,
        "clip0_24k.wav": 24_000,
        "clip0_pretrained_24k.wav": 24_000,
    }
    assert (
        sounds["clip0_48k.wav"].frames == sounds["clip0_reference_48k.wav"].frames == 2 * sounds["clip0_24k.wav"].frames
    )
    assert (folder / "clip0.png").stat().st_size > 10_000


def test_the_run_folder_tells_the_whole_story(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"config.yaml", "overrides.yaml", "plan.json", "environment.json", "status.json", "summary.json"} <= names
    assert {"train.log", "metrics.jsonl", "checkpoints", "samples"} <= names
    summary = json.loads((finished / "summary.json").read_text())
    for key in ("head_48k/lsd_high_db", "baseline/lsd_high_db", "baseline_noise/lsd_high_db", "head_24k/mel_distance"):
        assert summary[key] > 0
    assert json.loads((finished / "plan.json").read_text())["num_steps"] == 16


def test_it_is_not_made_again_without_being_asked_for(
    finished: Path, corpus_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = finished.parents[1]
    assert main([*recipe(corpus_dir, output), *CLIP, *SUMMARY, "trainer.samples_every_epochs=2"]) == 2
    assert f"an identical run has finished already: {finished}, finished after 16 steps" in capsys.readouterr().err
    assert run_dir(output) == finished
    cache = json.loads((finished / "meaning.json").read_text())["parents"]["data.cache_dir"]
    assert (cache["kind"], cache["facts"]["codec"]) == ("code cache", "demo")


def test_a_loss_that_is_not_finite_stops_before_the_update(
    corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    total, calls = Objective.total, []

    def poisoned(self: Objective, *arguments: object) -> torch.Tensor:
        loss = total(self, *arguments)  # type: ignore[arg-type]
        if loss.requires_grad:
            calls.append(loss)
        return loss * float("nan") if loss.requires_grad and len(calls) == 13 else loss  # two per step

    monkeypatch.setattr(Objective, "total", poisoned)
    assert main(recipe(corpus_dir, tmp_path)) == 2
    folder = run_dir(tmp_path)
    said = capsys.readouterr().err
    assert "step 6 of epoch 2: loss, grad_norm not finite; nothing was updated" in said
    snapshot = folder / "checkpoints" / "nonfinite_step6.pt"
    assert str(snapshot) in said
    assert moved(weights(folder, "checkpoint_epoch2_iter6.pt"), weights(folder, snapshot.name)) == set()
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "failed"
    assert "DivergenceError" in status["error"]


def test_a_validation_that_is_not_finite_is_a_divergence_and_chooses_no_model(
    corpus_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step at such a rate leaves weights of which no sound is finite; its own loss was one. A signal that comes
    while the report is written costs the report alone."""

    def interrupted(_: Path) -> Path:
        raise Stopped("SIGTERM")

    monkeypatch.setattr(run, "write_report", interrupted)
    astray = ["lr.phases.warmup.groups.head_48k=1e30", "trainer.max_steps_per_epoch=1"]
    assert main([*recipe(corpus_dir, tmp_path), *CLIP, *astray]) == 2
    folder, (out, said) = run_dir(tmp_path), capsys.readouterr()
    assert f"no report (SIGTERM); try again with: snac-exp report {folder}" in out
    assert "DivergenceError: step 1: head_48k/objective, objective of the validation not finite" in said
    assert "DivergenceError" in json.loads((folder / "status.json").read_text())["error"]
    best = read_checkpoint(folder / "checkpoints" / "best_model.pt")
    assert best.state.step == 0
    assert not (folder / "samples" / "epoch001").exists()


def test_two_processes_cannot_write_one_run(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from snac_exp.tracking.run_folder import RunFolder

    with RunFolder.open(finished).locked():
        assert main([f"resume={finished}"]) == 2
    assert "is being written by process" in capsys.readouterr().err


def test_checkpoints_by_the_clock_are_kept_like_the_others(corpus_dir: Path, tmp_path: Path) -> None:
    hasty = ["checkpoint.every_minutes=1e-9", "checkpoint.keep_intermediate=3", "trainer.max_steps_per_epoch=1"]
    assert main([*recipe(corpus_dir, tmp_path), *hasty]) == 0
    assert not (run_dir(tmp_path) / "summary.json").exists()  # the small recipe wants none
    folder = run_dir(tmp_path) / "checkpoints"
    names = [item["file"] for item in json.loads((folder / "latest.json").read_text())["checkpoints"]]
    by_time = [name for name in names if re.fullmatch(r"checkpoint_epoch[1-4]_time_\d{8}_\d{6}\.pt", name)]
    assert 2 <= len(by_time) <= 3
    assert sorted(names) == sorted(path.name for path in folder.glob("checkpoint_*.pt"))
    assert read_checkpoint(folder / by_time[0]).state.batch == 1
