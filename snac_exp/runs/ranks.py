"""The processes of one run with several devices: who is rank 0, and starting the others.

Under SLURM srun starts all ranks and Fabric reads SLURM's environment. Elsewhere, a batch script without srun included,
rank 0 starts the others itself, as `resume=RUN_DIR`, since the command line that began the run may be a whole sweep.
"""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from snac_exp.errors import ConfigError
from snac_exp.system.process import resume_command

FIRST_SPECIAL_STEP = 0xFFFFFFF0  # from here on SLURM's step ids are no steps of srun: batch script, interactive shell
NOTICE_SECONDS = 15.0  # that rank 0 has to fail by itself after another rank did
LEAVE_SECONDS = 60.0  # for the other ranks once rank 0 is done


def started_by_slurm() -> bool:
    """Whether srun started this process as one of several tasks.

    A batch script has the variables of its job, SLURM_NTASKS among them, but is one process: its SLURM_PROCID is 0 or
    not set, and it has no SLURM_STEP_ID or that of the batch step.
    """
    task = int(os.environ.get("SLURM_PROCID") or -1)
    step = int(os.environ.get("SLURM_STEP_ID") or FIRST_SPECIAL_STEP)
    return _num_tasks() > 1 and (task > 0 or (task == 0 and step < FIRST_SPECIAL_STEP))


def check_started(devices: int) -> None:
    """What SLURM started is what the recipe wants.

    Raises:
        ConfigError: ranks on several machines without srun, or another number of tasks than ranks.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ or devices == 1 == num_nodes():
        return
    machines = int(os.environ.get("SLURM_JOB_NUM_NODES") or 1)
    if started_by_slurm():
        if _num_tasks() != devices * num_nodes():
            raise ConfigError(
                f"srun started {_num_tasks()} tasks on {num_nodes()} machines, and trainer.devices={devices} are "
                f"{devices * num_nodes()} ranks: use srun --ntasks-per-node={devices}, or set trainer.devices"
            )
    elif "SLURM_JOB_ID" in os.environ and machines > 1:
        raise ConfigError(
            f"this job has {machines} machines, and the run was started on one of them: start it with srun "
            f"--ntasks-per-node={devices} before the command, or ask SLURM for one machine"
        )


def _num_tasks() -> int:
    return int(os.environ.get("SLURM_NTASKS") or 1)


def global_rank(devices: int) -> int:
    """The rank of this process; a run on one device has none but 0, whatever the surrounding job exports."""
    if "TORCHELASTIC_RUN_ID" in os.environ:  # started by torchrun, or by `companions`
        return int(os.environ["RANK"])
    return int(os.environ["SLURM_PROCID"]) if started_by_slurm() and devices * num_nodes() > 1 else 0


def num_nodes() -> int:
    """Machines that SLURM gave to this run; one without srun."""
    nodes = os.environ.get("SLURM_STEP_NUM_NODES") or os.environ.get("SLURM_JOB_NUM_NODES") or 1
    return int(nodes) if started_by_slurm() else 1


@contextmanager
def companions(run_dir: Path, devices: int, failed: Callable[[str], None]) -> Iterator[None]:
    """Start ranks 1 to devices - 1 of a run that nobody else started, and see them end with this process, rank 0.

    A rank that dies leaves rank 0 waiting for it inside a collective, where no signal handler runs: then `failed` is
    called with the reason and this process ends with status 1.

    Raises:
        RuntimeError: a rank failed although rank 0 did not.
    """
    if devices == 1 or started_by_slurm() or "TORCHELASTIC_RUN_ID" in os.environ:
        yield
        return
    before = dict(os.environ)
    # The variables of torchrun: with TORCHELASTIC_RUN_ID set Fabric takes these ranks as they are and starts none.
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(devices)}
    shared |= {"LOCAL_WORLD_SIZE": str(devices), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": str(os.getpid())}
    others = [_start(run_dir, shared, rank) for rank in range(1, devices)]
    os.environ.update(shared, RANK="0", LOCAL_RANK="0")
    done = threading.Event()
    threading.Thread(target=_watch, args=(others, done, failed), daemon=True).start()
    try:
        yield
        done.set()
        codes = {rank: process.wait(LEAVE_SECONDS) for rank, process in enumerate(others, start=1)}
        bad = {rank: code for rank, code in codes.items() if code not in (0, 75)}  # 75: stopped on request, all saved
        if bad:
            raise RuntimeError(f"ranks failed: {bad} (rank: exit status); their messages are above")
    finally:
        done.set()
        for process in others:
            if process.poll() is None:
                process.kill()
            process.wait()
        # What trains next in this process must not be taken for a rank of this run.
        os.environ.clear()
        os.environ.update(before)


def _watch(others: "list[subprocess.Popen[bytes]]", done: threading.Event, failed: Callable[[str], None]) -> None:
    """Wait for a rank that ends badly; rank 0 has some seconds to notice by itself, with a better message."""
    while not done.wait(1.0):
        bad = {rank: item.poll() for rank, item in enumerate(others, start=1) if item.poll() not in (None, 0, 75)}
        if bad and not done.wait(NOTICE_SECONDS):
            failed(f"ranks ended without rank 0: {bad} (rank: exit status); their messages are above")
            for item in others:
                item.kill()
            # sys.exit would end this thread alone, and rank 0 would wait in its collective for ever.
            os._exit(1)


def _start(run_dir: Path, shared: dict[str, str], rank: int) -> "subprocess.Popen[bytes]":
    command, environment = resume_command(run_dir)
    ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    return subprocess.Popen(command, env=environment | shared | ranks)


def _free_port() -> int:
    with socket.socket() as probe:
        # Port 0: the kernel picks a free one. It is free again when rank 0 binds it a moment later.
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
