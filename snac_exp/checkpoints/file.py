"""One checkpoint file: written atomically, read on the CPU and without executing anything."""

import pickle
import re
from pathlib import Path
from typing import Any

import torch

from snac_exp.checkpoints.format import Checkpoint
from snac_exp.errors import CheckpointError
from snac_exp.system.checksums.torch_zip import verify_torch_zip
from snac_exp.system.files import atomic_path, sha256_of_file
from snac_exp.system.paths.kind import TORCH_KINDS, fault_of

_UNREADABLE = (RuntimeError, EOFError, ValueError, OSError, LookupError, TypeError, AttributeError)
"""What torch's reader raises where a file is cut off, damaged or something else."""


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> str:
    """Write one file atomically and return its SHA-256.

    Raises:
        TypeError: it holds more than tensors and plain values, so it could not be loaded safely.
    """
    payload = checkpoint.to_payload()
    _check_plain(payload, "checkpoint")
    with atomic_path(path) as temporary:
        torch.save(payload, temporary)
        # Of the file before it gets its name: nobody can have altered what is hashed.
        return sha256_of_file(temporary)


def read_checkpoint(path: Path) -> Checkpoint:
    """Load a file of `write_checkpoint`, of this format or an older one; its tensors lie on the CPU.

    Raises:
        CheckpointError: not there, not readable as tensors and plain values, of a newer format, or malformed.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    return Checkpoint.from_payload(read_tensors(path), str(path))


def read_tensors(path: Path) -> Any:
    """Content of a torch file of tensors and plain values, on the CPU; nothing in it is executed.

    Raises:
        CheckpointError: it holds more than that, or it is damaged, as its checksums show.
    """
    try:
        verify_torch_zip(path)
        # On the CPU, so that a checkpoint of a GPU opens on any machine. weights_only keeps pickle from running code.
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch names the class or function that it refused as `GLOBAL module.name`.
        found = re.search(r"GLOBAL (\S+)", str(error))
        reason = (
            f"it holds {found[1]}, which could run code"
            if found
            else f"{fault_of(path, *TORCH_KINDS)}, or something else"
        )
        raise CheckpointError(
            f"{path} is no checkpoint of tensors and plain values: {reason}; nothing of it was run, use another file"
        ) from error
    except _UNREADABLE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path} is no checkpoint of tensors and plain values: {fault_of(path, *TORCH_KINDS)} ({reason}); "
            "use another file"
        ) from error


def _check_plain(value: Any, where: str) -> None:
    """Refuse what weights-only loading would refuse, while the values are still there to be mended."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]")
    # Exact types: a NumPy float is a float, but is pickled as a class that weights-only loading refuses.
    elif type(value) not in (torch.Tensor, torch.nn.Parameter, str, int, float, bool, type(None)):
        raise TypeError(f"{where} is a {type(value).__name__}; checkpoints hold tensors and plain values only")
