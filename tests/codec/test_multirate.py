import copy

import pytest
import torch
from snac.layers import NoiseBlock

from snac_exp.codec.checkpoint import fingerprint
from snac_exp.codec.heads import NativeHead, ResidualHead, UpsampleHead
from snac_exp.codec.interpolation import interpolate2x
from snac_exp.codec.multirate import MultiRateSnac, head_name
from snac_exp.errors import CodecError
from tests.helpers.noise import noise_off


def _decode(model, codes, seed=1, heads=None):
    torch.manual_seed(seed)
    with torch.no_grad():
        return model.decode(codes, heads)


def _upstream(codec, codes, seed=1):
    torch.manual_seed(seed)
    with torch.no_grad():
        return codec.model.decode(codes)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [False, True])
def test_s03_the_native_head_is_upstreams_decode_bit_for_bit(any_codec, build_model, random_codes, noise):
    noise = noise and any(isinstance(module, NoiseBlock) for module in any_codec.model.decoder.modules())
    model = build_model(any_codec, noise=noise)
    codes = random_codes(any_codec, 2 * any_codec.geometry.coarse_step)
    waveform = _decode(model, codes)[model.native_name]
    assert waveform.abs().max() > 0
    assert torch.equal(waveform, _upstream(any_codec, codes))


def test_s03_the_native_head_keeps_its_snake(real, build_model, random_codes):
    head = build_model(real).head("head_24k")
    snake, conv, tanh = real.model.decoder.model[-3:]
    features = torch.randn(1, 64, 200)
    assert torch.equal(head(features), tanh(conv(snake(features))))
    assert not torch.allclose(head(features), tanh(conv(features)), rtol=0.1)  # the bug
    assert torch.equal(head.snake.alpha, snake.alpha)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_latent_of_codes_is_float32s_under_autocast(small, build_model, random_codes, dtype):
    model, codes = build_model(small), random_codes(small, 3)
    expected = model.latent(codes)
    with torch.autocast("cpu", dtype=dtype):
        latent = model.latent(codes)
    assert latent.dtype == torch.float32
    assert torch.equal(latent, expected)


def test_a_noisy_wide_head_moves_nothing_else(small, build_model, random_codes):
    codes = random_codes(small, 3)
    alone = MultiRateSnac.from_codec(small, {"head_24k": NativeHead})
    both = build_model(small, noise=True)
    native = _decode(alone, codes)["head_24k"]
    state = torch.get_rng_state()
    assert torch.equal(_decode(both, codes)["head_24k"], native)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_building_a_model_moves_no_random_numbers_and_depends_on_seed_and_name_alone(small):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    models = [MultiRateSnac.from_codec(small, {"wide": UpsampleHead}, seed) for seed in (0, 0, 1)]
    two = MultiRateSnac.from_codec(small, {"other": UpsampleHead, "wide": UpsampleHead}, 0)
    assert torch.equal(torch.get_rng_state(), before)
    prints = [fingerprint(model.head("wide")) for model in (*models, two)]
    assert prints[0] == prints[1] == prints[3] != prints[2]
    assert fingerprint(two.head("other")) != prints[0]


@pytest.mark.slow
def test_the_heads_noise_is_a_function_of_its_seed(small, build_model, random_codes):
    model, codes = build_model(small, noise=True), random_codes(small, 2)
    outputs = []
    for seed in (7, 8, 7):
        model.seed_noise(seed)
        outputs.append(_decode(model, codes)["head_48k"])
    assert torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], outputs[1])
    with noise_off(model):
        quiet = [_decode(model, codes, seed)["head_48k"] for seed in (1, 2)]
    assert torch.equal(*quiet)
    assert not torch.equal(quiet[0], outputs[0])
    assert torch.equal(_decode(model, codes)["head_48k"], outputs[2])


@pytest.mark.slow
def test_parts_names_and_sizes_at_the_real_shape(real, build_model):
    model = build_model(real)
    assert [name for name, _ in model.named_children()] == ["encoder", "quantizer", "trunk", "heads"]
    sizes = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    head_24k = sum(p.numel() for p in model.head("head_24k").parameters())
    head_48k = sum(p.numel() for p in model.head("head_48k").parameters())
    assert sizes["encoder"] + sizes["quantizer"] + sizes["trunk"] + head_24k == 19_842_914
    assert head_24k == 64 + 64 * 7 + 1 + 1  # alphas, direction, gain, bias
    upsampler = 64 + 64 * 64 * 4 + 64 + 64
    unit = 64 + 64 * 7 + 64 + 64 + 64 + 64 * 64 + 64 + 64
    assert head_48k == upsampler + 3 * unit + head_24k
    assert model.rates == {"head_24k": 24000, "head_48k": 48000}
    assert model.native_name == "head_24k"
    prefixes = {".".join(name.split(".")[:2]) for name, _ in model.named_parameters() if name.startswith("heads")}
    assert prefixes == {"heads.head_24k", "heads.head_48k"}


@pytest.mark.slow
def test_shapes_of_every_codec(any_codec, build_model, random_codes):
    model = build_model(any_codec)
    num_coarse = any_codec.geometry.coarse_step
    waveforms = _decode(model, random_codes(any_codec, num_coarse))
    for name, rate in model.rates.items():
        assert waveforms[name].shape == (2, 1, any_codec.geometry.audio_samples(num_coarse, rate))
    assert list(waveforms) == list(model.rates) == [head_name(model.geometry.sampling_rate * k) for k in (1, 2)]


def test_the_codec_stays_as_it_was(build_codec, build_model, random_codes):
    codec = build_codec("small")
    model = build_model(codec)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    sum(wave.square().sum() for wave in model.decode(random_codes(codec, 2)).values()).backward()
    optimizer.step()
    assert fingerprint(codec.model) == codec.fingerprint


@pytest.mark.slow
def test_encode_equals_upstream(any_codec, build_model):
    audio = 0.3 * torch.randn(1, 1, 3000)
    with torch.no_grad():
        expected = any_codec.model.encode(audio)
    codes = build_model(any_codec).encode(audio)
    assert all(torch.equal(*pair) for pair in zip(codes, expected, strict=True))


def test_s09_the_latent_of_padding_is_zero_whatever_its_codes(small, build_model, random_codes):
    model = build_model(small)
    codes, other = random_codes(small, 4), random_codes(small, 4, seed=1)
    for i, stride in enumerate((4, 2, 1)):
        other[i][0, : 3 * 4 // stride] = codes[i][0, : 3 * 4 // stride]  # row 0 differs in its last coarse token only
        other[i][1] = codes[i][1]
    valid = torch.tensor([3, 4])
    latent = model.latent(codes, valid)
    assert torch.equal(latent, model.latent(other, valid))
    assert not torch.equal(model.latent(codes), model.latent(other))
    assert latent[0, :, 12:].abs().max() == 0
    assert torch.equal(latent[1], model.latent(codes)[1])
    assert torch.equal(latent[0, :, :12], model.latent(codes)[0, :, :12])
    assert not latent.requires_grad


def test_only_asked_heads_are_computed(small, build_model, random_codes):
    model = build_model(small)
    features = model.features(model.latent(random_codes(small, 1)))
    assert list(model(features, {"head_48k"})) == ["head_48k"]
    assert model(features, set()) == {}
    with pytest.raises(KeyError, match="head_96k"):
        model(features, {"head_96k"})


@pytest.mark.slow
def test_residual_is_interpolation_at_step_0_and_moves(real, build_model, random_codes):
    model = build_model(real, ResidualHead, "residual")
    codes = random_codes(real, 1, batch=1)
    start = _decode(model, codes)
    assert torch.equal(start["head_48k"], interpolate2x(start["head_24k"]))
    assert torch.equal(_decode(model, codes, heads={"head_48k"})["head_48k"], start["head_48k"])

    head, target = model.head("head_48k"), torch.rand(1, 1, 4096) - 0.5
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    with torch.no_grad():
        features = model.features(model.latent(codes))
    for _ in range(10):
        optimizer.zero_grad()
        (model(features, {"head_48k"})["head_48k"] - target).abs().mean().backward()
        optimizer.step()
    assert all(p.grad is None for p in model.head("head_24k").parameters())
    moved = _decode(model, codes)
    assert torch.equal(moved["head_24k"], start["head_24k"])
    assert (moved["head_48k"] - start["head_48k"]).abs().max() > 1e-3
    assert (head.conv.weight.abs() > 1e-3).float().mean() > 0.5


def test_the_wide_target_does_not_train_the_native_head(small, build_model, random_codes):
    model = build_model(small, ResidualHead, "residual")
    model.decode(random_codes(small, 1))["head_48k"].square().sum().backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in model.head("head_24k").parameters())
    assert model.head("head_48k").conv.weight.grad.abs().max() > 0


def test_a_name_must_tell_the_rate(codecs):
    with pytest.raises(CodecError, match=r"heads\.head_48k would emit 64000 Hz .*call it head_64k"):
        MultiRateSnac.from_codec(codecs("attention"), {"head_32k": NativeHead, "head_48k": UpsampleHead})
    assert head_name(88200) == "head_88k"
    free = MultiRateSnac.from_codec(codecs("attention"), {"wide": UpsampleHead})
    assert free.rates == {"wide": 64000}
    assert free.native_name is None


@pytest.mark.slow
def test_a_residual_head_needs_a_native_one(small):
    with pytest.raises(CodecError, match="heads=dual_residual"):
        MultiRateSnac.from_codec(small, {"head_48k": ResidualHead})
    with pytest.raises(CodecError, match="at least one head"):
        MultiRateSnac.from_codec(small, {})


@pytest.mark.slow
def test_a_model_can_be_copied_and_saved_with_its_noise(small, build_model, random_codes):
    model = build_model(small, noise=True)
    again = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.add_(1.0)
    again.load_state_dict(model.state_dict())
    codes = random_codes(small, 2)
    for name, wave in _decode(model, codes).items():
        assert torch.equal(wave, _decode(again, codes)[name])
