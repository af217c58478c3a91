"""Layouts of conf/layout/ on codecs of any strides, and codes for them."""

from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from snac_exp.codec.geometry import Geometry
from snac_exp.config.compose import compose_config, config_dir, resolved
from snac_exp.config.schema import TokenLayout
from snac_exp.config.structure import structure
from snac_exp.lm.layouts.layout import Layout, layout_of

NAMES = sorted(path.stem for path in (config_dir() / "layout").glob("*.yaml"))
STRIDES = ((4, 2, 1), (8, 4, 2, 1), (8, 4, 2), (1,), (1, 1, 1), (6, 3, 2))


VALUES: dict[str, dict[str, Any]] = {name: resolved(compose_config(f"layout/{name}", []))["layout"] for name in NAMES}


@cache
def plain(name: str, strides: tuple[int, ...], entries: int) -> Layout:
    return made(name, strides, entries)


def made(
    name: str, strides: tuple[int, ...] = (4, 2, 1), entries: int = 4096, codec: str = "a_codec", **changes: Any
) -> Layout:
    options = structure(TokenLayout, VALUES[name] | changes, "layout")
    return layout_of(options, codec, Geometry(24000, 512, strides), entries)


def codes_of(layout: Layout, num_frames: int, seed: int) -> list[np.ndarray]:
    """Codes of which every third or so is the first or the last of its codebook."""
    rng, size = np.random.default_rng(seed), layout.places[0].size
    lengths = [layout.geometry.codebook_length(i, num_frames) for i in range(layout.geometry.num_codebooks)]
    return [rng.choice([0, size - 1, *rng.integers(0, size, 4)], length) for length in lengths]


@st.composite
def layouts_and_codes(draw: st.DrawFn) -> tuple[Layout, list[np.ndarray]]:
    layout = plain(
        draw(st.sampled_from(NAMES)), draw(st.sampled_from(STRIDES)), draw(st.sampled_from((1, 32, 1024, 4096)))
    )
    return layout, codes_of(layout, draw(st.integers(0, 9)), draw(st.integers(0, 99)))


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))
