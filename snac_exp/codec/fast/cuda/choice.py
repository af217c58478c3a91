"""Whether training on a GPU goes through the Triton kernels: asked once for a process, proved on its card."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snac_exp.codec.fast.cuda.operations import HAS_TRITON
from snac_exp.codec.fast.cuda.proof import largest_error
from snac_exp.errors import ConfigError

TYPES = (torch.float32, torch.bfloat16, torch.float16)
MIN_CAPABILITY = (8, 0)  # of the card; older ones have no bfloat16

LACKING = "library, since"
"""How the words of `choose_kernels` begin where triton was wanted and is not used."""


@dataclass
class _Choice:
    """What holds in this process. devices: types of device on which kernels are used; used: that in words."""

    devices: set[str] = field(default_factory=set)
    used: str = "none"


_choice = _Choice()


def kernels_take(x: Tensor) -> bool:
    """Whether x (of any shape) is computed by the kernels."""
    return x.device.type in _choice.devices and x.dtype in TYPES


def kernels_train(x: Tensor) -> bool:
    """Whether the kernels take x (B, C, T) while an autograd graph is recorded, compiled or not; never in an export."""
    return kernels_take(x) and torch.is_grad_enabled() and not torch.compiler.is_exporting()


def computing_dtype(x: Tensor) -> torch.dtype:
    """The type of what a convolution makes of x (of any shape): autocast's where it is on."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def kernels_in_use() -> str:
    """What this process trains a codec with, in words."""
    return _choice.used


def choose_kernels(setting: str, device: torch.device) -> None:
    """Follow `trainer.kernels` (auto, triton or off; none = nothing here is for them) from here on, on this device.

    Raises:
        ConfigError: triton is demanded, and cannot be had; tells why.
    """
    _choice.devices.clear()
    missing = _missing(device) if setting in ("auto", "triton") else None
    if setting == "triton" and missing is not None:
        raise ConfigError(f"trainer.kernels=triton is not available: {missing}; set trainer.kernels=auto or off")
    if setting == "none":
        _choice.used = "none"
    elif device.type == "cpu":
        _choice.used = "loops of the CPU"
    elif setting == "off":
        _choice.used = "library"
    elif missing is not None:
        _choice.used = f"{LACKING} {missing}"
    else:
        _choice.devices.add(device.type)
        _choice.used = "triton"


@contextmanager
def without_kernels() -> Iterator[None]:
    """The library's operations within it, whatever was chosen."""
    before, _choice.devices = _choice.devices, set()
    try:
        yield
    finally:
        _choice.devices = before


def _missing(device: torch.device) -> str | None:
    """What the kernels lack on the device, in words; None = nothing, they were run there and gave what they must."""
    if device.type != "cuda":
        return f"the kernels are for CUDA, and this is {device.type}"
    if not HAS_TRITON:
        return "triton is not installed"
    if torch.version.cuda is None or torch.cuda.get_device_capability(device) < MIN_CAPABILITY:
        return f"the kernels are for NVIDIA's cards from {MIN_CAPABILITY[0]}.{MIN_CAPABILITY[1]} on"
    try:
        error = largest_error(device)
    except Exception as found:  # Triton compiles with what it finds on the machine; each lack has an error of its own
        return f"triton failed in a trial on this card: {type(found).__name__}: {_first_line(found)}"
    return None if error <= 1 else f"a trial on this card was off by {error:.2g} times what is tolerated"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]
