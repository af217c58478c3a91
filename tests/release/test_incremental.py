"""Decoding by state: however pushes are cut and streams come and go, each gives the samples of its codes as a whole."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
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
def codec_of_kind(shape: str, heads: str) -> ReleasedCodec:
    codec = ReleasedCodec(random_model(shape, heads), Blueprint(shape, SHAPES[shape], {}), dtype=torch.float64)
    codec.layers.frames_per_pass = 8  # so that a push takes several passes
    return codec


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


@dataclass
class Heard:
    """A stream of a batch: its number, which is its seed, what was pushed, tokens[i] (T_i,), and what it gave."""

    stream: BatchStream
    number: int
    tokens: list[Tensor]
    parts: list[Tensor]

    @property
    def seed(self) -> int | None:
        """Every fourth has no noise."""
        return None if self.number % 4 == 3 else self.number

    @property
    def samples(self) -> Tensor:
        return torch.cat(self.parts)


def heard_in_a_batch(codec: ReleasedCodec, moves: list[dict[int, tuple[int, bool]]]) -> list[Heard]:
    """Every stream that the moves open in one batch; all end at last. A place whose stream ended gets another one."""
    batch, heads, there = StreamBatch(codec), list(codec.heads), dict[int, Heard]()
    every: list[Heard] = []
    for move in [*moves, dict.fromkeys(range(3), (1, True))]:
        pushed = {}
        for place, (num_steps, _) in move.items():
            if place not in there:
                number = len(every)
                stream = batch.open(head=heads[number % len(heads)], seed=number, noise=number % 4 != 3)
                there[place] = Heard(stream, number, tokens_of(codec, 0, 0), [])
                every.append(there[place])
            one = there[place]
            pushed[one.stream] = tokens_of(codec, num_steps, 100 * one.number + len(one.parts))
            one.tokens = [torch.cat(both) for both in zip(one.tokens, pushed[one.stream], strict=True)]
        given_now = batch.push(pushed, ending=[there[place].stream for place, (_, ends) in move.items() if ends])
        for place, (_, ends) in move.items():
            one = there.pop(place) if ends else there[place]
            one.parts.append(given_now[one.stream])
            if not ends:
                whole = codec.geometry.audio_samples(len(one.tokens[0]), one.stream.sample_rate)
                # As early as the layers allow, and not a sample more.
                assert len(one.samples) == max(0, whole - one.stream.delay_samples)
    assert len(batch) == 0
    return every


def assert_each_is_its_whole(codec: ReleasedCodec, moves: list[dict[int, tuple[int, bool]]]) -> None:
    """In double precision, so that nothing but the order of sums may differ."""
    for one in heard_in_a_batch(codec, moves):
        expected = by_the_modules(codec, one.tokens, one.stream.head, one.seed).float()
        torch.testing.assert_close(one.samples, expected, atol=ROUNDED, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@settings(max_examples=15, deadline=None)
@given(moves=MOVES)
def test_streams_that_come_and_go_give_their_whole(kind: tuple[str, str], moves: list[Any]) -> None:
    assert_each_is_its_whole(codec_of_kind(*kind), moves)


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
        assert_each_is_its_whole(codec_of_kind(*kind), moves)


@pytest.mark.slow
def test_a_head_of_unknown_layers_streams_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    own: dict[str, Callable[[Any], Any]] = {"head_24k": NativeHead, "own": lambda codec: OwnHead(codec, noise=True)}
    monkeypatch.setitem(FACTORIES, "own", own)
    codec = ReleasedCodec(random_model("odd", "own"), Blueprint("odd", SHAPES["odd"], {}), dtype=torch.float64)
    moves = [{0: (9, False), 1: (2, False)}, {0: (2, False), 1: (30, False)}, {2: (30, True), 1: (1, False)}]
    assert_each_is_its_whole(codec, moves)


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


@pytest.mark.slow
def test_batches_in_threads_of_their_own_do_not_hear_each_other() -> None:
    codec = codec_of_kind("odd", "candidates")
    moves = [{0: (3, False), 1: (7, False)}, {0: (2, True)}, {2: (9, False)}] * 3
    alone = heard_in_a_batch(codec, moves)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda _: heard_in_a_batch(codec, moves), range(4)):
            for one, other in zip(found, alone, strict=True):
                torch.testing.assert_close(one.samples, other.samples, atol=ROUNDED, rtol=0)
