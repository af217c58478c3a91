"""What a multi-rate model is, apart from its weights, and how to build it from a description nobody vouches for."""

import importlib
import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from snac import SNAC
from torch import Tensor

from snac_exp.codec.checkpoint import LoadedCodec, WithoutNorms
from snac_exp.codec.files.weights import unknown_prefix
from snac_exp.codec.geometry import Geometry
from snac_exp.codec.heads import Head
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.errors import CheckpointError, SnacExpError
from snac_exp.release.folding import fold

TRUSTED_PREFIX = "snac_exp.codec."
"""Heads from here are code of this package; any other class must be allowed by name."""

# No honest description has more; SNAC would take memory for it before any weight is compared.
_LARGEST_NUMBER = 10_000_000
_LONGEST_LIST = 32
# What SNAC, Geometry and heads raise on arguments of a wrong kind or size; all of it means "not buildable" here.
_UNBUILDABLE = (TypeError, ValueError, RuntimeError, ZeroDivisionError, IndexError, SnacExpError)


@dataclass(frozen=True)
class Blueprint:
    """Everything that builds a model with the right shapes.

    Attributes:
        name: of the codec it was trained from, e.g. snac_24khz.
        codec: contents of the codec's config.json.
        heads: name -> {"_target_": class, **options}, as in the recipe.
        pretrained_fingerprint: SHA-256 of the codec's weights before training.
    """

    name: str
    codec: dict[str, Any]
    heads: dict[str, dict[str, Any]]
    pretrained_fingerprint: str | None = None
    # Not compared: which code the caller trusts does not make it another model.
    allowed_heads: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, description: Mapping[str, Any], source: str, allow_heads: Collection[str] = ()) -> "Blueprint":
        """Check a description that came with a file; nothing it names is imported unless it is ours or allowed.

        Raises:
            CheckpointError: a part is missing, of the wrong kind, or names code that is not allowed; names `source`.
        """
        codec, heads = description.get("codec"), description.get("heads")
        if not isinstance(codec, dict) or not isinstance(heads, dict) or not heads:
            raise CheckpointError(f"{source} does not describe a model: it lacks the codec's config or the heads")
        _check_codec_config(codec, source)
        # All of it is checked before `_build` imports a head's module: an import runs code.
        for name, head in heads.items():
            _check_head(name, head, source, allow_heads)
        fingerprint = description.get("pretrained_fingerprint")
        return cls(
            name=str(description.get("name", "codec")),
            codec=codec,
            heads=heads,
            pretrained_fingerprint=None if fingerprint is None else str(fingerprint),
            allowed_heads=tuple(allow_heads),
        )

    def describe(self) -> dict[str, Any]:
        """Plain values that `parse` takes."""
        return {
            "name": self.name,
            "pretrained_fingerprint": self.pretrained_fingerprint,
            "codec": self.codec,
            "heads": self.heads,
        }


def restore(blueprint: Blueprint, weights: Mapping[str, Tensor], source: str, *, folded: bool = False) -> MultiRateSnac:
    """The model with these weights (by parameter name, of any shape), in eval mode; shapes are compared first.

    Args:
        folded: the weights are those of the inference form, see `snac_exp.release.folding`.

    Raises:
        CheckpointError: weights are missing, left over, of another shape, or not finite; names `source`.
    """
    # On the meta device tensors have shapes but no memory, so a description of a huge model costs nothing.
    with torch.device("meta"), WithoutNorms():
        expected = _build(blueprint, source, folded).state_dict()
    _check_weights(expected, weights, source)
    with torch.random.fork_rng(devices=[]):  # building draws random weights, which must not move the caller's draws
        model = _build(blueprint, source, folded)
    model.load_state_dict(weights)
    return model.eval()


def _build(blueprint: Blueprint, source: str, folded: bool) -> MultiRateSnac:
    try:
        model = SNAC(**blueprint.codec)
        codec = LoadedCodec(model, Geometry.from_config(blueprint.codec), "", blueprint.name, blueprint.codec)
        factories = {name: partial(_head, head) for name, head in blueprint.heads.items()}
        built = MultiRateSnac.from_codec(codec, factories)
    except (ImportError, *_UNBUILDABLE) as error:
        raise CheckpointError(f"{source} describes no model that can be built: {error}") from None
    return fold(built) if folded else built


def _head(description: Mapping[str, Any], codec: LoadedCodec) -> Head:
    options = dict(description)
    module, _, name = str(options.pop("_target_")).rpartition(".")
    kind = getattr(importlib.import_module(module), name, None)
    # The module is trusted by now; the name in it may still be a function or another class of that module.
    if not (inspect.isclass(kind) and issubclass(kind, Head)):
        raise ValueError(f"{module}.{name} is no head")
    head: Head = kind(codec, **options)
    return head


def _check_codec_config(config: Mapping[str, Any], source: str) -> None:
    # Keys that SNAC does not take, and sizes that would fill memory: the file may come from anywhere.
    known = inspect.signature(SNAC).parameters
    for key, value in config.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        fits = len(numbers) <= _LONGEST_LIST and all(
            number is None or (isinstance(number, int) and 0 <= number <= _LARGEST_NUMBER) for number in numbers
        )
        if key not in known or not fits:
            raise CheckpointError(f"{source}: '{key}' of the codec's config is no argument of SNAC with a usable value")
    try:
        Geometry.from_config(config)
    except _UNBUILDABLE as error:
        raise CheckpointError(f"{source}: the codec's config has no geometry: {error}") from None


def _check_head(name: object, head: object, source: str, allow_heads: Collection[str]) -> None:
    target = head.get("_target_") if isinstance(head, dict) else None
    if not isinstance(name, str) or not name.isidentifier() or not isinstance(target, str):
        raise CheckpointError(f"{source}: head {name!r} needs a plain name and a _target_")
    if target not in allow_heads and not target.startswith(TRUSTED_PREFIX):
        raise CheckpointError(
            f"{source} wants to run {target} for {name}, which is no code of this package; if you trust it, "
            f"allow it by name: allow_heads=[{target}] on the command line, load_codec(…, allow_heads=['{target}'])"
        )


def _check_weights(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: str) -> None:
    """CheckpointError unless both have the same names and shapes; tensors by parameter name, of any shape."""
    prefix = unknown_prefix(weights, expected)
    if prefix is not None:
        raise CheckpointError(f"{source}: names carry the prefix '{prefix}'; write the file anew without it")
    # Named here rather than by load_state_dict, which would list every name of a model of another kind.
    for names, what in ((expected.keys() - weights.keys(), "lacks"), (weights.keys() - expected.keys(), "also holds")):
        if names:
            raise CheckpointError(f"{source} {what} weights that do not fit its own description: {_few(names)}")
    for name, tensor in expected.items():
        if tensor.shape != weights[name].shape:
            shapes = f"{list(weights[name].shape)}, not {list(tensor.shape)}"
            raise CheckpointError(f"{source}: '{name}' has shape {shapes} as its own config says")
    check_finite(weights, source)


def check_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """CheckpointError unless all are plain tensors of finite floating-point numbers, of any shape; names `source`."""
    for name, tensor in weights.items():
        # An integer, sparse or meta tensor of the right shape would pass the comparison of shapes.
        if not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.is_meta:
            kind = f"{tensor.layout} tensor of {tensor.dtype} on {tensor.device}"
            raise CheckpointError(f"{source}: '{name}' is a {kind}, no weights; export or download it again")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{source}: '{name}' holds NaN or infinity; use an earlier checkpoint")


def _few(names: Collection[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
