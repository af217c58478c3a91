"""A reader of standard output that has enough, as in `snac-exp plan … | head -3`, is no error of ours."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import ROOT
from tests.helpers.waiting import GUARD_SECONDS

VERB, TRAIN = ["-m", "snac_exp.cli"], ["train.py"]


def unread(arguments: list[str]) -> tuple[int, str]:
    """Exit status and standard error of a command whose standard output nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, timeout=GUARD_SECONDS, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        [*VERB, "--help"], [*VERB, "status", "--help"], [*VERB, "status", "experiments"],
        [*VERB, "plan", "+experiment=phase12_dual_head"], [*TRAIN, "--help"], [*TRAIN, "--cfg", "job"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_command_ends_without_a_word_and_with_sigpipes_status(arguments: list[str]) -> None:
    assert unread(arguments) == (128 + signal.SIGPIPE, "")


@pytest.mark.slow
def test_a_run_says_in_its_folder_why_it_ended(tmp_path: Path, corpus_dir: Path) -> None:
    data = f"data.cache_dir={corpus_dir / 'prepared' / 'codes_demo'}"
    quick = ["trainer.preflight_rows=2", "trainer.accelerator=cpu", "tracker.mode=off"]
    recipe = ["+experiment=phase12_dual_head", "codec=demo", f"output_dir={tmp_path}", "name=unread"]
    assert unread([*TRAIN, *recipe, *quick, data]) == (128 + signal.SIGPIPE, "")
    (run_dir,) = (tmp_path / "unread").iterdir()
    status = json.loads((run_dir / "status.json").read_text())
    assert status["state"] == "failed"
    assert "BrokenPipeError" in status["error"]


def test_other_broken_pipes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys\nfrom snac_exp.errors import guarded\n"
        "def command():\n    raise BrokenPipeError(32, 'a worker is gone')\nsys.exit(guarded(command))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a worker is gone" in done.stderr
