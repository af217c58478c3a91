"""The codec that a run was trained from, to compare by ear with what became of it."""

from collections.abc import Mapping
from typing import Any

import torch

from snac_exp.codec.checkpoint import load_codec as load_upstream
from snac_exp.errors import CodecError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.loading import Opened, from_upstream


def codec_before(opened: Opened, device: torch.device | str = "cpu") -> ReleasedCodec:
    """From where the run's config says that it lies: a directory, this package, or the hub.

    Raises:
        CodecError: there was none, it is not at hand, or it is another one by now; the message says which.
    """
    place = None if opened.checkpoint is None else opened.checkpoint.config.get("codec")
    if not isinstance(place, Mapping):
        raise CodecError(f"{opened.source} does not say what it was trained from; name it: pretrained=…")
    if place.get("scratch") is not None:
        raise CodecError(f"{opened.source} was trained from random weights")
    path, bundled, hub_id = (_text(place.get(key)) for key in ("path", "bundled", "hub_id"))
    loaded = load_upstream(opened.blueprint.name, path, hub_id, bundled)
    if loaded.fingerprint != opened.blueprint.pretrained_fingerprint:
        raise CodecError(f"the codec '{loaded.name}' at hand is not the one that {opened.source} was trained from")
    before = from_upstream(loaded, str(path or bundled or hub_id))
    return ReleasedCodec(before.model, before.blueprint, device=device)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
