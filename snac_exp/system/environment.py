"""What beside config and state decides the last bits of a result: versions, machine, threads."""

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

from snac_exp import __version__
from snac_exp.system import torchaudio as torchaudio_shim
from snac_exp.system.machine import cpu_name, device_name

# Changes of these can change the last bits of a resumed run.
BITWISE = (
    *("snac_exp", "torch", "torchaudio", "snac", "numpy", "soundfile", "lightning-fabric"),
    *("cpu", "device", "num_threads", "precision", "world_size", "compile"),
)


def environment(device: torch.device, precision: str, world_size: int, compiled: bool = False) -> dict[str, Any]:
    """Plain values that describe where a run computes."""
    return {
        "snac_exp": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchaudio": str(torchaudio_shim.__version__),
        **{package: version(package) for package in ("snac", "numpy", "soundfile", "lightning-fabric")},
        "compile": "inductor" if compiled else "none",
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu": cpu_name(),
        "num_cores": os.cpu_count(),
        "device": device_name(device),
        "num_threads": torch.get_num_threads(),
        "precision": precision,
        "world_size": world_size,
    }


def environment_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The differences that may show in the last bits, in words."""
    return [f"{key} was {before.get(key)} and is {now[key]}" for key in BITWISE if before.get(key) != now[key]]
