"""Frozen parts stay bit-equal and trained ones move, with a decoder of snac_24khz's real shape."""

import pytest
import torch
from snac import SNAC

from snac_exp.codec.checkpoint import LoadedCodec, config_of, fingerprint
from snac_exp.codec.geometry import Geometry
from snac_exp.codec.heads import NativeHead, UpsampleHead
from snac_exp.codec.multirate import MultiRateSnac
from snac_exp.training.optimization.groups import group_parameters

PATTERNS: dict[str, str | None] = {name: rf"^{name}\." for name in ("trunk", r"heads\.head_48k", r"heads\.head_24k")}


def real_shape() -> LoadedCodec:
    torch.manual_seed(0)
    model = SNAC(24_000, 48, [2, 4, 8, 8], None, 1024, [8, 8, 4, 2], None, 4096, 8, [4, 2, 1]).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 19_842_914
    config = config_of(model)
    return LoadedCodec(model, Geometry.from_config(config), fingerprint(model), "real shape", config)


@pytest.mark.slow
def test_warm_up_and_main_phase_move_exactly_their_groups() -> None:
    model = MultiRateSnac.from_codec(real_shape(), {"head_24k": NativeHead, "head_48k": UpsampleHead})
    groups = group_parameters(model, PATTERNS, ("encoder.", "quantizer."))
    optimizer = torch.optim.AdamW([{"params": list(item.values())} for item in groups.groups.values()], lr=1e-3)
    codes = [torch.randint(4096, (1, length)) for length in (1, 2, 4)]
    for trained in ({r"heads\.head_48k"}, set(groups.groups)):
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        groups.set_trainable(frozenset(trained))
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            sum(waveform.square().sum() for waveform in model.decode(codes).values()).backward()  # type: ignore[union-attr]
            optimizer.step()
        moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
        allowed = {name for group in trained for name in groups.groups[group]}
        assert moved <= allowed
        assert all(moved & set(groups.groups[group]) for group in trained)
