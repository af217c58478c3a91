import copy

import pytest
import torch
from snac.layers import NoiseBlock
from torch import nn

from snac_exp.codec import init
from snac_exp.codec.effective import assign_effective, effective_weights
from snac_exp.codec.heads import NativeHead, ResidualHead, UpsampleHead
from snac_exp.errors import CodecError, ConfigError


def _weight_normed(conv: nn.Module) -> torch.Tensor:
    """g * v / ||v|| by hand, from what is stored."""
    stored = conv.parametrizations.weight
    norm = stored.original1.flatten(1).norm(dim=1).view(-1, 1, 1)
    return stored.original0 * stored.original1 / norm


def _narrowed(tensor: torch.Tensor, name: str, dim: int) -> torch.Tensor:
    half = tensor.shape[dim] // 2
    if name == "first":
        return tensor.narrow(dim, 0, half)
    even, odd = (tensor.index_select(dim, torch.arange(k, 2 * half, 2)) for k in (0, 1))
    return (even + odd) / 2


@pytest.mark.parametrize("name", ["average", "first"])
def test_s02_smart_init_changes_the_effective_weight(any_codec, name):
    decoder = any_codec.model.decoder
    block = decoder.model[-4].block
    head = UpsampleHead(any_codec)
    before = effective_weights(head)
    head.initialise(decoder, name)

    upsampler = head.block.block[1]
    expected = _narrowed(_weight_normed(block[1]), name, 0)
    if expected.shape[-1] != 4:
        expected = expected.unflatten(-1, (4, -1)).mean(-1)
    scale = expected.abs().max()
    assert (upsampler.weight - before["block.block.1.weight"]).abs().max() > 0.01 * scale
    assert (upsampler.weight - expected).abs().max() <= 1e-6 * scale

    x = torch.randn(1, expected.shape[0], 9)
    from_expected = nn.functional.conv_transpose1d(x, expected, block[1].bias, stride=2, padding=1)
    assert torch.allclose(upsampler(x), from_expected, atol=1e-5 * from_expected.abs().max().item())
    assert torch.equal(head.block.block[0].alpha, _narrowed(block[0].alpha, name, 1))


@pytest.mark.parametrize("name", ["average", "first"])
def test_all_equal_shapes_are_copied(any_codec, name):
    decoder = any_codec.model.decoder
    head = UpsampleHead(any_codec)
    head.initialise(decoder, name)
    for unit, source in zip(head.block.block[-3:], decoder.model[-4].block[-3:], strict=True):
        _assert_same(unit, source)
    _assert_same(nn.Sequential(head.snake, head.conv), nn.Sequential(*decoder.model[-3:-1]))
    assert torch.equal(head.block.block[1].bias, decoder.model[-4].block[1].bias)


def _assert_same(module: nn.Module, source: nn.Module) -> None:
    actual, expected = effective_weights(module), effective_weights(source)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert (actual[key] - value).abs().max() <= 1e-6 * value.abs().max(), key


def test_s02_writing_into_the_weights_data_is_a_no_op_under_weight_norm(small):
    conv = copy.deepcopy(small.model.decoder.model[-2])
    before = conv.weight.clone()
    conv.weight.data.copy_(torch.ones_like(conv.weight))  # the bug
    assert torch.equal(conv.weight, before)
    assign_effective(conv, {"weight": torch.ones_like(before)})
    assert torch.allclose(conv.weight, torch.ones_like(before))


def test_a_layer_keeps_its_weights_when_the_tensor_they_came_from_changes(small):
    conv = copy.deepcopy(small.model.decoder.model[-2])
    value = torch.rand_like(conv.weight) + 0.1
    expected = value.clone()
    assign_effective(conv, {"weight": value})
    value.zero_()
    assert torch.allclose(conv.weight, expected)


def test_the_source_shares_no_memory_with_the_head(any_codec):
    head = UpsampleHead(any_codec)
    head.initialise(any_codec.model.decoder, "average")
    theirs = {p.untyped_storage().data_ptr() for p in any_codec.model.parameters()}
    assert not theirs & {p.untyped_storage().data_ptr() for p in head.parameters()}


def test_the_noise_block_is_copied_where_the_head_has_one(small, codecs):
    head = UpsampleHead(small, noise=True)
    head.initialise(small.model.decoder, "average")
    source = next(layer for layer in small.model.decoder.model[-4].block if isinstance(layer, NoiseBlock))
    assert torch.allclose(head.block.block[2].linear.weight, source.linear.weight, atol=1e-6)
    with pytest.raises(CodecError, match="noise=false"):
        UpsampleHead(codecs("plain"), noise=True).initialise(codecs("plain").model.decoder, "average")


@pytest.mark.parametrize("stride", [2, 3, 4, 5, 8])
def test_a_kernel_brought_to_stride_two_keeps_the_gain_of_each_half_frame(stride):
    kernel = torch.rand(3, 2, 2 * stride, dtype=torch.float64)
    taps = init._to_stride_two(kernel)
    assert taps.shape == (3, 2, 4)
    phase_gains = kernel[..., :stride] + kernel[..., stride:]
    gains = taps[..., :2] + taps[..., 2:]
    assert torch.allclose(gains.mean(-1), phase_gains.mean(-1))
    if stride % 2 == 0:
        assert torch.allclose(gains, phase_gains.unflatten(-1, (2, -1)).mean(-1))
    if stride == 2:
        assert torch.equal(taps, kernel)


def test_a_constant_comes_through_the_new_upsampler_as_through_the_old(codecs):
    """With stride 4 the kernel is resampled: away from the edges a constant keeps its mean level in every channel."""
    block = codecs("stride_4").model.decoder.model[-4].block
    kernel = block[1].weight.detach()
    old = nn.functional.conv_transpose1d(torch.ones(1, kernel.shape[0], 9), kernel, stride=4, padding=2)[..., 12:-12]
    new = nn.functional.conv_transpose1d(
        torch.ones(1, kernel.shape[0], 9), init._to_stride_two(kernel), stride=2, padding=1
    )[..., 6:-6]
    assert torch.allclose(new.mean(-1), old.mean(-1), atol=1e-6)


def test_random_is_xavier(real):
    torch.manual_seed(0)
    head = UpsampleHead(real)
    head.initialise(real.model.decoder, "random")
    weight = head.block.block[1].weight
    bound = (6 / (64 * 4 + 64 * 4)) ** 0.5
    assert 0.98 * bound < weight.abs().max() <= bound * (1 + 1e-6)
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
    assert torch.equal(head.block.block[1].bias, torch.zeros(64))
    assert torch.equal(head.snake.alpha, torch.ones(1, 64, 1))


def test_residual_starts_at_zero_with_an_averaged_block(small):
    head, averaged = ResidualHead(small), UpsampleHead(small)
    head.initialise(small.model.decoder, "residual")
    averaged.initialise(small.model.decoder, "average")
    assert head.conv.weight.abs().max() == 0
    assert head.conv.bias.abs().max() == 0
    assert not nn.utils.parametrize.is_parametrized(head.conv)
    _assert_same(head.block, averaged.block)
    _assert_same(head.snake, averaged.snake)


def test_a_head_refuses_an_init_it_does_not_have(small):
    for name in ("average", "first", "random"):
        with pytest.raises(ConfigError, match=f"init.name={name} cannot start a ResidualHead; choose one of: residual"):
            ResidualHead(small).initialise(small.model.decoder, name)
    with pytest.raises(ConfigError, match="choose one of: average, first, random"):
        UpsampleHead(small).initialise(small.model.decoder, "residual")
    native = NativeHead(small)
    before = effective_weights(native)
    assert native.initialise(small.model.decoder, "average") == {}  # it is a copy of the codec's own layers
    assert all(torch.equal(value, before[name]) for name, value in effective_weights(native).items())


def test_a_row_of_zeros_and_a_wrong_shape_are_refused(small):
    conv = copy.deepcopy(small.model.decoder.model[1])
    value = conv.weight.detach().clone()
    value[3] = 0
    with pytest.raises(CodecError, match="row of zeros"):
        assign_effective(conv, {"weight": value})
    with pytest.raises(CodecError, match="has shape"):
        assign_effective(conv, {"weight": value[:-1]})
