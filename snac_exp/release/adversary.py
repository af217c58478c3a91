"""The discriminators that a codec was trained against, of a checkpoint or beside an exported codec."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from snac_exp.checkpoints.format import Checkpoint
from snac_exp.errors import CheckpointError
from snac_exp.system.files import atomic_path

ADVERSARY_FILE = "adversary.safetensors"  # beside the codec's weights


@dataclass(frozen=True)
class SavedAdversary:
    """tensors: by parameter name, `judges.HEAD.…`. settings: the values of the config group `adversary`."""

    tensors: dict[str, Tensor]
    settings: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write the tensors; the settings stand in the folder's description."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        with atomic_path(folder / ADVERSARY_FILE) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})

    def require_equal(self, other: "SavedAdversary | None", what: str) -> None:
        """CheckpointError unless the other holds the same tensors and settings."""
        same = other is not None and other.settings == self.settings and other.tensors.keys() == self.tensors.keys()
        if (
            other is None
            or not same
            or not all(torch.equal(it, other.tensors[key]) for key, it in self.tensors.items())
        ):
            raise CheckpointError(f"{what} does not hold the discriminators that were written")


def of_checkpoint(saved: Checkpoint) -> SavedAdversary | None:
    """Discriminators of a checkpoint; None where it holds none."""
    return None if saved.adversary is None else SavedAdversary(saved.adversary, dict(saved.config["adversary"]))
