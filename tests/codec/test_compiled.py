"""Compiled parts are whole: one graph for the trunk and one for each head, whatever noise they draw."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from snac_exp.codec.multirate import MultiRateSnac


class Counting:
    """A compiler that changes nothing and counts the graphs it is given."""

    def __init__(self) -> None:
        self.graphs: list[list[tuple[int, ...]]] = []

    def __call__(self, graph: GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        self.graphs.append([tuple(item.shape) for item in inputs if isinstance(item, Tensor)])
        return graph.forward


@pytest.fixture
def counting() -> Iterator[Counting]:
    torch._dynamo.reset()
    yield Counting()
    torch._dynamo.reset()


def drawn(model: MultiRateSnac, features: Tensor, seed: int) -> Tensor:
    """Waveform of the 48 kHz head with the noise of a seed."""
    model.seed_noise(seed)
    return model(features, {"head_48k"})["head_48k"]


@pytest.mark.slow
def test_a_noisy_head_is_one_graph_for_every_seed(
    small: Any, build_model: Callable[..., MultiRateSnac], counting: Counting
) -> None:
    model = build_model(small, noise=True)
    features = torch.randn(2, 8, 256)
    expected = [drawn(model, features, seed) for seed in (1, 2)]
    assert not torch.equal(*expected)
    model.head("head_48k").compile(backend=counting, fullgraph=True, dynamic=False)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for seed, waveform in zip((1, 2), expected, strict=True):
            assert torch.allclose(drawn(model, features, seed), waveform, atol=1e-6)
    assert len(counting.graphs) == 1


@pytest.mark.slow
def test_the_trunk_is_one_graph_and_keeps_the_names_of_its_layers(
    small: Any, build_model: Callable[..., MultiRateSnac], random_codes: Any, counting: Counting
) -> None:
    model = build_model(small)
    plain = nn.Sequential(*model.trunk)
    assert list(model.trunk.state_dict()) == list(plain.state_dict())
    latent = model.latent(random_codes(small, 2))
    model.trunk.compile(backend=counting, fullgraph=True, dynamic=False)
    torch.manual_seed(0)
    features = model.features(latent)
    assert len(counting.graphs) == 1
    torch.manual_seed(0)
    assert torch.allclose(features, plain(latent), atol=1e-6)
