"""Streams of one batch: each sounds as it does alone, whenever it joins, however it pushes, whoever leaves."""

import pytest
import torch
from torch import Tensor

from snac_exp.errors import CodecError, DataError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.streaming.batch import StreamBatch

TOLERANCE = 1e-6


def tokens_of(codec: ReleasedCodec, num_coarse: int, seed: int) -> list[Tensor]:
    """Tokens[i] (T_i,)."""
    draw, geometry = torch.Generator().manual_seed(seed), codec.geometry
    lengths = [geometry.codebook_length(i, num_coarse) for i in range(geometry.num_codebooks)]
    return [torch.randint(64, (length,), generator=draw) for length in lengths]


def part(codec: ReleasedCodec, tokens: list[Tensor], start: int, num_coarse: int) -> list[Tensor]:
    return [row[codec.geometry.codebook_slice(i, start, num_coarse)] for i, row in enumerate(tokens)]


@pytest.mark.slow
def test_streams_of_two_outputs_that_join_and_leave(codec: ReleasedCodec) -> None:
    batch = StreamBatch(codec)
    long, short = tokens_of(codec, 9, 1), tokens_of(codec, 4, 2)
    first = batch.open(24_000, seed=1)
    heard = [batch.push({first: part(codec, long, 0, 2)})[first]]
    second = batch.open(48_000, seed=2)
    given = batch.push({first: part(codec, long, 2, 3), second: short}, ending=[second])
    assert len(batch) == 1
    heard.append(given[first])
    heard += [batch.push({first: part(codec, long, 5, 4)})[first], batch.push({}, ending=[first])[first]]
    for samples, codes, stream, seed in ((torch.cat(heard), long, first, 1), (given[second], short, second, 2)):
        expected = codec.decode(codes, stream.sample_rate, seed=seed)[0, 0]
        assert samples.shape == expected.shape
        assert (samples - expected).abs().max().item() <= TOLERANCE
    assert len(batch) == 0


def test_a_refused_push_changes_no_stream(codec: ReleasedCodec) -> None:
    batch = StreamBatch(codec)
    one, other = batch.open(24_000, seed=1), batch.open(24_000, seed=2)
    tokens = tokens_of(codec, 4, 1)
    for bad, ending, message in (
        ([row + 64 for row in tokens], (), "codebook 0 has tokens 0 to 63"),
        (tokens[:2], (), "2 lists of tokens"),
        ([torch.stack([row, row]) for row in tokens], (), r"this stream takes \(1, n\)"),
        ([row[:1] for row in tokens], (other,), "ends within a step"),
    ):
        with pytest.raises(DataError, match=message):
            batch.push({one: tokens, other: bad}, ending=ending)
    heard = batch.push({one: tokens, other: tokens}, ending=[one, other])
    for stream, seed in ((one, 1), (other, 2)):
        assert (heard[stream] - codec.decode(tokens, 24_000, seed=seed)[0, 0]).abs().max().item() <= TOLERANCE
    for call in (lambda: batch.push({one: tokens}), lambda: batch.push({}, ending=[one]), lambda: batch.check(one, [])):
        with pytest.raises(DataError, match="this stream is not open in this batch"):
            call()
    with pytest.raises(CodecError, match="no output at 44100 Hz"):
        batch.open(44_100)
    assert len(batch) == 0


def test_a_stream_that_is_closed_gives_nothing_and_disturbs_nobody(codec: ReleasedCodec) -> None:
    batch = StreamBatch(codec)
    stays, leaves = batch.open(24_000, seed=1), batch.open(24_000, seed=2)
    tokens = tokens_of(codec, 5, 3)
    heard = [batch.push({stays: part(codec, tokens, 0, 2), leaves: tokens})[stays]]
    batch.close(leaves)
    batch.close(leaves)
    heard.append(batch.push({stays: part(codec, tokens, 2, 3)}, ending=[stays])[stays])
    assert (torch.cat(heard) - codec.decode(tokens, 24_000, seed=1)[0, 0]).abs().max().item() <= TOLERANCE
