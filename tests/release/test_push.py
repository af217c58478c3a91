"""An exported folder goes to the hub when it is told to, whole and unchanged, or it is said why not."""

from pathlib import Path
from typing import Any

import pytest

from snac_exp import cli
from snac_exp.errors import CheckpointError, ConfigError


class RecordedHub:
    """Stands in for the hub's client and keeps what it is asked."""

    calls: list[tuple[str, dict[str, Any]]]

    def __init__(self) -> None:
        self.calls = []

    def __call__(self) -> "RecordedHub":
        return self

    def create_repo(self, repo_id: str, **arguments: Any) -> None:
        self.calls.append(("create_repo", {"repo_id": repo_id, **arguments}))

    def upload_folder(self, **arguments: Any) -> str:
        self.calls.append(("upload_folder", arguments))
        return "https://hub/commit"


@pytest.mark.slow
def test_push_is_a_dry_run_unless_told_otherwise(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = RecordedHub()
    monkeypatch.setattr("huggingface_hub.HfApi", hub)
    output = tmp_path / "out"
    command = ["export", f"checkpoint={run_dir}", f"output={output}", "push=someone/codec"]
    with pytest.raises(ConfigError, match="push= needs a licence"):
        cli.run(command)
    assert cli.run([*command, "licence=mit"]) == 0
    printed = capsys.readouterr().out
    assert "dry run: would upload to public repository someone/codec" in printed
    assert "model.safetensors" in printed
    assert hub.calls == []
    assert cli.run([*command, "licence=mit", "dry_run=false", "private=true"]) == 0
    assert "holds this export already, unchanged" in capsys.readouterr().out
    (made, create), (uploaded, upload) = hub.calls
    assert (made, create["repo_id"], create["private"], create["exist_ok"]) == (
        "create_repo",
        "someone/codec",
        True,
        True,
    )
    assert (uploaded, upload["folder_path"]) == ("upload_folder", str(output))
    weights = ["fused/model.safetensors", "model.safetensors", "pytorch_model.bin"]
    texts = ["README.md", "config.json", "fused/snac_exp.json", "lineage.json", "snac_exp.json"]
    assert sorted(upload["allow_patterns"]) == sorted(weights + texts)
    assert 'load_codec("someone/codec")' in (output / "README.md").read_text()


def fused_export(run_dir: Path, tmp_path: Path) -> list[str]:
    """Arguments that export one form, and say what would be pushed."""
    return ["export", f"checkpoint={run_dir}", f"output={tmp_path / 'o'}", "push=a/b", "licence=mit", "formats=[fused]"]


@pytest.mark.slow
def test_what_was_changed_after_the_export_is_not_pushed(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = RecordedHub()
    monkeypatch.setattr("huggingface_hub.HfApi", hub)
    command = fused_export(run_dir, tmp_path)
    assert cli.run(command) == 0
    (tmp_path / "o" / "README.md").write_text("something else")
    with pytest.raises(ConfigError, match="is not the file that was exported"):
        cli.run([*command, "dry_run=false"])
    assert hub.calls == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["codec", "../x/y", "a/b/c", "https://hub/a/b", "a/..b"])
def test_names_that_are_no_repository(name: str, run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no repository of the hub"):
        cli.run(["export", f"checkpoint={run_dir}", f"output={tmp_path / 'o'}", f"push='{name}'", "licence=mit"])


@pytest.mark.slow
def test_a_hub_that_refuses(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(RecordedHub):
        def create_repo(self, repo_id: str, **arguments: Any) -> None:
            raise OSError("403 forbidden")

    monkeypatch.setattr("huggingface_hub.HfApi", Refusing())
    command = fused_export(run_dir, tmp_path)
    with pytest.raises(CheckpointError, match=r"403 forbidden.*hf auth login"):
        cli.run([*command, "dry_run=false"])
