"""The offline W&B file and metrics.jsonl agree on every step of a real run, over a SIGKILL and a resume."""

import json
from pathlib import Path

import pytest
from recipe import recipe, run_dir

from snac_exp.system.code_version import code_version
from tests.helpers.commands import python_process, verb
from tests.tracking.conftest import SECRETS, SHORT
from tests.tracking.test_wandb_mirror import assert_agree, files_of, messages, rows_of


@pytest.mark.slow
def test_every_line_is_one_row_with_the_same_numbers(killed_and_resumed: Path) -> None:
    assert_agree(killed_and_resumed)
    steps = [row["step"] for row in rows_of(killed_and_resumed) if "train/loss" in row]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [row["epoch"] for row in rows_of(killed_and_resumed) if "val/objective" in row] == [0, 1, 2, 3, 4]
    assert len(files_of(killed_and_resumed)) == 2
    assert len({file.name for file in files_of(killed_and_resumed)}) == 1  # one W&B run


@pytest.mark.slow
def test_no_file_of_a_run_holds_a_key_of_its_environment(killed_and_resumed: Path) -> None:
    files = [path for path in killed_and_resumed.rglob("*") if path.is_file()]
    assert {"config.yaml", "environment.json", "train.log", "report.html"} <= {path.name for path in files}
    assert any(path.suffix == ".wandb" for path in files)
    for secret in SECRETS.values():
        assert [path for path in files if secret.encode() in path.read_bytes()] == []


@pytest.mark.slow
def test_every_validation_is_heard_seen_and_measured(killed_and_resumed: Path) -> None:
    rows = [row for row in rows_of(killed_and_resumed) if "pictures/clip0._type" in row]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    for row in rows:
        for label in ("reference_48k", "pretrained_24k", "24k", "48k"):
            assert row[f"samples/clip0_{label}._type"] == "audio-file"
        assert row["clips/metrics._type"] == "table-file"


@pytest.mark.slow
def test_who_the_run_is_and_what_it_gave(killed_and_resumed: Path) -> None:
    first, second = messages(killed_and_resumed, "run")
    assert (first.run_id, first.job_type) == (second.run_id, "train")
    assert list(first.tags) == ["phase:small", "heads:head_24k+head_48k", "init:average", "codec:demo", "pilot"]
    config = {item.key: json.loads(item.value_json) for item in first.config.update}
    assert config["code"] == code_version().as_dict()
    assert config["trainer"]["max_steps_per_epoch"] == 2
    models = [artifact for artifact in messages(killed_and_resumed, "artifact") if artifact.type == "model"]
    assert models
    assert all({"best", "latest"} < set(model.aliases) for model in models)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"WANDB_PROJECT": "p" * 129}, "ConfigError: W&B did not start the run (Invalid project name"),
        ({"WANDB_CONSOLE": "no such"}, "ConfigError: W&B did not start the run (console: "),
    ],
)
def test_a_refusal_at_the_start_is_one_line_that_status_shows(
    environment: dict[str, str], line: str, corpus_dir: Path, tmp_path: Path
) -> None:
    done = python_process("train.py", *recipe(corpus_dir, tmp_path), *SHORT, environment=environment)
    assert done.status == 2
    assert done.err.splitlines()[-1].startswith(line)
    (row,) = json.loads(verb("status", str(run_dir(tmp_path)), "format=json").out)
    assert row["state"] == "failed"
    assert line.removeprefix("ConfigError: ") in row["error"]
