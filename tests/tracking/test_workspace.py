"""The W&B workspace of dashboards/: its specification, built without a server."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from snac_exp import cli
from snac_exp.codec.quantization import CodebookUsage
from snac_exp.errors import ConfigError
from snac_exp.tracking.sections import data_metrics
from snac_exp.tracking.speed import StepTimer
from snac_exp.tracking.wandb.workspace import definition, workspace

ROOT = Path(__file__).parents[2]
# Figures that a run logs, by the functions that make them where there are such.
LOGGED = {
    *("train/loss", "train/grad_norm", "lr/trunk", "val/objective"),
    *(f"{kind}/{head}/{term}" for kind in ("train", "val") for head in ("head_24k", "head_48k")
      for term in ("l1", "stft_complex", "stft_magnitude")),
    *StepTimer().metrics(1.0), "speed/peak_rss_gib", "speed/peak_cuda_gib", *data_metrics(1, 1.0, 1.0, 1.0),
    "codebook/0/usage", "codebook/0/perplexity",
}  # fmt: skip


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "snac_exp.cli", "dashboard", "dry_run=true", "project=mine", "entity=team"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "", "WANDB_BASE_URL": "http://127.0.0.1:9"},  # nobody listens there
    )
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def panels(spec: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    sections = spec["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in sections}


@pytest.mark.slow
def test_project_and_sections(spec: dict[str, Any]) -> None:
    assert (spec["project"], spec["entity"], spec["displayName"]) == ("mine", "team", "snac_exp")
    found = panels(spec)
    assert list(found)[:4] == ["Phases", "Heads", "Learning rates", "Audio"]
    assert all(found.values())
    titles = [panel["config"].get("chartTitle") for panel in found["Phases"]]
    assert {"head_48k stft_complex", "head_48k stft_magnitude", "head_24k stft_complex"} <= set(titles)


def test_every_figure_that_a_panel_names_is_logged(spec: dict[str, Any]) -> None:
    named, patterns = set(), set()
    for section in panels(spec).values():
        for panel in section:
            config = panel["config"]
            if panel["viewType"] == "Run History Line Plot":
                named |= set(config["metrics"])
                patterns |= {config["metricRegex"]} if config.get("metricRegex") else set()
                assert config.get("useMetricRegex", False) == ("metricRegex" in config)
    assert named <= LOGGED, named - LOGGED
    assert len(named) > 15
    for pattern in patterns:
        assert any(re.search(pattern, name) for name in LOGGED), pattern


def test_validation_is_drawn_over_epochs_and_training_over_steps(spec: dict[str, Any]) -> None:
    for section in panels(spec).values():
        for panel in section:
            config = panel["config"]
            if panel["viewType"] == "Run History Line Plot":
                name = "".join([*config["metrics"][:1], config.get("metricRegex", "")]).lstrip("^")
                assert config["xAxis"] == ("epoch" if name.startswith(("val/", "codebook/")) else "step"), name


def test_audio_of_every_head_and_the_pretrained_codec(spec: dict[str, Any]) -> None:
    audio = panels(spec)["Audio"]
    keys = [panel["config"]["mediaKeys"] for panel in audio if panel["viewType"] == "Media Browser"]
    labels = ("reference_48k", "pretrained_24k", "24k", "48k")
    assert keys[0] == [f"samples/clip0_{label}" for label in labels]
    assert keys[1] == ["pictures/clip0"]
    assert keys[3] == ["pictures/clip1"]


def test_other_heads_and_clips(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["dashboard", "dry_run=true", "head_names=[head_96k]", "num_clips=1"]) == 0
    text = capsys.readouterr().out
    assert "val/head_96k/l1" in text
    assert "head_24k/" not in text
    assert "clip1" not in text


def test_what_must_be_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"entity has no value.*dry_run=true"):
        cli.run(["dashboard"])
    with pytest.raises(ConfigError, match="no W&B key"):
        cli.run(["dashboard", "entity=team"])
    with pytest.raises(ConfigError, match=r"there is no .*nope\.py; choose one of: experiments"):
        cli.run(["dashboard", "dry_run=true", "definition=nope"])
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(ConfigError, match=r"has no function sections"):
        definition(tmp_path, "empty")


def test_without_the_extra_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("wandb_workspaces.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ConfigError, match=r"pip install 'snac_exp\[dashboard\]'"):
        workspace("t", [], "p", "e")


def test_codebook_figures_are_named_as_the_dashboard_expects() -> None:
    usage = CodebookUsage(codebook_size=4, strides=[1])
    usage.update([torch.tensor([[0, 1]])])
    assert {"codebook/0/usage", "codebook/0/perplexity"} <= set(usage.metrics())
