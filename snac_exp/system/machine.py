"""What a computation ran on, in names: two runs can only be bit-equal where these agree."""

import platform
from importlib.metadata import version
from pathlib import Path

import torch


def device_name(device: torch.device | str) -> str:
    """The model of the processor behind a torch device."""
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {cpu_name()}"


def cpu_name() -> str:
    """The processor's model."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def versions() -> dict[str, str]:
    """Versions of the packages that compute."""
    return {package: version(package) for package in ("torch", "snac", "snac_exp")}


def origin(device: torch.device | str) -> tuple[str, ...]:
    """Device, CPU threads and versions; codes of one origin are equal token for token."""
    threads = f"{torch.get_num_threads()} threads"
    return (device_name(device), threads, *(f"{package} {number}" for package, number in sorted(versions().items())))
