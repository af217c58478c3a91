"""Two processes never write one folder; a holder is passed over only when it is provably gone."""

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from snac_exp.errors import ConfigError
from snac_exp.system import folder_lock as lock
from snac_exp.system import owner
from snac_exp.system.folder_lock import LOCK_FILE, holder_of, locked
from snac_exp.system.owner import Owner
from tests.helpers.warm import COLD

HOLD = """
import sys
from pathlib import Path
from snac_exp.system.folder_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()  # until it is killed
"""


def hold(folder: Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([COLD, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_held_folder_is_refused_and_a_killed_holder_is_passed_over(tmp_path: Path) -> None:
    process = hold(tmp_path)
    with pytest.raises(ConfigError, match=f"is being written by process {process.pid} on "), locked(tmp_path):
        pass
    holder = holder_of(tmp_path)
    assert holder is not None
    assert holder.is_running_here()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert holder.is_gone()
    with locked(tmp_path):
        assert holder_of(tmp_path) == Owner.me()
    assert holder_of(tmp_path) is None


def test_workers_of_a_killed_holder_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WORKERS_LINGER_SECONDS", 0.5)
    process = hold(tmp_path)  # holds the kernel's lock as a forked data worker would, under a name that is gone
    dead = replace(Owner.me(), pid=2**22 - 1)
    (tmp_path / LOCK_FILE).write_text(json.dumps(dead.as_dict()))
    with pytest.raises(ConfigError, match="is being written by"), locked(tmp_path):
        pass
    process.kill()
    process.wait()
    with locked(tmp_path):
        pass


def write_holder(folder: Path, **changes: object) -> None:
    holder = replace(Owner.me(), host="another", **changes)  # type: ignore[arg-type]
    (folder / LOCK_FILE).write_text(json.dumps(holder.as_dict()))


def test_a_holder_on_another_machine_is_believed(tmp_path: Path) -> None:
    write_holder(tmp_path)
    with pytest.raises(ConfigError, match="nothing proves that it has ended"), locked(tmp_path):
        pass


@pytest.mark.parametrize(("state", "passes"), [("RUNNING", False), ("COMPLETED", True), ("GONE", True), (None, False)])
def test_slurm_can_prove_that_a_holder_elsewhere_is_gone(
    state: str | None, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "job_states", lambda jobs: {} if state is None else {job: state for job in jobs})
    write_holder(tmp_path, slurm_job_id="12_3")
    if passes:
        with locked(tmp_path):
            return
    with pytest.raises(ConfigError, match="SLURM job 12_3"), locked(tmp_path):
        pass


@pytest.mark.parametrize(("restarts", "passes"), [("1", True), ("0", False)])
def test_a_later_start_of_the_same_job_takes_over(
    restarts: str, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_holder(tmp_path, slurm_job_id="5", slurm_restarts=0)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    if passes:
        with locked(tmp_path):
            return
    with pytest.raises(ConfigError), locked(tmp_path):
        pass


def test_a_process_number_given_out_again_is_another_process() -> None:
    assert Owner.me().is_running_here()
    assert not replace(Owner.me(), process_started=Owner.me().process_started - 5).is_running_here()
    assert replace(Owner.me(), pid=2**22 - 1).is_gone()
    assert os.getpid() == Owner.me().pid
