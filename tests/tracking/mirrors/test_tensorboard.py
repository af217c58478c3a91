"""What TensorBoard reads of a run, with its own reader: every line once, over kills, resumes and full disks."""

import json
import math
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from recipe import recipe, run_dir

from snac_exp.tracking.metrics_file import read_metrics
from snac_exp.tracking.mirrors import packages
from snac_exp.tracking.mirrors.event_file import EventFile
from snac_exp.tracking.tracker import Tracker
from tests.helpers.commands import python_process, verb
from tests.helpers.full_disk import files_up_to

if find_spec("tensorboard") is None:
    pytest.skip("needs pip install 'snac_exp[tensorboard]'", allow_module_level=True)

CONFIG = {
    "seed": 3,
    "tracker": {"tags": ["a", "b"]},
    "lr": {"trunk": 1e-3},
    "data": {"cached": True},
    "name": 999 * "n",
}


def reader(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder / "tensorboard"), size_guidance=dict.fromkeys(KINDS, 0)).Reload()


KINDS = ("scalars", "audio", "images", "tensors")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag."""
    found = reader(folder)
    return {tag: [(item.step, item.value) for item in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def logged(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The same of metrics.jsonl."""
    values: dict[str, list[tuple[int, float]]] = {}
    for line in read_metrics(folder):
        for name, value in line.items():
            if "/" in name and not isinstance(value, str | list):
                values.setdefault(name, []).append((line["step"], math.nan if value is None else value))
    return values


def assert_agree(folder: Path) -> None:
    """Every number of metrics.jsonl once, in order, as a 32-bit number."""
    read, written = scalars(folder), logged(folder)
    assert set(read) == set(written)
    for name, points in written.items():
        assert [step for step, _ in read[name]] == [step for step, _ in points], name
        values = [value for _, value in points]
        assert [value for _, value in read[name]] == pytest.approx(values, rel=1e-6, nan_ok=True), name


def filled(folder: Path) -> list[Path]:
    """Event files that hold anything."""
    return [path for path in (folder / "tensorboard").iterdir() if path.stat().st_size]


def log(tracker: Tracker, *steps: int, factor: float = 1.0) -> None:
    for step in steps:
        tracker.log({"train/loss": factor * step, "train/odd": math.nan}, step=step, epoch=1)


def opened(folder: Path, **options: Any) -> Tracker:
    return Tracker.open(folder, mode="off", tensorboard=True, config=CONFIG, **options)


@pytest.mark.slow
def test_a_killed_and_resumed_run_has_every_step_once(killed_and_resumed: Path) -> None:
    assert_agree(killed_and_resumed)
    assert [step for step, _ in scalars(killed_and_resumed)["train/loss"]] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.slow
def test_every_validation_is_heard_and_seen(killed_and_resumed: Path) -> None:
    found = reader(killed_and_resumed)
    folders = sorted((killed_and_resumed / "samples").iterdir())
    assert len(folders) == 5
    for label in ("reference_48k", "pretrained_24k", "24k", "48k"):
        sounds = found.Audio(f"samples/clip0_{label}")
        wavs = [(folder / f"clip0_{label}.wav").read_bytes() for folder in folders]
        assert [item.encoded_audio_string for item in sounds] == wavs
        assert {item.sample_rate for item in sounds} == {24000 if label.endswith("24k") else 48000}
    pictures = [item.encoded_image_string for item in found.Images("pictures/clip0")]
    assert pictures == [(folder / "clip0.png").read_bytes() for folder in folders]


def test_the_config_is_shown_as_hparams(tmp_path: Path) -> None:
    from tensorboard.plugins.hparams import metadata

    with opened(tmp_path) as tracker:
        log(tracker, 1)
    content = reader(tmp_path).summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    shown = metadata.parse_session_start_info_plugin_data(content).hparams
    assert (shown["seed"].number_value, shown["lr.trunk"].number_value) == (3, 1e-3)
    assert (shown["data.cached"].bool_value, shown["name"].string_value) == (True, 999 * "n")
    assert shown["tracker.tags"].string_value == "['a', 'b']"


def test_steps_that_are_done_again_replace_those_of_before(tmp_path: Path) -> None:
    with opened(tmp_path) as tracker:
        log(tracker, 1, 2)
        position = tracker.position()
        log(tracker, 3, 4)
    with opened(tmp_path, resume_at=position) as tracker:
        assert_agree(tmp_path)
        log(tracker, 3, factor=7.0)
        assert_agree(tmp_path)
        tracker.rewind(position)
        log(tracker, 3, 4, factor=9.0)
    assert_agree(tmp_path)
    assert scalars(tmp_path)["train/loss"] == [(1, 1.0), (2, 2.0), (3, 27.0), (4, 36.0)]
    assert len(filled(tmp_path)) == 1


def test_an_open_tensorboard_forgets_what_was_taken_back(tmp_path: Path) -> None:
    with opened(tmp_path) as tracker:
        log(tracker, 1, 2)
        position = tracker.position()
        log(tracker, 3, 4)
        found = reader(tmp_path)
        assert [item.step for item in found.Scalars("train/loss")] == [1, 2, 3, 4]
        tracker.rewind(position)
        log(tracker, 3, factor=7.0)
        assert [(item.step, item.value) for item in found.Reload().Scalars("train/loss")] == [(1, 1), (2, 2), (3, 21)]


@pytest.mark.parametrize("lost", [1, 20, 200])
def test_what_a_kill_cut_off_is_made_up_for(lost: int, tmp_path: Path) -> None:
    with opened(tmp_path) as tracker:
        log(tracker, *range(1, 9))
        position = tracker.position()
    (path,) = filled(tmp_path)
    os.truncate(path, path.stat().st_size - lost)
    with opened(tmp_path, resume_at=position) as tracker:
        log(tracker, 9)
    assert_agree(tmp_path)


def test_samples_whose_files_are_gone_are_no_obstacle(tmp_path: Path) -> None:
    with opened(tmp_path) as tracker:
        tracker.log_media(step=1, epoch=1, directory=tmp_path / "samples" / "epoch001")
        log(tracker, 2)
    assert_agree(tmp_path)


def test_a_disk_that_is_full_is_told_once_and_made_up_for(tmp_path: Path) -> None:
    said: list[str] = []
    with opened(tmp_path, tell=said.append) as tracker:
        log(tracker, 1)
        (path,) = filled(tmp_path)
        assert path.stat().st_size > tracker.path.stat().st_size
        with files_up_to(path.stat().st_size):
            log(tracker, 2, 3)
        log(tracker, 4)
        position = tracker.position()
    assert len(said) == 1
    assert said[0].startswith("TensorBoard takes no more ([Errno 27]")
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4]
    with opened(tmp_path, resume_at=position) as tracker:
        log(tracker, 5)
    assert_agree(tmp_path)


@pytest.mark.slow
def test_a_refusal_at_the_start_is_one_line_that_status_shows(corpus_dir: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom snac_exp.tracking.mirrors import event_file\n"
        "from snac_exp.verbs.training.train import main\n"
        "def refused(folder, *_): folder.mkdir(); raise OSError(28, 'No space left on device', str(folder))\n"
        "event_file.EventFile.__init__ = lambda self, *arguments: refused(*arguments)\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = python_process("-c", code, *recipe(corpus_dir, tmp_path), "tracker.tensorboard=true")
    assert done.status == 2, done.out
    assert done.err.splitlines()[-1].startswith("ConfigError: TensorBoard did not start ([Errno 28] No space left")
    (row,) = json.loads(verb("status", str(run_dir(tmp_path)), "format=json").out)
    assert row["state"] == "failed"
    assert "TensorBoard did not start ([Errno 28]" in row["error"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "check"])
def test_a_package_that_is_missing_is_named_with_its_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    done = verb(command, "+experiment=demo", "tracker=[wandb,tensorboard]")
    assert done.status == 2
    assert "pip install 'snac_exp[tensorboard]'" in done.err


def test_a_file_of_another_kind_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.0000000001.snac_exp").write_bytes(b"\xff" * 100)
    file = EventFile(tmp_path, [b"one", b"two"], 5)
    assert file.num_records == 0
    file.close()
    assert [path.stat().st_size > 0 for path in sorted(tmp_path.iterdir())] == [False, True]


def options_of(choice: str) -> Mapping[str, Any]:
    from snac_exp.config.compose import compose_experiment

    experiment, _ = compose_experiment(["+experiment=demo", choice])
    return {"mode": experiment.tracker.mode, "tensorboard": experiment.tracker.tensorboard}


@pytest.mark.slow
def test_one_or_several_are_chosen() -> None:
    assert options_of("tracker=wandb") == {"mode": "offline", "tensorboard": False}
    assert options_of("tracker=tensorboard") == {"mode": "off", "tensorboard": True}
    assert options_of("tracker=none") == {"mode": "off", "tensorboard": False}
    for both in ("tracker=[wandb,tensorboard]", "tracker=[tensorboard,wandb]", "tracker.tensorboard=true"):
        assert options_of(both) == {"mode": "offline", "tensorboard": True}
