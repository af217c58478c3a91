"""Decoding by state: however pushes are cut and streams come and go, each gives the samples of its codes as a whole."""

from collections.abc import Callable
from functools import cache
from itertools import count
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snac_exp import load_codec
from snac_exp.codec.checkpoint import bundled_directory
from snac_exp.codec.heads import NativeHead, UpsampleHead
from snac_exp.release.blueprint import Blueprint
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.incremental.decoder import IncrementalDecoder
from snac_exp.release.streaming.batch import BatchStream, StreamBatch
from tests.release.conftest import FACTORIES, SHAPES, random_model

TOLERANCE = 1e-6
ROUNDED = 2e-7  # computed in double precision, handed out in float32
KINDS = [("odd", "candidates"), ("dense", "dual"), ("windows", "residual")]
MOVES = st.lists(
    st.dictionaries(st.integers(0, 2), st.tuples(st.integers(0, 5), st.booleans()), max_size=3), min_size=1, max_size=5
)
"""Push after push: of some of three places, how many steps the stream there brings and whether it ends."""


class OwnHead(UpsampleHead):
    """A head that this package knows nothing of."""


@cache
def codec_of_kind(shape: str, heads: str, dtype: torch.dtype = torch.float64) -> ReleasedCodec:
    return ReleasedCodec(random_model(shape, heads), Blueprint(shape, SHAPES[shape], {}), dtype=dtype)


def tokens_of(codec: ReleasedCodec, num_steps: int, seed: int) -> list[Tensor]:
    """Tokens[i] (T_i,)."""
    draw, geometry = torch.Generator().manual_seed(seed), codec.geometry
    lengths = [geometry.codebook_length(i, num_steps * geometry.coarse_step) for i in range(geometry.num_codebooks)]
    sizes = zip(codec.codebook_sizes, lengths, strict=True)
    return [torch.randint(size, (length,), generator=draw) for size, length in sizes]


@torch.no_grad()
def by_the_modules(codec: ReleasedCodec, tokens: list[Tensor], head: str, seed: int | None) -> Tensor:
    """Samples (N,) of the whole from the layers as they were trained, noise as a stream of this seed has it."""
    if not len(tokens[0]):
        return torch.zeros(0)
    position = codec.layers.position
    position.seeds, position.start_frame = None if seed is None else (seed,), 0
    features = codec.model.features(codec.latent([row[None] for row in tokens]).to(codec.dtype))
    return codec.model(features, [head])[head][0, 0]


def played(codec: ReleasedCodec, moves: list[dict[int, tuple[int, bool]]]) -> list[tuple[Tensor, Tensor]]:
    """Every stream that the moves open, in one batch: its samples, and those of its codes as a whole."""
    batch, numbers, heads = StreamBatch(codec), count(), list(codec.heads)
    open_ones: dict[int, tuple[BatchStream, int]] = {}
    tokens: dict[int, list[Tensor]] = {}
    heard: dict[int, list[Tensor]] = {}
    streams: dict[int, BatchStream] = {}
    for move in [*moves, dict.fromkeys(range(3), (1, True))]:
        pushed, ending = {}, []
        for place, (num_steps, ends) in move.items():
            if place not in open_ones:
                number = next(numbers)
                stream = batch.open(head=heads[number % len(heads)], seed=number, noise=number % 4 != 3)
                open_ones[place], streams[number], heard[number] = (stream, number), stream, []
                tokens[number] = tokens_of(codec, 0, 0)
            stream, number = open_ones[place]
            pushed[stream] = tokens_of(codec, num_steps, 100 * number + len(heard[number]))
            tokens[number] = [torch.cat(both) for both in zip(tokens[number], pushed[stream], strict=True)]
            ending += [stream] if ends else []
        given_now = batch.push(pushed, ending=ending)
        for place, (_, ends) in move.items():
            stream, number = open_ones[place]
            heard[number].append(given_now[stream])
            if ends:
                del open_ones[place]
            else:
                whole = codec.geometry.audio_samples(len(tokens[number][0]), stream.sample_rate)
                # As early as the layers allow, and not a sample more.
                assert sum(map(len, heard[number])) == max(0, whole - stream.delay_samples)
    assert len(batch) == 0
    seeds = {number: None if number % 4 == 3 else number for number in streams}
    return [
        (torch.cat(heard[number]), by_the_modules(codec, tokens[number], streams[number].head, seeds[number]))
        for number in streams
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@settings(max_examples=15, deadline=None)
@given(moves=MOVES)
def test_streams_that_come_and_go_give_their_whole(kind: tuple[str, str], moves: list[Any]) -> None:
    """In double precision, so that nothing but the order of sums may differ."""
    for samples, expected in played(codec_of_kind(*kind), moves):
        assert samples.shape == expected.shape
        torch.testing.assert_close(samples, expected.float(), atol=ROUNDED, rtol=0)


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(cuts=st.lists(st.integers(0, 4), max_size=4), push=st.booleans())
def test_the_demo_codec_in_pieces_is_the_whole(cuts: list[int], push: bool) -> None:
    codec = demo_codec()
    tokens, stream = tokens_of(codec, sum(cuts) + push, 3), codec.stream(24_000, seed=5)
    heard, start = [], 0
    for num in [*cuts, int(push)]:
        part = [row[codec.geometry.codebook_slice(i, start, num)] for i, row in enumerate(tokens)]
        heard.append(stream.push(part)[0, 0])
        start += num
    heard.append(stream.finish()[0, 0])
    expected = by_the_modules(codec, tokens, "head_24k", 5)
    torch.testing.assert_close(torch.cat(heard), expected, atol=TOLERANCE, rtol=0)


@cache
def demo_codec() -> ReleasedCodec:
    return load_codec(bundled_directory("demo_codec"))


@pytest.mark.slow
def test_layers_of_the_library_give_what_the_loops_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other devices and types run."""
    from snac_exp.release.incremental import blocks

    monkeypatch.setattr(blocks, "in_loops", lambda *_: False)
    for kind in KINDS:
        moves = [{0: (3, False), 1: (0, False)}, {0: (2, False), 1: (4, True)}, {2: (5, False)}]
        for samples, expected in played(codec_of_kind(*kind), moves):
            torch.testing.assert_close(samples, expected.float(), atol=ROUNDED, rtol=0)


def test_a_head_of_unknown_layers_streams_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    own: dict[str, Callable[[Any], Any]] = {"head_24k": NativeHead, "own": lambda codec: OwnHead(codec, noise=True)}
    monkeypatch.setitem(FACTORIES, "own", own)
    codec = ReleasedCodec(random_model("odd", "own"), Blueprint("odd", SHAPES["odd"], {}), dtype=torch.float64)
    moves = [{0: (9, False), 1: (2, False)}, {0: (2, False), 1: (30, False)}, {2: (30, True), 1: (1, False)}]
    for samples, expected in played(codec, moves):
        torch.testing.assert_close(samples, expected.float(), atol=ROUNDED, rtol=0)


def test_nothing_of_a_stream_stays_when_it_leaves() -> None:
    codec = codec_of_kind("windows", "residual")
    decoder = IncrementalDecoder(codec.layers)
    slots = [decoder.join(list(codec.heads), seed=1) for _ in range(3)]
    for _ in range(2):
        decoder.push({slot: tokens_of(codec, 2, slot) for slot in slots})
    stays, ends, leaves = slots
    held = decoder.bytes_of(stays)
    assert held > 1000
    decoder.push({ends: tokens_of(codec, 0, 0), stays: tokens_of(codec, 0, 0)}, [ends])
    decoder.leave(leaves)
    assert [decoder.bytes_of(slot) for slot in slots] == [held, 0, 0]
