"""What clients send becomes codes, in whichever form and pieces; what does not belong is named."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snac_exp.errors import ConfigError
from snac_exp.lm.layouts.ids import ids_of_codes
from snac_exp.lm.layouts.sequence import spoken_ids
from snac_exp.lm.layouts.text import text_of_ids
from snac_exp.release.service.messages import Piece, Tokens, Utterance, parsed
from snac_exp.release.service.reading import TokenReader
from snac_exp.release.service.refusal import Refusal
from tests.helpers.service import BOUNDS, SIZE
from tests.lm.layouts.made import codes_of, made

LAYOUT = made("orpheus", entries=SIZE)
CODES = codes_of(LAYOUT, 6, 1)
IDS = spoken_ids(ids_of_codes(CODES, LAYOUT)[0], LAYOUT).tolist()
TEXT = text_of_ids(IDS, LAYOUT)


def reader(mode: Any = "strict", layout: str = "orpheus", **bounds: Any) -> TokenReader:
    return TokenReader(made(layout, entries=SIZE), mode, replace(BOUNDS, **bounds))


def read(found: TokenReader, *pieces: Tokens) -> list[np.ndarray]:
    parts = [*(found.read(piece) for piece in pieces), found.finish()]
    return [torch.cat(rows).numpy() for rows in zip(*parts, strict=True)]


def refusal(call: Any) -> tuple[int, str]:
    with pytest.raises(Refusal) as caught:
        call()
    return caught.value.kind.status, caught.value.reason


@given(st.lists(st.integers(0, len(TEXT)), max_size=6), st.booleans())
@settings(max_examples=15)
def test_text_and_ids_that_are_cut_anywhere_are_the_same_codes(cuts: list[int], as_text: bool) -> None:
    whole: Any = TEXT if as_text else IDS
    places = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    pieces = [whole[start:stop] for start, stop in itertools.pairwise(places)]
    found = reader()
    rows = read(found, *(Tokens(text=piece) if as_text else Tokens(ids=piece) for piece in pieces))
    assert [row.tolist() for row in rows] == [row.tolist() for row in CODES]
    assert (found.num_frames, found.gaps) == (6, ())


def test_codes_may_come_unevenly() -> None:
    found = reader()
    rows = [row.tolist() for row in CODES]
    first = found.read(Tokens(codes=[rows[0], rows[1][:3], []]))
    assert (list(map(len, first)), found.num_frames) == ([6, 3, 0], 0)
    found.read(Tokens(codes=[[], rows[1][3:], rows[2]]))
    assert found.num_frames == 6
    assert refusal(lambda: found.read(Tokens(codes=[[], [], [1, 64]]))) == (
        400,
        "codebook 2, position 25: code 64 is none of 0 to 63",
    )


def test_streams_of_ids_come_whole() -> None:
    streams = [row.tolist() for row in ids_of_codes(CODES, made("delay", entries=SIZE))]
    rows = read(reader(layout="delay"), Tokens(ids=streams))
    assert [row.tolist() for row in rows] == [row.tolist() for row in CODES]
    found = reader(layout="delay")
    found.read(Tokens(ids=streams))
    assert "send them whole, in one piece" in refusal(lambda: found.read(Tokens(ids=streams)))[1]
    assert (
        "has 7 streams of ids; send a list for each" in refusal(lambda: reader(layout="delay").read(Tokens(ids=IDS)))[1]
    )


def test_resync_drops_and_says_what() -> None:
    found = reader("resync")
    rows = read(found, Tokens(ids=[*IDS[:9], 5, *IDS[10:]]))
    assert (found.num_frames, len(rows[0]), len(found.gaps)) == (5, 5, 1)
    assert found.gaps[0].num_ids == 7
    assert "position 9" in refusal(lambda: read(reader(), Tokens(ids=[*IDS[:9], 5, *IDS[10:]])))[1]


@pytest.mark.parametrize(
    ("bounds", "tokens", "message"),
    [
        ({"max_tokens": 41}, Tokens(ids=IDS), "more than service.max_tokens=41 tokens"),
        ({"max_tokens": 41}, Tokens(text=TEXT), "more than service.max_tokens=41 tokens"),
        ({"max_tokens": 41}, Tokens(codes=[row.tolist() for row in CODES]), "service.max_tokens=41"),
        ({"max_seconds": 0.5}, Tokens(ids=IDS), "more than service.max_seconds=0.5 of audio"),
        # One codebook alone is as long as it would be with the others.
        ({"max_seconds": 0.5}, Tokens(codes=[[], [], [0] * 24]), "more than service.max_seconds=0.5 of audio"),
    ],
)
def test_too_much_is_refused(bounds: dict[str, Any], tokens: Tokens, message: str) -> None:
    status, reason = refusal(lambda: read(reader(**bounds), tokens))
    assert (status, message in reason) == (413, True)
    fits = {"max_tokens": 46, "max_seconds": 0.52}
    read(reader(**fits), tokens)


def test_a_stream_keeps_to_one_form() -> None:
    found = reader()
    found.read(Tokens(ids=IDS[:2]))
    found.read(Tokens())
    assert refusal(lambda: found.read(Tokens(text="x"))) == (400, "text after ids: a stream keeps to one form")
    assert refusal(lambda: found.read(Tokens(ids=[], codes=[])))[1].startswith("codes and ids are given")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no JSON of UTF-8"),
        (b"\xff\xfe{", "no JSON of UTF-8"),
        (b"[" * 100_000, "no JSON of UTF-8"),
        (b"[]", "the message: Input should be"),
        (b'{"ids": [1, NaN]}', "ids[1]: "),
        (b'{"ids": [1, 2.0]}', "ids[1]: "),
        (b'{"ids": [true]}', "ids[0]: "),
        (b'{"ids": [1' + b"0" * 4000 + b"]}", "ids[0]: "),
        (b'{"codes": [[1], ["2"]]}', "codes[1][0]: "),
        (b'{"seed": 1e999}', "seed: "),
        (b'{"sample_rate": -1}', "sample_rate: "),
        (b'{"format": "mp3"}', "format: "),
        (b'{"\\u202e\\n\\u0000": 1}', "\ufffd\ufffd\ufffd: "),
        (b'{"text": "\\ud800"}', ""),
    ],
)
def test_garbage_gets_one_short_line(data: bytes, message: str) -> None:
    status, reason = refusal(lambda: parsed(Utterance, data))
    assert (status, reason.startswith(message)) == (400, True), reason
    assert len(reason) < 250
    assert reason.isprintable()


def test_a_message_of_a_socket_may_end_it() -> None:
    assert parsed(Piece, '{"end": true}').end
    assert not parsed(Piece, b'{"text": "x"}').end


def test_bounds_are_numbers_above_zero() -> None:
    for key, value in (("max_streams", 0), ("max_seconds", float("nan")), ("max_queue", -1), ("stall_seconds", -1.0)):
        with pytest.raises(ConfigError, match=f"service.{key}="):
            replace(BOUNDS, **{key: value})
    assert replace(BOUNDS, max_queue=0, drain_seconds=0.0).max_queue == 0
