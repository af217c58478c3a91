"""The Python API: exact lengths, layouts, rates, types, batches, precision."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from snac_exp.data.audio import resample
from snac_exp.errors import CodecError, DataError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.codes import Codes
from snac_exp.release.sources import load_codec
from tests.release.conftest import speech_like


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("num", [1, 4_095, 20_001])
def test_lengths_are_exact(codec: ReleasedCodec, rate: int, num: int) -> None:
    codes = codec.encode(speech_like(num + 32)[:num], rate)
    assert (codes.num_samples, codes.sample_rate) == (num, rate)
    for target in codec.sample_rates:
        assert codec.decode(codes, target, seed=0).shape == (1, 1, math.ceil(num * target / rate))


def test_facts(codec: ReleasedCodec) -> None:
    assert codec.sample_rates == (24_000, 48_000)
    assert codec.bitrate == pytest.approx(6 * 46.875 * (1 / 4 + 1 / 2 + 1))
    assert codec.codebook_sizes == [64, 64, 64]


def test_layouts_are_one_signal(codec: ReleasedCodec) -> None:
    stereo = speech_like(12_000, channels=2)
    mono = stereo.mean(axis=1)
    expected = codec.encode(mono, 24_000)
    for audio in (stereo, stereo.T, torch.from_numpy(stereo).T[None], stereo.astype(np.float64)):
        codes = codec.encode(audio, 24_000)
        assert all(torch.equal(a, b) for a, b in zip(codes.tokens, expected.tokens, strict=True))
    short = stereo[:2]
    with pytest.raises(DataError, match="layout='channels_first' or 'channels_last'"):
        codec.encode(short, 24_000)
    assert codec.encode(short, 24_000, layout="channels_last").num_samples == 2


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint8])
def test_integer_samples_have_their_full_scale(codec: ReleasedCodec, kind: type) -> None:
    from snac_exp.release.waveforms import mono_batch

    info = np.iinfo(kind)
    audio = mono_batch(np.array([info.min, (info.max + info.min + 1) // 2, info.max], dtype=kind))
    assert audio[0, 0].tolist() == pytest.approx([-1.0, 0.0, 1.0], abs=0.01)


def test_resampling_is_that_of_the_data_path(codec: ReleasedCodec) -> None:
    audio = speech_like(30_000)
    direct = codec.encode(resample(audio, 44_100, 24_000), 24_000)
    assert all(torch.equal(a, b) for a, b in zip(codec.encode(audio, 44_100).tokens, direct.tokens, strict=True))


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros(0, np.float32), 24_000, "at least one sample"),
        (np.zeros((1, 1, 1, 9), np.float32), 24_000, r"shape \[1, 1, 1, 9\]"),
        (np.zeros((40, 5_000), np.float32), 24_000, "40 channels"),
        (np.full(100, np.nan, np.float32), 24_000, "NaN or infinity"),
        (np.zeros(100, np.int64), 24_000, "has no full scale"),
        (np.zeros(100, np.complex64), 24_000, "has no full scale"),
        (["a", "b"], 24_000, "an array of numbers"),
        (np.zeros(100, np.float32), 0, "positive whole number"),
        (np.zeros(100, np.float32), 44_100.0, "positive whole number"),
        (np.zeros(100, np.float32), 99_991, "no small ratio"),
    ],
)
def test_audio_that_cannot_be_used(codec: ReleasedCodec, audio: object, rate: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        codec.encode(audio, rate)


def test_batches_and_lists(codec: ReleasedCodec) -> None:
    signals = [speech_like(8_000, 0), speech_like(12_345, 1), speech_like(8_000, 2)]
    many = codec.encode_many(signals, 24_000)
    for signal, codes in zip(signals, many, strict=True):
        alone = codec.encode(signal, 24_000)
        assert codes.num_samples == len(signal)
        assert all(torch.equal(a, b) for a, b in zip(codes.tokens, alone.tokens, strict=True))
    batch = codec.encode(np.stack([signals[0], signals[2]])[:, None], 24_000)
    assert (batch.batch_size, codec.decode(batch, 48_000, seed=0).shape) == (2, (2, 1, 16_000))
    assert torch.equal(batch.row(1).tokens[0], many[2].tokens[0])


def test_bare_tokens_decode_to_whole_tokens(codec: ReleasedCodec) -> None:
    codes = codec.encode(speech_like(5_000), 24_000)
    arrays = [tokens[0].numpy().astype(np.uint16) for tokens in codes.tokens]
    whole = codec.decode(arrays, 24_000, seed=0)
    assert whole.shape == (1, 1, 3 * 2048)
    assert torch.equal(whole[..., :5_000], codec.decode(codes, 24_000, seed=0))


def test_tokens_that_cannot_be_decoded(codec: ReleasedCodec) -> None:
    tokens = [
        torch.zeros(1, 2, dtype=torch.long),
        torch.zeros(1, 4, dtype=torch.long),
        torch.zeros(1, 8, dtype=torch.long),
    ]
    for bad, message in (
        (tokens[:2], "2 lists of tokens"),
        ([tokens[0], tokens[1], tokens[2][:, :7]], "do not belong together"),
        ([tokens[0], tokens[1], tokens[2] + 64], "codebook 2 has tokens 0 to 63"),
        ([tokens[0], tokens[1] - 1, tokens[2]], "codebook 1 has tokens 0 to 63"),
        ([item.float() for item in tokens], "whole numbers"),
        ([item[:, :0] for item in tokens], "do not belong together"),
    ):
        with pytest.raises(DataError, match=message):
            codec.decode(bad, 24_000)
    with pytest.raises(DataError, match="cut off or belong to other audio"):
        codec.decode(Codes(tuple(tokens), 24_000, 24_000, codec.codebooks), 24_000)
    with pytest.raises(CodecError, match="index codebooks 0000"):
        codec.decode(Codes(tuple(tokens), 4_000, 24_000, "0" * 64), 24_000)
    with pytest.raises(CodecError, match="no output at 44100 Hz, only 24000, 48000"):
        codec.decode(tokens, 44_100)
    with pytest.raises(ValueError, match="2 seeds for a batch of 1"):
        codec.decode(tokens, 24_000, seed=[1, 2])


def test_half_precision_is_the_decoders_alone(checkpoint: Path, codec: ReleasedCodec) -> None:
    half = load_codec(checkpoint, dtype=torch.bfloat16)
    audio = speech_like(20_000)
    codes, expected = half.encode(audio, 24_000), codec.encode(audio, 24_000)
    assert all(torch.equal(a, b) for a, b in zip(codes.tokens, expected.tokens, strict=True))
    decoded, exact = half.decode(codes, 48_000, seed=0), codec.decode(codes, 48_000, seed=0)
    assert decoded.dtype == torch.float32
    assert (decoded - exact).abs().mean().item() < 0.05 * exact.abs().mean().item()
    assert not torch.equal(decoded, exact)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_the_same_noise_and_nearly_the_same_samples(checkpoint: Path, codec: ReleasedCodec) -> None:
    there = load_codec(checkpoint, device="cuda")
    codes = codec.encode(speech_like(20_000), 24_000)
    assert (there.decode(codes, 48_000, seed=0).cpu() - codec.decode(codes, 48_000, seed=0)).abs().max().item() < 1e-4


def test_a_model_without_native_output(codec_of: Callable[[str, str], ReleasedCodec]) -> None:
    wide = codec_of("small", "wideband")
    assert wide.sample_rates == (48_000,)
    codes = wide.encode(speech_like(5_000), 24_000)
    assert wide.decode(codes, seed=0).shape == (1, 1, 10_000)
