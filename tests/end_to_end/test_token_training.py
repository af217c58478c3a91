"""Runs 1 to 3 of the token model in toy size: real speech to tokens, training, and audio out of what was learnt."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from token_recipe import SMALL, token_data, token_run

from snac_exp import cli
from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.data.tokens.npq import write_npq
from snac_exp.system.files import read_json
from snac_exp.verbs.training.train import main
from tests.helpers.same_runs import logged
from tests.helpers.variants import thorough

pytestmark = pytest.mark.slow  # the runs that all look at take longest

SAMPLES = ["trainer.num_sample_clips=2", "task.sample_frames=40"]
RUNS = {
    "rvq_run1_base": ["lr.phases.main.groups.all=1e-3"],  # its own rate
    "rvq_run2_big": ["trainer.ema_decay=0.5", *SAMPLES],
    # ctx 16 as 512 is to 1280; a worker with six batches ahead, fused AdamW; without a compiler
    "rvq_run3_fast": ["trainer.ema_decay=0.5", "lm.ctx_frames=16", "trainer.num_workers=1"],
}
BATCH = {"rvq_run1_base": 8, "rvq_run2_big": 24, "rvq_run3_fast": 36}


@pytest.fixture(scope="module")
def runs(corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folder of each run."""
    found = {}
    for name, changes in RUNS.items():
        output = tmp_path_factory.mktemp(name)
        assert main([f"+experiment={name}", *SMALL, *changes, *token_data(corpus_dir, output)]) == 0
        found[name] = token_run(output)
    return found


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [line for line in logged(folder) if line["kind"] == kind]


@pytest.mark.parametrize("name", RUNS)
def test_it_trains_by_its_recipe_and_learns(name: str, runs: dict[str, Path]) -> None:
    folder, plan = runs[name], read_json(runs[name] / "plan.json")
    steps = [-(-windows // BATCH[name]) for windows in plan["num_items"]]
    assert [epoch["batch_size"] for epoch in plan["epochs"]] == [BATCH[name]] * 3
    assert [line["step"] for line in lines(folder, "train")] == list(range(1, sum(steps) + 1))
    assert [line["epoch"] for line in lines(folder, "validation")] == [0, 1, 2, 3]
    objective = [line["val/objective"] for line in lines(folder, "validation")]
    assert objective[0] == pytest.approx(6.93, abs=0.05)  # log 1024: it knows nothing
    assert objective[3] < objective[0] - 0.05
    assert all(line["val/objective"] == line["val/cross_entropy"] for line in lines(folder, "validation"))
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize("name", RUNS)
def test_figures_are_per_codebook_and_bits(name: str, runs: dict[str, Path]) -> None:
    last = lines(runs[name], "validation")[-1]
    for part in ("codebook_0/", "codebook_1/", "codebook_2/", ""):
        nats = torch.tensor(last[f"val/{part}cross_entropy"], dtype=torch.float64)
        assert last[f"val/{part}perplexity"] == pytest.approx(float(nats.exp()))
        assert 0 <= last[f"val/{part}accuracy"] <= 1
    assert last["val/bits_per_second"] == pytest.approx(last["val/bits_per_frame"] * 24000 / 2048)
    summary = read_json(runs[name] / "summary.json")
    assert summary["validation"]["bits_per_second"] == pytest.approx(last["val/bits_per_second"])
    assert 700 < summary["unigram"]["bits_per_second"] < 820  # 820 = 82 tokens of 10 bits


def test_the_best_model_has_averaged_weights_where_the_run_averages(runs: dict[str, Path]) -> None:
    for name, averages in (("rvq_run1_base", False), ("rvq_run2_big", True)):
        folder = runs[name] / "checkpoints"
        entry = json.loads((folder / "latest.json").read_text())["checkpoints"][0]
        last, best = read_checkpoint(folder / entry["file"]), read_checkpoint(folder / "best_model.pt")
        assert best.state.step == last.state.step, "it improved to the end"
        assert (last.average is not None) == averages
        for key, weight in best.model.items():
            assert torch.equal(weight, last.part("average" if averages else "model")[key])
            assert averages != torch.equal(weight, last.model[key])


def test_samples_are_heard_at_the_recipes_cadence(runs: dict[str, Path]) -> None:
    samples = runs["rvq_run2_big"] / "samples"
    assert sorted(path.name for path in samples.iterdir()) == ["epoch000"]  # every five epochs
    audio, rate = soundfile.read(samples / "epoch000" / "sample1_generated.wav")
    prompt, _ = soundfile.read(samples / "epoch000" / "sample1_prompt.wav")
    assert rate == 24000
    assert (len(prompt), len(audio)) == (8 * 2048, 48 * 2048)  # a quarter of the context, and 40 frames after it
    assert not (runs["rvq_run1_base"] / "samples").exists()


def test_generate_makes_audio_from_a_run(runs: dict[str, Path], corpus_dir: Path, tmp_path: Path) -> None:
    prompt = next((corpus_dir / "audio").rglob("*.flac"))
    for number, (name, more) in enumerate(
        [
            ("rvq_run1_base", []),
            ("rvq_run2_big", [f"prompt={prompt}", "prompt_seconds=1"]),
            ("rvq_run3_fast", ["top_k=5"]),
        ]
    ):
        output = tmp_path / f"{number}, new.wav"
        assert cli.run(["generate", str(runs[name]), f"output={output}", "seconds=3", "temperature=0.8", *more]) == 0
        audio, rate = soundfile.read(output)
        assert rate == 24000
        assert len(audio) == 3 * 24000 + (24000 // 2048 * 2048 if more and "prompt" in more[0] else 0)
        assert abs(audio).max() > 0.01


class StandInDac(torch.nn.Module):
    """As much of transformers' DacModel as decoding needs."""

    config = types.SimpleNamespace(sampling_rate=44100, hop_length=512, n_codebooks=9, codebook_size=1024)

    @classmethod
    def from_pretrained(cls, _: str) -> "StandInDac":
        return cls()

    def decode(self, *, audio_codes: torch.Tensor) -> Any:
        return types.SimpleNamespace(audio_values=(audio_codes[:, 0] / 512 - 1).repeat_interleave(512, dim=1))


@pytest.mark.parametrize("pattern", ["depth", *thorough("parallel")])
def test_nine_codebooks_of_dac_train_from_token_files_beside_bad_ones(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = types.ModuleType("transformers")
    module.DacModel = StandInDac  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    for i in range(6):
        frames = np.random.default_rng(i).integers(0, 1024, (90, 9))
        write_npq(tmp_path / "npq" / f"{i}.npq", frames, (1024,) * 9, 86.1328125)
    (tmp_path / "npq" / "bad.npq").write_bytes(b"NPQ1 and nothing more")
    small = [item for item in SMALL if not item.startswith(("codec=", "data="))]
    sizes = ["lr.phases.main.epochs=[1,1]", "data.train_ratio=0.7", f"lm.pattern={pattern}", "lm.depth.d_model=16"]
    data = [f"data.directory={tmp_path / 'npq'}", f"output_dir={tmp_path}", "lm.depth.num_heads=2"]
    assert main(["+experiment=rvq_run2_big", *small, *SAMPLES, *sizes, *data]) == 0
    folder = token_run(tmp_path)
    said = capsys.readouterr().out
    assert "1 files rejected" in said
    assert f"not used: bad.npq: {tmp_path / 'npq' / 'bad.npq'}: NPQ version" in said
    assert "val/codebook_8/cross_entropy" in lines(folder, "validation")[-1]
    audio, rate = soundfile.read(folder / "samples" / "epoch000" / "sample0_generated.wav")
    assert (rate, len(audio)) == (44_100, 40 * 512)
    assert cli.run(["generate", str(folder), f"output={tmp_path / 'a.wav'}", "seconds=0.3"]) == 0
    assert soundfile.info(tmp_path / "a.wav").frames == round(0.3 * 44_100)
