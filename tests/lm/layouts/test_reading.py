"""Streams that others wrote: refused with position, place and value, or read on at the next frame that fits."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snac_exp.errors import ConfigError, DataError
from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.lm.layouts.layout import Layout
from snac_exp.lm.layouts.reader import IdReader
from snac_exp.lm.layouts.reading import Reading
from snac_exp.lm.layouts.sequence import next_ids
from snac_exp.lm.layouts.streams import read_ids
from snac_exp.lm.layouts.text import ids_of_text, text_of_ids
from tests.lm.layouts.made import codes_of, made, plain, same

ORPHEUS = made("orpheus")
START, END, PAD, END_OF_AI, END_OF_TEXT = 128257, 128258, 128263, 128262, 128009
FRAMES = 6


def stream(num_frames: int = FRAMES, layout: Layout = ORPHEUS) -> list[int]:
    """Ids of frames whose codes name frame and place, so that it is seen which ones are left."""
    codes = [
        np.arange(num_frames * layout.geometry.codebook_length(i, 1)) for i in range(layout.geometry.num_codebooks)
    ]
    return [int(i) for i in ids_of_codes(codes, layout)[0]]


def kept(reading: Reading) -> list[int]:
    """Numbers of the frames, which all their codes must agree on."""
    coarse, middle, fine = (row.tolist() for row in reading.codes)
    assert middle == [2 * frame + i for frame in coarse for i in range(2)]
    assert fine == [4 * frame + i for frame in coarse for i in range(4)]
    return coarse


def refusal(ids: list[int], layout: Layout = ORPHEUS) -> str:
    with pytest.raises(DataError) as caught:
        read_ids([ids], layout)
    return str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "text", "ended"),
    [
        ([], [], (), False),
        ([START], [END], (), True),
        ([PAD, PAD, START], [END, END_OF_AI, PAD, PAD], (), True),
        ([128259, 7, 8, END_OF_TEXT, 128260, 128261, START], [END, END_OF_AI], (7, 8), True),
        ([7], [END_OF_TEXT, PAD], (7,), True),
        ([], [PAD, PAD], (), False),
    ],
)
def test_what_stands_around_speech_is_understood(
    before: list[int], after: list[int], text: tuple[int, ...], ended: bool
) -> None:
    for mode in ("strict", "resync"):
        reading = read_ids([before + stream() + after], ORPHEUS, mode)  # type: ignore[arg-type]
        assert kept(reading) == list(range(FRAMES))
        assert (reading.gaps, reading.text_ids, reading.ended) == ((), text, ended)


def test_a_stream_without_speech_is_empty() -> None:
    for ids in ([], [PAD], [START, END], [128259, 5, END_OF_TEXT], [END]):
        reading = read_ids([ids], ORPHEUS)
        assert (reading.num_frames, reading.seconds, reading.gaps) == (0, 0.0, ())


whole = stream()


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (
            whole[:9] + whole[10:],
            f"position 9: id {whole[10]}, a code of place 3, where layout orpheus on codec a_codec",
        ),
        (whole[:9] + whole[10:], "wants a code of place 2; choose the layout"),
        ([*whole[:9], 500, *whole[9:]], "position 9: id 500, text, where"),
        ([*whole[:7], PAD, *whole[7:]], "position 7: id 128263, a pad, where"),
        ([*whole[:9], PAD, *whole[9:]], "position 9: id 128263, a pad, where"),
        ([*whole[:7], START, *whole[7:]], "position 7: id 128257, the start of speech, where"),
        ([*whole[:7], 128265, *whole[7:]], "position 7: id 128265, none of this layout's, where"),
        (whole[:-2], "position 40: the stream ends at place 5 of a frame of 7"),
        ([*whole[:-2], END], "position 40: id 128258, the end of speech or of the turn, where"),
        ([*whole, END, *whole], f"position 43: id {whole[0]}, a code of place 0, where"),
        ([*whole, END, 9], "wants nothing but pads"),
        ([*whole, PAD, 9], "position 43: id 9, text, where"),
        ([128265, *whole], "position 0: id 128265, none of this layout's, where"),
        (whole[3:], "position 0"),
        ([-100, *whole], "position 0: id -100, none of this layout's, where"),
        ([-1, *whole], "position 0: id -1, none of this layout's, where"),
    ],
)
def test_strict_refuses_with_position_place_and_value(ids: list[int], said: str) -> None:
    assert said in refusal(ids)


@pytest.mark.parametrize(
    ("ids", "left", "gap"),
    [
        # position, frames before, codes, text, others, frames lost
        (whole[:9] + whole[10:], [0, 2, 3, 4, 5], (7, 1, 6, 0, 0, 1)),
        (whole[:9] + whole[9:10] + whole[9:], [0, 2, 3, 4, 5], (7, 1, 8, 0, 0, 1)),
        ([*whole[:9], 500, *whole[9:]], [0, 2, 3, 4, 5], (7, 1, 7, 1, 0, 1)),
        (whole[:9] + whole[10:16] + whole[17:], [0, 3, 4, 5], (7, 1, 12, 0, 0, 2)),
        ([*whole[:7], 500, PAD, *whole[7:]], [0, 1, 2, 3, 4, 5], (7, 1, 0, 1, 1, 0)),
        (whole[:7] + [PAD] * 3 + whole[7:], [0, 1, 2, 3, 4, 5], (7, 1, 0, 0, 3, 0)),
        ([*whole[:7], START, *whole[7:]], [0, 1, 2, 3, 4, 5], (7, 1, 0, 0, 1, 0)),
        (whole[3:], [1, 2, 3, 4, 5], (0, 0, 4, 0, 0, 1)),
        (whole[:-2], [0, 1, 2, 3, 4], (35, 5, 5, 0, 0, 1)),
        ([*whole[:-2], END, PAD], [0, 1, 2, 3, 4], (35, 5, 5, 0, 0, 1)),
        ([*whole, END, *whole[:8]], [0, 1, 2, 3, 4, 5], (43, 6, 8, 0, 0, 2)),
    ],
)
def test_resync_drops_to_the_next_frame_counts_and_says_where(
    ids: list[int], left: list[int], gap: tuple[int, ...]
) -> None:
    reading = read_ids([ids], ORPHEUS, "resync")
    assert kept(reading) == left
    (found,) = reading.gaps
    assert (
        *(found.position, found.frame, found.num_codes, found.num_text, found.num_others),
        found.lost_frames,
    ) == gap
    assert reading.num_dropped == found.num_ids == sum(gap[2:5])
    assert reading.seconds == len(left) * 2048 / 24000
    assert f"position {gap[0]}, after {gap[1]} frames: {found.num_ids} ids dropped" in found.line


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Layout, list[int], list[int]]:
    """A layout, a stream with damage to some frames, and the frames without any."""
    layout = plain(draw(st.sampled_from(["orpheus", "flat"])), draw(st.sampled_from([(4, 2, 1), (8, 4, 2)])), 4096)
    width, ids, good = layout.num_places, stream(9, layout), list(range(9))
    damages = draw(st.lists(st.tuples(st.integers(0, 8), st.integers(0, width - 1), st.sampled_from("dtx"))))
    for frame, place, kind in sorted(dict((item[0], item) for item in damages).values(), reverse=True):
        at = frame * width + place
        # A token is lost, comes twice, or something else comes before it.
        ids[at : at + 1] = {"d": [], "t": [ids[at]] * 2, "x": [layout.num_ids, ids[at]]}[kind]
        if kind == "d" or (kind == "t" and 0 < place < width - 1) or (kind == "x" and place):
            good.remove(frame)
    return layout, ids, good


@pytest.mark.slow
@given(damaged(), st.lists(st.integers(1, 9), min_size=1, max_size=20))
def test_whatever_the_damage_all_sound_frames_stay_in_their_time_and_pieces_change_nothing(
    content: tuple[Layout, list[int], list[int]], pieces: list[int]
) -> None:
    layout, ids, good = content
    reading = read_ids([ids], layout, "resync")
    assert kept(reading) == good
    assert reading.num_frames * layout.num_places + reading.num_dropped == len(ids)
    if reading.gaps:
        refusal(ids, layout)
    reader, parts, at = IdReader(layout, "resync"), [], 0
    while at < len(ids):
        size = pieces[len(parts) % len(pieces)]
        parts.append(reader.push(ids[at : at + size]))
        at += size
    again = reader.finish()
    assert (again.gaps, again.ended) == (reading.gaps, reading.ended)
    assert same(again.codes, reading.codes)
    pushed = [np.concatenate([part[i] for part in parts]) for i in range(3)] if parts else reading.codes
    assert same(pushed, reading.codes)


@given(st.sets(st.tuples(st.integers(0, 8), st.integers(0, 6)), max_size=9))
def test_frames_that_lost_a_token_leave_the_others_in_their_time(lost: set[tuple[int, int]]) -> None:
    one_a_frame = dict(lost)
    ids = [i for n, i in enumerate(stream(9)) if one_a_frame.get(n // 7) != n % 7]
    reading = read_ids([ids], ORPHEUS, "resync")
    assert kept(reading) == [frame for frame in range(9) if frame not in one_a_frame]
    assert reading.source_frames.tolist() == kept(reading)
    assert reading.source_seconds == 9 * 2048 / 24000


def test_text_among_tokens_is_text() -> None:
    words = text_of_ids([START, *whole], ORPHEUS).replace("<custom_token_", " and <custom_token_", 9)
    assert "no token, text, where" in refusal(ids_of_text(words, ORPHEUS).tolist())
    # Before speech it is a prompt, which ends where the last word stands.
    prompt = ids_of_text("Say so: " + text_of_ids([START, *whole], ORPHEUS), ORPHEUS)
    assert kept(read_ids([prompt], ORPHEUS)) == list(range(FRAMES))


@pytest.mark.parametrize("name", ["codebooks", "delay"])
def test_streams_side_by_side_are_refused_or_read_without_their_bad_frames(name: str) -> None:
    layout = made(name)
    codes = codes_of(layout, 5, 0)
    streams = ids_of_codes(codes, layout)
    # The third frame's place 4, codebook 1's second token there.
    stream_number, position = (1, 5) if name == "codebooks" else (4, 6)
    streams[stream_number] = streams[stream_number].copy()
    streams[stream_number][position] = 9999
    with pytest.raises(DataError, match="position 2, place 4: id 9999 is no code of codebook 1 of codec a_codec, 0 to"):
        read_ids(streams, layout)
    reading = read_ids(streams, layout, "resync")
    assert same(reading.codes, [np.delete(row.reshape(5, -1), 2, axis=0).reshape(-1) for row in codes])
    assert reading.source_frames.tolist() == [0, 1, 3, 4]
    (gap,) = reading.gaps
    assert (gap.position, gap.frame, gap.num_codes, gap.num_others, gap.lost_frames) == (2, 2, 6, 1, 1)


def test_streams_of_other_lengths_or_fill_are_refused() -> None:
    codebooks, delay = made("codebooks"), made("delay")
    codes = codes_of(codebooks, 3, 0)
    with pytest.raises(DataError, match="codebook 1 has 6 codes where 2 frames need 4"):
        read_ids([codes[0][:2], codes[1], codes[2]], codebooks)
    assert read_ids([codes[0][:2], codes[1], codes[2]], codebooks, "resync").num_frames == 2
    streams = ids_of_codes(codes, delay)
    with pytest.raises(DataError, match="all are of one length, of at least 6"):
        read_ids([streams[0][:-1], *streams[1:]], delay)
    with pytest.raises(DataError, match="position 0, place 1: id 5 where layout delay fills with 4096"):
        read_ids([streams[0], np.r_[5, streams[1][1:]], *streams[2:]], delay)
    padded = [np.r_[row, [4096] * 4] for row in streams]
    assert same(read_ids(padded, delay).codes, codes)
    with pytest.raises(DataError, match="has 7 streams of ids, not 1"):
        read_ids([streams[0]], delay)


def test_a_mode_that_there_is_not_and_ids_that_are_none_are_refused() -> None:
    for layout in (ORPHEUS, made("codebooks")):
        with pytest.raises(ConfigError, match=re.escape("mode=lenient is not valid; choose one of: strict, resync")):
            read_ids([[]] * layout.num_streams, layout, "lenient")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="layout delay has 7 streams"):
        IdReader(made("delay"))
    with pytest.raises(DataError, match="ids must be whole numbers"):
        read_ids([[1.5]], ORPHEUS)
    for large in (2**63, 2**70):
        with pytest.raises(DataError, match=r"ids must be whole numbers|larger than any id"):
            read_ids([[large]], ORPHEUS)


def test_what_may_come_next_is_what_the_reader_takes() -> None:
    """And the ids beside these are refused, once a whole frame could have told."""
    ids = stream(2)
    for number in range(len(ids)):
        allowed, rest = next_ids(number, ORPHEUS), ids[number + 1 :]
        assert ids[number] in allowed
        assert (END in allowed) == (number % 7 == 0)
        codes = [value for value in allowed if value != END]
        assert len(codes) == 4096
        for value in (codes[0], codes[-1]):
            assert read_ids([[*ids[:number], value, *rest]], ORPHEUS).num_frames == 2
        for value in (codes[0] - 1, codes[-1] + 1):
            assert "position" in refusal([START, *ids[:number], value, *rest])
    assert read_ids([[*ids, END]], ORPHEUS).ended
    assert END not in next_ids(14, made("flat"))
