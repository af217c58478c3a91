"""What an offline W&B run says of a run: read back from its file with W&B's own messages."""

import json
import math
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from snac_exp import __version__
from snac_exp.config.compose import compose_experiment
from snac_exp.config.schema import Tracker as Settings
from snac_exp.errors import CheckpointError, ConfigError
from snac_exp.system.code_version import CodeVersion, code_version
from snac_exp.system.files import sha256_of_file, write_json
from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.tracking.panels import write_clips
from snac_exp.tracking.tracker import Tracker
from snac_exp.tracking.wandb.file import history, records, rewind
from snac_exp.tracking.wandb.key import has_key, require_key
from snac_exp.tracking.wandb.names import labels_of, tags_of
from tests.helpers.commands import verb

OFFLINE = Settings(mode="offline", project="p", entity=None, tags=["pilot"])


def files_of(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))


def rows_of(run_dir: Path) -> list[dict[str, Any]]:
    return [row for file in files_of(run_dir) for row in history(file)]


def messages(run_dir: Path, kind: str) -> list[Any]:
    return [
        getattr(record, kind)
        for file in files_of(run_dir)
        for record, _ in records(file)
        if record.WhichOneof("record_type") == kind
    ]


def assert_agree(run_dir: Path) -> None:
    """W&B has one row per line of metrics.jsonl, in order, with every number of it and its time."""
    lines, rows = read_metrics(run_dir), rows_of(run_dir)
    assert [row["_step"] for row in rows] == list(range(1, len(lines) + 1))
    for line, row in zip(lines, rows, strict=True):
        numbers = {name: value for name, value in line.items() if value is None or isinstance(value, int | float)}
        numbers["_timestamp"] = numbers.pop("time")
        assert {name: row[name] for name in numbers} == numbers
        assert {name for name in row if "/" in name and "._" not in name} >= {name for name in numbers if "/" in name}


def log(tracker: Tracker, *steps: int, factor: float = 1.0) -> None:
    for step in steps:
        values = {"train/loss": factor * step, "speed/step_seconds": factor / step, "train/odd": math.nan}
        tracker.log(values, step=step, epoch=1)


@pytest.mark.slow
def test_steps_that_are_done_again_have_their_new_figures(tmp_path: Path) -> None:
    with Tracker.open(tmp_path) as tracker:
        log(tracker, 1, 2)
        position = tracker.position()
        log(tracker, 3, 4, 5)
    with Tracker.open(tmp_path, resume_at=position) as tracker:
        log(tracker, 3, 4, 5, 6, factor=10)
    assert [row["train/loss"] for row in rows_of(tmp_path)] == [1, 2, 30, 40, 50, 60]
    assert_agree(tmp_path)
    assert len(files_of(tmp_path)) == 2


@pytest.mark.slow
def test_a_run_that_rolls_itself_back_takes_its_rows_back(tmp_path: Path) -> None:
    with Tracker.open(tmp_path) as tracker:
        log(tracker, 1, 2)
        position = tracker.position()
        log(tracker, 3, 4)
        tracker.rewind(position)
        log(tracker, 3, factor=10)
        tracker.rewind(tracker.position())  # nothing to take back: the W&B run goes on
        log(tracker, 4, factor=10)
        with pytest.raises(CheckpointError, match="inside a line"):
            tracker.rewind(position - 1)
    assert [row["train/loss"] for row in rows_of(tmp_path)] == [1, 2, 30, 40]
    assert_agree(tmp_path)
    assert len(files_of(tmp_path)) == 2


@pytest.mark.slow
def test_a_file_that_was_uploaded_is_left_alone(tmp_path: Path) -> None:
    with Tracker.open(tmp_path) as tracker:
        log(tracker, 1)
        position = tracker.position()
        log(tracker, 2, 3)
    [file] = files_of(tmp_path)
    before = file.read_bytes()
    file.with_suffix(".wandb.synced").touch()
    with Tracker.open(tmp_path, resume_at=position) as tracker:
        log(tracker, 2, 3, 4, factor=10)
    assert file.read_bytes() == before
    assert [(row["step"], row["train/loss"]) for row in rows_of(tmp_path)] == [(1, 1), (2, 2), (3, 3), (4, 40)]


def test_what_a_killed_process_still_writes_goes_nowhere(tmp_path: Path) -> None:
    with Tracker.open(tmp_path) as tracker:
        log(tracker, 1, 2)
    [file] = files_of(tmp_path)
    with open(file, "ab") as still_open:
        assert rewind(file, 1) == 1
        still_open.write(b"late")
    assert [row["step"] for row in history(file)] == [1]
    assert not file.read_bytes().endswith(b"late")
    assert rewind(file, 0) == 0
    assert list(history(file)) == []


@pytest.mark.slow
def test_group_job_type_tags_config_and_code(tmp_path: Path) -> None:
    _, values = compose_experiment(["+experiment=demo"])
    sweep = tmp_path / "lr" / "2026-01-01_00-00-00-abcdef"
    write_json(sweep / "sweep.json", {})
    values["tracker"] = {"tags": ["pilot"]}
    with Tracker.of_run(sweep / "123456", OFFLINE, values, verb="evaluate") as tracker:
        log(tracker, 1)
    [run] = messages(sweep / "123456", "run")
    assert (run.run_group, run.job_type, run.display_name) == (f"lr/{sweep.name}", "evaluate", "demo/123456")
    assert list(run.tags) == ["phase:demo", "heads:head_24k+head_48k", "init:average", "codec:demo_pitch", "pilot"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert {name: config[name] for name in values} == json.loads(json.dumps(values))
    assert config["code"] == code_version().as_dict()
    assert run.git.commit == (config["code"]["commit"] or "")
    assert labels_of(values, tmp_path / "alone").group is None


def test_tags_of_recipes() -> None:
    assert tags_of({"name": "phase12_dual_head"}) == ["phase:phase12"]
    assert tags_of({"name": "rvq", "heads": {}, "init": None, "codec": {"name": "dac"}}) == ["phase:rvq", "codec:dac"]
    assert max(map(len, tags_of({"name": "x" * 100}))) == 64


def test_axes_are_step_and_epoch(tmp_path: Path) -> None:
    with Tracker.open(tmp_path, config={"heads": {"head_48k": {}}}) as tracker:
        log(tracker, 1)
    metrics = {item.glob_name or item.name: item for item in messages(tmp_path, "metric")}
    axes = {name: item.step_metric for name, item in metrics.items() if item.step_metric}
    assert {name for name, axis in axes.items() if axis == "step"} == {"train/*", "lr/*", "speed/*", "data/*"}
    by_epoch = {"val/*", "codebook/*", "samples/*", "pictures/*", "clips/*", "val/objective", "val/head_48k/objective"}
    assert {name for name, axis in axes.items() if axis == "epoch"} == by_epoch
    assert metrics["step"].options.hidden
    assert metrics["epoch"].options.hidden
    assert metrics["val/objective"].summary.min


def test_models_are_given_by_choice_with_aliases(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints" / "best_model.pt"
    file.parent.mkdir()
    file.write_bytes(b"first")
    with Tracker.open(tmp_path, artifacts="best") as tracker:
        tracker.log_model(file, step=4, epoch=1, aliases=["best", "epoch-1"])
        file.write_bytes(b"second")
        tracker.log_model(file, step=8, epoch=2, aliases=["best", "epoch-2"])
    first, second = messages(tmp_path, "artifact")
    run_id = (tmp_path / "wandb_id").read_text().strip()
    assert (first.type, first.name) == ("model", f"model-{run_id}")
    assert {*first.aliases} == {"best", "latest", "epoch-1"}
    assert {*second.aliases} == {"best", "latest", "epoch-2"}
    kept = [Path(item.manifest.contents[0].local_path) for item in (first, second)]
    assert [path.read_bytes() for path in kept] == [b"first", b"second"]
    assert all(path.is_relative_to(tmp_path) for path in kept)  # the run folder is complete
    assert json.loads(second.metadata) == {"step": 8, "epoch": 2, "sha256": sha256_of_file(file)}
    assert [line["kind"] for line in read_metrics(tmp_path)] == ["model", "model"]
    assert "WANDB_DATA_DIR" not in os.environ


@pytest.mark.slow
def test_a_model_that_another_has_replaced_is_not_taken_for_it(tmp_path: Path) -> None:
    file = tmp_path / "best_model.pt"
    file.write_bytes(b"first")
    with Tracker.open(tmp_path, mode="offline", artifacts="best") as tracker:
        tracker.log_model(file, step=4, epoch=1, aliases=["best"])
        position = tracker.position()
    file.write_bytes(b"later")
    for lost in files_of(tmp_path):
        rewind(lost, 0)
    with Tracker.open(tmp_path, artifacts="best", resume_at=position):
        pass
    assert messages(tmp_path, "artifact") == []
    assert_agree(tmp_path)


@pytest.mark.parametrize(("mode", "artifacts"), [("off", "best"), ("offline", "none")])
def test_models_stay_here_by_default(tmp_path: Path, mode: str, artifacts: str) -> None:
    with Tracker.open(tmp_path, mode=mode, artifacts=artifacts) as tracker:
        tracker.log_model(tmp_path / "absent.pt", step=1, epoch=1, aliases=["best"])
    assert read_metrics(tmp_path) == []


@pytest.mark.slow
def test_clips_have_a_table_of_their_metrics(tmp_path: Path) -> None:
    directory = tmp_path / "samples" / "epoch000"
    write_clips(directory, "clip0", {"48k": (torch.zeros(4800), 48_000)})
    rows = [{"clip": "clip0", "signal": "24k", "l1": 0.5}, {"clip": "clip0", "signal": "48k", "lsd_high_db": None}]
    write_json(directory / "clips.json", rows)
    with Tracker.open(tmp_path) as tracker:
        tracker.log_media(step=0, epoch=0, directory=directory)
    [row] = rows_of(tmp_path)
    assert row["clips/metrics._type"] == "table-file"
    [table] = tmp_path.glob("wandb/offline-run-*/files/media/table/clips/*.table.json")
    content = json.loads(table.read_text())
    assert content["columns"] == ["clip", "signal", "l1", "lsd_high_db"]
    assert content["data"] == [["clip0", "24k", 0.5, None], ["clip0", "48k", None, None]]


def git(folder: Path, *arguments: str) -> None:
    names = ["-c", "user.name=n", "-c", "user.email=e@x"]
    subprocess.run(["git", *names, *arguments], cwd=folder, check=True, capture_output=True)


def test_code_version_of_a_checkout_a_copy_and_an_installed_package(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "inner").mkdir(parents=True)
    git(checkout, "init")
    assert code_version(checkout) == CodeVersion(__version__, None, None)
    (checkout / "a.py").write_text("1")
    git(checkout, "add", "a.py")
    git(checkout, "commit", "-m", "first")
    clean = code_version(checkout)
    assert clean.commit is not None
    assert (len(clean.commit), clean.dirty) == (40, False)
    (checkout / "untracked.txt").write_text("")
    assert code_version(checkout) == clean
    (checkout / "a.py").write_text("2")
    assert code_version(checkout) == CodeVersion(__version__, clean.commit, True)
    assert code_version(checkout / "inner") == CodeVersion(__version__, None, None)  # as site-packages in a checkout
    copy = tmp_path / "sweep" / "code"
    copy.mkdir(parents=True)
    (copy.parent / "commit.txt").write_text(f"{clean.commit}\n")
    (copy.parent / "uncommitted.diff").write_text("")
    assert code_version(copy) == clean
    (copy.parent / "uncommitted.diff").write_text("+x")
    assert code_version(copy).dirty


def test_where_a_key_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    login = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(login))
    assert not has_key()
    login.write_text("machine example.org\n  login user\n  password secret\n")
    assert not has_key()
    (tmp_path / "settings").write_text("[default]\nbase_url = https://example.org\n")  # as wandb login --host keeps it
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "http://localhost:8080")
    assert not has_key()
    login.write_text("machine localhost:8080 login user password secret\n")
    assert has_key()
    login.write_text("this is no netrc")
    assert not has_key()
    found = re.escape(str(login))
    with pytest.raises(ConfigError, match=rf"no W&B key on this machine: run `wandb login`.* \(bad .*{found}.*\)"):
        require_key("online")
    login.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=rf"run `wandb login`.* \({found}: .*can't decode.*\)"):
        require_key("online")
    monkeypatch.setenv("NETRC", f"{login} elsewhere")
    with pytest.raises(ConfigError, match=rf"run `wandb login`.* \(.*{found} elsewhere.*\)"):
        require_key("online")
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert has_key()


def test_online_without_a_key_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    monkeypatch.setattr("wandb.init", lambda **_: pytest.fail("it asked the server first"))
    with pytest.raises(ConfigError, match=r"wandb login.*WANDB_API_KEY.*tracker\.mode=offline"):
        Tracker.open(tmp_path / "run", mode="online")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "check"])
def test_a_plan_and_a_check_ask_for_the_key_too(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    done = verb(command, "+experiment=demo", "tracker.mode=online")
    assert (done.status, "tracker.mode=online, but there is no W&B key" in done.err) == (2, True), done
