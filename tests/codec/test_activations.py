import copy

import pytest
import torch
from snac.layers import Snake1d

from snac_exp.codec.fast.snake import FastSnake1d, use_fast_snake


def _pair(channels: int = 6) -> tuple[Snake1d, FastSnake1d]:
    upstream = Snake1d(channels)
    torch.nn.init.uniform_(upstream.alpha, -0.5, 3.0)
    return upstream, use_fast_snake(copy.deepcopy(upstream))


@pytest.mark.parametrize("grad", [True, False])
def test_forward_is_bit_equal_to_upstream(grad):
    torch.manual_seed(0)
    upstream, fast = _pair()
    assert type(fast) is FastSnake1d
    with torch.set_grad_enabled(grad):
        for scale in (1e-4, 1.0, 30.0, 1.0, 1.0):  # upstream's is scripted and optimises itself after some calls
            x = scale * torch.randn(2, 6, 501)
            assert torch.equal(fast(x), upstream(x))


@pytest.mark.slow
def test_gradients_equal_upstreams():
    torch.manual_seed(0)
    upstream, fast = _pair()
    x = torch.randn(2, 6, 501)
    weight = torch.randn(2, 6, 501)
    gradients = []
    for snake in (upstream, fast):
        leaf = x.clone().requires_grad_()
        (snake(leaf) * weight).sum().backward()
        gradients.append((leaf.grad, snake.alpha.grad))
    for expected, actual in zip(*gradients, strict=True):
        assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.slow
def test_gradients_are_right_in_double_precision():
    _, fast = _pair(3)
    x = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fast.double(), (x,))
    for alpha_only in (True, False):
        fast.alpha.requires_grad_(alpha_only)
        leaf = x.detach().clone().requires_grad_(not alpha_only)
        fast(leaf).sum().backward()
        assert (leaf.grad is None) == alpha_only


def test_only_the_input_is_kept_for_the_backward_pass():
    upstream, fast = _pair()
    kept = {}
    for name, snake in (("upstream", upstream), ("fast", fast)):
        sizes: list[int] = []
        x = torch.randn(2, 6, 501, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            snake(x)
        kept[name] = sum(size for size in sizes if size == x.numel()) // x.numel()
    assert kept["fast"] == 1
    assert kept["upstream"] > 1


def test_names_and_values_stay():
    layers = torch.nn.Sequential(Snake1d(2), torch.nn.Sequential(Snake1d(3)))
    before = {name: value.clone() for name, value in layers.state_dict().items()}
    use_fast_snake(layers)
    assert [type(module) for module in layers.modules()].count(FastSnake1d) == 2
    assert layers.state_dict().keys() == before.keys()
    assert all(torch.equal(layers.state_dict()[name], value) for name, value in before.items())
