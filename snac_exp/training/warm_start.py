"""Begin a run with the weights of another: what was loaded and what was not is said tensor by tensor."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.errors import CheckpointError
from snac_exp.release.loading import exported_adversary, trainable_weights
from snac_exp.system.checksums.listed_files import DESCRIPTION_FILE
from snac_exp.system.files import atomic_path
from snac_exp.tracking.run_folder import RunFolder

_ADVERSARY = "adversary."  # before the names of discriminators' tensors


@dataclass(frozen=True)
class WarmStart:
    """Names of tensors: loaded; kept as the recipe starts them, since the file lacks them; and unused from the file.

    Those of discriminators begin with `adversary.`.
    """

    path: Path
    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    unused: tuple[str, ...]

    def lines(self) -> list[str]:
        """A summary, naming every tensor of the model that was not loaded; discriminators are counted."""
        lines = []
        for about, adversary in (("", False), (" of discriminators", True)):
            loaded, kept, unused = (
                [name for name in names if name.startswith(_ADVERSARY) is adversary]
                for names in (self.loaded, self.kept, self.unused)
            )
            if loaded or not adversary:
                lines.append(f"init_from: {len(loaded)} tensors{about} loaded from {self.path}")
            for names, text in (
                (kept, "are not in that file and start as the recipe says"),
                (unused, "of that file have no place in this model"),
            ):
                # A set of discriminators has hundreds; init_from.txt names them.
                named = "" if adversary else f": {', '.join(names)}"
                lines += [f"init_from: {len(names)} tensors{about} {text}{named}"] if names else []
        return lines

    def write(self, run_dir: Path) -> None:
        """Every tensor with its fate, one a line, to RUN_DIR/init_from.txt."""
        fates = [("loaded", self.loaded), ("kept", self.kept), ("unused", self.unused)]
        with atomic_path(RunFolder(run_dir).init_from) as path:
            path.write_text("".join(f"{fate}\t{name}\n" for fate, names in fates for name in names), encoding="utf-8")


def warm_start(
    model: nn.Module, source: Path, frozen: Collection[str], adversary: nn.Module | None = None
) -> WarmStart:
    """Load every tensor that model and adversary have, of a run's best model, a checkpoint, or an exported folder.

    frozen: names of parameters that this recipe does not train; these must be the same there, or tokens and decoder
    would no longer belong together.

    Raises:
        CheckpointError: no such file, a tensor of another shape, no tensor of the model, or another frozen part.
    """
    path, saved, judges = _read(source)
    own = model.state_dict()
    if not any(name in saved for name in own):
        raise CheckpointError(f"init_from={path}: it has no tensor of this model; it was trained by another recipe")
    _require_shapes(path, saved, own, "choose the same codec, heads and sizes as there")
    # A frozen part that differs loads without an error: then the decoder reads codes of another codec.
    common = [name for name in own if name in saved]
    changed = [name for name in common if name in frozen and not torch.equal(saved[name].cpu(), own[name].cpu())]
    if changed:
        raise CheckpointError(
            f"init_from={path}: {changed[0]} and {len(changed) - 1} more differ from this recipe's codec, which stays "
            "frozen; export that run and set codec.path to the exported folder"
        )
    parts = [(model, saved, "")]
    if adversary is not None:
        mend = (
            "choose adversary.periods, fft_sizes, band_edges and channels as there, or give a file without: best_model_"
        )
        _require_shapes(path, judges, adversary.state_dict(), f"{mend}HEAD.pt of that run")
        parts.append((adversary, judges, _ADVERSARY))
    fates = [_loaded(part, tensors, prefix) for part, tensors, prefix in parts]
    loaded, kept, unused = (tuple(name for fate in fates for name in fate[place]) for place in range(3))
    left = () if adversary is not None else tuple(f"{_ADVERSARY}{name}" for name in judges)
    return WarmStart(path, loaded, kept, (*unused, *left))


def _read(source: Path) -> tuple[Path, Mapping[str, Tensor], Mapping[str, Tensor]]:
    """The file or folder that is read, tensors of its model, and those of its discriminators."""
    if (source / DESCRIPTION_FILE).is_file():
        judges = exported_adversary(source)
        return source, trainable_weights(source), {} if judges is None else judges.tensors
    path = RunFolder(source).best_model if source.is_dir() else source
    saved = read_checkpoint(path)
    return path, saved.model, saved.adversary or {}


def _require_shapes(path: Path, saved: Mapping[str, Tensor], own: Mapping[str, Tensor], mend: str) -> None:
    """CheckpointError for the first tensor of any shape that has another shape in the module than in the file."""
    for name in own:
        if name in saved and saved[name].shape != own[name].shape:
            there, here = tuple(saved[name].shape), tuple(own[name].shape)
            raise CheckpointError(f"init_from={path}: {name} is {there} there and {here} here; {mend}")


def _loaded(module: nn.Module, saved: Mapping[str, Tensor], prefix: str) -> tuple[list[str], list[str], list[str]]:
    """Load what both have; names that were loaded, kept as they are, and unused."""
    own = module.state_dict()
    common = {name: saved[name] for name in own if name in saved}
    # Not strict, since heads may be new; names and shapes were compared before.
    module.load_state_dict(common, strict=False)
    kept, unused = [name for name in own if name not in saved], [name for name in saved if name not in own]
    return [f"{prefix}{name}" for name in common], [f"{prefix}{name}" for name in kept], [prefix + it for it in unused]
