"""Our depthwise convolution against the library's: outputs and all gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snac_exp.codec.fast.depthwise import DepthwiseFunction, use_fast_depthwise


@pytest.mark.parametrize("dilation", [1, 3, 9])
@pytest.mark.parametrize("length", [20, 301])
def test_outputs_and_gradients_equal_conv1d(dilation: int, length: int) -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(3, 6, length), torch.randn(6, 1, 7), torch.randn(6)]
    gradient = torch.randn(3, 6, length)
    results = []
    for function in (
        lambda x, w, b: DepthwiseFunction.apply(x, w, b, dilation),
        lambda x, w, b: F.conv1d(x, w, b, padding=3 * dilation, dilation=dilation, groups=6),
    ):
        inputs = [tensor.clone().requires_grad_() for tensor in tensors]
        output = function(*inputs)
        output.backward(gradient)
        results.append([output.detach(), *(tensor.grad for tensor in inputs)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_gradients_are_right_in_double_precision() -> None:
    torch.manual_seed(0)
    inputs = (torch.randn(2, 3, 11), torch.randn(3, 1, 5), torch.randn(3))
    doubles = tuple(tensor.double().requires_grad_() for tensor in inputs)
    assert torch.autograd.gradcheck(lambda x, w, b: DepthwiseFunction.apply(x, w, b, 2), doubles)


def test_only_same_padded_depthwise_layers_are_exchanged_and_inference_keeps_the_library_s_bits() -> None:
    model = nn.Sequential(nn.Conv1d(4, 4, 7, padding=3, groups=4), nn.Conv1d(4, 4, 1), nn.Conv1d(4, 4, 7, groups=4))
    x = torch.randn(1, 4, 50)
    with torch.no_grad():
        before = model(x)
        use_fast_depthwise(use_fast_depthwise(model))
        assert torch.equal(model(x), before)
    kinds = [type(layer) is nn.Conv1d for layer in model]
    assert kinds == [False, True, True]
    assert [name for name, _ in model.named_parameters()] == [
        f"{i}.{part}" for i in range(3) for part in ("weight", "bias")
    ]
