"""The decoder of all streams, pass by pass: everyone hears their own, nobody waits for a long one, nothing is left."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from snac_exp.errors import CodecError, DataError
from snac_exp.release.codec import ReleasedCodec
from snac_exp.release.service.batching import BatchDecoder, Stream
from tests.helpers.service import assert_sounds, codes_of, expected, part_of


class Ear:
    """Keeps what is delivered."""

    def __init__(self) -> None:
        self.pcm, self.ended, self.error, self.num_told = b"", False, None, 0

    def __call__(self, item: bytes | Exception, ends: bool) -> None:
        assert not self.ended
        self.ended, self.num_told = ends, self.num_told + 1
        if isinstance(item, bytes):
            self.pcm += item
        else:
            self.error = item


def rows(codes: list[list[int]]) -> list[torch.Tensor]:
    return [torch.tensor(row, dtype=torch.int64) for row in codes]


def decoder_of(codec: ReleasedCodec, **options: float) -> BatchDecoder:
    return BatchDecoder(codec, **({"tick_tokens": 2, "max_unsent_seconds": 100.0} | options))  # type: ignore[arg-type]


def opened(decoder: BatchDecoder, rate: int = 24_000, seed: int = 0) -> tuple[Stream, Ear]:
    ear = Ear()
    return decoder.open(ear, head=None, sample_rate=rate, seed=seed), ear


def until_quiet(decoder: BatchDecoder) -> int:
    number = 0
    while decoder.tick():
        number += 1
    return number


@pytest.mark.slow
def test_everyone_hears_their_own(codec: ReleasedCodec) -> None:
    """Streams of both outputs that join at different times and push pieces of different lengths."""
    decoder, rng, told = decoder_of(codec), np.random.default_rng(0), []
    for number in range(5):
        codes, rate = codes_of(codec, 5 + number, number), (24_000, 48_000)[number % 2]
        told.append((codes, rate, *opened(decoder, rate, seed=number)))
    places = [0] * len(told)
    while any(place < len(codes[0]) for place, (codes, *_) in zip(places, told, strict=True)):
        number = int(rng.integers(len(told)))
        codes, _, stream, _ = told[number]
        if places[number] >= len(codes[0]):
            continue
        size = int(rng.integers(1, 4))
        decoder.push(stream, rows(part_of(codec, codes, places[number], size)))
        places[number] += size
        if places[number] >= len(codes[0]):
            decoder.finish(stream)
        if rng.integers(2):
            decoder.tick()
    until_quiet(decoder)
    for number, (codes, rate, _, ear) in enumerate(told):
        assert ear.ended
        assert_sounds(ear.pcm, expected(codec, codes, rate, number))
    assert (len(decoder), len(decoder._batch)) == (0, 0)


@pytest.mark.slow
def test_a_long_utterance_keeps_nobody_waiting(codec: ReleasedCodec) -> None:
    decoder = decoder_of(codec)
    (long, heard_long), (short, heard_short) = opened(decoder), opened(decoder)
    for stream, length in ((long, 12), (short, 2)):
        decoder.push(stream, rows(codes_of(codec, length, length)))
        decoder.finish(stream)
    assert decoder.tick() == 2
    assert (heard_short.ended, heard_short.num_told) == (True, 1)  # of the end with the last audio
    assert not heard_long.ended
    assert until_quiet(decoder) == 5
    assert heard_long.ended


@pytest.mark.slow
def test_a_stream_whose_client_takes_nothing_waits_and_goes_on(codec: ReleasedCodec) -> None:
    decoder = decoder_of(codec, max_unsent_seconds=0.2)
    codes = codes_of(codec, 12, 1)
    stream, ear = opened(decoder)
    decoder.push(stream, rows(codes))
    decoder.finish(stream)
    until_quiet(decoder)
    kept = len(ear.pcm) // 2
    assert 0.2 * 24_000 <= kept < 0.2 * 24_000 + 2 * codec.geometry.coarse_hop
    other, other_ear = opened(decoder)
    decoder.push(other, rows(codes_of(codec, 2, 2)))
    decoder.finish(other)
    assert decoder.tick() == 1
    assert other_ear.ended
    taken = 0
    while not ear.ended:
        decoder.taken(stream, len(ear.pcm) // 2 - taken)
        taken = len(ear.pcm) // 2
        assert until_quiet(decoder)
    assert_sounds(ear.pcm, expected(codec, codes, 24_000, 0))


@pytest.mark.slow
def test_readers_that_take_nothing_go_behind_one_who_has_nothing_yet(
    codec: ReleasedCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snac_exp.release.service.batching.AHEAD_SECONDS", 0.2)
    decoder = decoder_of(codec)
    readers = [opened(decoder) for _ in range(3)]
    for stream, _ in readers:
        decoder.push(stream, rows(codes_of(codec, 12, 1)))
    while any(len(ear.pcm) < 2 * 0.2 * 24_000 for _, ear in readers):
        assert decoder.tick() == 3
    new, heard = opened(decoder)
    decoder.push(new, rows(codes_of(codec, 2, 2)))
    decoder.finish(new)
    assert decoder.tick() == 1
    assert heard.ended
    assert decoder.tick() == 3, "who wants nothing keeps nobody waiting"


@pytest.mark.parametrize("when", ["before its first pass", "between passes", "while it joins"])
def test_one_that_leaves_hears_nothing_more_and_leaves_nothing(codec: ReleasedCodec, when: str) -> None:
    decoder = decoder_of(codec, tick_tokens=4)
    (stream, ear), (other, other_ear) = opened(decoder), opened(decoder)
    for each in (stream, other):
        decoder.push(each, rows(codes_of(codec, 4, 1)))
    if when == "before its first pass":
        decoder.close(stream)
    if when == "while it joins":
        joins: Callable[..., object] = decoder._batch.open

        def leaving(**options: object) -> object:
            decoder._batch.open = joins  # type: ignore[method-assign]
            decoder.close(stream)
            return joins(**options)

        decoder._batch.open = leaving  # type: ignore[method-assign, assignment]
    decoder.tick()
    kept = len(ear.pcm)
    assert (kept > 0) == (when == "between passes")
    decoder.close(stream)
    decoder.close(stream)
    until_quiet(decoder)
    assert len(ear.pcm) == kept
    assert (len(decoder), len(decoder._batch), ear.ended) == (1, 1, False)
    assert len(other_ear.pcm) > 0


def test_when_the_decoder_fails_everyone_is_told_and_the_next_one_is_served(
    codec: ReleasedCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = decoder_of(codec)
    (stream, ear), (_, other) = opened(decoder), opened(decoder)
    decoder.push(stream, rows(codes_of(codec, 2, 1)))
    failure = MemoryError("no memory for that")
    with monkeypatch.context() as patch:
        patch.setattr(decoder._batch, "push", lambda *_: (_ for _ in ()).throw(failure))
        decoder.tick()
    assert ear.error is other.error is failure
    assert len(decoder) == 0
    codes = codes_of(codec, 2, 2)
    stream, ear = opened(decoder)
    decoder.push(stream, rows(codes))
    decoder.finish(stream)
    until_quiet(decoder)
    assert_sounds(ear.pcm, expected(codec, codes, 24_000, 0))


def test_what_no_stream_can_be(codec: ReleasedCodec) -> None:
    decoder = decoder_of(codec)
    with pytest.raises(CodecError, match="no output at 44100 Hz"):
        opened(decoder, 44_100)
    stream, _ = opened(decoder)
    decoder.push(stream, rows([[1], [1], []]))
    with pytest.raises(DataError, match="ends within a step"):
        decoder.finish(stream)
    assert decoder.tick() == 0
