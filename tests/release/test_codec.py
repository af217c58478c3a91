"""The Python API: exact lengths, layouts, rates, types, batches, precision."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from snac_exp.data.files.resampling import resample
from snac_exp.errors import CodecError, ConfigError, DataError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.codes import Codes
from snac_exp.release.loading import load_codec
from tests.helpers.codes import assert_same_codes
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
    with pytest.raises(DataError, match="layout='wide' must be one of auto"):
        codec.encode(stereo, 24_000, layout="wide")  # type: ignore[arg-type]
    big_endian = codec.encode(mono.astype(">f4"), 24_000)
    assert all(torch.equal(a, b) for a, b in zip(big_endian.tokens, expected.tokens, strict=True))
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
        (None, 24_000, "audio is a NoneType"),
        (Path("take.wav"), 24_000, "audio is a PosixPath; give a tensor or an array of numbers, for a file"),
        (np.float32(0.5), 24_000, r"shape \[\]"),
        (torch.zeros(100).to_sparse(), 24_000, "an array of numbers"),
        (torch.zeros(100, device="meta"), 24_000, "an array of numbers"),
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
        assert_same_codes(codes.tokens, alone.tokens)
    batch = codec.encode(np.stack([signals[0], signals[2]])[:, None], 24_000)
    assert (batch.batch_size, codec.decode(batch, 48_000, seed=0).shape) == (2, (2, 1, 16_000))
    assert_same_codes(batch.row(1).tokens, many[2].tokens)


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
        ([item[:0] for item in tokens], "do not belong together"),
        ([item.numpy() + 0.5 for item in tokens], r"whole numbers.* not torch\.float64"),
        ([item.numpy() == 0 for item in tokens], "whole numbers"),
        ([item.to(torch.complex64) for item in tokens], "whole numbers"),
        ([item.to("meta") for item in tokens], "whole numbers"),
        (["a", "b", "c"], "tokens of codebook 0 must be whole numbers"),
        ([[[1], [1, 2]], [1], [1]], "tokens of codebook 0 must be whole numbers"),
        (None, "codes are a NoneType; give what encode gave"),
        (7, "codes are a int; give what encode gave"),
    ):
        with pytest.raises(DataError, match=message):
            codec.decode(bad, 24_000)
    with pytest.raises(DataError, match="cut off or belong to other audio"):
        codec.decode(Codes(tuple(tokens), 24_000, 24_000, codec.codebooks), 24_000)
    with pytest.raises(CodecError, match="index codebooks 0000"):
        codec.decode(Codes(tuple(tokens), 4_000, 24_000, "0" * 64), 24_000)
    with pytest.raises(CodecError, match="no output at 44100 Hz, only 24000, 48000"):
        codec.decode(tokens, 44_100)
    for rate in (0, "24000", 24_000.0, [24_000]):
        with pytest.raises(CodecError, match="no output at"):
            codec.decode(tokens, rate)  # type: ignore[arg-type]
    for seed, message in (([1, 2], "2 seeds for a batch of 1"), (1.5, r"seed=1\.5 must be"), ("x", "seed='x' must be")):
        with pytest.raises(DataError, match=message):
            codec.decode(tokens, 24_000, seed=seed)  # type: ignore[arg-type]
    for seconds in (-1, float("nan"), float("inf"), "x"):
        with pytest.raises(ConfigError, match="chunk_seconds="):
            codec.decode(tokens, 24_000, chunk_seconds=seconds)  # type: ignore[arg-type]
    for num, rate in ((0, 24_000), (4_000, 0), (4_000, -1), (4_000.5, 24_000), (True, 24_000)):
        with pytest.raises(DataError, match=r"codes with (num_samples|sample_rate)=.* whole number of at least 1"):
            Codes(tuple(tokens), num, rate, codec.codebooks)  # type: ignore[arg-type]


def test_a_stream_takes_nothing_of_a_push_that_it_refuses(codec: ReleasedCodec) -> None:
    tokens = [torch.arange(num) for num in (2, 4, 8)]
    stream, expected = codec.stream(24_000, seed=0), codec.decode(tokens, 24_000, seed=0)
    for bad, message in (
        ([tokens[0] + 64, *tokens[1:]], "codebook 0 has tokens 0 to 63"),
        ([*tokens[:2], tokens[2] - 1], "codebook 2 has tokens 0 to 63"),
        ([row.float() for row in tokens], "whole numbers"),
        ([row.expand(2, -1) for row in tokens], r"this stream takes \(1, n\)"),
        (None, "codes are a NoneType"),
    ):
        with pytest.raises(DataError, match=message):
            stream.push(bad)  # type: ignore[arg-type]
    streamed = torch.cat([stream.push(tokens), stream.finish()], dim=-1)
    assert (streamed - expected).abs().max().item() <= 1e-6
    for size in (0, -1, "x"):
        with pytest.raises(DataError, match="batch_size="):
            codec.stream(24_000, batch_size=size)  # type: ignore[arg-type]


@pytest.mark.slow
def test_devices_and_types_that_are_not_there(checkpoint: Path) -> None:
    for device in ("tpu", "cuda:99", None):
        with pytest.raises(CodecError, match="cannot be used here"):
            load_codec(checkpoint, device=device)  # type: ignore[arg-type]
    for dtype in (torch.int32, "float16"):
        with pytest.raises(CodecError, match="must be a floating-point type"):
            load_codec(checkpoint, dtype=dtype)  # type: ignore[arg-type]


@pytest.mark.slow
def test_half_precision_is_the_decoders_alone(checkpoint: Path, codec: ReleasedCodec) -> None:
    half = load_codec(checkpoint, dtype=torch.bfloat16)
    audio = speech_like(20_000)
    codes, expected = half.encode(audio, 24_000), codec.encode(audio, 24_000)
    assert all(torch.equal(a, b) for a, b in zip(codes.tokens, expected.tokens, strict=True))
    decoded, exact = half.decode(codes, 48_000, seed=0), codec.decode(codes, 48_000, seed=0)
    assert decoded.dtype == torch.float32
    assert (decoded - exact).abs().mean().item() < 0.05 * exact.abs().mean().item()
    assert not torch.equal(decoded, exact)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_noise_and_nearly_the_same_samples(checkpoint: Path, codec: ReleasedCodec) -> None:
    there = load_codec(checkpoint, device="cuda")
    codes = codec.encode(speech_like(20_000), 24_000)
    assert (there.decode(codes, 48_000, seed=0).cpu() - codec.decode(codes, 48_000, seed=0)).abs().max().item() < 1e-4


@pytest.mark.slow
def test_a_model_without_native_output(codec_of: Callable[[str, str], ReleasedCodec]) -> None:
    wide = codec_of("small", "wideband")
    assert wide.sample_rates == (48_000,)
    codes = wide.encode(speech_like(5_000), 24_000)
    assert wide.decode(codes, seed=0).shape == (1, 1, 10_000)
