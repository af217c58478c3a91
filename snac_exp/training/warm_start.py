"""Begin a run with the weights of another: what was loaded and what was not is said tensor by tensor."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.errors import CheckpointError
from snac_exp.system.files import atomic_path
from snac_exp.tracking.run_folder import RunFolder


@dataclass(frozen=True)
class WarmStart:
    """Names of tensors: loaded; kept as the recipe starts them, since the file lacks them; and unused from the file."""

    path: Path
    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    unused: tuple[str, ...]

    def lines(self) -> list[str]:
        """A summary, naming every tensor that was not loaded."""
        head = f"init_from: {len(self.loaded)} tensors loaded from {self.path}"
        kept = f"init_from: {len(self.kept)} tensors are not in that file and start as the recipe says"
        unused = f"init_from: {len(self.unused)} tensors of that file have no place in this model"
        named = [(kept, self.kept), (unused, self.unused)]
        return [head, *(f"{line}: {', '.join(names)}" for line, names in named if names)]

    def write(self, run_dir: Path) -> None:
        """Every tensor with its fate, one a line, to RUN_DIR/init_from.txt."""
        fates = [("loaded", self.loaded), ("kept", self.kept), ("unused", self.unused)]
        with atomic_path(RunFolder(run_dir).init_from) as path:
            path.write_text("".join(f"{fate}\t{name}\n" for fate, names in fates for name in names), encoding="utf-8")


def warm_start(model: nn.Module, source: Path, frozen: Collection[str]) -> WarmStart:
    """Load every tensor of a run's best model, or of a checkpoint, that the model has.

    frozen: names of parameters that this recipe does not train; these must be the same there, or tokens and decoder
    would no longer belong together.

    Raises:
        CheckpointError: no such file, a tensor of another shape, nothing in common, or another frozen part.
    """
    path = RunFolder(source).best_model if source.is_dir() else source
    saved, own = read_checkpoint(path).model, model.state_dict()
    common = [name for name in own if name in saved]
    if not common:
        raise CheckpointError(f"init_from={path}: it has no tensor of this model; it was trained by another recipe")
    for name in common:
        if saved[name].shape != own[name].shape:
            raise CheckpointError(
                f"init_from={path}: {name} is {tuple(saved[name].shape)} there and {tuple(own[name].shape)} here; "
                "choose the same codec, heads and sizes as there"
            )
    # A frozen part that differs loads without an error: then the decoder reads codes of another codec.
    changed = [name for name in common if name in frozen and not torch.equal(saved[name].cpu(), own[name].cpu())]
    if changed:
        raise CheckpointError(
            f"init_from={path}: {changed[0]} and {len(changed) - 1} more differ from this recipe's codec, which stays "
            "frozen; export that run and set codec.path to the exported folder"
        )
    # Not strict, since heads may be new; names and shapes were compared above.
    model.load_state_dict({name: saved[name] for name in common}, strict=False)
    kept = tuple(name for name in own if name not in saved)
    return WarmStart(path, tuple(common), kept, tuple(name for name in saved if name not in own))
