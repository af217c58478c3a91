"""Opens what the doctor looks at: checkpoints of ours, plain state dicts of others. Nothing in a file is executed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from snac_exp.checkpoints.file import read_tensors
from snac_exp.checkpoints.format import Checkpoint, is_checkpoint
from snac_exp.checkpoints.state import TrainState
from snac_exp.checkpoints.store import CheckpointStore, Entry
from snac_exp.codec.files.weights import SAFETENSORS_FILE, WEIGHTS_FILE, Weights, unwrapped
from snac_exp.errors import CheckpointError
from snac_exp.release.loading import hub_folder
from snac_exp.system.checksums.listed_files import DESCRIPTION_FILE, verify_listed
from snac_exp.system.hub import is_repo_id
from snac_exp.tracking.run_folder import RunFolder

Tensors = dict[str, Tensor]

_OLD_WEIGHT_NORM = {
    ".weight_g": ".parametrizations.weight.original0",
    ".weight_v": ".parametrizations.weight.original1",
}


@dataclass(frozen=True)
class OpenedCheckpoint:
    """An opened file.

    model, average (EMA) and adversary: tensors by name. optimizers: their state dicts by name. state and config: of its
    run; None and empty for a plain state dict. run_dir: the run folder that it lies in. note: what was taken off the
    names of its weights. saved: a checkpoint of this program as it was read.
    """

    path: Path
    model: Tensors
    average: Tensors = field(default_factory=dict)
    adversary: Tensors = field(default_factory=dict)
    optimizers: dict[str, dict[str, Any]] = field(default_factory=dict)
    state: TrainState | None = None
    config: dict[str, Any] = field(default_factory=dict)
    run_dir: Path | None = None
    note: str = ""
    saved: Checkpoint | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it is a checkpoint of this program, not a plain state dict."""
        return self.state is not None

    @property
    def step(self) -> int | None:
        """Optimiser steps done; None where the file does not say."""
        return None if self.state is None else self.state.step

    @property
    def tensors_by_part(self) -> dict[str, Tensors]:
        """All named tensors, of any shape, by what they belong to."""
        parts = {"model": self.model, "ema": self.average, "adversary": self.adversary}
        return {name: tensors for name, tensors in parts.items() if tensors}


def run_of(path: Path) -> Path | None:
    """The run folder that a path is, or that a file lies in."""
    if path.is_dir():
        return path if RunFolder(path).checkpoints.is_dir() else None
    # A checkpoint that was copied out of its run lies in a folder without a config.
    run = RunFolder.of_checkpoint(path)
    return run.path if run is not None and run.config.is_file() else None


def entries_of(run_dir: Path) -> list[Entry]:
    """The checkpoints that a run lists, newest first."""
    # Opened to be read only: how many checkpoints a run keeps does not matter here.
    return CheckpointStore(RunFolder(run_dir).checkpoints, None, 1).entries()


def file_of(path: Path) -> Path:
    """The file to look at: the path itself, a run's newest checkpoint, or the weights in a folder or of a hub id.

    Raises:
        CheckpointError: there is nothing of that kind.
    """
    if path.is_file():
        return path
    if run_of(path) is not None:
        entries = entries_of(path)
        if not entries:
            raise CheckpointError(
                f"{path} lists no checkpoint in checkpoints/latest.json: none was saved, or snac-exp clean moved them "
                f"to the trash; snac-exp status {path} says how the run went"
            )
        return RunFolder(path).checkpoints / entries[0].file
    described = (path / DESCRIPTION_FILE).is_file()  # of an exported folder, whose weights are safetensors
    for name in (SAFETENSORS_FILE, WEIGHTS_FILE) if described else (WEIGHTS_FILE, SAFETENSORS_FILE):
        if (path / name).is_file():
            return path / name
    if not path.exists() and is_repo_id(str(path)):
        return file_of(hub_folder(str(path)))
    raise CheckpointError(
        f"there is no checkpoint {path}: give a file, a run folder, a folder with a codec's weights or its hub id"
    )


def open_checkpoint(path: Path) -> OpenedCheckpoint:
    """Open a checkpoint or a plain state dict (torch or safetensors).

    Raises:
        CheckpointError: it is neither, it is damaged, or opening it would run code.
    """
    content = _read(path)
    # Ours first: a checkpoint holds its weights under a name of `_NESTED` too, and would pass for a plain state dict.
    if is_checkpoint(content):
        return _of_run(path, Checkpoint.from_payload(content, str(path)))
    weights = _weights(content)
    if not weights.tensors:
        raise CheckpointError(f"{path} holds no named tensors: it is no checkpoint and no state dict")
    return OpenedCheckpoint(path, weights.tensors, run_dir=run_of(path), note=weights.note)


def _read(path: Path) -> Any:
    """Tensors by name, or whatever else a torch file holds; on the CPU."""
    if path.suffix != ".safetensors":
        return read_tensors(path)
    try:
        verify_listed(path)
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is damaged and cannot be read: {reason}") from error


def _of_run(path: Path, saved: Checkpoint) -> OpenedCheckpoint:
    return OpenedCheckpoint(
        path,
        model=_named(saved.model),
        average=_named(saved.average),
        adversary=_named(saved.adversary),
        # Other entries, such as those of a scaler, hold no moments.
        optimizers={name: item for name, item in (saved.optimizers or {}).items() if _is_optimizer(item)},
        state=saved.state,
        config=saved.config,
        run_dir=run_of(path),
        saved=saved,
    )


def _is_optimizer(item: object) -> bool:
    return isinstance(item, Mapping) and {"state", "param_groups"} <= set(item)


def _weights(content: object) -> Weights:
    """The named tensors of a state dict of another program, as the loader of codecs takes them."""
    found = unwrapped(content) or Weights(_named(content))
    return Weights(_named(found.tensors), found.taken_off)


def _named(content: object) -> Tensors:
    """The tensors among these, of any shape; names of weight norm as this program writes them."""
    # Counters and settings beside the tensors are left out: only tensors are examined.
    items = content.items() if isinstance(content, Mapping) else ()
    return {_modern(str(name)): item for name, item in items if isinstance(item, Tensor)}


def _modern(name: str) -> str:
    for old, modern in _OLD_WEIGHT_NORM.items():
        if name.endswith(old):
            return name.removesuffix(old) + modern
    return name
