"""A head and a loss term of a user's own module, through plan, check, train.py, resume and load_codec."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from recipe import recipe, run_dir

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.errors import CheckpointError
from snac_exp.release.loading import load_codec
from snac_exp.tracking.metrics_file import read_metrics
from tests.helpers import commands
from tests.helpers.waiting import GUARD_SECONDS

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("driver.py")
MODULE = '''
from typing import ClassVar

import torch
from torch import Tensor, nn

from snac_exp.codec.heads import Head, num_features
from snac_exp.errors import PreflightError


class Stretch(Head):
    """Samples repeated, then one convolution that starts at zero."""

    multiple = 2

    def __init__(self, codec, width: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv1d(num_features(codec.model), 1, width, padding=width // 2)
        nn.init.zeros_(self.conv.weight)

    def forward(self, features: Tensor, native: Tensor | None = None) -> Tensor:
        return self.conv(features.repeat_interleave(2, dim=-1))

    def prove_start(self, name, waveform, native, pretrained):
        if not (waveform == self.conv.bias).all():
            raise PreflightError(f"{name} does not start silent")
        return [f"{name} starts silent"]


class RandomFeatures(nn.Module):
    """Mean distance of features that a small frozen network, drawn by the seed, makes of both signals."""

    def __init__(self, width: int, weights_file: str | None = None) -> None:
        super().__init__()
        if weights_file is not None:
            torch.load(weights_file)
        self.layers = nn.Sequential(nn.Conv1d(1, width, 9, stride=4), nn.BatchNorm1d(width), nn.Dropout(0.5), nn.GELU())

    def forward(self, pair) -> Tensor:
        return (self.layers(pair.prediction) - self.layers(pair.target)).abs().mean()
'''
OWN = [
    "heads.head_48k._target_=own_classes.Stretch", "~heads.head_48k.noise", "+heads.head_48k.width=7",
    "+loss.terms.features={_target_: own_classes.RandomFeatures, weight: 0.5, width: 4}",
    "+loss.head_terms.head_24k={features: 0.0}",
]  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "own_classes.py").write_text(MODULE, encoding="utf-8")
    return os.environ | {"PYTHONPATH": str(folder)}


def python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=GUARD_SECONDS, check=False
    )


@pytest.fixture(scope="module")
def whole(corpus_dir: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("own")
    done = python(environment, "train.py", *recipe(corpus_dir, output), *OWN)
    assert done.returncode == 0, done.stderr
    assert "head_48k starts silent" in done.stdout
    return run_dir(output)


def newest(folder: Path) -> Checkpoint:
    return read_checkpoint(folder / "checkpoints" / "checkpoint_epoch4.pt")


@pytest.mark.slow
def test_plan_and_check_know_them(corpus_dir: Path, environment: dict[str, str], tmp_path: Path) -> None:
    plan = python(environment, "-m", "snac_exp.cli", "plan", *recipe(corpus_dir, tmp_path), *OWN)
    assert plan.returncode == 0, plan.stderr
    check = python(environment, "-m", "snac_exp.cli", "check", *recipe(corpus_dir, tmp_path), *OWN)
    assert "head_48k starts silent" in check.stdout, check.stderr
    wrong = [item.replace("width: 4", "widht: 4") for item in OWN]
    refused = python(environment, "-m", "snac_exp.cli", "plan", *recipe(corpus_dir, tmp_path), *wrong)
    assert refused.returncode == 2
    assert "unknown key 'loss.terms.features.widht' for own_classes.RandomFeatures; did you mean 'width'" in (
        refused.stderr + refused.stdout
    )


@pytest.mark.slow
def test_a_file_that_a_term_lacks_is_named_before_training(
    corpus_dir: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    missing = f"+loss.terms.features.weights_file={tmp_path / 'none.pt'}"
    check = python(environment, "-m", "snac_exp.cli", "check", *recipe(corpus_dir, tmp_path), *OWN, missing)
    assert check.returncode == 2
    said = check.stderr + check.stdout
    assert "loss.terms.features: own_classes.RandomFeatures cannot read its files" in " ".join(said.split())


@pytest.mark.slow
def test_the_term_is_logged_and_the_feature_model_is_in_no_checkpoint(whole: Path) -> None:
    lines = [line for line in read_metrics(whole) if line["kind"] == "train"]
    assert all(line["train/head_48k/features"] > 0 and "train/head_24k/features" in line for line in lines)
    saved = newest(whole)
    assert {name.split(".")[0] for name in saved.model} == {"encoder", "quantizer", "trunk", "heads"}
    assert not any("features" in name or "objective" in name for name in saved.model)
    assert bool(saved.model["heads.head_48k.conv.weight"].any())


@pytest.mark.slow
@pytest.mark.thorough  # of the own ones in tests/end_to_end/test_resume.py
def test_killed_and_resumed_equals_uninterrupted(
    whole: Path, corpus_dir: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    killed = python(environment, str(DRIVER), "step=8", *recipe(corpus_dir, tmp_path), *OWN)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = python(environment, "train.py", f"resume={run_dir(tmp_path)}")
    assert resumed.returncode == 0, resumed.stderr
    ours, theirs = newest(run_dir(tmp_path)), newest(whole)
    assert ours.model.keys() == theirs.model.keys()
    assert all(torch.equal(value, theirs.model[name]) for name, value in ours.model.items())
    losses = [
        [line["train/loss"] for line in read_metrics(run) if line["kind"] == "train"]
        for run in (whole, run_dir(tmp_path))
    ]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_load_codec_runs_the_head_where_it_is_allowed(
    whole: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match=r"allow_heads=\['own_classes\.Stretch'\]"):
        load_codec(whole)
    monkeypatch.syspath_prepend(environment["PYTHONPATH"])
    codec = load_codec(whole, allow_heads=["own_classes.Stretch"])
    assert type(codec.model.head("head_48k")).__name__ == "Stretch"


@pytest.mark.slow
def test_verbs_run_the_head_where_it_is_allowed(
    whole: Path, environment: dict[str, str], corpus_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(environment["PYTHONPATH"])
    data = [f"data={corpus_dir / 'prepared'}", "num_utterances=1", "max_seconds=0.5", "baselines=[]"]
    for words in (["evaluate", *data], ["export", "formats=[multirate]"]):
        command = [*words, f"checkpoint={whole}", f"output={tmp_path / words[0]}"]
        refused = commands.verb(*command)
        assert (refused.status, "allow_heads=[own_classes.Stretch] on the command" in refused.err) == (2, True)
        commands.verb(*command, "allow_heads=[own_classes.Stretch]").succeeded()
