"""What beside config and state decides the last bits of a result: versions, machine, threads, in names."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from snac_exp import __version__
from snac_exp.errors import CodecError
from snac_exp.system import torchaudio as torchaudio_shim

# Changes of these can change the last bits of a resumed run.
BITWISE = (
    *("snac_exp", "torch", "torchaudio", "snac", "numpy", "soundfile", "lightning-fabric"),
    *("cpu", "device", "num_threads", "precision", "world_size", "compile", "tf32", "deterministic", "kernels"),
)

_WITH_FABRIC = ("lightning-fabric", "pytorch-lightning", "lightning")
"""Packages that bring the module lightning_fabric."""


def environment(
    device: torch.device, precision: str, world_size: int, compiled: bool = False, kernels: str = "none"
) -> dict[str, Any]:
    """Plain values that describe where a run computes, and with which of our own kernels."""
    return {
        "snac_exp": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchaudio": str(torchaudio_shim.__version__),
        **{package: version(package) for package in ("snac", "numpy", "soundfile")},
        "lightning-fabric": fabric_version(),
        "compile": "inductor" if compiled else "none",
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu": cpu_name(),
        "num_cores": os.cpu_count(),
        "device": device_name(device),
        "num_threads": torch.get_num_threads(),
        "precision": precision,
        "world_size": world_size,
        "tf32": torch.backends.cudnn.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "kernels": kernels,
    }


def environment_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The differences that may show in the last bits, in words."""
    missing = "not recorded"  # by an earlier version
    return [f"{key} was {before.get(key, missing)} and is {now[key]}" for key in BITWISE if before.get(key) != now[key]]


def usable_device(device: torch.device | str) -> torch.device:
    """The device, if there is one here.

    Raises:
        CodecError: there is none of this name.
    """
    try:
        found = torch.device(device)
        # torch.device takes any known name; only an allocation shows whether the device is there.
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise CodecError(f"device={device!r} cannot be used here ({reason}); give device=cpu") from None
    return found


def fabric_version() -> str:
    """Version of Lightning Fabric, which comes alone or inside of a larger package.

    Raises:
        PackageNotFoundError: none of them is installed.
    """
    *larger, last = _WITH_FABRIC
    for package in larger:
        try:
            return version(package)
        except PackageNotFoundError:
            continue  # the next one may have brought it
    return version(last)


def device_name(device: torch.device | str) -> str:
    """The model of the processor behind a torch device."""
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {cpu_name()}"


def cpu_name() -> str:
    """The processor's model."""
    path = Path("/proc/cpuinfo")
    told = name_in(path.read_text(encoding="utf-8")) if path.exists() else None
    return told or platform.processor() or platform.machine()


def name_in(cpuinfo: str) -> str | None:
    """The model's name in the text of /proc/cpuinfo; None where it has none.

    Virtual machines often name a brand alone, so the numbers of family and model stand behind it.
    """
    first = cpuinfo.split("\n\n")[0].splitlines()
    told = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first)}
    numbers = [f"{label} {told[key]}" for label, key in (("family", "cpu family"), ("model", "model")) if key in told]
    name = told.get("model name")
    return f"{name} ({', '.join(numbers)})" if name and numbers else name


def versions() -> dict[str, str]:
    """Versions of the packages that compute."""
    return {package: version(package) for package in ("torch", "snac")} | {"snac_exp": __version__}


def provenance(device: torch.device | str) -> tuple[str, ...]:
    """Device, CPU threads and versions; codes of one provenance are equal token for token."""
    threads = f"{torch.get_num_threads()} threads"
    return (device_name(device), threads, *(f"{package} {number}" for package, number in sorted(versions().items())))
