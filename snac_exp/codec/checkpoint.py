"""SNAC checkpoints in upstream's layout: a directory (or hub repository) of config.json and weights, as
pytorch_model.bin or model.safetensors."""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from snac import SNAC
from snac.layers import NoiseBlock
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from snac_exp.codec.files.weights import (
    SAFETENSORS_FILE,
    WEIGHTS_FILE,
    brief,
    read_weights,
    unknown_prefix,
    weights_file,
)
from snac_exp.codec.geometry import CONFIG_FILE, Geometry, config_of_directory
from snac_exp.errors import CodecError
from snac_exp.system.files import atomic_path, write_json
from snac_exp.system.hub import download

HUB_FILES = ((WEIGHTS_FILE, CONFIG_FILE), (SAFETENSORS_FILE, CONFIG_FILE))
"""What a repository of the hub holds in upstream's layout, in the one form of weights or the other."""
_LONGEST_LIST = 32  # of rates or strides: SNAC has four
_UNBUILDABLE = (TypeError, ValueError, RuntimeError, ZeroDivisionError, IndexError, OverflowError)


@dataclass(frozen=True)
class LoadedCodec:
    """A pretrained codec in eval mode on the CPU, with what identifies it."""

    model: SNAC
    geometry: Geometry
    fingerprint: str
    name: str
    config: dict[str, Any]


def load_codec(name: str, path: str | Path | None, hub_id: str | None, bundled: str | None = None) -> LoadedCodec:
    """Load a checkpoint from `path`, else from the package's own assets (`bundled`), else from the hub.

    Raises:
        CodecError: nothing is named, the hub is out of reach, or a file is missing, altered or of another model.
    """
    if path is not None:
        return load_directory(name, Path(path).expanduser())
    if bundled is not None:
        return load_directory(name, bundled_directory(bundled))
    if hub_id is not None:
        return load_directory(name, download(hub_id, *HUB_FILES, mend="set codec.path=DIR", error=CodecError))
    raise CodecError(f"codec '{name}' has no source: set codec.path=DIR or codec.hub_id=OWNER/NAME")


def bundled_directory(bundled: str) -> Path:
    """Where a checkpoint that comes with this package lies."""
    return Path(__file__).resolve().parents[1] / "assets" / bundled


def load_directory(name: str, directory: Path) -> LoadedCodec:
    """Load a checkpoint directory; weights must fit strictly, and files that could run code are refused.

    Shapes are compared before the model takes memory: what the weights do not fill is never allocated.

    Raises:
        CodecError: names the file and what is wrong with it.
    """
    config = config_of_directory(directory)
    # On the device `meta`, which allocates nothing: a config that claims terabytes is refused by its shapes.
    with WithoutNorms():
        model, geometry = _build(config, directory / CONFIG_FILE, "meta")
    file = weights_file(directory)
    weights = read_weights(file)
    _fill(model, weights.tensors, file, assign=True)
    if any(tensor.is_meta for tensor in chain(model.parameters(), model.buffers())):
        # What no file holds, as the scale of attention, has to be computed.
        model, _ = _build(config, directory / CONFIG_FILE, "cpu")
        _fill(model, weights.tensors, file)
    if weights.note:
        print(f"{file}: {weights.note}", file=sys.stderr)
    model.eval()
    return LoadedCodec(model, geometry, fingerprint(model), name, config)


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all stored tensors, sorted by name; the same on every device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def codebooks_fingerprint(quantizer: Any) -> str:
    """SHA-256 over strides and codebooks of a quantizer; training the decoder or folding weights does not change it."""
    digest = hashlib.sha256()
    for level in quantizer.quantizers:
        # As float32 on the CPU, so that neither the stored precision nor the device changes it.
        codebook = level.codebook.weight.detach().float().cpu().contiguous()
        # The stride too: the same codebook at another stride makes other audio of the same tokens.
        digest.update(f"{level.stride} {list(codebook.shape)}\n".encode())
        digest.update(codebook.numpy().tobytes())
    return digest.hexdigest()


def save_snac(model: SNAC, directory: Path) -> None:
    """Write a model in upstream's layout, so that `SNAC.from_pretrained(directory)` loads it; each file atomically.

    The same model gives the same bytes.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(Path(directory) / WEIGHTS_FILE) as temporary, open(temporary, "wb") as file:
        torch.save(weights, file)  # given a path, torch would store the name of the temporary file
    write_json(Path(directory) / CONFIG_FILE, config_of(model))


def config_of(model: SNAC) -> dict[str, Any]:
    """The arguments of SNAC that build this model; upstream does not keep noise and depthwise, so they are read off."""
    names = inspect.signature(SNAC).parameters
    config = {name: getattr(model, name) for name in names if name not in ("noise", "depthwise")}
    config["noise"] = any(isinstance(module, NoiseBlock) for module in model.decoder.modules())
    config["depthwise"] = bool(model.encoder.block[-1].groups > 1)
    plain: dict[str, Any] = json.loads(json.dumps(config))  # lists instead of tuples, as a file gives them
    return plain


def _build(config: dict[str, Any], path: Path, device: str) -> tuple[SNAC, Geometry]:
    """The model that a config.json describes, of random weights on the CPU or of none on the device `meta`."""
    long = [key for key, value in config.items() if isinstance(value, list) and len(value) > _LONGEST_LIST]
    if long:
        raise CodecError(f"{path} does not describe a SNAC model: {long[0]} has more than {_LONGEST_LIST} numbers")
    # Upstream draws random weights first, which would move the caller's draws.
    with torch.random.fork_rng(devices=[]), torch.device(device):
        try:
            geometry = Geometry.from_config(config)
            return SNAC(**config), geometry
        except _UNBUILDABLE as error:
            raise CodecError(f"{path} does not describe a SNAC model: {brief(error)}") from None


class WithoutNorms(TorchFunctionMode):
    """Shapes of weight normalisation alone: the norms of nothing, on the device `meta`, take half of the building."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.norm_except_dim:
            weight, _, dim = args
            return weight.new_empty([length if i == dim else 1 for i, length in enumerate(weight.shape)])
        if func is torch._weight_norm:
            return args[0]
        return func(*args, **(kwargs or {}))


def _fill(model: SNAC, weights: dict[str, Tensor], path: Path, *, assign: bool = False) -> None:
    """Put weights (by the names and shapes of the model) into it, or with `assign` copies in place of its own.

    Raises:
        CodecError: they do not fit it.
    """
    own = model.state_dict()
    prefix = unknown_prefix(weights, own)
    if prefix is not None:
        raise CodecError(f"{path}: names carry the prefix '{prefix}'; write the file anew without it")
    if assign:  # each with memory of its own, in the model's precision, as copying into it gives them
        weights = {name: _copied(tensor, own.get(name, tensor).dtype) for name, tensor in weights.items()}
    try:
        model.load_state_dict(weights, assign=assign)
    except RuntimeError as error:
        raise CodecError(
            f"{path} does not fit the model that {CONFIG_FILE} beside it describes: {brief(error)}"
        ) from None


def _copied(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A contiguous copy in `dtype`, of the same shape."""
    return tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)
