"""From what a user names to a system that can be evaluated."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from snac_exp.codec.checkpoint import bundled_directory
from snac_exp.codec.geometry import check_declared
from snac_exp.config.schema import Codec
from snac_exp.errors import CodecError
from snac_exp.evaluation.baselines import MeanSpectrumNoise
from snac_exp.evaluation.systems import CodecSystem, Interpolation
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.loading import Opened, open_model


def open_checkpoint(
    source: str,
    device: torch.device,
    *,
    name: str | None = None,
    noise: bool = True,
    allow_heads: Collection[str] = (),
) -> CodecSystem:
    """A trained codec: a run folder, a checkpoint, an exported folder, upstream's layout or a hub id.

    Raises:
        CheckpointError, CodecError: nothing usable is there.
    """
    opened = open_model(source, allow_heads)
    codec = ReleasedCodec(opened.model, opened.blueprint, device=device)
    return _warm(CodecSystem(codec, name or _name_of(source, opened), _provenance(source, opened), noise))


def open_pretrained(codec: Codec, device: torch.device, *, name: str | None = None, noise: bool = True) -> CodecSystem:
    """A pretrained codec without training, from its config group.

    Raises:
        CodecError: nothing usable is there, it is no SNAC, or its geometry is not the declared one.
    """
    if codec.kind != "snac":
        raise CodecError(f"codec '{codec.name}' is of kind {codec.kind}; only SNAC codecs are evaluated here")
    # What lies here first: a folder, then the copy in the package; the hub needs a network.
    source = codec.path or (codec.bundled and str(bundled_directory(codec.bundled))) or codec.hub_id
    if source is None:
        raise CodecError(f"codec '{codec.name}' has no source: set codec.path=DIR or codec.hub_id=OWNER/NAME")
    opened = open_model(source)
    # A checkpoint of another hop or strides decodes without an error, with codes and audio out of step.
    if codec.geometry is not None:
        check_declared(opened.model.geometry, codec.geometry)
    released = ReleasedCodec(opened.model, opened.blueprint, device=device)
    return _warm(CodecSystem(released, name or codec.name, _provenance(source, opened), noise))


def open_interpolation(noise: MeanSpectrumNoise | None, name: str | None = None) -> Interpolation:
    """A baseline without a codec, with noise above 12 kHz or without."""
    return Interpolation(name or ("interpolate" if noise is None else "noise"), noise)


def _warm(system: CodecSystem) -> CodecSystem:
    system.warm_up()
    return system


def _name_of(source: str, opened: Opened) -> str:
    """NAME/TIME-HASH of a run, else the last part of the source."""
    if opened.run_dir is not None:
        return "/".join(opened.run_dir.parts[-2:])
    return Path(source).expanduser().resolve().name


def _provenance(source: str, opened: Opened) -> dict[str, Any]:
    """Where the weights came from: the codec they began as, and for a training checkpoint the recipe and its step."""
    where: dict[str, Any] = {"source": str(source), "codec": opened.blueprint.name}
    saved = opened.checkpoint
    if saved is not None:
        where |= {"recipe": saved.config.get("name"), "epoch": saved.state.epoch, "step": saved.state.step}
    return where
