"""Weights out of a file of any usual form: torch or safetensors, nested, with the names that wrappers give.

torch.compile puts `_orig_mod` and DistributedDataParallel `module` into the names, and trainers store the weights in an
entry beside their own state. All of it is taken off, and said.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from snac_exp.codec.geometry import CONFIG_FILE
from snac_exp.errors import CodecError
from snac_exp.system.checksums.listed_files import verify_listed
from snac_exp.system.checksums.torch_zip import verify_torch_zip
from snac_exp.system.paths.kind import TORCH_KINDS, fault_of

WEIGHTS_FILE = "pytorch_model.bin"
SAFETENSORS_FILE = "model.safetensors"

_NESTED = ("state_dict", "model_state_dict", "model")  # where other programs put the weights
_WRAPPERS = ("_orig_mod", "module")  # torch.compile; DataParallel, DistributedDataParallel and averaged models


@dataclass(frozen=True)
class Weights:
    """Tensors by the model's own names, and what was taken off them; empty where nothing was."""

    tensors: dict[str, Tensor]
    taken_off: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What was taken off, on one line; empty where nothing was."""
        return "; ".join(self.taken_off)


def unwrapped(content: object) -> Weights | None:
    """The tensors of a state dict, nested or with wrappers' names; None where there are none.

    Entries beside the tensors, as of a trainer's own state, are passed over only where the weights are nested.
    """
    entries: list[str] = []
    while isinstance(content, Mapping):
        nested = next((name for name in _NESTED if isinstance(content.get(name), Mapping)), None)
        if nested is None:
            break
        entries.append(nested)
        content = content[nested]
    if not _are_named_tensors(content):
        return None
    names = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in content}
    if len(set(names.values())) < len(names):
        return None  # two tensors of one name: both a wrapped and a bare model
    taken = [f"the weights are its entry '{'.'.join(entries)}'"] if entries else []
    prefixes = sorted({_prefix(name) for name in names if names[name] != name})
    if prefixes:
        quoted = ", ".join(f"'{prefix}'" for prefix in prefixes)
        taken.append(f"{quoted} is taken off the names of {sum(names[name] != name for name in names)} tensors")
    return Weights({names[name]: tensor for name, tensor in content.items()}, tuple(taken))


def weights_file(directory: Path) -> Path:
    """The file of weights in a codec's folder: upstream's, else safetensors.

    Raises:
        CodecError: there is neither; names what is there.
    """
    for name in (WEIGHTS_FILE, SAFETENSORS_FILE):
        if (directory / name).is_file():
            return directory / name
    found = sorted(path.name for path in directory.glob("*") if path.suffix in (".bin", ".safetensors", ".pt", ".ckpt"))
    there = f"; there is {', '.join(found[:3])}, which is not read" if found else ""
    raise CodecError(
        f"there is no {directory / WEIGHTS_FILE}; a codec directory holds {CONFIG_FILE} and {WEIGHTS_FILE} or "
        f"{SAFETENSORS_FILE}{there}"
    )


def read_weights(path: Path) -> Weights:
    """Tensors by name, none larger than the file: a view can repeat one stored number for ever.

    Raises:
        CodecError: names the file and what is wrong with it.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    weights = unwrapped(content)
    if weights is None:
        raise CodecError(
            f"{path} must be a dictionary of tensors, as torch.save(model.state_dict(), path) writes it{_held(content)}"
        )
    # A tensor may be a view that repeats one stored number; its true size shows such a file.
    num_bytes, stored = sum(tensor.nbytes for tensor in weights.tensors.values()), path.stat().st_size
    if num_bytes > stored:
        raise CodecError(f"{path} holds {stored:,} bytes but tensors of {num_bytes:,}: it is no file of weights")
    return weights


def unknown_prefix(names: Mapping[str, Any], expected: Mapping[str, Any]) -> str | None:
    """A prefix of some names without which they are those of the model, as `generator.`; None where there is none."""
    for name in names:
        head, dot, tail = name.partition(".")
        if dot and name not in expected and tail in expected:
            return head + dot
    return None


def brief(error: Exception) -> str:
    """An error on one line: load_state_dict lists every tensor on a line of its own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:3]) or type(error).__name__
    return text if len(text) <= 400 else text[:400] + " ..."


def _prefix(name: str) -> str:
    """The wrappers' part of a name, with its end: `module._orig_mod.`"""
    return ".".join([part for part in name.split(".") if part in _WRAPPERS] + [""])


def _held(content: object) -> str:
    """The first entries of something else, for a message."""
    names = [str(name) for name in content][:4] if isinstance(content, Mapping) else []
    return f"; it holds {', '.join(names)}" if names else ""


def _read_torch(path: Path) -> object:
    try:
        verify_torch_zip(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CodecError(
            f"{path} is no plain dictionary of tensors: {fault_of(path, *TORCH_KINDS)}, or loading it would run code, "
            "which is refused; "
            "download the checkpoint again from a source you trust"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        fault = fault_of(path, *TORCH_KINDS).removeprefix("it ")
        raise CodecError(f"{path} {fault} ({brief(error)}); download the checkpoint again") from None


def _read_safetensors(path: Path) -> object:
    try:
        verify_listed(path)
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        fault = fault_of(path, "safetensors").removeprefix("it ")
        raise CodecError(f"{path} {fault} ({brief(error)}); download the checkpoint again") from None


def _are_named_tensors(weights: object) -> TypeGuard[Mapping[str, Tensor]]:
    """Whether these are plain tensors by name, of any shape."""
    return isinstance(weights, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout == torch.strided
        for name, tensor in weights.items()
    )
