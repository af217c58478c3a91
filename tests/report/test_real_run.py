"""The page that `make demo` ends with: what training writes is what the page shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from snac_exp.report.run.record import read_record
from snac_exp.tracking.run_folder import RunFolder
from tests.report.chromium import Viewer
from tests.report.test_pages import check, screenshots, viewer  # noqa: F401 (fixtures)

ROOT = Path(__file__).parents[2]
SMALLER = [  # little of the demo's speech, a step an epoch: what the page shows is the same
    *("data.num_minutes=0.3", "data.num_train_voices=2", "data.num_validation_voices=1", "data.validation_slices=2"),
    *(
        "trainer.max_steps_per_epoch=1",
        "trainer.summary_utterances=1",
        "trainer.preflight_rows=3",
        "trainer.validate_every_epochs=4",
    ),
]


@pytest.mark.slow
def test_the_demo_ends_with_a_page(tmp_path: Path, viewer: Viewer, screenshots: Path) -> None:  # noqa: F811
    command = [sys.executable, str(ROOT / "train.py"), "+experiment=demo", f"output_dir={tmp_path}"]
    command += [f"data.directory={tmp_path / 'data'}", *SMALLER]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "demo").iterdir()
    run = read_record(folder)
    assert (run.state, run.step, run.num_steps) == ("finished", 4, 4)
    assert [len(clip.files) for clip in run.clips] == [2, 2]  # before the first step and at the end
    seconds = sorted(soundfile.info(path).duration for path in (folder / "samples").rglob("clip*.wav"))
    num_pictures = num_signals(folder) + len(run.clips)
    check(viewer, RunFolder(folder).report, screenshots, num_signals(folder), num_pictures, seconds[0], seconds[-1])
    text = viewer.browser.run("return document.body.innerText")
    assert "✓\nfinished" in text or "✓finished" in text
    lines = done.stdout.splitlines()
    promises = [line.removeprefix("preflight: ") for line in lines if line.startswith("preflight: ")]
    assert len(promises) == 12  # of the start 2; in each split 1 of codes, 4 of sound
    assert all(promise in text for promise in promises)


def num_signals(folder: Path) -> int:
    """Sounds of all clips: a signal that never changes is there once, the others at every epoch."""
    files: dict[str, list[bytes]] = {}
    for path in sorted((folder / "samples").rglob("clip*_*.wav")):
        files.setdefault(path.name, []).append(path.read_bytes())
    assert {"clip0_reference_48k.wav", "clip1_48k.wav", "clip1_24k.wav"} <= files.keys()
    return sum(1 if len(set(contents)) == 1 else len(contents) for contents in files.values())
