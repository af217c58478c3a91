"""A layout of conf/layout/ by its name, for programs."""

from collections.abc import Sequence

from snac_exp.codec.geometry import Geometry
from snac_exp.config.compose import compose_config, resolved
from snac_exp.config.schema import TokenLayout
from snac_exp.config.structure import structure
from snac_exp.lm.layouts.layout import Layout, layout_of


def named_layout(
    name: str, codec_name: str, geometry: Geometry, codebook_size: int, overrides: Sequence[str] = ()
) -> Layout:
    """What `layout=NAME` means on a command line; overrides: further `layout.KEY=VALUE`.

    Raises:
        CodecError: the layout does not fit the codec.
        ConfigError: there is no such layout or key, or it contradicts itself.
    """
    values = resolved(compose_config(f"layout/{name}", list(overrides)))["layout"]
    return layout_of(structure(TokenLayout, values, "layout"), codec_name, geometry, codebook_size)
