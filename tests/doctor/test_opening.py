"""What the doctor opens beside runs: plain state dicts, the codec that a run began with, and its command line."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from snac_exp import cli
from snac_exp.doctor.examine import examine
from snac_exp.errors import CheckpointError
from tests.doctor.trained_run import BASE, DEMO_BIN, found, newest


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
