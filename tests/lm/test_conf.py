"""conf/lm: every file is a model, and the runs are those of the recipe."""

from typing import Any

import pytest
import torch

from snac_exp.config.compose import compose_config, config_dir, resolved
from snac_exp.config.schema import LanguageModel
from snac_exp.config.structure import structure
from snac_exp.lm.frames import FrameLayout
from snac_exp.lm.transformer import TokenTransformer

DAC = FrameLayout.plain((1024,) * 9, 86.1328125)


def settings_of(name: str, **changes: Any) -> LanguageModel:
    values = resolved(compose_config(f"lm/{name}", []))["lm"]
    return structure(LanguageModel, values | changes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sizes", "dropout", "ctx", "millions"),
    [
        ("run1_base", (512, 12, 8), 0.0, 1280, 47.9),
        ("run2_big", (768, 16, 12), 0.1, 1280, 128.6),
        ("run3_fast", (768, 16, 12), 0.1, 512, 128.0),
        ("next_896", (896, 20, 14), 0.1, 1024, 210.4),
    ],
)
def test_the_runs_have_the_sizes_of_the_recipe(
    name: str, sizes: tuple[int, int, int], dropout: float, ctx: int, millions: float
) -> None:
    settings = settings_of(name)
    assert (settings.d_model, settings.num_layers, settings.num_heads) == sizes
    assert (settings.dropout, settings.ctx_frames, settings.pattern, settings.positions) == (
        dropout,
        ctx,
        "parallel",
        "learned",
    )
    with torch.device("meta"):
        assert TokenTransformer(settings, DAC).num_parameters / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("pattern", ["parallel", "delay", "flatten", "depth"])
@pytest.mark.parametrize("name", sorted({path.stem for path in (config_dir() / "lm").glob("*.yaml")} - {"none"}))
def test_every_size_builds_in_every_pattern(name: str, pattern: str) -> None:
    with torch.device("meta"):
        assert TokenTransformer(settings_of(name, pattern=pattern), DAC).num_parameters > 0
