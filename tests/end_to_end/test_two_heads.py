"""An A/B in one run: two heads at 48 kHz, from training to the last file that is written of them."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from recipe import CLIP, SUMMARY, recipe, run_dir

from snac_exp import cli, load_codec
from snac_exp.verbs.training.train import main

TWO = [
    "+heads.noisy={_target_: snac_exp.codec.heads.UpsampleHead, noise: true}",
    "+lr.groups.noisy='^heads\\.noisy\\.'",
    "+lr.phases.warmup.groups.noisy=2e-4",
    "+lr.phases.main.groups.noisy=5e-5",
    "+loss.weights.noisy=1.0",
    "+loss.n_ffts.noisy=[256,512]",
    "trainer.max_steps_per_epoch=1",
    "trainer.validate_every_epochs=4",
]


@pytest.fixture(scope="module")
def finished(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("two heads")
    assert main([*recipe(corpus_dir, output), *CLIP, *SUMMARY, *TWO]) == 0
    return run_dir(output)


@pytest.mark.slow
def test_the_run_measures_and_plays_both(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    for name in ("head_48k", "noisy", "initial/head_48k", "initial/noisy", "head_24k"):
        assert summary[f"{name}/l1"] > 0
    assert summary["head_48k/l1"] != summary["noisy/l1"]
    labels = {path.stem.partition("_")[2] for path in (finished / "samples" / "epoch004").glob("*.wav")}
    assert labels == {"reference_48k", "pretrained_24k", "24k", "head_48k", "noisy"}


@pytest.mark.slow
def test_both_are_released_evaluated_and_reconstructed(finished: Path, corpus_dir: Path, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    assert cli.run(["export", f"checkpoint={finished}", f"output={exported}", "formats=[multirate]"]) == 0
    assert load_codec(exported).heads == {"head_24k": 24_000, "head_48k": 48_000, "noisy": 48_000}
    output = tmp_path / "evaluation"
    command = ["evaluate", f"data={corpus_dir / 'prepared'}", f"checkpoint={exported}", f"output={output}"]
    assert cli.run([*command, "num_utterances=2"]) == 0
    rows = pq.read_table(output / "files.parquet").to_pylist()
    outputs = ["24k", "head_48k", "noisy", "baseline", "baseline_noise"]
    assert [row["output"] for row in rows] == outputs * 2
    against = json.loads((output / "summary.json").read_text())["against"]
    assert list(against) == ["noisy - head_48k"] + [
        f"{name} - {baseline}" for name in ("head_48k", "noisy") for baseline in ("baseline", "baseline_noise")
    ]
    means = {name: [row["l1"] for row in rows if row["output"] == name] for name in ("head_48k", "noisy")}
    expected = (sum(means["noisy"]) - sum(means["head_48k"])) / 2
    assert against["noisy - head_48k"]["l1"]["mean"] == pytest.approx(expected)
    audio = next((corpus_dir / "audio").rglob("*.flac"))
    sounds = tmp_path / "sounds"
    assert cli.run(["reconstruct", f"input={audio}", f"output={sounds}", f"checkpoint={exported}"]) == 0
    assert {path.stem.removeprefix(f"{audio.stem}_") for path in sounds.glob("*.wav")} == {
        "24k",
        "head_48k",
        "noisy",
    }
