import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from snac_exp.errors import CheckpointError, ConfigError
from snac_exp.tracking.metrics_file import lines_of_kind, read_metrics
from snac_exp.tracking.panels import write_clips
from snac_exp.tracking.run_folder import RunFolder
from snac_exp.tracking.tracker import Tracker
from snac_exp.tracking.wandb.file import history
from tests.campaigns.mutations import harmless, survives
from tests.helpers.warm import COLD


def open_off(run_dir: Path, resume_at: int | None = None) -> Tracker:
    return Tracker.open(run_dir, mode="off", resume_at=resume_at)


def log_steps(tracker: Tracker, *steps: int) -> None:
    for step in steps:
        tracker.log({"train/loss": step / 2}, step=step, epoch=1)


def steps_of(path: Path) -> list[int]:
    return [line["step"] for line in read_metrics(path)]


def test_a_line_says_step_epoch_kind_time_and_the_values(tmp_path: Path) -> None:
    began = time.time()
    with open_off(tmp_path) as tracker:
        tracker.log({"val/head_48k/l1": 0.25, "val/rows": 3}, step=7, epoch=2, kind="validation")
    [line] = read_metrics(tmp_path)
    assert began - 0.001 <= line.pop("time") <= time.time() + 0.001  # in milliseconds
    assert line == {"step": 7, "epoch": 2, "kind": "validation", "val/head_48k/l1": 0.25, "val/rows": 3}


def test_a_line_is_readable_at_once(tmp_path: Path) -> None:
    tracker = open_off(tmp_path)
    log_steps(tracker, 1)
    assert steps_of(tmp_path) == [1]
    tracker.close()


def test_non_finite_values_are_null(tmp_path: Path) -> None:
    with open_off(tmp_path) as tracker:
        tracker.log({"a": math.nan, "b": math.inf, "c": 1.0}, step=1, epoch=1)
    text = (tmp_path / "metrics.jsonl").read_text()
    line = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (line["a"], line["b"], line["c"]) == (None, None, 1.0)


def test_a_damaged_line_is_refused_by_whoever_reads_it_and_never_read_as_another(tmp_path: Path) -> None:
    with open_off(tmp_path) as tracker:
        for step in range(1, 6):
            tracker.log({"train/loss": step / 2}, step=step, epoch=1)
            tracker.log({"val/objective": 1 / step}, step=step, epoch=1, kind="validation")
    path = RunFolder(tmp_path).metrics

    written, validations = read_metrics(path), lines_of_kind(path, path.read_bytes(), "validation")

    def read(path: Path) -> bool:
        lines = read_metrics(path)
        return lines == written[: len(lines)]  # an end that is cut off is one that has not been written

    def of_kind(path: Path) -> bool:
        lines = lines_of_kind(path, path.read_bytes(), "validation")
        return lines == validations[: len(lines)]

    for opened in (read, of_kind):
        outcomes = survives(opened, path, True, seed=0, count=100)
        assert harmless(outcomes), outcomes


def test_the_digest_of_a_line_is_not_that_of_a_file_which_it_names(tmp_path: Path) -> None:
    (tmp_path / "best_model.pt").write_bytes(b"weights")
    line = {"step": 1, "epoch": 1, "kind": "model", "time": 1.0, "file": "best_model.pt", "sha256": 64 * "0"}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")  # of an earlier version
    assert read_metrics(tmp_path) == [line]


def test_a_value_may_not_hide_a_header_field(tmp_path: Path) -> None:
    with open_off(tmp_path) as tracker, pytest.raises(ValueError, match="step"):
        tracker.log({"step": 1.0}, step=2, epoch=1)
    assert read_metrics(tmp_path) == []


def test_resume_cuts_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    with open_off(tmp_path) as tracker:
        log_steps(tracker, 1, 2)
        position = tracker.position()
        log_steps(tracker, 3, 4)
    assert position == sum(map(len, (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)[:2]))
    with open_off(tmp_path, resume_at=position) as tracker:
        assert steps_of(tmp_path) == [1, 2]
        log_steps(tracker, 3, 4, 5)
    assert steps_of(tmp_path) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kept", [1, 5, 40])
def test_resume_cuts_a_torn_last_line(tmp_path: Path, kept: int) -> None:
    with open_off(tmp_path) as tracker:
        log_steps(tracker, 1)
        position = tracker.position()
        log_steps(tracker, 2)
    os.truncate(tmp_path / "metrics.jsonl", position + kept)
    assert steps_of(tmp_path) == [1]
    with open_off(tmp_path, resume_at=position) as tracker:
        log_steps(tracker, 2)
    assert steps_of(tmp_path) == [1, 2]


def test_resume_at_zero_starts_over(tmp_path: Path) -> None:
    with open_off(tmp_path) as tracker:
        log_steps(tracker, 1)
    with open_off(tmp_path, resume_at=0) as tracker:
        log_steps(tracker, 1)
    assert steps_of(tmp_path) == [1]


def test_a_file_shorter_than_the_checkpoint_says_is_refused(tmp_path: Path) -> None:
    with open_off(tmp_path) as tracker:
        log_steps(tracker, 1)
        position = tracker.position()
    os.truncate(tmp_path / "metrics.jsonl", position - 3)
    with pytest.raises(CheckpointError, match=rf"{position - 3} bytes.*byte {position}"):
        open_off(tmp_path, resume_at=position)
    with pytest.raises(CheckpointError, match="0 bytes"):
        open_off(tmp_path / "elsewhere", resume_at=position)


def test_an_altered_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    with open_off(tmp_path) as tracker:
        log_steps(tracker, 1, 2)
        position = tracker.position()
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"step": 3}\n')
    with pytest.raises(CheckpointError, match="inside a line"):
        open_off(tmp_path, resume_at=position + 4)
    assert path.stat().st_size == position + 12


def test_a_new_run_does_not_write_into_an_old_one(tmp_path: Path) -> None:
    with open_off(tmp_path) as tracker:
        log_steps(tracker, 1)
    with pytest.raises(ConfigError, match="has metrics already"):
        open_off(tmp_path)


def test_unknown_mode_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tracker\.mode"):
        Tracker.open(tmp_path, mode="onlin")


def test_online_without_a_key_names_both_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_IDENTITY_TOKEN_FILE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"wandb login.*tracker\.mode=offline"):
        Tracker.open(tmp_path / "run", mode="online")
    assert not (tmp_path / "run" / "wandb").exists()


@pytest.mark.slow
def test_wandb_is_imported_only_when_it_is_on(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from snac_exp.tracking.tracker import Tracker\n"
        "Tracker.open(Path(sys.argv[1]), mode='off').close()\n"
        "assert 'wandb' not in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run([COLD, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_wandb_mirror_has_every_line_once_over_two_kills(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"mode": "offline", "project": "p", "config": {"seed": 3}, "tags": ["t"]}
    with Tracker.open(tmp_path, **options) as tracker:
        log_steps(tracker, 1, 2)
        position = tracker.position()
        log_steps(tracker, 3, 4, 5)
    with Tracker.open(tmp_path, **options, resume_at=position) as tracker:
        log_steps(tracker, 3)
    with Tracker.open(tmp_path, **options, resume_at=position) as tracker:
        log_steps(tracker, 3, 4, 5, 6)
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 3
    assert len({file.name for file in files}) == 1  # one W&B run id
    mirrored = [row for file in files for row in history(file)]
    truth = [{"step": line["step"], "train/loss": line["train/loss"]} for line in read_metrics(tmp_path)]
    assert [{name: row[name] for name in ("step", "train/loss")} for row in mirrored] == truth
    assert [row["step"] for row in truth] == [1, 2, 3, 4, 5, 6]
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("removed", [1, 10, 40_000])
def test_a_torn_wandb_file_is_read_up_to_the_tear(tmp_path: Path, removed: int) -> None:
    with Tracker.open(tmp_path, mode="offline") as tracker:
        for step in range(1, 41):  # long lines, so that records cross blocks of 32 KiB
            tracker.log({f"train/value{index}": 0.1 for index in range(100)}, step=step, epoch=1)
    [file] = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert [row["step"] for row in history(file)] == list(range(1, 41))
    assert file.stat().st_size > 3 * 32_768
    os.truncate(file, file.stat().st_size - removed)
    steps = [row["step"] for row in history(file)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) < 41 if removed < 100 else 10 < len(steps) < 40


@pytest.mark.slow
def test_samples_are_a_line_and_go_to_wandb_as_media(tmp_path: Path) -> None:
    directory = tmp_path / "samples" / "epoch001"
    write_clips(directory, "clip0", {"48k": (torch.zeros(4800), 48_000)})
    with Tracker.open(tmp_path, mode="offline") as tracker:
        tracker.log_media(step=4, epoch=1, directory=directory)
    [line] = read_metrics(tmp_path)
    assert (line["kind"], line["directory"]) == ("samples", "samples/epoch001")
    [file] = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    [row] = list(history(file))
    kinds = {name: row[f"{name}._type"] for name in ("samples/clip0_48k", "pictures/clip0")}
    assert kinds == {"samples/clip0_48k": "audio-file", "pictures/clip0": "image-file"}
    assert len(list(file.parent.glob("files/media/*/*/*"))) == 2


@pytest.mark.slow
def test_wandb_makes_up_for_what_a_killed_process_had_not_written(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from snac_exp.tracking.tracker import Tracker\n"
        "tracker = Tracker.open(Path(sys.argv[1]), mode='offline')\n"
        "for step in range(1, 51): tracker.log({'train/loss': step / 2}, step=step, epoch=1)\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -signal.SIGKILL
    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 50
    with Tracker.open(tmp_path, mode="offline", resume_at=sum(map(len, lines[:30]))) as tracker:
        log_steps(tracker, *range(31, 61))
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert [row["step"] for file in files for row in history(file)] == list(range(1, 61)) == steps_of(tmp_path)


def test_wandb_switched_on_at_a_resume_gets_the_whole_record(tmp_path: Path) -> None:
    with open_off(tmp_path) as tracker:
        log_steps(tracker, 1)
        position = tracker.position()
        log_steps(tracker, 2)
    with Tracker.open(tmp_path, mode="offline", resume_at=position) as tracker:
        log_steps(tracker, 2, 3)
    [file] = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert [row["step"] for row in history(file)] == [1, 2, 3]
