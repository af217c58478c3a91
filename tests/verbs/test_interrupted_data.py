"""Ctrl-C, once and twice: what is finished stays, nothing is half there, and the same command goes on."""

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from snac_exp.data.measuring.measuring import FILES_PER_TASK
from tests.helpers.commands import COLD, ROOT, verb
from tests.helpers.killed import interrupted_at
from tests.helpers.variants import thorough
from tests.helpers.waiting import GUARD_SECONDS, until

ONCE, TWICE = [("os.rename", "*-00001-of-*")], [("os.rename", "*-00001-of-*"), ("os.remove", "*-00001-of-*.tmp")]
"""As the second shard is to get its name; and again as what is there of it is taken away."""
COMMANDS = {
    "cache-codes": ["cache-codes", "codec=demo", "rows_per_shard=3"],
    "pack": ["pack", "shard_gb=0.00015"],
}


@pytest.fixture(scope="module")
def whole(short_corpus_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What undisturbed commands write."""
    found = {name: tmp_path_factory.mktemp(name) / "out" for name in COMMANDS}
    for name, command in COMMANDS.items():
        verb(*command, f"data={short_corpus_dir / 'prepared'}", f"output={found[name]}").succeeded()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "moments"), [("cache-codes", ONCE), ("pack", TWICE), *thorough(("cache-codes", TWICE), ("pack", ONCE))]
)
def test_ctrl_c_keeps_what_is_finished_and_leaves_nothing_half(
    name: str, moments: list[tuple[str, str]], whole: dict[str, Path], short_corpus_dir: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    command = [*COMMANDS[name], f"data={short_corpus_dir / 'prepared'}", f"output={output}"]
    done = interrupted_at(moments, command)
    assert (done.status, done.err.splitlines()[-1]) == (130, "stopped by Ctrl-C"), done.err
    assert "Traceback" not in done.err
    (first,) = shards(output)
    assert "-00000-of-" in first.name
    assert [path for path in output.iterdir() if path != first and path.suffix != ".tmp"] == []
    assert len(list(output.glob(".*.tmp"))) == len(moments) - 1
    before = first.stat().st_ino
    verb(*command).succeeded()
    assert first.stat().st_ino == before
    assert contents(output) == contents(whole[name])


SLOW_WORKERS = """
import os, sys, time
if "--multiprocessing-fork" in sys.orig_argv:
    open(os.environ["STARTED"], "w").close()
    while not os.path.exists(os.environ["INTERRUPTED"]):
        time.sleep(0.01)
"""


@pytest.mark.slow
def test_ctrl_c_while_the_workers_of_prepare_start_is_one_line(tmp_path: Path) -> None:
    """It reaches all processes of the terminal, also those that have not read their first line."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_WORKERS)
    (tmp_path / "in").mkdir()
    for number in range(2 * FILES_PER_TASK):
        soundfile.write(tmp_path / "in" / f"{number}.wav", np.full(4000, 0.1 + 0.01 * number), 8000)
    command = ["prepare", f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}", "num_workers=2", "split=file"]
    paths, started, interrupted = os.pathsep.join([str(tmp_path), str(ROOT)]), tmp_path / "started", tmp_path / "go"
    environment = {**os.environ, "PYTHONPATH": paths, "STARTED": str(started), "INTERRUPTED": str(interrupted)}
    process = subprocess.Popen(
        [COLD, "-m", "snac_exp.cli", *command],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(started.exists, "a worker starts", process)
    os.killpg(process.pid, signal.SIGINT)
    interrupted.touch()
    _, said = process.communicate(timeout=GUARD_SECONDS)
    assert (process.returncode, said.splitlines()[-1]) == (130, "stopped by Ctrl-C")
    assert "Traceback" not in said


def shards(folder: Path) -> list[Path]:
    return [path for path in folder.glob("[!.]*-of-*") if path.is_file()]


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the mapped copy of the shards, which says when each of them was written."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "codes.arrow"}
