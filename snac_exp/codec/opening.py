"""The codec that a recipe names, opened."""

from dataclasses import asdict

from snac_exp.codec.checkpoint import LoadedCodec, load_codec
from snac_exp.codec.geometry import check_declared
from snac_exp.codec.scratch import fresh_codec
from snac_exp.config.compose import compose_config, config_dir, resolved
from snac_exp.config.schema import Codec
from snac_exp.config.structure import structure


def open_codec(codec: Codec, seed: int = 0) -> LoadedCodec:
    """The checkpoint of a codec config, or random weights drawn by the seed; its geometry must be the declared one."""
    if codec.scratch is not None:
        loaded = fresh_codec(asdict(codec.scratch), seed, codec.name)
    else:
        loaded = load_codec(codec.name, codec.path, codec.hub_id, codec.bundled)
    if codec.geometry is not None:
        check_declared(loaded.geometry, codec.geometry)
    return loaded


def named_codec(name: str) -> Codec | None:
    """What `codec=NAME` means where a recipe is composed, a file of conf/codec/; None if there is none."""
    if name not in {path.stem for path in (config_dir() / "codec").glob("*.yaml")}:
        return None
    return structure(Codec, resolved(compose_config(f"codec/{name}", []))["codec"], "codec")
