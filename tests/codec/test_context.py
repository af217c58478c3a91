import pytest
import torch

from snac_exp.codec.geometry import decoder_context_tokens
from tests.helpers.noise import noise_off


def _decode(model, codes):
    with noise_off(model), torch.no_grad():
        return model.decode(codes)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["real", "small", "stride_4", "plain", "attention"])
def test_s16_context_makes_slices_like_the_whole(codecs, build_model, random_codes, shape):
    codec, geometry = codecs(shape), codecs(shape).geometry
    model, context, step = build_model(codec), decoder_context_tokens(codec.config), geometry.coarse_step
    total, start, length = 2 * context + 4 * step, context + step, 2 * step
    codes = random_codes(codec, total, batch=1)
    whole = _decode(model, codes)

    def window(first: int, num: int) -> list[torch.Tensor]:
        return [c[:, geometry.codebook_slice(i, first, num)] for i, c in enumerate(codes)]

    bare = _decode(model, window(start, length))
    padded = _decode(model, window(start - context, length + 2 * context))
    for head, rate in model.rates.items():
        expected = whole[head][..., geometry.audio_slice(start, length, rate)]
        interior = padded[head][..., geometry.audio_slice(context, length, rate)]
        assert _error(interior, expected) < 1e-4
        first_frame = slice(0, geometry.hop_length * rate // geometry.sampling_rate)
        assert _error(bare[head][..., first_frame], expected[..., first_frame]) > 0.03


@pytest.mark.slow
def test_s16_less_context_than_the_receptive_field_is_not_enough(codecs, build_model, random_codes):
    codec, geometry = codecs("small"), codecs("small").geometry
    model = build_model(codec).double()
    codes = random_codes(codec, 12, batch=1)
    whole = _decode(model, codes)["head_24k"][..., geometry.audio_slice(4, 4, 24000)]
    for context, is_enough in ((2, False), (3, True)):
        codes_around = [c[:, geometry.codebook_slice(i, 4 - context, 4 + 2 * context)] for i, c in enumerate(codes)]
        interior = _decode(model, codes_around)["head_24k"][..., geometry.audio_slice(context, 4, 24000)]
        assert torch.allclose(interior, whole, rtol=0, atol=1e-9) == is_enough


def _error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative to the level of what the decoder makes of codes, i.e. without its offset."""
    return ((actual - expected).norm() / (expected - expected.mean()).norm()).item()
