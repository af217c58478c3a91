"""Fabric, joined by all ranks of a run; until they have come, signals end the process and a time limit holds.

PyTorch's own rendezvous waits inside C++, where no signal handler runs, for half an hour and without saying for whom.
Here each rank enters its name in the store and looks every so often who is there.
"""

import os
import socket
import time
import warnings
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import distributed
from torch._C._distributed_c10d import TCPStore  # torch.distributed gives it too, but not to type checkers
from torch.distributed.distributed_c10d import PrefixStore, Store

from snac_exp.config.schema import Trainer
from snac_exp.errors import ConfigError, SnacExpError
from snac_exp.runs import ranks

JOIN_SECONDS = 300.0  # from the first rank that waits to the last that comes; torch is slow to load from a busy disk
LOOK_SECONDS = 0.2
CONNECT_SECONDS = 5.0


class RanksMissingError(SnacExpError):
    """Not all ranks of a run came; the message names those that did not."""


def launched_fabric(settings: Trainer) -> Fabric:
    """Fabric for the recipe's devices, joined by its other ranks where there are any.

    Raises:
        RanksMissingError: some did not come in time.
        ConfigError: the recipe wants what this machine does not have.
    """
    _check_machine(settings)
    warnings.filterwarnings("ignore", message="The `srun` command is available")  # a machine with SLURM, a run without
    alone = settings.devices * ranks.num_nodes() == 1
    if ranks.started_by_slurm() and not alone:
        # Fabric wants it, and SLURM sets it only where a script asks for tasks by the node; `check_started` counted.
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(settings.devices))
    fabric = Fabric(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=ranks.num_nodes(),
        precision=settings.precision,
        plugins=LightningEnvironment() if alone else None,  # else a surrounding job would number this process
    )
    if settings.precision == "16-mixed" and fabric.device.type == "cpu":
        raise ConfigError("trainer.precision=16-mixed needs a GPU; on a CPU choose precision=bf16-mixed or 32-true")
    # Fabric would round all that a batch holds, targets and raw audio too; autocast casts what layers may have so.
    fabric.strategy.precision.convert_input = _as_it_is  # type: ignore[method-assign]
    if fabric.world_size > 1:
        _join(fabric)
        fabric.launch()
    return fabric


def _check_machine(settings: Trainer) -> None:
    """A GPU that is asked for by name is there; Fabric's own message would not name the key."""
    if settings.accelerator in ("cuda", "gpu") and not torch.cuda.is_available():
        why = "this build of torch has no CUDA" if torch.version.cuda is None else "torch finds no GPU on this machine"
        raise ConfigError(
            f"trainer.accelerator={settings.accelerator}: {why}; use a machine with one, or trainer.accelerator=auto"
        )


def _as_it_is(data: Any) -> Any:
    return data


def _join(fabric: Fabric) -> None:
    """Make the process group once all ranks are there; Fabric then takes it as it is."""
    environment: ClusterEnvironment = fabric.strategy.cluster_environment  # type: ignore[attr-defined]
    rank, device = fabric.global_rank, fabric.device
    store = _meet(environment.main_address, environment.main_port, rank, fabric.world_size)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(
        backend,
        store=store,
        rank=rank,
        world_size=fabric.world_size,
        device_id=device if device.type == "cuda" else None,
    )


def leave() -> None:
    """End the process group of a run, if it had one: the next run in this process would wait for its ranks."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _meet(address: str, port: int, rank: int, num_ranks: int) -> Store:
    """The store that all ranks share, once each of them has entered its number."""
    end = time.monotonic() + JOIN_SECONDS
    # torchrun keeps the store itself, and the same one after a restart.
    serves = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    while not serves and not _answers(address, port):
        if time.monotonic() > end:
            raise RanksMissingError(
                f"rank {rank} waited {JOIN_SECONDS:.0f} s: rank 0 is not at {address}:{port}{_MEND}"
            )
        time.sleep(LOOK_SECONDS)
    served = TCPStore(address, port, num_ranks, serves, timeout=timedelta(seconds=JOIN_SECONDS), wait_for_workers=False)
    store = PrefixStore(f"snac_exp/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", served)
    store.set(str(rank), socket.gethostname())
    while missing := [number for number in range(num_ranks) if not store.check([str(number)])]:
        if time.monotonic() > end:
            names = ", ".join(map(str, missing))
            raise RanksMissingError(
                f"rank {rank} waited {JOIN_SECONDS:.0f} s, and of {num_ranks} ranks {names} did not connect{_MEND}"
            )
        time.sleep(LOOK_SECONDS)
    return store


_MEND = ": see what they last wrote, and that srun starts a task for each device (trainer.devices)"


def _answers(address: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection((address, port), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False
