"""`load_codec`: from whatever names a trained codec to something that encodes and decodes."""

import os
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from snac_exp.checkpoints.file import read_checkpoint
from snac_exp.checkpoints.format import Checkpoint
from snac_exp.codec.checkpoint import HUB_FILES, LoadedCodec, load_directory
from snac_exp.codec.files.weights import SAFETENSORS_FILE, WEIGHTS_FILE
from snac_exp.codec.geometry import CONFIG_FILE
from snac_exp.codec.heads import NativeHead
from snac_exp.codec.multirate import MultiRateSnac, head_name
from snac_exp.codec.opening import named_codec, open_codec
from snac_exp.errors import CheckpointError
from snac_exp.release.adversary import ADVERSARY_FILE, SavedAdversary, of_checkpoint
from snac_exp.release.blueprint import Blueprint, check_finite, restore
from snac_exp.release.codec import ReleasedCodec
from snac_exp.system.checksums import listed_files
from snac_exp.system.checksums.listed_files import DESCRIPTION_FILE, verify_listed
from snac_exp.system.files import read_json
from snac_exp.system.hub import download, has_file, is_repo_id
from snac_exp.tracking.run_folder import RunFolder

FORMAT = "snac_exp multi-rate codec"
VERSION = 1

# From the class itself, so that a file written today names the class wherever it moves.
_NATIVE_HEAD = f"{NativeHead.__module__}.{NativeHead.__qualname__}"


@dataclass(frozen=True)
class Opened:
    """A model as trained (weight norm unfolded where its file has it), and where it came from.

    Attributes:
        checkpoint: the training checkpoint without its tensors, if it came from one.
        run_dir: the run folder of that checkpoint, if it lies in one.
        adversary: discriminators to be exported with it.
    """

    model: MultiRateSnac
    blueprint: Blueprint
    source: str
    checkpoint: Checkpoint | None = None
    run_dir: Path | None = None
    folded: bool = False
    adversary: SavedAdversary | None = None


def load_codec(
    source: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    allow_heads: Collection[str] = (),
) -> ReleasedCodec:
    """Open a trained codec.

    Args:
        source: a run folder (its checkpoints/best_model.pt), a checkpoint file, a folder that `snac-exp export` wrote,
            a folder in upstream's layout (config.json, with pytorch_model.bin or model.safetensors), the hub id of
            one of the last two, or a name of conf/codec, as `demo`.
        dtype: of the decoder; the encoder always computes in float32.
        allow_heads: import paths of head classes outside of this package that the file may name. A file runs no other
            code.

    Raises:
        CheckpointError, CodecError: nothing usable is there; the message names the file and the mend.
    """
    opened = open_model(source, allow_heads)
    return ReleasedCodec(opened.model, opened.blueprint, device=device, dtype=dtype)


def open_model(source: str | Path, allow_heads: Collection[str] = ()) -> Opened:
    """The model that `source` names, as it was trained; see `load_codec`."""
    if not isinstance(source, str | Path):
        raise CheckpointError(f"{source!r} is no path or hub id; give one as a str or a Path")
    if source == "":  # which would be the folder where one stands
        raise CheckpointError("an empty path is no codec; give a run folder, a checkpoint file or an exported folder")
    path = Path(source).expanduser()
    # What lies here wins over a hub id or a name of the same form.
    if os.path.isfile(path):  # false where Path.is_file raises, as for a name that is too long
        return _open_checkpoint(path, allow_heads)
    if os.path.isdir(path):
        return _open_directory(path, allow_heads)
    if isinstance(source, str) and is_repo_id(source):
        return _open_hub(source, allow_heads)
    return _open_named(str(source))


def describe_folder(
    blueprint: Blueprint,
    *,
    folded: bool,
    files: Mapping[str, str] | None = None,
    adversary: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Contents of snac_exp.json beside weights of `blueprint`.

    files: the SHA-256 of those by name. adversary: settings of the discriminators among them.
    """
    described = {"format": FORMAT, "version": VERSION, "weight_norm_folded": folded, **blueprint.describe()}
    described |= {} if adversary is None else {"adversary": dict(adversary)}
    return described | {listed_files.KEY: dict(files or {})}


def _open_directory(path: Path, allow_heads: Collection[str]) -> Opened:
    # The description first: an exported folder may hold upstream's layout too, with the codec's own output alone.
    if (path / DESCRIPTION_FILE).is_file():
        return _open_exported(path, allow_heads)
    if RunFolder(path).checkpoints.is_dir():
        best = RunFolder(path).best_model
        if not best.is_file():
            raise CheckpointError(f"{path} has no {best.name} yet: let it validate once, or give a checkpoint file")
        return _open_checkpoint(best, allow_heads)
    if (path / CONFIG_FILE).is_file():
        return from_upstream(load_directory(path.resolve().name, path), str(path))
    raise CheckpointError(
        f"{path} holds no codec: a run folder has checkpoints/, an exported folder {DESCRIPTION_FILE}, "
        f"upstream's layout {CONFIG_FILE} and {WEIGHTS_FILE} or {SAFETENSORS_FILE}"
    )


def _open_checkpoint(path: Path, allow_heads: Collection[str]) -> Opened:
    return open_saved(read_checkpoint(path), path, allow_heads)


def open_saved(saved: Checkpoint, path: Path, allow_heads: Collection[str] = ()) -> Opened:
    """The model of a checkpoint that was read from `path` already; see `load_codec`."""
    description = {
        "name": saved.provenance.get("name"),
        "pretrained_fingerprint": saved.provenance.get("fingerprint"),
        "codec": saved.provenance.get("config"),
        "heads": saved.config.get("heads"),
    }
    blueprint = Blueprint.parse(description, str(path), allow_heads)
    # Only there: a checkpoint that was copied elsewhere has no run folder around it.
    run_dir = path.resolve().parents[1] if path.resolve().parent.name == "checkpoints" else None
    model = restore(blueprint, saved.model, str(path))
    return Opened(model, blueprint, str(path), saved.without_tensors(), run_dir)


def read_description(folder: Path) -> dict[str, Any]:
    """What an exported folder says of its weights.

    Raises:
        CheckpointError: it cannot be read, is another program's, or of a newer version.
    """
    file = folder / DESCRIPTION_FILE
    try:
        description = read_json(file)
        verify_listed(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); export or download it again") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"{file} is not written by snac-exp export; give another folder")
    if description.get("version") != VERSION:
        raise CheckpointError(f"{file} has version {description.get('version')}, not {VERSION}; update this program")
    return description


def trainable_weights(folder: Path) -> dict[str, Tensor]:
    """Tensors of an exported folder by parameter name, as they are trained; no code that it names is run.

    Raises:
        CheckpointError: nothing usable is there, or it is an inference form.
    """
    if read_description(folder).get("weight_norm_folded") is True:
        raise CheckpointError(f"{folder} is an inference form, which nothing can train; give the folder above it")
    weights = read_weights(folder / SAFETENSORS_FILE)
    check_finite(weights, str(folder / SAFETENSORS_FILE))
    return weights


def _open_exported(path: Path, allow_heads: Collection[str]) -> Opened:
    description = read_description(path)
    folded = description.get("weight_norm_folded") is True
    blueprint = Blueprint.parse(description, str(path / DESCRIPTION_FILE), allow_heads)
    weights = read_weights(path / SAFETENSORS_FILE)
    return Opened(
        restore(blueprint, weights, str(path / SAFETENSORS_FILE), folded=folded), blueprint, str(path), folded=folded
    )


def exported_adversary(folder: Path) -> SavedAdversary | None:
    """Discriminators beside an exported codec; None where it was exported without.

    Raises:
        CheckpointError: they are damaged, or not there although the description lists them.
    """
    settings = read_description(folder).get("adversary")
    if settings is None:
        return None
    if not isinstance(settings, Mapping):
        raise CheckpointError(f"{folder / DESCRIPTION_FILE}: its adversary is no mapping; export or download it again")
    tensors = read_weights(folder / ADVERSARY_FILE)
    check_finite(tensors, str(folder / ADVERSARY_FILE))
    return SavedAdversary(tensors, dict(settings))


def trained_adversary(source: Path) -> SavedAdversary:
    """Discriminators of a run's best model, a checkpoint or an exported folder, that have trained.

    Raises:
        CheckpointError: there are none, or their first step was still to come.
    """
    if (source / DESCRIPTION_FILE).is_file():
        found = exported_adversary(source)
        mend = "export it again with adversary=true from the run that trained it"
    else:
        path = RunFolder(source).best_model if source.is_dir() else source
        saved = read_checkpoint(path)
        found = of_checkpoint(saved)
        mend = "train with adversary=dac, or give a checkpoint file of a run that did, like checkpoints/epoch_….pt"
        if found is not None and saved.state.step <= (begin := int(found.settings.get("start_step", 0))):
            raise CheckpointError(
                f"{path} is of step {saved.state.step}, and its discriminators join at adversary.start_step={begin}: "
                "they have learned nothing; give a later checkpoint"
            )
    if found is None:
        raise CheckpointError(f"{source} holds no discriminators; {mend}")
    return found


def from_upstream(codec: LoadedCodec, source: str) -> Opened:
    """A codec in upstream's layout: its own output only; CheckpointError if its weights are not finite."""
    check_finite(codec.model.state_dict(), source)
    name = head_name(codec.geometry.sampling_rate)
    description = {
        "name": codec.name,
        "codec": codec.config,
        "heads": {name: {"_target_": _NATIVE_HEAD}},
        "pretrained_fingerprint": codec.fingerprint,
    }
    blueprint = Blueprint.parse(description, source)
    return Opened(MultiRateSnac.from_codec(codec, {name: NativeHead}).eval(), blueprint, source)


def hub_folder(hub_id: str) -> Path:
    """A hub repository in the local cache: what `snac-exp export` pushed, else upstream's layout.

    Raises:
        CheckpointError: the hub is out of reach, or has nothing of that kind.
    """
    exported = ((SAFETENSORS_FILE, DESCRIPTION_FILE),)
    files = exported if has_file(hub_id, DESCRIPTION_FILE) else HUB_FILES
    return download(hub_id, *files, mend="give DIR", error=CheckpointError)


def _open_hub(hub_id: str, allow_heads: Collection[str]) -> Opened:
    folder = hub_folder(hub_id)
    if (folder / DESCRIPTION_FILE).is_file():
        return _open_exported(folder, allow_heads)
    return from_upstream(load_directory(hub_id.split("/")[1], folder), hub_id)


def _open_named(name: str) -> Opened:
    codec = named_codec(name)
    if codec is None:
        raise CheckpointError(
            f"there is no {name}: give a run folder, a checkpoint file, an exported folder, a hub id like OWNER/NAME, "
            "or a codec of conf/codec, like demo"
        )
    if codec.kind != "snac" or codec.scratch is not None:
        raise CheckpointError(f"conf/codec/{name}.yaml names no weights of a SNAC; give another codec")
    return from_upstream(open_codec(codec), name)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by parameter name, of any shape; CheckpointError if the file is not there or damaged."""
    if not path.is_file():
        raise CheckpointError(f"there is no {path}; export or download the folder again")
    try:
        if not verify_listed(path):
            warnings.warn(f"{path} was exported without a checksum: damage goes unseen; export it again", stacklevel=2)
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); export or download it again") from None
