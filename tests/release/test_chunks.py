"""Chunks, streams and batches give the samples and codes of the whole."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from snac_exp.codec.geometry import decoder_receptive_samples
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.streaming.positioned_noise import noise_sequence
from tests.helpers.codes import assert_same_codes
from tests.helpers.variants import thorough
from tests.release.conftest import speech_like

TOLERANCE = 1e-6
KINDS = [("small", "dual"), ("attention", "dual"), *thorough((("small", "residual"),))]


@pytest.fixture(params=KINDS, ids="-".join, scope="module")
def any_codec(request: pytest.FixtureRequest, codec_of: Callable[[str, str], ReleasedCodec]) -> ReleasedCodec:
    return codec_of(*request.param)


def random_tokens(codec: ReleasedCodec, num_coarse: int, batch: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    lengths = [codec.geometry.codebook_length(i, num_coarse) for i in range(codec.geometry.num_codebooks)]
    return [torch.randint(64, (batch, length), generator=generator) for length in lengths]


@pytest.mark.slow
def test_chunked_decoding_is_whole_decoding(any_codec: ReleasedCodec) -> None:
    tokens = random_tokens(any_codec, 48)
    for rate in any_codec.sample_rates:
        whole = any_codec.decode(tokens, rate, seed=7, chunk_seconds=None)
        for seconds in (0.0, 0.7, 2.0):
            chunked = any_codec.decode(tokens, rate, seed=7, chunk_seconds=seconds)
            assert chunked.shape == whole.shape
            assert (chunked - whole).abs().max().item() <= TOLERANCE
    silent = any_codec.decode(tokens, 24000, noise=False, chunk_seconds=None)
    chunked = any_codec.decode(tokens, 24000, noise=False, chunk_seconds=1.0)
    assert (chunked - silent).abs().max().item() <= TOLERANCE
    noisy = any_codec.decode(tokens, 24000, seed=7)
    assert (noisy - silent).abs().max().item() > 1e-3  # the noise is real, so its position mattered


@pytest.mark.slow
def test_chunked_encoding_gives_the_codes_of_the_whole(any_codec: ReleasedCodec) -> None:
    audio = speech_like(24_000 * 4 + 123)
    whole = any_codec.encode(audio, 24000, chunk_seconds=None)
    upstream = any_codec.model.encode(torch.from_numpy(audio)[None, None])
    for tokens, expected in zip(whole.tokens, upstream, strict=True):
        assert torch.equal(tokens, expected)
    for seconds in (0.0, 0.9, 2.0):
        chunked = any_codec.encode(audio, 24000, chunk_seconds=seconds)
        assert_same_codes(chunked.tokens, whole.tokens)
    assert all(len(tokens.unique()) > 8 for tokens in whole.tokens)  # codes vary, so their equality says something


def test_measured_reach_of_the_encoder_is_whole_windows(any_codec: ReleasedCodec) -> None:
    assert any_codec.encoder_receptive_field.before % (any_codec.geometry.attn_window_size or 1) == 0


@pytest.mark.slow
@pytest.mark.parametrize("push", [1, 3, 17])
def test_streamed_samples_are_the_offline_samples(any_codec: ReleasedCodec, push: int) -> None:
    step = any_codec.geometry.coarse_step
    num_coarse = 24 * step
    tokens = random_tokens(any_codec, num_coarse)
    for rate in any_codec.sample_rates:
        expected = any_codec.decode(tokens, rate, seed=11, chunk_seconds=None)
        stream = any_codec.stream(rate, seed=11)
        given, parts = 0, []
        for start in range(0, num_coarse, push):
            slices = [any_codec.geometry.codebook_slice(i, start, push) for i in range(len(tokens))]
            parts.append(stream.push([row[0, part] for row, part in zip(tokens, slices, strict=True)]))
            given += parts[-1].shape[-1]
            whole_steps = min(start + push, num_coarse) // step * step
            assert given >= any_codec.geometry.audio_samples(whole_steps, rate) - stream.delay_samples
        streamed = torch.cat([*parts, stream.finish()], dim=-1)
        assert streamed.shape == expected.shape
        assert (streamed - expected).abs().max().item() <= TOLERANCE
        assert any(part.shape[-1] for part in parts)


def test_delay_is_what_the_layers_see_ahead(codec: ReleasedCodec) -> None:
    stream = codec.stream(24000, seed=0)
    assert stream.delay_samples == decoder_receptive_samples(codec.blueprint.codec) == 4757
    assert stream.delay_seconds == pytest.approx(0.1982, abs=1e-4)
    assert codec.stream(48000).delay_samples == 2 * (4757 - 3) + 1 + 39 + 3


def test_uneven_codebooks_wait(codec: ReleasedCodec) -> None:
    tokens = random_tokens(codec, 6)
    stream = codec.stream(24000, seed=1)
    assert stream.push([tokens[0][0], tokens[1][0], tokens[2][0, :0]]).shape == (1, 1, 0)
    parts = [stream.push([tokens[0][0, :0], tokens[1][0, :0], tokens[2][0]]), stream.finish()]
    expected = codec.decode(tokens, 24000, seed=1)
    assert (torch.cat(parts, -1) - expected).abs().max().item() <= TOLERANCE


def test_rows_of_a_batch_sound_as_they_do_alone(codec: ReleasedCodec) -> None:
    tokens = random_tokens(codec, 8, batch=3)
    batch = codec.decode(tokens, 48000, seed=3)
    for row in range(3):
        alone = codec.decode([item[row] for item in tokens], 48000, seed=3)
        assert (batch[row : row + 1] - alone).abs().max().item() <= TOLERANCE
    own = codec.decode(tokens, 48000, seed=[3, 4, 5])
    assert (own[0] - batch[0]).abs().max().item() <= TOLERANCE
    assert (own[1] - batch[1]).abs().max().item() > 1e-3


def test_seeds_decide_the_samples(codec: ReleasedCodec) -> None:
    tokens = random_tokens(codec, 4)
    assert torch.equal(codec.decode(tokens, 24000, seed=1), codec.decode(tokens, 24000, seed=1))
    assert not torch.equal(codec.decode(tokens, 24000), codec.decode(tokens, 24000))
    torch.manual_seed(9)
    first = codec.decode(tokens, 24000)
    torch.manual_seed(9)
    assert torch.equal(codec.decode(tokens, 24000), first)


def test_noise_is_a_function_of_position() -> None:
    whole = noise_sequence(1, "trunk.2", 0, 20_000)
    assert np.array_equal(noise_sequence(1, "trunk.2", 7_777, 5_000), whole[7_777:12_777])
    assert abs(whole.mean()) < 0.03
    assert abs(whole.std() - 1) < 0.02
    assert abs(np.corrcoef(whole, noise_sequence(1, "trunk.3", 0, 20_000))[0, 1]) < 0.03
    assert abs(np.corrcoef(whole[:-4096], whole[4096:])[0, 1]) < 0.03


def test_a_stream_takes_what_encode_gave(codec: ReleasedCodec) -> None:
    codes = codec.encode(speech_like(30_000), 24_000)
    stream = codec.stream(48_000, seed=0)
    streamed = torch.cat([stream.push(codes), stream.finish()], -1)
    assert (streamed[..., :60_000] - codec.decode(codes, 48_000, seed=0)).abs().max() <= TOLERANCE
