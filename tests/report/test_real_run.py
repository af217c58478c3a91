"""The page of a run that really was trained: what training writes is what the page shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from recipe import recipe, run_dir

from snac_exp.report.record import read_record
from snac_exp.report.write import REPORT_FILE
from tests.release.test_listening import Browser, browser  # noqa: F401 (the fixture)
from tests.report.chromium import Viewer

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_trained_run_has_its_page(corpus_dir: Path, tmp_path: Path, browser: Browser) -> None:  # noqa: F811
    command = [sys.executable, str(ROOT / "train.py"), *recipe(corpus_dir, tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    folder = run_dir(tmp_path)
    run = read_record(folder)
    assert (run.state, run.step, run.num_steps) == ("finished", 16, 16)
    assert [len(clip.files) for clip in run.clips] == [5]
    viewer = Viewer(browser)
    viewer.show(folder / REPORT_FILE, 390)  # training itself wrote it
    sounds, pictures = viewer.sounds(), viewer.pictures()
    assert (len(sounds), len(pictures)) == (num_voices(folder), num_voices(folder) + 1)  # and the large picture
    assert min(sounds) > 0.3
    assert min(pictures) > 0
    assert viewer.sideways() == (0, [])
    assert viewer.complaints() == []
    text = viewer.browser.run("return document.body.innerText")
    assert "✓\nfinished" in text or "✓finished" in text
    lines = done.stdout.splitlines()
    promises = [line.removeprefix("preflight: ") for line in lines if line.startswith("preflight: ")]
    assert len(promises) == 7
    assert all(promise in text for promise in promises)


def num_voices(folder: Path) -> int:
    """Sounds of the one clip: a voice that never changes is there once, the others at every epoch."""
    files: dict[str, list[bytes]] = {}
    for path in sorted((folder / "samples").rglob("clip0_*.wav")):
        files.setdefault(path.name, []).append(path.read_bytes())
    assert {"clip0_reference_48k.wav", "clip0_48k.wav", "clip0_24k.wav"} <= files.keys()
    return sum(1 if len(set(contents)) == 1 else len(contents) for contents in files.values())
